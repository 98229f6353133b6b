//! The candidates for a word of a command line, from the definitions of all commands.
//!
//! The answer has the form of programs made with cobra, which kubectl expects of its plugins: one candidate a line with
//! a description behind a tab, then a colon and a number that says what the shell should do.

use std::fmt;

use clap::builder::ValueRange;
use clap::{Arg, ArgAction, Command, ValueHint};

use crate::config::{FLAGS, Flag};

/// Instructions for the shell, as bits.
const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;
const FOLDERS: u8 = 16;

/// Kinds that are offered for a target.
const KINDS: [&str; 6] = ["deploy/", "statefulset/", "daemonset/", "svc/", "rs/", "pod/"];
/// Characters of a description.
const DESCRIPTION: usize = 76;

/// Names that the cluster knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// A kind in kubectl's words, or `contexts`.
    pub kind: String,
    /// The flags that say which cluster and which namespace, without their dashes.
    pub flags: Vec<(&'static str, String)>,
}

/// The candidates, and what the shell should do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// Each with a description, which may be empty.
    pub candidates: Vec<(String, String)>,
    pub directive: u8,
}

impl fmt::Display for Completions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, description) in &self.candidates {
            let tab = if description.is_empty() { "" } else { "\t" };
            writeln!(f, "{word}{tab}{description}")?;
        }
        writeln!(f, ":{}", self.directive)
    }
}

/// Completes the last of the words, which may be empty. `list` asks the cluster for names.
#[must_use]
pub fn complete(mut tree: Command, words: &[String], list: impl Fn(&Query) -> Vec<String>) -> Completions {
    // clap adds the arguments `help` and `version` only in this step.
    tree.build();
    let (current, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut line =
        CommandLine { command: &tree, positionals: Vec::new(), given: Vec::new(), pending: None, flags: true };
    for word in before {
        line.read(word);
    }
    line.candidates(current, &list)
}

/// The words before the one that is completed.
struct CommandLine<'a> {
    command: &'a Command,
    positionals: Vec<&'a str>,
    /// Flags, with their values.
    given: Vec<(&'a Arg, Option<&'a str>)>,
    /// The flag whose value comes next.
    pending: Option<&'a Arg>,
    /// False after `--`.
    flags: bool,
}

impl<'a> CommandLine<'a> {
    fn read(&mut self, word: &'a str) {
        if let Some(flag) = self.pending.take() {
            self.given.push((flag, Some(word)));
        } else if self.flags && word == "--" {
            // After it, every word is an argument, even with a dash (POSIX, Utility Syntax Guideline 10).
            self.flags = false;
        } else if let Some(long) = word.strip_prefix("--").filter(|_| self.flags) {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if let Some(flag) = self.long(name) {
                self.take(flag, value);
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| self.flags && !letters.is_empty()) {
            self.read_letters(letters);
        } else if let Some(command) = self.subcommand(word) {
            // From here on only the flags of that command count.
            *self = CommandLine { command, positionals: Vec::new(), given: Vec::new(), pending: None, flags: true };
        } else {
            self.positionals.push(word);
        }
    }

    /// `-n prod`, `-nprod`, `-vv`
    fn read_letters(&mut self, letters: &'a str) {
        for (at, letter) in letters.char_indices() {
            let Some(flag) = self.command.get_arguments().find(|flag| flag.get_short() == Some(letter)) else { return };
            let rest = &letters[at + letter.len_utf8()..];
            if needs_value(flag) {
                return self.take(flag, Some(rest.strip_prefix('=').unwrap_or(rest)).filter(|rest| !rest.is_empty()));
            }
            self.take(flag, None);
        }
    }

    fn take(&mut self, flag: &'a Arg, value: Option<&'a str>) {
        if value.is_none() && needs_value(flag) {
            self.pending = Some(flag);
        } else {
            self.given.push((flag, value));
        }
    }

    fn long(&self, name: &str) -> Option<&'a Arg> {
        let is = |flag: &&Arg| {
            flag.get_long() == Some(name) || flag.get_all_aliases().is_some_and(|names| names.contains(&name))
        };
        self.command.get_arguments().find(is)
    }

