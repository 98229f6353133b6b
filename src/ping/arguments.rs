//! The command line of `pushsync ping`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::payload::NO_COMMIT;
use super::{Options, Push};
use crate::config::Exit;
use crate::log::printable;

const AFTER: &str = "\
A push makes the sidecar look at its remote, whatever it announces. Without --after a commit is
announced that does not exist, so the sidecar keeps looking for it for up to 30 s; that does no harm.
The exit code is 0 if a pushsync took the delivery. Any other answer, also a 2xx of something else, is 1.";

fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Set)
    };
    Command::new("pushsync ping")
        .about("Sends a signed test delivery to a webhook and prints the answer.")
        .override_usage("pushsync ping --url URL --secret-file FILE [--push --repo REPO [flags]]")
        .after_help(AFTER)
        .no_binary_name(true)
        .args_override_self(true)
        .term_width(110)
        .arg(
            option("url", "URL", "The webhook, as the forge would call it: https://hooks.example.com/webhook")
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
        .arg(option("repo", "REPO", "The repository it is about: owner/name (at github.com) or its clone URL"))
        .arg(option("ref", "REF", "The ref that was pushed [default: refs/heads/main]").requires("push"))
        .arg(option("after", "COMMIT", "The commit it is at now [default: one that does not exist]").requires("push"))
        .arg(option("before", "COMMIT", "The commit it was at [default: none, as for a new branch]").requires("push"))
}

/// What the arguments ask for.
pub(super) enum Asked {
    Send(Options),
    Print(String),
}

/// Reads the arguments after the word `ping`.
///
/// # Errors
/// What is wrong with them, for stderr, with the exit code.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Asked, Exit> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(Asked::Print(error.to_string())),
        Err(error) => return Err(explain(&error)),
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let url = text("url").unwrap_or_default();
    let url = match reqwest::Url::parse(&url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        // Not repeated: it may hold a password.
        _ => return Err(refusal("--url is not an address; write it like https://hooks.example.com/webhook")),
    };
    let push = if matches.get_flag("push") {
        let reference = text("ref").unwrap_or_else(|| "main".to_owned());
        let reference = if reference.starts_with("refs/") { reference } else { format!("refs/heads/{reference}") };
        let made_up = || std::iter::repeat_with(|| fastrand::char('a'..='f')).take(40).collect();
        let push = Push {
            reference,
            before: text("before").unwrap_or_else(|| NO_COMMIT.to_owned()),
            after: text("after").unwrap_or_else(made_up),
        };
        for (name, value) in [("--before", &push.before), ("--after", &push.after)] {
            if !matches!(value.len(), 40 | 64) || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(refusal(&format!("{name} `{value}` is not a full commit hash")));
            }
        }
        Some(push)
    } else {
        None
    };
    let secret_file = matches.get_one::<PathBuf>("secret-file").cloned().unwrap_or_default();
    Ok(Asked::Send(Options { url, secret_file, push, repo: text("repo") }))
}

/// clap's error in our words: clap's own repeat values, one of which may be the secret.
fn explain(error: &clap::Error) -> Exit {
    let names = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => vec![name.as_str()],
        Some(ContextValue::Strings(names)) => names.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let flags: Vec<&str> = names.iter().filter(|name| name.starts_with('-')).map(|name| flag_of(name)).collect();
    let flags = flags.join(", ");
    match error.kind() {
        ErrorKind::UnknownArgument if flags.is_empty() => {
            refusal("an argument without a flag is not shown, since it may be a secret; every value follows its flag")
        }
        ErrorKind::UnknownArgument => Exit { code: 2, ..refusal(&format!("{flags} is not a flag of this command")) },
        ErrorKind::MissingRequiredArgument => refusal(&format!("needs {flags}")),
        ErrorKind::TooManyValues => refusal(&format!("{flags} takes no value")),
        _ => refusal(&format!("{flags} needs a value")),
    }
}

/// The flag without a value or the word for one.
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

    fn read(line: &str) -> Result<Options, Exit> {
        match parse(line.split_whitespace().map(OsString::from).collect())? {
            Asked::Send(options) => Ok(options),
            Asked::Print(_) => panic!("{line} is a ping"),
        }
    }

    #[test]
    fn short_refs_become_branches_and_what_is_left_out_is_made_up() {
        let options = read("--url http://h/w --secret-file s --push --repo a/b --ref live").unwrap();
        let push = options.push.unwrap();
        assert_eq!((push.reference.as_str(), push.before.as_str()), ("refs/heads/live", NO_COMMIT));
        assert_eq!(push.after.len(), 40);
        assert!(read("--url http://h/w --secret-file s").unwrap().push.is_none());
    }

    #[test]
    fn mistakes_are_told_with_their_exit_code() {
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
