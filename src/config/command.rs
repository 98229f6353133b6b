//! The parser of `pushsync run`, made from the table of flags, and its `--help`.
//!
//! clap stops at the first mistake; here it is asked again without the argument it did not like, until all are known.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::flags::{
    APP_KEYS, FLAGS, Fallback, Flag, FlagKind, GIT_SYNC, GIT_SYNC_3, Group, OURS, Older, PASSWORDS, flag, older,
    older_variables,
};
use super::given::{Given, GivenValues};
use super::problem::{Problem, nearest};
use super::{manual, older as older_names};

const TEMPLATE: &str = "\
{about}

Usage: pushsync [run] --repo URL --root DIR [flags]
       pushsync dashboard | status | wait | sync | pause | resume | pin | unpin TARGET [flags]
       pushsync init --repo URL [flags] | ping --url URL --secret-file FILE [--push]

Commands:
  run         Keep a folder in step with a repository: the sidecar. May be left out before a flag
  dashboard   Watch and steer the replicas of a deployment from a terminal
  status      Print the replicas, and whether the newest commit is live on all of them
  wait        Wait until the newest commit, or a given one, is live on all replicas
  sync        Make replicas fetch and publish what the remote has now
  pause       Pause replicas until a time
  resume      End the pause of replicas
  pin         Publish one commit on replicas and keep it there: a rollback
  unpin       Let pinned replicas follow their ref again
  init        Print Kubernetes manifests for a repository, or add the sidecar to a manifest
  ping        Send a signed test delivery to a webhook and print the answer
  completion  Print the completion script for bash, zsh or fish
  man         Print the man page, or write all of them to a folder
  help        Explain a command: pushsync help pin

{all-args}{after-help}
";

/// The words that name a command.
pub const COMMANDS: [&str; 14] = [
    "run",
    "dashboard",
    "status",
    "wait",
    "sync",
    "pause",
    "resume",
    "pin",
    "unpin",
    "init",
    "ping",
    "completion",
    "man",
    "help",
];

/// The end of `-h`.
const EXAMPLES: &str = "\
Examples:
  pushsync --repo=https://github.com/OWNER/NAME.git --root=/git --link=current
                                    a sidecar that polls every minute
  pushsync --repo=... --root=/git --link=current --hook-secret-file=/etc/hook/current
                                    the same, and at once for GitHub's webhook on port 8080
  pushsync --repo=... --ref=v1.2.3 --root=/git --link=current --one-time
                                    one publish, as an init container or in a Job
  pushsync dashboard deploy/web -n prod
                                    what the replicas of a deployment publish, and since when

These are the usual flags; `pushsync --help` explains all of them.";

/// The end of `--help`.
const AFTER: &str = "\
Every flag has a variable: --sync-timeout is PUSHSYNC_SYNC_TIMEOUT. Where git-sync has the same flag,
its variable (GITSYNC_SYNC_TIMEOUT) is read as well, and GIT_REPO stands for --repo. Flags beat
variables. Durations are written 60s, 1m30s or 10ms. A password is given in a file or in
PUSHSYNC_PASSWORD, never as an argument.
`pushsync --man` says all of this at length, and which names of git-sync v3 are taken.
`pushsync help COMMAND` explains the other commands.";

/// The action that the arguments request.
pub(super) enum Asked {
    Run,
    /// `--help`, `--man` or `--version`: text for stdout.
    Print(String),
    /// The arguments could not be taken apart; a problem says why. What is missing cannot be told.
    Nothing,
}

/// The flags of `pushsync run`, which may also stand without that word.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new("pushsync")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Gets a git push into running pods: syncs when a signed webhook arrives, and every 60 seconds.")
        .help_template(TEMPLATE)
        .after_help(EXAMPLES)
        .after_long_help(AFTER)
        .no_binary_name(true)
        // As in pflag, which git-sync uses: of a repeated flag the last value counts.
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        // Fixed, so that the text is the same on every terminal, and in the tests that compare it.
        .term_width(110);
    for group in Group::ALL {
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            command = command.arg(argument(flag).help_heading(group.heading()));
        }
    }
    for older in older() {
        command = command.arg(older_names::argument(older));
    }
    command
        .arg(
            Arg::new("help")
                .short('h')
                .short_alias('?')
                .long("help")
                .action(ArgAction::Help)
                .help("Print help: the usual flags with -h, all flags with --help")
                .help_heading("Other"),
        )
        .arg(
            Arg::new("man")
                .long("man")
                .action(ArgAction::SetTrue)
                .hide_short_help(true)
                .help("Print the manual as plain text")
                .help_heading("Other"),
        )
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version")
                .help_heading("Other"),
        )
}