    fn subcommand(&self, word: &str) -> Option<&'a Command> {
        // Only the first word names a command, and flags before it belong to the command without a name.
        self.command.find_subcommand(word).filter(|_| self.may_be_command())
    }

    fn may_be_command(&self) -> bool {
        self.positionals.is_empty() && self.given.is_empty() && self.flags
    }

    fn candidates(&self, current: &str, list: &dyn Fn(&Query) -> Vec<String>) -> Completions {
        if let Some(flag) = self.pending {
            return self.values(flag, current, list);
        }
        if let Some(long) = current.strip_prefix("--").filter(|_| self.flags)
            && let Some((name, value)) = long.split_once('=')
        {
            return self.long(name).map_or_else(none, |flag| self.values(flag, value, list));
        }
        if current.starts_with('-') && self.flags {
            return self.names_of_flags(current);
        }
        let mut answer = match self.command.get_positionals().next() {
            Some(argument) => self.values(argument, current, list),
            None => none(),
        };
        if self.may_be_command() {
            let commands = self.command.get_subcommands().filter(|command| command.get_name().starts_with(current));
            let before = answer.candidates.len();
            answer.candidates.splice(
                0..0,
                commands.map(|command| {
                    (command.get_name().to_owned(), describe(command.get_about().map(ToString::to_string)))
                }),
            );
            // A space belongs behind a command.
            if answer.candidates.len() > before {
                answer.directive = NO_FILES;
            }
        }
        answer
    }

    fn names_of_flags(&self, current: &str) -> Completions {
        // A flag that is there already is not offered again, unless it may be repeated.
        let again = |flag: &Arg| {
            matches!(flag.get_action(), ArgAction::Append | ArgAction::Count)
                || !self.given.iter().any(|(given, _)| given.get_id() == flag.get_id())
        };
        let flags = self.command.get_arguments().filter(|flag| !flag.is_hide_set() && again(flag));
        let named = flags.filter_map(|flag| {
            let name = format!("--{}", flag.get_long()?);
            name.starts_with(current).then(|| (name, describe(flag.get_help().map(ToString::to_string))))
        });
        let mut candidates: Vec<_> = named.collect();
        candidates.sort();
        Completions { candidates, directive: NO_FILES }
    }

    /// The values of a flag or of a positional argument.
    fn values(&self, argument: &Arg, current: &str, list: &dyn Fn(&Query) -> Vec<String>) -> Completions {
        let plain = |words: Vec<String>| Completions {
            candidates: words
                .into_iter()
                .filter(|word| word.starts_with(current))
                .map(|word| (word, String::new()))
                .collect(),
            directive: NO_FILES,
        };
        let query = |kind: &str| Query { kind: kind.to_owned(), flags: self.cluster() };
        match argument.get_id().as_str() {
            "target" => return self.targets(current, list),
            "namespace" => {
                return plain(list(&Query { flags: without_namespace(self.cluster()), ..query("namespaces") }));
            }
            "context" => return plain(list(&Query { flags: without_namespace(self.cluster()), ..query("contexts") })),
            _ => {}
        }
        if argument.is_positional() && !self.positionals.is_empty() {
            return none();
        }
        let possible: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !possible.is_empty() {
            return plain(possible);
        }
        let of_table = FLAGS.iter().find(|flag| Some(flag.name) == argument.get_long()).map(Flag::choices);
        if let Some(choices) = of_table.filter(|choices| !choices.is_empty()) {
            return plain(choices.iter().map(|&choice| choice.to_owned()).collect());
        }
        let directive = match argument.get_value_hint() {
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::ExecutablePath => 0,
            ValueHint::DirPath => FOLDERS,
            _ => NO_FILES,
        };
        Completions { candidates: Vec::new(), directive }
    }

    /// `deploy/web`, or `deploy` and `web` as two words.
    fn targets(&self, current: &str, list: &dyn Fn(&Query) -> Vec<String>) -> Completions {
        if self.given.iter().any(|(flag, _)| matches!(flag.get_id().as_str(), "url" | "selector")) {
            return none();
        }
        let (prefix, kind, start) = match (self.positionals.as_slice(), current.split_once('/')) {
            ([], Some((kind, start))) => (format!("{kind}/"), kind, start),
            ([], None) => {
                let kinds = KINDS.iter().filter(|kind| kind.starts_with(current));
                let candidates = kinds.map(|&kind| (kind.to_owned(), String::new())).collect();
                // No space, because the name follows the slash.
                return Completions { candidates, directive: NO_FILES | NO_SPACE };
            }
            ([kind], None) if !kind.contains('/') => (String::new(), *kind, current),
            _ => return none(),
        };
        // The kind becomes an argument of kubectl, for which a word with a dash at its beginning would be a flag.
        let is_kind = |kind: &str| {
            kind.starts_with(|first: char| first.is_ascii_alphabetic())
                && kind.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        };
        if !is_kind(kind) {
            return none();
        }
        let names = list(&Query { kind: kind.to_owned(), flags: self.cluster() });
        let names = names.into_iter().filter(|name| name.starts_with(start));
        Completions {
            candidates: names.map(|name| (format!("{prefix}{name}"), String::new())).collect(),
            directive: NO_FILES,
        }
    }

    /// The flags that kubectl is to be given, too.
    fn cluster(&self) -> Vec<(&'static str, String)> {
        let passed = ["namespace", "context", "kubeconfig"].into_iter().filter_map(|name| {
            // As in clap, the last of several counts.
            let given = self.given.iter().rev().find(|(flag, _)| flag.get_id() == name);
            Some((name, given?.1?.to_owned()))
        });
        passed.collect()
    }
}

