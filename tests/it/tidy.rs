//! What the documents promise of the source, checked on the source.

use std::path::{Path, PathBuf};

fn read(name: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|it| it.is_dir());
    files.into_iter().chain(dirs.iter().flat_map(|it| sources(it))).collect()
}

/// What ARCHITECTURE.md says is PURE.
const PURE: [&str; 15] = [
    "config/describe.rs",
    "config/display.rs",
    "config/flaw.rs",
    "display/",
    "fetch/ccusage.rs",
    "fetch/claude/",
    "fetch/git/porcelain.rs",
    "plan.rs",
    "price_list.rs",
    "sanitize.rs",
    "state.rs",
    "state/",
    "store/schema",
    "usage/",
    "watch/debounce.rs",
];

#[test]
fn what_is_pure_says_so_and_reads_no_clock_and_no_file_and_starts_nothing() {
    const IMPURE: [&str; 17] = [
        "Now::read",
        "fs_err",
        "std::env",
        "std::fs::",
        "std::net",
        "std::os::unix::net",
        "std::process",
        "std::thread",
        "crossbeam_channel",
        "nix::",
        "notify::",
        "tracing",
        ".exists()",
        ".is_dir()",
        ".canonicalize()",
        ".read_link()",
        "metadata(",
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut met = std::collections::BTreeSet::new();
    for path in sources(&src).iter().filter(|it| it.extension().is_some_and(|it| it == "rs")) {
        let text = fs_err::read_to_string(path).unwrap();
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        let is_test = ["tests", "config/options.rs"];
        let is_test = is_test.iter().any(|it| name.contains(it));
        let Some(part) = PURE.iter().find(|it| name.starts_with(**it)).filter(|_| !is_test) else {
            assert!(is_test || !text.starts_with("//! PURE"), "{name} says that it is PURE");
            continue;
        };
        met.insert(part);
        assert!(text.starts_with("//! PURE"), "{name} does not say that it is PURE");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for word in IMPURE {
            assert!(!code.contains(word), "{name} is PURE and says {word}");
        }
    }
    assert_eq!(met.len(), PURE.len(), "there is only {met:?}");
}

#[test]
fn every_package_has_its_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let reasons = read("ARCHITECTURE.md");
    let (_, packages) = reasons.split_once("\n## Packages\n").unwrap();
    let rows = packages.lines().filter_map(|it| it.strip_prefix("| ")?.split(" | ").next());
    let named: Vec<_> = rows.flat_map(|it| it.split([',', ' ', ':'])).collect();
    let musl = &manifest["target"]["cfg(target_env = \"musl\")"];
    for table in [&manifest["dependencies"], &manifest["dev-dependencies"], &musl["dependencies"]] {
        for name in table.as_table().unwrap().keys() {
            assert!(named.contains(&name.as_str()), "ARCHITECTURE.md does not say why {name}");
        }
    }
}

#[test]
fn the_readme_and_the_help_agree_on_exit_codes() {
    let help = {
        use clap::CommandFactory;
        ccstatusd::cli::Cli::command().render_long_help().to_string()
    };
    let readme = read("README.md").replace('`', "");
    for code in 0..=3 {
        let start = format!("\n  {code}  ");
        let (_, meaning) = help.split_once(&start).expect("the help has each code");
        let meaning = meaning.lines().next().unwrap();
        assert!(readme.contains(&format!("\n| {code} | {meaning}")), "{code}: {meaning}");
    }
}

#[test]
fn the_configurations_in_the_readme_make_sense() {
    let readme = read("README.md");
    let blocks: Vec<_> = readme.split("```toml\n").skip(1).collect();
    assert!(blocks.len() >= 2);
    let file = tempfile::NamedTempFile::new().unwrap();
    for block in blocks {
        let (text, _) = block.split_once("```").unwrap();
        fs_err::write(file.path(), text).unwrap();
        ccstatusd::config::Config::load(Some(file.path())).unwrap();
    }
}
