//! PURE. Parses the output of `git status --porcelain=v2 -z --branch --show-stash`.
//!
//! Headers and entries that only a later git prints are skipped.

use crate::store::schema::Repo;

/// The branch, commit, upstream, stashes and counts in git's output. `None` where the output lacks
/// the header with the commit, or ends within a record. Unstaged changes of a submodule are not
/// counted where `is_ignored` returns true for its path.
pub fn parse(output: &[u8], is_ignored: impl Fn(&[u8]) -> bool) -> Option<Repo> {
    let mut repo = Repo::default();
    let (mut has_commit_header, mut has_distance) = (false, false);
    let is_ignored_submodule = |record: &[u8]| submodule(record).is_some_and(&is_ignored);
    let mut records = output.strip_suffix(b"\0")?.split(|it| *it == 0);
    while let Some(record) = records.next() {
        match record {
            [b'#', b' ', header @ ..] => {
                let header = String::from_utf8_lossy(header);
                let (name, value) = header.split_once(' ').unwrap_or((&header, ""));
                has_commit_header |= name == "branch.oid";
                has_distance |= name == "branch.ab";
                fold_header(&mut repo, name, value);
            }
            [kind @ (b'1' | b'2'), b' ', staged, unstaged, b' ', ..] => {
                repo.staged += u64::from(*staged != b'.');
                repo.unstaged += u64::from(*unstaged != b'.' && !is_ignored_submodule(record));
                if *kind == b'2' {
                    // The path before the rename is a record of its own. A path may look like any
                    // other record, so it must be skipped here.
                    records.next();
                }
            }
            [b'u', b' ', ..] => repo.conflicts += 1,
            [b'?', b' ', ..] => repo.untracked += 1,
            _ => {}
        }
    }
    // Of a branch without a commit git compares nothing, whether there is the upstream or not.
    repo.upstream_gone = repo.upstream.is_some() && repo.commit.is_some() && !has_distance;
    has_commit_header.then_some(repo)
}

/// Whether a submodule differs from what is recorded of it.
pub fn has_submodule_changes(output: &[u8]) -> bool {
    output.split(|it| *it == 0).any(|it| submodule(it).is_some())
}

/// The path of the submodule that an entry is about; `None` for other entries. An entry of a
/// submodule has an `S` where others have an `N`. Eight fields precede the path, nine in an entry
/// of a rename, and ten in one of a conflict.
fn submodule(record: &[u8]) -> Option<&[u8]> {
    let [kind @ (b'1' | b'2' | b'u'), b' ', _, _, b' ', b'S', ..] = record else { return None };
    let n_before = match kind {
        b'1' => 8,
        b'2' => 9,
        _ => 10,
    };
    record.splitn(n_before + 1, |it| *it == b' ').nth(n_before)
}

fn fold_header(repo: &mut Repo, name: &str, value: &str) {
    match name {
        "branch.oid" if value != "(initial)" => repo.commit = Some(value.to_owned()),
        "branch.head" if value != "(detached)" => repo.branch = Some(value.to_owned()),
        "branch.upstream" => repo.upstream = Some(value.to_owned()),
        "branch.ab" => {
            for side in value.split(' ') {
                if let Some(n) = side.strip_prefix('+') {
                    repo.ahead = n.parse().unwrap_or(0);
                } else if let Some(n) = side.strip_prefix('-') {
                    repo.behind = n.parse().unwrap_or(0);
                }
            }
        }
        "stash" => repo.stashes = value.parse().unwrap_or(0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OID: &str = "# branch.oid 2c18165\0";

    #[track_caller]
    fn check(output: impl AsRef<[u8]>, expected: &Repo) {
        let output = [OID.as_bytes(), output.as_ref()].concat();
        let commit = Some("2c18165".to_owned());
        let expected = Repo { commit, ..expected.clone() };
        assert_eq!(
            parse(&output, |_| false).as_ref(),
            Some(&expected),
            "{}",
            output.escape_ascii()
        );
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn headers_are_read() {
        let repo = Repo {
            branch: some("main"),
            upstream: some("origin/main"),
            ahead: 2,
            behind: 13,
            stashes: 4,
            ..Repo::default()
        };
        let headers =
            "# branch.head main\0# branch.upstream origin/main\0# branch.ab +2 -13\0# stash 4\0";
        check(headers, &repo);
    }

    #[test]
    fn an_upstream_that_is_gone_has_no_distance() {
        let upstream = "# branch.head main\0# branch.upstream o/main\0";
        let repo = Repo { branch: some("main"), upstream: some("o/main"), ..Repo::default() };
        check(upstream, &Repo { upstream_gone: true, ..repo.clone() });
        check(format!("{upstream}# branch.ab +0 -0\0"), &repo);
        check(format!("{upstream}# branch.ab +? -?\0"), &repo);
        let unborn =
            parse(format!("# branch.oid (initial)\0{upstream}").as_bytes(), |_| false).unwrap();
        assert!(!unborn.upstream_gone);
    }

    #[test]
    fn a_detached_head_has_no_branch_and_an_unborn_one_no_commit() {
        check("# branch.head (detached)\0", &Repo::default());
        let unborn = parse(b"# branch.oid (initial)\0# branch.head main\0", |_| false).unwrap();
        assert_eq!((unborn.commit, unborn.branch), (None, some("main")));
    }

    #[test]
    fn entries_are_counted_by_side() {
        let entries = "1 M. N... 100644 100644 100644 1 2 a\0\
                       1 .M N... 100644 100644 100644 1 2 b\0\
                       1 MM N... 100644 100644 100644 1 2 c\0\
                       u UU N... 100644 100644 100644 100644 1 2 3 d\0\
                       ? e/\0\
                       ! ignored\0";
        let repo = Repo { staged: 2, unstaged: 2, conflicts: 1, untracked: 1, ..Repo::default() };
        check(entries, &repo);
    }

    #[test]
    fn a_path_that_looks_like_a_record_is_not_taken_for_one() {
        let repo = Repo { staged: 1, untracked: 1, ..Repo::default() };
        check("2 R. N... 1 1 1 1 2 R100 new\0u UU old\0? a\n# stash 9\0", &repo);
    }

    #[test]
    fn bytes_of_a_branch_that_are_not_utf8_are_replaced() {
        check(b"# branch.head caf\xe9\0", &Repo { branch: some("caf\u{fffd}"), ..Repo::default() });
    }

    #[test]
    fn headers_and_entries_of_a_later_git_are_skipped() {
        let repo = Repo { untracked: 1, ..Repo::default() };
        check("# branch.new x\0# branch.ab +? -?\0# odd\0x what\x001\x002 x\0? a\0", &repo);
    }

    #[test]
    fn incomplete_output_is_refused() {
        assert_eq!(parse(b"", |_| false), None);
        assert_eq!(parse(b"\0", |_| false), None);
        assert_eq!(parse(b"? a\0", |_| false), None, "no header");
        assert_eq!(parse(b"# branch.oid 2c18165\0? a", |_| false), None, "cut short");
    }

    proptest! {
        #[test]
        fn no_output_causes_a_panic(bytes in prop::collection::vec(
            prop_oneof![Just(0u8), Just(b' '), prop::sample::select(b"#12u?.MU+-".to_vec()), any::<u8>()],
            0..200,
        )) {
            let output = [OID.as_bytes(), &bytes, b"\0"].concat();
            let repo = parse(&output, |_| false).unwrap();
            let n_records = output.split(|it| *it == 0).count() as u64;
            prop_assert!(repo.untracked + repo.conflicts + repo.staged <= n_records);
        }
    }
}
