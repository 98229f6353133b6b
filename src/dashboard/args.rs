//! The command line of the dashboard.

pub(crate) mod replicas;
pub(crate) mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{EnumValueParser, PossibleValue};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, ValueHint, value_parser};

use self::replicas::{Replicas, flags, target_words};
use self::values::{commit, duration};

/// The parsed arguments.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub replicas: Replicas,
    pub read_only: bool,
    pub log_file: Option<PathBuf>,
    pub color: Color,
    pub theme: Look,
    pub ascii: bool,
    pub utc: bool,
    pub mouse: bool,
    pub once: bool,
    pub watch: bool,
    pub check: bool,
    pub wait: Option<Duration>,
    /// In lower case, at least seven digits.
    pub commit: Option<String>,
    pub output: Option<Output>,
    pub timeout: Duration,
}

/// How long replicas may take to answer without a screen.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);

const EXAMPLES: &str = "\
Examples:
  kubectl pushsync deploy/web -n prod            the screen, for all pods of a deployment
  pushsync dashboard --url :9180                 one replica, over a port-forward of your own
  pushsync dashboard deploy/web --once -o json   one document for a script
  pushsync dashboard deploy/web --check --wait 2m --commit \"$(git rev-parse HEAD)\"";

const AFTER: &str = "\
Exit codes with --check: 0 live everywhere, 2 not reachable, 3 not live everywhere or unknown, 1 a bad command line.
`status`, `wait`, `sync`, `pause`, `resume`, `pin` and `unpin` do one thing without a screen, with the same targets.
docs/dashboard.md explains the screens, the keys and the verdict.";

/// The flags in the order of the help.
#[must_use]
pub(crate) fn command() -> Command {
    // Flags are left out of `-h` unless a first use needs them: it has to fit a screen, and `--help` has all of them.
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).action(ArgAction::SetTrue).hide_short_help(true)
    };
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).value_name(what).hide_short_help(true)
    };
    let command = Command::new("dashboard")
        .about("Shows every replica's sync history in the terminal, over port-forwards")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .after_long_help(format!("{EXAMPLES}\n\n{AFTER}"))
        // Not joined: a target and labels select different pods, and it would not be clear which of them the verdict is
        // about.
        .arg(target_words().conflicts_with_all(["selector", "url"]));
    flags(command)
        .next_help_heading("Screen")
        .arg(flag("read-only", "Offer no action that changes a replica").hide_short_help(false))
        .arg(
            value("log-file", "FILE", "Append what the Events view shows to a file")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath),
        )
        .arg(
            value("color", "WHEN", "Colors; auto follows NO_COLOR and TERM")
                .default_value("auto")
                .value_parser(EnumValueParser::<Color>::new()),
        )
        .arg(
            value("theme", "LOOK", "Colors for a dark or a light background; auto asks the terminal")
                .default_value("auto")
                .value_parser(EnumValueParser::<Look>::new()),
        )
        .arg(flag(
            "ascii",
            "Only ASCII characters, also without a screen [default: on a screen, if LC_ALL or LANG does not say UTF-8]",
        ))
        .arg(flag("utc", "UTC times in lists, where `t` changes it, and in lines of text"))
        .arg(flag("mouse", "Let the mouse wheel move the cursor; the terminal then selects text with Shift only"))
        .next_help_heading("Without a screen")
        .arg(
            // clap makes a conflict mutual, so it is declared on one side only.
            flag("once", "Print the fleet once and exit; the default if the output is not a terminal")
                .conflicts_with("watch")
                .hide_short_help(false),
        )
        .arg(
            flag(
                "watch",
                "Print what happens as it happens until interrupted: JSON documents, or lines of text with -o text",
            )
            .conflicts_with("check")
            .hide_short_help(false),
        )
        .arg(
            flag("check", "Print the fleet once; the exit code tells whether the newest commit is live everywhere")
                .hide_short_help(false),
        )
        .arg(
            value("wait", "DURATION", "With --check: wait so long for it to be in sync [e.g. 90s, 5m]")
                .value_parser(duration)
                .hide_short_help(false)
                // Without a check nothing would wait, and a script would go on at once.
                .requires("check"),
        )
        .arg(
            value(
                "commit",
                "SHA",
                "With --check: this commit must be live, or be contained in what is, not the newest known",
            )
            .value_parser(commit)
            .hide_short_help(false)
            .requires("check"),
        )
        .arg(
            value("output", "FORMAT", "The format without a screen")
                .short('o')
                .hide_short_help(false)
                .value_parser(EnumValueParser::<Output>::new()),
        )
        .arg(
            value("timeout", "DURATION", "How long a replica may take to answer without a screen")
                .default_value("20s")
                .value_parser(duration),
        )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// The background that the colors are chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Auto,
    Dark,
    Light,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
    Ndjson,
    Text,
}

impl ValueEnum for Color {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Always, Self::Never]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }))
    }
}

impl ValueEnum for Look {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Dark, Self::Light]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
        }))
    }
}

impl ValueEnum for Output {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Table, Self::Json, Self::Ndjson, Self::Text]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Text => "text",
        }))
    }
}

