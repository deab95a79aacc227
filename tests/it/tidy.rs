//! Tests of the source itself: the rules that ARCHITECTURE.md and docs/decisions promise it
//! follows.

mod circles;
mod names;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn read(name: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// All files in a directory and in those below it.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|it| it.is_dir());
    files.into_iter().chain(dirs.iter().flat_map(|it| sources(it))).collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "rs")
}

/// The files, and folders of files, that ARCHITECTURE.md marks as PURE.
const PURE: [&str; 26] = [
    "alert.rs",
    "config/",
    "display/",
    "fetch/ccusage.rs",
    "fetch/claude/",
    "fetch/git/config.rs",
    "fetch/git/porcelain.rs",
    "fetch/job.rs",
    "metrics/",
    "overview.rs",
    "plan.rs",
    "price_list.rs",
    "report/",
    "sanitize.rs",
    "sessions/json.rs",
    "sessions/table.rs",
    "setup/settings.rs",
    "setup/shell.rs",
    "state.rs",
    "state/",
    "store/record/format.rs",
    "store/record/month.rs",
    "store/schema",
    "top/",
    "usage/",
    "watch/debounce.rs",
];

#[test]
fn pure_files_say_so_and_read_no_clock_and_no_file_and_start_nothing() {
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
    let mut met = BTreeSet::new();
    for path in sources(&src).iter().filter(|it| is_rust(it)) {
        let text = fs_err::read_to_string(path).unwrap();
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        let is_test = name.contains("tests");
        let Some(part) = PURE.iter().find(|it| name.starts_with(**it)).filter(|_| !is_test) else {
            assert!(
                is_test || !text.starts_with("//! PURE"),
                "{name} says that it is PURE, and PURE lacks it"
            );
            continue;
        };
        met.insert(part);
        assert!(text.starts_with("//! PURE"), "{name} does not say that it is PURE");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for word in IMPURE {
            assert!(!code.contains(word), "{name} is PURE and contains {word}");
        }
    }
    assert_eq!(met.len(), PURE.len(), "only these exist: {met:?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = |path: &Path| fs_err::read_to_string(path).unwrap();
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
    let files = sources(&src).into_iter().filter(|it| is_rust(it));
    let circles = circles::circles(&files.map(|it| (name(&it), text(&it))).collect());
    let arrows = |circle: &Vec<circles::Arrow>| {
        circle.iter().map(|it| format!("\n  {it}")).collect::<String>()
    };
    let list: Vec<_> = circles.iter().map(arrows).collect();
    assert!(list.is_empty(), "{} circles:{}", list.len(), list.join("\n"));
}

#[test]
fn only_closures_of_one_line_are_about_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for dir in ["src", "tests/it", "fuzz"] {
        for path in sources(&root.join(dir)).iter().filter(|it| is_rust(it)) {
            let values = names::called_it(&fs_err::read_to_string(path).unwrap());
            let name = path.strip_prefix(root).unwrap().display();
            found.extend(values.iter().map(|(line, why)| format!("{name}:{line}: {why}")));
        }
    }
    assert!(found.is_empty(), "{} values called `it`:\n{}", found.len(), found.join("\n"));
}

/// rustfmt on stable Rust leaves comments as they are.
#[test]
fn no_comment_is_wider_than_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "tests", "benches", "fuzz"].iter().flat_map(|it| sources(&root.join(it)));
    let mut wide = Vec::new();
    for file in files.filter(|it| is_rust(it)) {
        for (number, line) in (1..).zip(fs_err::read_to_string(&file).unwrap().lines()) {
            if line.trim_start().starts_with("//") && line.chars().count() > 100 {
                wide.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert!(wide.is_empty(), "wider than 100 columns: {wide:#?}");
}

#[test]
fn every_promise_of_the_threat_model_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "tests/it"].iter().flat_map(|it| sources(&root.join(it)));
    let code: String =
        files.filter(|it| is_rust(it)).map(|it| fs_err::read_to_string(it).unwrap()).collect();
    let page = read("docs/threat-model.md");
    let promises = page.split("\n## What holds\n").nth(1).unwrap();
    let promises = promises.split("\n## ").next().unwrap();
    let mut n_tests = 0;
    for line in promises.lines().filter(|it| it.starts_with("- ")) {
        // Names of tests have several words; a setting or a variable in backticks does not.
        let quoted = line.split('`').skip(1).step_by(2);
        let tests: Vec<_> = quoted.filter(|it| it.matches('_').count() > 2).collect();
        assert!(!tests.is_empty(), "a promise without a test: {line}");
        for test in &tests {
            assert!(code.contains(&format!("fn {test}(")), "there is no test {test}: {line}");
        }
        n_tests += tests.len();
    }
    assert!(n_tests > 20, "{n_tests} tests in:{promises}");
}

/// The names of the pages in docs/decisions.
fn decisions() -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions");
    let names = sources(&dir).into_iter().map(|it| it.file_name().unwrap().to_owned());
    names.map(|it| it.into_string().unwrap()).filter(|it| it != "README.md").collect()
}

/// Each link from a source file to a decision: the page and the file.
fn links_to_decisions() -> BTreeSet<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut links = BTreeSet::new();
    for path in sources(&root.join("src")) {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let text = fs_err::read(&path).unwrap();
        for link in String::from_utf8_lossy(&text).split("docs/decisions/").skip(1) {
            let page = link.split_inclusive(".md").next().unwrap();
            links.insert((page.to_owned(), file.clone()));
        }
    }
    links
}

