//! PURE. Words of a POSIX shell: how a path is written as one, and which program a command names.

use std::path::PathBuf;

/// The text as one word.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+@:,".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Whether the command calls our program.
pub(crate) fn is_ours(command: &str) -> bool {
    program(command).is_some()
}

/// The path of our program as a command names it in its first word; `None` if it calls another
/// one. Nothing in it is expanded.
pub(crate) fn program(command: &str) -> Option<PathBuf> {
    let path = PathBuf::from(first_word(command));
    path.file_name().is_some_and(|it| it == "ccstatusd").then_some(path)
}

/// The first word of a command, without its quotes. What a shell would expand in it stays.
fn first_word(command: &str) -> String {
    let mut word = String::new();
    let mut chars = command.trim_start().chars();
    let mut quote = None;
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\'' | '"', None) => quote = Some(char),
            (_, Some(open)) if char == open => quote = None,
            ('\\', None | Some('"')) => word.extend(chars.next()),
            (_, None) if char.is_whitespace() || ";&|<>()".contains(char) => break,
            _ => word.push(char),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_path_is_one_word_and_the_same_path() {
        for path in
            ["/usr/bin/ccstatusd", "/a b/ccstatusd", "/it's/$x`y`/ccstatusd", "/é/ccstatusd"]
        {
            assert_eq!(first_word(&format!("{} show", quoted(path))), path);
        }
        assert_eq!(quoted("/usr/bin/ccstatusd"), "/usr/bin/ccstatusd");
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_command_is_ours_by_the_program_that_it_calls() {
        let ours =
            ["ccstatusd show", "~/.cargo/bin/ccstatusd show", "~/ccstatusd;x", "  ccstatusd"];
        let quoted = ["\"$HOME/my bin/ccstatusd\" show", "'/a b/ccstatusd' start >/dev/null"];
        for command in ours.iter().chain(&quoted) {
            assert!(is_ours(command), "{command}");
        }
        let foreign = ["npx ccusage statusline", "cat ~/.local/state/ccstatusd/lines/x", "", "''"];
        for command in foreign.iter().chain(&["/opt/ccstatusd/run", "ccstatusd2 show", "sh -c x"]) {
            assert!(!is_ours(command), "{command}");
        }
    }
}