impl Args {
    /// Reads the command line; `as_kubectl_plugin` changes only the name in the help.
    ///
    /// # Errors
    /// clap's error, which may be the help.
    pub(crate) fn read(args: Vec<OsString>, as_kubectl_plugin: bool) -> Result<Self, clap::Error> {
        let name = if as_kubectl_plugin { "kubectl pushsync" } else { "pushsync dashboard" };
        // The command is kept after parsing, because clap's errors print its usage line.
        let mut command = command().bin_name(name);
        let mut given = command.try_get_matches_from_mut(std::iter::once(OsString::from(name)).chain(args))?;
        let read = Self::take(&mut given).and_then(Self::checked);
        read.map_err(|text| command.error(ErrorKind::ValueValidation, text))
    }

    fn take(given: &mut ArgMatches) -> Result<Self, String> {
        let words: Vec<String> = given.remove_many("target").into_iter().flatten().collect();
        Ok(Self {
            replicas: Replicas::take(given, &words)?,
            read_only: given.get_flag("read-only"),
            log_file: given.remove_one("log-file"),
            color: given.remove_one("color").unwrap_or(Color::Auto),
            theme: given.remove_one("theme").unwrap_or(Look::Auto),
            ascii: given.get_flag("ascii"),
            utc: given.get_flag("utc"),
            mouse: given.get_flag("mouse"),
            once: given.get_flag("once"),
            watch: given.get_flag("watch"),
            check: given.get_flag("check"),
            wait: given.remove_one("wait"),
            commit: given.remove_one("commit"),
            output: given.remove_one("output"),
            timeout: given.remove_one("timeout").unwrap_or(ANSWER),
        })
    }

    /// Returns the arguments for one check of the replicas: `status`, and `wait` with a limit.
    #[must_use]
    pub(crate) fn check(replicas: Replicas, wait: Option<Duration>) -> Self {
        Self {
            replicas,
            // A check sends no change.
            read_only: true,
            log_file: None,
            color: Color::Never,
            theme: Look::Auto,
            ascii: false,
            utc: false,
            mouse: false,
            once: true,
            watch: false,
            check: true,
            wait,
            commit: None,
            output: None,
            timeout: ANSWER,
        }
    }

    // clap knows conflicts between flags, not between a flag and one value of another flag.
    fn checked(self) -> Result<Self, String> {
        if matches!(self.output, Some(Output::Ndjson | Output::Text)) && !self.watch {
            return Err("--output ndjson and --output text go with --watch".to_owned());
        }
        match self.output {
            Some(Output::Table) if self.watch => Err("--watch writes ndjson or text".to_owned()),
            // As with kubectl, JSON of a watch is one document after the other.
            Some(Output::Json) if self.watch => Ok(Self { output: Some(Output::Ndjson), ..self }),
            _ => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::pods::Target;

    fn read(line: &str) -> Result<Args, String> {
        let args = line.split_whitespace().map(OsString::from).collect();
        Args::read(args, false).map_err(|error| error.to_string())
    }

    #[test]
    fn targets_are_words_labels_or_addresses() {
        let target = |line: &str| read(line).expect("good").replicas.pods();
        let deployment = Some(Target::Owner("deployment".to_owned(), "web".to_owned()));
        assert_eq!(target("deploy/web"), deployment);
        assert_eq!(target("deploy web -n prod"), deployment);
        assert_eq!(target("-n prod deploy web --once"), deployment);
        assert_eq!(target("pod/web-0 -n prod"), Some(Target::Pod("web-0".to_owned())));
        assert_eq!(target("-l app=web -A"), Some(Target::Selector("app=web".to_owned())));
        assert_eq!(target("--url 127.0.0.1:9180"), None);
        assert_eq!(read("sts/db -n prod").expect("good").replicas.subject(), "prod/db");
        assert_eq!(read("--url :9180").expect("good").replicas.subject(), "127.0.0.1:9180");
    }

    #[test]
    fn contradictions_are_refused_with_a_reason() {
        for (line, words) in [
            ("", "say which replicas"),
            ("web", "KIND/NAME"),
            ("job/web", "none of deploy"),
            ("deploy/-rf", "not the name"),
            ("deploy/a deploy/b", "one target at a time"),
            ("--url ftp://a", "http or https"),
            ("--url http://u:p@a", "--token-file"),
            ("--url http://a --url http://a", "twice"),
            ("deploy/web --url http://a", "cannot be used with"),
            ("-l app=web --url http://a", "cannot be used with"),
            ("-n prod --url http://a", "cannot be used with"),
            ("deploy/web -A", "--selector"),
            ("deploy/web --wait 5s", "--check"),
            ("deploy/web --check --commit xyz", "hexadecimal"),
            ("deploy/web --output ndjson", "--watch"),
            ("deploy/web --max-links 0", "0"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn json_of_a_watch_is_one_line_for_each_event() {
        let read = |line| read(line).expect(line).output;
        assert_eq!(read("deploy/web --watch -o json"), Some(Output::Ndjson));
        assert_eq!(read("deploy/web --once -o json"), Some(Output::Json));
    }

    #[test]
    fn the_short_help_has_examples_and_the_long_one_every_flag() {
        let (short, long) = (read("-h").expect_err("help"), read("--help").expect_err("help"));
        assert!(short.contains("Examples:") && long.contains("Examples:"), "{short}");
        assert!(short.lines().count() < 40, "{short}");
        for argument in command().get_arguments() {
            if let Some(name) = argument.get_long() {
                assert!(long.contains(&format!("--{name}")), "{name}");
            }
        }
    }
}
