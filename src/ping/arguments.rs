//! The command line of `pushsync ping`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::options::{PingOptions, PushOptions};
use super::payload::NO_COMMIT;
use crate::config::Exit;
use crate::log::printable;

const AFTER: &str = "\
A push makes the sidecar check its remote. Without --after the push announces a commit that does
not exist, and the sidecar checks for it for up to 30 s, which is harmless.
The exit code is 0 if a pushsync accepted the delivery. It is 1 for any other response, including a 2xx of another server.";

/// The command line.
#[must_use]
pub fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Set)
    };
    Command::new("ping")
        .bin_name("pushsync ping")
        .about("Sends a signed test delivery to a webhook and prints the answer")
        .override_usage("pushsync ping --url URL --secret-file FILE [--push --repo REPO [flags]]")
        .after_help(AFTER)
        .no_binary_name(true)
        // As in the other commands: of a repeated flag the last value counts.
        .args_override_self(true)
        .term_width(110)
        .arg(
            option("url", "URL", "The webhook's URL as configured at the forge: https://hooks.example.com/webhook")
                .required(true),
        )
        .arg(
            option("secret-file", "FILE", "A file with the webhook's secret")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("push")
                .long("push")
                .action(ArgAction::SetTrue)
                .requires("repo")
                .help("Send a push instead of a ping"),
        )
        .arg(option("repo", "REPO", "The repository that the payload names: owner/name (at github.com) or a clone URL"))
        .arg(option("ref", "REF", "The pushed ref [default: refs/heads/main]").requires("push"))
        .arg(
            option("after", "COMMIT", "The ref's commit after the push [default: one that does not exist]")
                .requires("push"),
        )
        .arg(
            option("before", "COMMIT", "The ref's commit before the push [default: none, as for a new branch]")
                .requires("push"),
        )
}

/// The action that the arguments request.
pub(super) enum PingCommand {
    Send(PingOptions),
    Print(String),
}

/// Parses the arguments after the word `ping`.
///
/// # Errors
/// The text for stderr, with the exit code.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<PingCommand, Exit> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(PingCommand::Print(error.to_string())),
        Err(error) => return Err(explain(&error)),
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let url = text("url").unwrap_or_default();
    let url = match reqwest::Url::parse(&url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        // The value is not repeated, because it may contain a password.
        _ => return Err(refusal("--url is not an address; write it like https://hooks.example.com/webhook")),
    };
    let push = if matches.get_flag("push") {
        let reference = text("ref").unwrap_or_else(|| "main".to_owned());
        let reference = if reference.starts_with("refs/") { reference } else { format!("refs/heads/{reference}") };
        let made_up = || std::iter::repeat_with(|| fastrand::char('a'..='f')).take(40).collect();
        let push = PushOptions {
            reference,
            before: text("before").unwrap_or_else(|| NO_COMMIT.to_owned()),
            after: text("after").unwrap_or_else(made_up),
        };
        for (name, value) in [("--before", &push.before), ("--after", &push.after)] {
            if !crate::hash::is_hash(value) {
                return Err(refusal(&format!("{name} `{value}` is not a full commit hash")));
            }
        }
        Some(push)
    } else {
        None
    };
    let secret_file = matches.get_one::<PathBuf>("secret-file").cloned().unwrap_or_default();
    Ok(PingCommand::Send(PingOptions { url, secret_file, push, repo: text("repo") }))
}

/// Rewords clap's error, because clap repeats values, one of which may be the secret.
fn explain(error: &clap::Error) -> Exit {
    let names = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => vec![name.as_str()],
        Some(ContextValue::Strings(names)) => names.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let flags: Vec<&str> = names.iter().filter(|name| name.starts_with('-')).map(|name| flag_of(name)).collect();
    let flags = flags.join(", ");
    match error.kind() {
        ErrorKind::UnknownArgument if flags.is_empty() => refusal(
            "an argument without a flag is not shown, because it may be a secret; every value must follow its flag",
        ),
        // git-sync's exit code for an unknown flag, as `run` has it.
        ErrorKind::UnknownArgument => Exit { code: 2, ..refusal(&format!("{flags} is not a flag of this command")) },
        ErrorKind::MissingRequiredArgument => refusal(&format!("needs {flags}")),
        ErrorKind::TooManyValues => refusal(&format!("{flags} takes no value")),
        _ => refusal(&format!("{flags} needs a value")),
    }
}

/// Returns the flag without its value or placeholder.
fn flag_of(text: &str) -> &str {
    text.split([' ', '=']).next().unwrap_or(text)
}

fn refusal(words: &str) -> Exit {
    let text = format!("pushsync ping: {}\n`pushsync ping --help` explains the flags.\n", printable(words));
    Exit { code: 1, text, error_file: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<PingOptions, Exit> {
        match parse(line.split_whitespace().map(OsString::from).collect())? {
            PingCommand::Send(options) => Ok(options),
            PingCommand::Print(_) => panic!("{line} is a ping"),
        }
    }

    #[test]
    fn short_refs_become_branches_and_missing_commits_are_made_up() {
        let options = read("--url http://h/w --secret-file s --push --repo a/b --ref live").unwrap();
        let push = options.push.unwrap();
        assert_eq!((push.reference.as_str(), push.before.as_str()), ("refs/heads/live", NO_COMMIT));
        assert_eq!(push.after.len(), 40);
        assert!(read("--url http://h/w --secret-file s").unwrap().push.is_none());
    }

    #[test]
    fn errors_are_reported_with_their_exit_code() {
        let base = "--url http://h/w --secret-file s";
        let code = |line: String| read(&line).map_err(|exit| exit.code).err();
        assert_eq!(code(format!("{base} --pushh")), Some(2));
        assert_eq!(code(format!("{base} --push")), Some(1), "a push is about a repository");
        assert_eq!(code(format!("{base} --after {NO_COMMIT}")), Some(1), "only a push has an after");
        assert_eq!(code(format!("{base} --push --repo a/b --after abc")), Some(1));
        assert_eq!(code("--secret-file s".to_owned()), Some(1));
        let exit = read("--url ftp://me:hunter22@h/w --secret-file s").err().unwrap();
        assert!(exit.code == 1 && !exit.text.contains("hunter22"));
    }
}