fn argument(flag: &'static Flag) -> Arg {
    let default = match flag.fallback {
        Fallback::None => String::new(),
        Fallback::Value(text) | Fallback::Rule(text) => format!(" [default: {text}]"),
    };
    let argument = Arg::new(flag.name)
        .long(flag.name)
        .value_parser(ValueParser::os_string())
        .value_hint(value_hint(flag))
        .allow_negative_numbers(true)
        .help(format!("{}{default}", flag.help.split(". ").next().unwrap_or_default()))
        .long_help(format!("{}{default}\n[variable: {}]", manual::text(flag), flag.variables().join(", ")))
        .hide_short_help(!flag.is_common());
    let argument = match flag.short {
        Some(letter) => argument.short(letter),
        None => argument,
    };
    let argument = match flag.earlier_name() {
        Some(earlier) => argument.alias(earlier),
        None => argument,
    };
    match flag.kind {
        FlagKind::One => argument.value_name(flag.value).action(ArgAction::Set),
        FlagKind::Many | FlagKind::Whole => argument.value_name(flag.value).action(ArgAction::Append),
        FlagKind::Level => argument.value_name(flag.value).num_args(0..=1).default_missing_value("1"),
        FlagKind::Switch => argument
            .value_name("true|false")
            .hide_possible_values(true)
            .num_args(0..=1)
            // As in pflag: in `--one-time false` the second word is an argument of its own.
            .require_equals(true)
            .default_missing_value("true"),
    }
}

/// The kind of value, for the completion of shells.
fn value_hint(flag: &Flag) -> ValueHint {
    match flag.value {
        "FILE" => ValueHint::FilePath,
        "DIR" => ValueHint::DirPath,
        "PATH" => ValueHint::AnyPath,
        "PROGRAM" => ValueHint::ExecutablePath,
        _ if flag.name == "cookie-file" || flag.name == "repo" => ValueHint::FilePath,
        _ => ValueHint::Other,
    }
}

/// Reads the arguments after the program's name and the word `run`.
pub(super) fn read_arguments(arguments: Vec<OsString>, given: &mut Given) -> Asked {
    let mut arguments = arguments;
    add_dashes(&mut arguments, given);
    let matches = loop {
        let error = match command().try_get_matches_from(&arguments) {
            Ok(matches) => break matches,
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Asked::Print(error.to_string());
        }
        let left = arguments.len();
        let problem = explain(&error, &mut arguments);
        given.problems.push(problem);
        // Nothing could be taken out, so clap would find the same mistake forever.
        if arguments.len() == left {
            return Asked::Nothing;
        }
    };
    if matches.get_flag("man") && given.problems.is_empty() {
        return Asked::Print(manual::render());
    }
    collect(&matches, given);
    older_names::collect(&matches, given);
    Asked::Run
}

/// Refuses flags with one dash, which git-sync v3 takes and v4 does not, and gives them their second one, so that what they say is
/// checked as well.
fn add_dashes(arguments: &mut [OsString], given: &mut Given) {
    for argument in arguments {
        let Some(text) = argument.to_str().and_then(|text| text.strip_prefix('-')) else { continue };
        let name = text.split('=').next().unwrap_or_default();
        let is_flag = flag(name).is_some() || older().any(|older| older.name == name);
        if name.len() > 1 && is_flag {
            let message = format!("has one dash; write --{name}, as for git-sync v4");
            given.problems.push(Problem { origin: format!("-{name}"), message, unknown: true });
            *argument = format!("-{}", argument.to_string_lossy()).into();
        }
    }
}

fn collect(matches: &ArgMatches, given: &mut Given) {
    for flag in FLAGS.iter() {
        let Some(values) = matches.get_many::<OsString>(flag.name) else { continue };
        let values: Vec<OsString> = values.filter(|value| !value.is_empty()).cloned().collect();
        if !values.is_empty() {
            given.sources.insert(flag.name, GivenValues { origin: format!("--{}", flag.name), values });
        }
    }
}