#[test]
fn the_index_of_decisions_names_every_page_and_no_other() {
    let index = read("docs/decisions/README.md");
    let (index, _) = index.split_once("\n## ").unwrap();
    let items = index.lines().filter_map(|it| it.strip_prefix("- [")?.strip_suffix(')'));
    let entries: Vec<_> = items.map(|it| it.split_once("](").unwrap()).collect();
    let named: BTreeSet<_> = entries.iter().map(|(_, page)| (*page).to_owned()).collect();
    assert_eq!(named, decisions());
    for (title, page) in entries {
        let text = read(&format!("docs/decisions/{page}"));
        assert_eq!(text.lines().next(), Some(format!("# {title}").as_str()));
        assert_eq!(page[..4], format!("{}-", &title[..3]), "{title}");
        for heading in ["Context", "Decision", "Rejected", "Consequences"] {
            assert!(text.contains(&format!("\n## {heading}\n")), "{page} has no {heading}");
        }
    }
}

#[test]
fn every_link_to_a_decision_leads_to_a_page() {
    let pages = decisions();
    let between = pages.iter().flat_map(|page| {
        let text = read(&format!("docs/decisions/{page}"));
        let links = text.split("](").skip(1).map(|it| it.split(')').next().unwrap().to_owned());
        links.map(|it| (it, page.clone())).collect::<Vec<_>>()
    });
    for (page, from) in links_to_decisions().into_iter().chain(between) {
        assert!(pages.contains(&page), "{from} links to {page}, which is not there");
    }
}

#[test]
fn the_source_links_to_every_decision_where_the_table_says() {
    let table = read("docs/decisions/README.md");
    let rows = table.lines().filter(|it| it.starts_with("| ["));
    let listed: BTreeSet<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split(" | ").collect();
            let (_, page) = cells[0].trim_end_matches(')').split_once("](").unwrap();
            (page.to_owned(), cells[1].trim_matches('`').to_owned())
        })
        .collect();
    let linked = links_to_decisions();
    let missing: Vec<_> = listed.difference(&linked).collect();
    let unlisted: Vec<_> = linked.difference(&listed).collect();
    assert!(
        missing.is_empty() && unlisted.is_empty(),
        "the table lists, and the source lacks: {missing:#?}\nthe other way round: {unlisted:#?}"
    );
    let pages: BTreeSet<_> = linked.into_iter().map(|(page, _)| page).collect();
    assert_eq!(pages, decisions());
}

#[test]
fn every_package_has_its_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let reasons = read("ARCHITECTURE.md");
    let (_, packages) = reasons.split_once("\n## Packages\n").unwrap();
    let rows = packages.lines().filter_map(|it| it.strip_prefix("| ")?.split(" | ").next());
    let named: Vec<_> = rows.flat_map(|it| it.split([',', ' ', ':'])).collect();
    let linux = &manifest["target"]["cfg(target_os = \"linux\")"];
    let tables = [&manifest["dependencies"], &manifest["dev-dependencies"], &linux["dependencies"]];
    for table in tables {
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
        let mut lines = meaning.lines();
        let mut meaning = lines.next().unwrap().to_owned();
        for more in lines.map_while(|it| it.strip_prefix("     ")) {
            meaning = format!("{meaning} {more}");
        }
        assert!(readme.contains(&format!("\n| {code} | {meaning}")), "{code}: {meaning}");
    }
}

/// The READMEs and the pages for users in docs: their names, and their texts.
fn pages_for_users() -> Vec<(String, String)> {
    let docs = fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let names = docs.map(|it| format!("docs/{}", it.unwrap().file_name().to_str().unwrap()));
    let readmes = ["README.md", "contrib/claude-code/ccstatusd/README.md"].map(str::to_owned);
    let pages = names.filter(|it| it.ends_with(".md")).chain(readmes);
    pages.map(|it| (it.clone(), read(&it))).collect()
}

#[test]
fn the_configurations_in_the_readme_and_the_docs_are_valid() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut n_blocks = 0;
    for (page, text) in pages_for_users() {
        for block in text.split("```toml\n").skip(1) {
            let (text, _) = block.split_once("```").unwrap();
            fs_err::write(file.path(), text).unwrap();
            if let Err(err) = ccstatusd::config::Config::load(Some(file.path())) {
                panic!("{page}: {err}");
            }
            n_blocks += 1;
        }
    }
    assert!(n_blocks >= 2);
}

#[test]
fn every_link_in_the_readme_and_the_docs_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-");
    for (page, text) in pages_for_users() {
        let links = text.split("](").skip(1).map(|it| it.split(')').next().unwrap());
        for link in links.filter(|it| !it.starts_with("https:")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = root.join(&page).parent().unwrap().join(path);
            assert!(target.is_file(), "{page} links to {path}, which is not there");
            if !heading.is_empty() {
                let target = fs_err::read_to_string(target).unwrap();
                let mut headings = target.lines().filter_map(|it| it.strip_prefix("## "));
                assert!(headings.any(|it| anchor(it) == heading), "{page} links to {link}");
            }
        }
    }
}
