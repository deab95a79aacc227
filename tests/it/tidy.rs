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

#[test]
fn what_calls_itself_pure_reads_no_clock_and_no_file_and_starts_nothing() {
    const IMPURE: [&str; 12] = [
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
    ];
    let mut n_pure = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs_err::read_to_string(&path).unwrap();
        if !text.starts_with("//! PURE") {
            continue;
        }
        n_pure += 1;
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for word in IMPURE {
            assert!(!code.contains(word), "{} is PURE and says {word}", path.display());
        }
    }
    assert!(n_pure >= 15, "only {n_pure} files say that they are PURE");
}

#[test]
fn every_package_has_its_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let reasons = read("ARCHITECTURE.md");
    for section in ["dependencies", "dev-dependencies"] {
        for name in manifest[section].as_table().unwrap().keys() {
            assert!(reasons.contains(name.as_str()), "ARCHITECTURE.md does not say why {name}");
        }
    }
}

#[test]
fn the_changelog_knows_this_version_or_what_is_to_come() {
    let changelog = read("CHANGELOG.md");
    let version = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(changelog.contains(&version) || changelog.contains("## Unreleased"), "{changelog}");
}

#[test]
fn the_readme_and_the_help_agree_on_exit_codes() {
    let help = {
        use clap::CommandFactory;
        ccstatusd::cli::Cli::command().render_long_help().to_string()
    };
    let readme = read("README.md");
    for code in 0..=3 {
        assert!(help.contains(&format!("\n  {code}  ")), "--help lacks {code}");
        assert!(readme.contains(&format!("\n| {code} | ")), "README.md lacks {code}");
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