fn without_namespace(mut flags: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    flags.retain(|(name, _)| *name != "namespace");
    flags
}

/// Nothing is known, and files would be wrong.
fn none() -> Completions {
    Completions { candidates: Vec::new(), directive: NO_FILES }
}

/// True if the word after the flag is its value.
fn needs_value(flag: &Arg) -> bool {
    flag.get_action().takes_values()
        && !flag.is_require_equals_set()
        && flag.get_num_args().is_none_or(|range: ValueRange| range.min_values() > 0)
}

/// The first sentence of a help text, on one line.
fn describe(help: Option<String>) -> String {
    let help = help.unwrap_or_default();
    // A line feed or a tab would end the candidate in the format of cobra.
    let help = help.split(['\n', '\t']).next().unwrap_or_default();
    let end = [". ", "; ", " [default"].iter().filter_map(|end| help.find(end)).min().unwrap_or(help.len());
    let sentence = help[..end].trim_end_matches('.');
    if sentence.chars().count() <= DESCRIPTION {
        return sentence.to_owned();
    }
    let cut: String = sentence.chars().take(DESCRIPTION - 2).collect();
    format!("{}..", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tree;

    fn answer(line: &str, list: impl Fn(&Query) -> Vec<String>) -> Completions {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        complete(tree(false), &words, list)
    }

    fn words(line: &str) -> Vec<String> {
        answer(line, |query| panic!("{query:?}")).candidates.into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn commands_flags_and_values_are_completed() {
        assert_eq!(words("sta"), ["status"]);
        assert_eq!(words("p"), ["pause", "pin", "ping"]);
        assert_eq!(words("completion "), ["bash", "zsh", "fish"]);
        assert_eq!(words("completion z"), ["zsh"]);
        assert_eq!(words("help unp"), ["unpin"]);
        assert_eq!(words("status -o "), ["table", "json"]);
        assert_eq!(words("status --output=j"), ["json"]);
        assert_eq!(words("dashboard --theme l"), ["light"]);
        assert_eq!(words("pause --f"), ["--for"]);
        assert_eq!(words("status deploy/web --ti"), ["--timeout"]);
        assert_eq!(words("run --submodules r"), ["recursive"]);
        assert_eq!(words("--log-format "), ["json", "text"]);
        assert_eq!(words("--one-time="), ["true", "false"]);
        assert_eq!(words("--root /git --hook-sec"), ["--hook-secret-file", "--hook-secret-optional"]);
        assert_eq!(words("ping --push --sec"), ["--secret-file"]);
        for line in ["status deploy/web sta", "--root /git sta", "run sta", "-- sta", "status -- --out", "x sta"] {
            assert!(!words(line).contains(&"status".to_owned()), "{line}");
        }
        assert!(words("").contains(&"dashboard".to_owned()));
        let given = words("status --output json --url :9180 --");
        assert!(given.contains(&"--url".to_owned()) && !given.contains(&"--output".to_owned()), "{given:?}");
    }

    #[test]
    fn files_are_left_to_the_shell_where_the_value_is_one() {
        let directive = |line: &str| answer(line, |_| Vec::new()).directive;
        for line in ["--error-file ", "--error-file=/t", "status --token-file ", "ping --secret-file x"] {
            assert_eq!(directive(line), 0, "{line}");
        }
        assert_eq!(directive("--root "), FOLDERS);
        assert_eq!(directive("man "), FOLDERS);
        for line in ["--period ", "status --commit ", "status deploy/web ", "sta", "--ro", "man x "] {
            assert_eq!(directive(line), NO_FILES, "{line}");
        }
    }

    #[test]
    fn targets_are_kinds_then_names_of_the_cluster() {
        let kinds = answer("status d", |query| panic!("{query:?}"));
        assert_eq!(kinds.to_string(), "deploy/\ndaemonset/\n:6\n");
        let asked = |line: &str, kind: &str, flags: &[(&'static str, &str)]| {
            let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            let expected = Query { kind: kind.to_owned(), flags };
            let answer = answer(line, |query| {
                assert_eq!(*query, expected, "{line}");
                vec!["web".to_owned(), "api".to_owned()]
            });
            answer.to_string()
        };
        assert_eq!(asked("status deploy/w", "deploy", &[]), "deploy/web\n:4\n");
        assert_eq!(asked("wait deploy ", "deploy", &[]), "web\napi\n:4\n");
        let flags = [("namespace", "prod"), ("context", "c"), ("kubeconfig", "/k")];
        let line = "sync -nprod --context c --kubeconfig=/k rollouts.argoproj.io/a";
        assert_eq!(asked(line, "rollouts.argoproj.io", &flags), "rollouts.argoproj.io/api\n:4\n");
        assert_eq!(asked("status -n w", "namespaces", &[]), "web\n:4\n");
        assert_eq!(asked("status -n prod --context ", "contexts", &[]), "web\napi\n:4\n");
        for line in ["status -rf/", "status deploy/web x", "status --url :9180 deploy/", "status --x/", "status $(x)/a"]
        {
            assert_eq!(answer(line, |query| panic!("{line}: {query:?}")).candidates, [], "{line}");
        }
    }

    #[test]
    fn the_plugin_completes_targets_and_verbs() {
        let answer = complete(tree(true), &["d".to_owned()], |_| Vec::new());
        assert_eq!(
            answer.candidates.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>(),
            ["dashboard", "deploy/", "daemonset/"]
        );
        let answer = complete(tree(true), &["deploy/".to_owned()], |_| vec!["web".to_owned()]);
        assert_eq!(answer.to_string(), "deploy/web\n:4\n");
        let answer = complete(tree(true), &[String::new()], |_| Vec::new()).to_string();
        assert!(answer.contains("deploy/\n") && answer.contains("status\tPrints the replicas"), "{answer}");
        assert!(!answer.contains("ping\t") && !answer.contains("run\t"), "{answer}");
    }
}
