//! Problems with a command line, collected so that they are reported together.
//!
//! This module knows nothing of flags. It makes sure that no secret and no control character is printed.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::log::printable;
use crate::secret::scrub;

/// A mistake that prevents the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The flag or variable with the mistake.
    pub origin: String,
    /// The mistake and how to fix it.
    pub message: String,
    /// True for an unknown flag, which has its own exit code.
    pub unknown: bool,
}

/// How the process ends before it has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 2 if a flag is unknown, else 1 (git-sync's codes).
    pub code: u8,
    /// For stderr; ends with a newline.
    pub text: String,
    /// The path of `--error-file`, to which the text is also written.
    pub error_file: Option<PathBuf>,
}

impl Exit {
    /// Lists every problem. `help` is the command that explains the flags.
    #[must_use]
    pub fn listing(problems: &[Problem], help: &str) -> Self {
        let count = match problems.len() {
            1 => "a problem".to_owned(),
            more => format!("{more} problems"),
        };
        let mut text = format!("pushsync: {count} with the configuration\n");
        for problem in problems {
            let line = format!("{}: {}", problem.origin, problem.message);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}", printable(&scrub(&line)));
        }
        let _ = writeln!(text, "`{help}` explains the flags. pushsync was not started.");
        Self { code: if problems.iter().any(|problem| problem.unknown) { 2 } else { 1 }, text, error_file: None }
    }
}

/// Returns the known word that is nearest to a mistyped one, if any is near enough.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Of a short word nearly every other one is within four letters, so the distance follows the length.
    let allowed = (word.len() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (strsim::levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_typo_finds_the_nearest_word_and_nonsense_finds_none() {
        let known = ["period", "init-period", "root", "repo"];
        assert_eq!(nearest("perod", known), Some("period"));
        assert_eq!(nearest("rooot", known), Some("root"));
        assert_eq!(nearest("exechook-command", known), None);
    }

    #[test]
    fn the_list_hides_secrets_and_escapes_control_characters() {
        let _secret = Secret::new("listed-secret-value");
        let problem =
            |unknown| Problem { origin: "--x".into(), message: "it is listed-secret-value\u{1b}[31m".into(), unknown };
        let exit = Exit::listing(&[problem(false), problem(true)], "pushsync --help");
        assert_eq!(exit.code, 2);
        assert_eq!(
            exit.text,
            "pushsync: 2 problems with the configuration\n  --x: it is ***\\u{1b}[31m\n  --x: it is ***\\u{1b}[31m\n\
             `pushsync --help` explains the flags. pushsync was not started.\n"
        );
        assert_eq!(Exit::listing(&[problem(false)], "pushsync --help").code, 1);
    }
}