/// Puts clap's error into our words and takes the argument at fault out of the list.
fn explain(error: &clap::Error, arguments: &mut Vec<OsString>) -> Problem {
    let culprit = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
        _ => "",
    };
    // clap adds the value's name to a known flag (`--repo <URL>`), and may leave the value on an unknown one.
    let name =
        if culprit.starts_with('-') { culprit.split([' ', '=', '[']).next().unwrap_or(culprit) } else { culprit };
    match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with('-') => {
            remove_unknown(arguments, name);
            Problem { origin: name.to_owned(), message: unknown_flag(name), unknown: true }
        }
        ErrorKind::UnknownArgument => {
            let at = arguments.iter().position(|argument| argument.to_string_lossy() == culprit);
            if let Some(at) = at {
                arguments.remove(at);
            }
            Problem {
                origin: "an argument without a flag".to_owned(),
                message: "is not shown, since it may be a secret; every value follows its flag".to_owned(),
                unknown: false,
            }
        }
        kind => {
            // The value that is missing is that of the last mention that nothing follows.
            let at = (0..arguments.len()).rev().find(|&at| {
                let follows = arguments.get(at + 1).is_some_and(|next| !begins_with(next, "-"));
                arguments[at].to_string_lossy() == name && !follows
            });
            if let Some(at) = at.or_else(|| arguments.iter().position(|argument| begins_with(argument, name))) {
                arguments.remove(at);
            }
            let message = match kind {
                ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::WrongNumberOfValues => "needs a value",
                _ => "cannot be used like this",
            };
            let origin = if name.is_empty() { "the command line" } else { name };
            Problem { origin: origin.to_owned(), message: message.to_owned(), unknown: false }
        }
    }
}

/// Takes out an unknown flag and, since it may be its value (and a password), what follows it.
fn remove_unknown(arguments: &mut Vec<OsString>, name: &str) {
    let with_value = format!("{name}=");
    let at =
        arguments.iter().position(|argument| argument.to_string_lossy() == name || begins_with(argument, &with_value));
    // A letter in a cluster such as `-vx`.
    let at = at.or_else(|| arguments.iter().position(|argument| begins_with(argument, name)));
    let letter = name.chars().nth(1).unwrap_or('-');
    let at = at.or_else(|| {
        arguments.iter().position(|argument| {
            begins_with(argument, "-") && !begins_with(argument, "--") && argument.to_string_lossy().contains(letter)
        })
    });
    let Some(at) = at else { return };
    let has_value = arguments[at].to_string_lossy() != name;
    arguments.remove(at);
    if !has_value && arguments.get(at).is_some_and(|next| !begins_with(next, "-")) {
        arguments.remove(at);
    }
}

fn begins_with(argument: &OsStr, start: &str) -> bool {
    // As clap tells it, with replacement characters for what is not UTF-8.
    argument.to_string_lossy().starts_with(start)
}

fn unknown_flag(name: &str) -> String {
    let word = name.trim_start_matches('-');
    match nearest(word, FLAGS.iter().map(|flag| flag.name)) {
        Some(known) => format!("is not a flag of pushsync; did you mean --{known}?"),
        None => "is not a flag of pushsync".to_owned(),
    }
}

/// Warns of variables that look like ours, or git-sync's, and have no effect.
pub(super) fn warn_of_unknown_variables(environment: &HashMap<OsString, OsString>, given: &mut Given) {
    let mut known: Vec<String> = FLAGS.iter().flat_map(Flag::variables).collect();
    known.extend(PASSWORDS.into_iter().chain(APP_KEYS).map(str::to_owned));
    let of_git_sync_3 = FLAGS.iter().flat_map(|flag| older_variables(flag.name));
    known.extend(of_git_sync_3.chain(older().filter_map(|older| older.variable).map(str::to_owned)));
    // Charts that work with both releases of git-sync set it beside GIT_SYNC_SSH; a repository's URL says whether it is SSH.
    known.push("GITSYNC_SSH".to_owned());
    let mut names: Vec<&str> = environment.keys().filter_map(|name| name.to_str()).collect();
    names.sort_unstable();
    for name in names {
        let ours = [OURS, GIT_SYNC, GIT_SYNC_3].iter().any(|prefix| name.starts_with(prefix));
        if !ours || known.iter().any(|known| known == name) || is_service_link(name) {
            continue;
        }
        // Half of a name of git-sync v3, such as GITSYNC_BRANCH: the name of today for what that one said.
        let of_older = |older: &&Older| older.variable.is_some_and(|old| old.replace(GIT_SYNC_3, GIT_SYNC) == name);
        let older = older().find(of_older).and_then(Older::now).and_then(flag);
        let meant = older.map(|flag| flag.variables().swap_remove(1));
        let meant = meant.as_deref().or_else(|| nearest(name, known.iter().map(String::as_str)));
        let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        given.warnings.push(format!("{name}: is not a variable of pushsync and has no effect{hint}"));
    }
}

/// Kubernetes puts `PUSHSYNC_SERVICE_HOST` and `PUSHSYNC_PORT_8080_TCP_ADDR` into every pod beside a Service of that name.
fn is_service_link(name: &str) -> bool {
    let after_port = name.split_once("_PORT").map(|(_, rest)| rest);
    let numbered =
        |rest: &str| rest.strip_prefix('_').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || after_port.is_some_and(|rest| rest.is_empty() || numbered(rest))
}
