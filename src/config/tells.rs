//! The flags of hooks, and the two files of the group "where" that report publishes and errors.
//!
//! Programs are searched for, to warn about those that cannot work; nothing is run.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::given::Given;
use super::{remote, values};
use crate::hooks::{Address, Exec, HookOptions, Webhook};
use crate::publish::tidy;
use crate::{log, notices};

/// Reads `--exechook-*`, `--pre-publish-exechook-*` and `--webhook-*`; `None` if there was a problem.
pub(super) fn hooks(given: &mut Given, environment: &HashMap<OsString, OsString>) -> Option<HookOptions> {
    let exec = program(given, environment, ["exechook-command", "exechook-timeout", "exechook-backoff"]);
    let gate = ["pre-publish-exechook-command", "pre-publish-exechook-timeout", "pre-publish-exechook-backoff"];
    let gate = program(given, environment, gate);
    let webhook = webhook(given);
    Some(HookOptions { gate: gate?, exec: exec?, webhook: webhook? })
}

type Read<T> = Option<Option<T>>;

fn program(given: &mut Given, environment: &HashMap<OsString, OsString>, names: [&'static str; 3]) -> Read<Exec> {
    let [command_flag, timeout, backoff] = names;
    let command = given.path(command_flag).map(PathBuf::into_os_string);
    warn_if_idle(given, command_flag, command.is_some(), &[timeout, backoff]);
    let (timeout, backoff) = (given.value(timeout, values::period), given.value(backoff, values::period));
    let Some(command) = command else { return timeout.and(backoff).map(|_| None) };
    // The kernel would end the name there (execve(2)) and might start another program.
    if command.as_bytes().contains(&0) {
        given.problem(command_flag, "contains a zero byte");
        return None;
    }
    if let Some(doubt) = doubt(&command, environment.get(OsStr::new("PATH"))) {
        given.warn(command_flag, doubt);
    }
    Some(Some(Exec { command, timeout: timeout?, backoff: backoff? }))
}

/// Returns a reason why the program may not work. It is only a warning, because the program may come with a volume
/// that is filled later.
fn doubt(command: &OsStr, search: Option<&OsString>) -> Option<String> {
    let path = Path::new(command);
    let shown = log::printable(&command.to_string_lossy());
    let words = shown.contains(' ');
    let advice = if words {
        "; the value must be one program without arguments, and no shell is used: write a script"
    } else {
        ""
    };
    if path.is_absolute() {
        return match std::fs::metadata(path) {
            Err(error) => Some(format!("`{shown}` cannot be found yet ({error}){advice}")),
            Ok(found) if !found.is_file() => Some(format!("`{shown}` is not a file{advice}")),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => Some(format!("`{shown}` is not executable")),
            Ok(_) => None,
        };
    }
    if command.as_bytes().contains(&b'/') {
        return Some(format!(
            "`{shown}` is a path inside the published tree, so everyone who can push decides what runs here{advice}"
        ));
    }
    let search = search?;
    let found = std::env::split_paths(search).any(|folder| folder.join(path).is_file());
    (!found).then(|| format!("there is no program `{shown}` in $PATH{advice}"))
}

fn webhook(given: &mut Given) -> Read<Webhook> {
    let text = given.text("webhook-url");
    let others = ["webhook-method", "webhook-success-status", "webhook-timeout", "webhook-backoff"];
    warn_if_idle(given, "webhook-url", text.is_some(), &others);
    let method = given.value("webhook-method", |text| {
        let method = reqwest::Method::from_bytes(text.as_bytes());
        method.map_err(|_| "is not an HTTP method; use one like POST or GET".to_owned())
    });
    let success_status = given.value("webhook-success-status", |text| match values::number::<i32>(text)? {
        // git-sync's older notation for 0.
        -1 => Ok(0),
        status @ (0 | 100..=999) => u16::try_from(status).map_err(|error| error.to_string()),
        _ => Err("is not an HTTP status; use one like 200, or 0 for any".to_owned()),
    });
    let timeout = given.value("webhook-timeout", values::period);
    let backoff = given.value("webhook-backoff", values::period);
    let url = match text.as_deref().map(Address::parse) {
        // The values of a webhook that is off are checked all the same, so that a mistake shows before it is turned on.
        None => {
            return (method.is_some() && success_status.is_some() && timeout.and(backoff).is_some()).then_some(None);
        }
        Some(Ok(url)) => Some(url),
        Some(Err(wrong)) => {
            // Not shown, because such URLs contain secrets.
            given.problem("webhook-url", wrong);
            None
        }
    };
    let (method, success_status, timeout, backoff) = (method?, success_status?, timeout?, backoff?);
    Some(Some(Webhook { url: url?, method, success_status, timeout, backoff }))
}

fn warn_if_idle(given: &mut Given, master: &str, is_set: bool, others: &[&str]) {
    for name in others {
        if !is_set && given.is_given(name) {
            given.warn(name, format!("has no effect without --{master}"));
        }
    }
}

/// Reads `--touch-file` and `--error-file`; `None` if there was a problem.
pub(super) fn notices(given: &mut Given, root: Option<&Path>, link: Option<&Path>) -> Option<notices::NoticeOptions> {
    let touch = file(given, "touch-file", root, link);
    let error = file(given, "error-file", root, link);
    let (touch, error) = (touch?, error?);
    if touch.as_deref().map(tidy).is_some_and(|touch| error.as_deref().map(tidy) == Some(touch)) {
        given.problem("error-file", "is the same as the touch file; use two names");
        return None;
    }
    Some(notices::NoticeOptions { touch, error })
}

fn file(given: &mut Given, name: &str, root: Option<&Path>, link: Option<&Path>) -> Read<PathBuf> {
    let Some(path) = given.path(name) else { return Some(None) };
    // Without a root, only values that depend on it stay unchecked.
    let root = root.unwrap_or(Path::new("/root-to-be"));
    let wrong = match remote::check_link(root, &path) {
        Err(wrong) => Some(wrong),
        Ok(()) if link.is_some_and(|link| tidy(&root.join(link)) == tidy(&root.join(&path))) => {
            Some("is the path of the link; choose another name")
        }
        Ok(()) => None,
    };
    if let Some(wrong) = wrong {
        given.problem(name, format!("`{}` {wrong}", path.display()));
        return None;
    }
    Some(Some(tidy(&root.join(path))))
}

/// Returns the error file, if its flag could be parsed, so that problems with the command line can be written to it.
pub(super) fn error_file(given: &Given) -> Option<PathBuf> {
    let path = given.path("error-file")?;
    // The root may be the value at fault, so it is read without its checks.
    let anchored = match given.path("root") {
        Some(root) => std::path::absolute(root).ok()?.join(path),
        None => path,
    };
    let usable = anchored.is_absolute() && !given.is_refused("error-file");
    usable.then_some(anchored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_cannot_run_cause_warnings() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("program");
        let path = Some(OsString::from(folder.path()));
        let doubt = |command: &OsStr| doubt(command, path.as_ref()).unwrap_or_default();
        assert!(doubt(here.as_os_str()).contains("cannot be found yet"));
        std::fs::write(&here, "#!/bin/sh\n").unwrap();
        assert!(doubt(here.as_os_str()).contains("not executable"));
        std::fs::set_permissions(&here, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(doubt(here.as_os_str()), "");
        assert_eq!(doubt(OsStr::new("program")), "");
        assert!(doubt(OsStr::new("programme")).contains("no program"));
        assert!(doubt(OsStr::new("/bin/sh -c true")).contains("no shell is used"));
        assert!(doubt(OsStr::new("./hook")).contains("everyone who can push"));
        assert!(doubt(folder.path().as_os_str()).contains("not a file"));
    }

    fn parse(flags: &[&str]) -> Result<(crate::sync::Options, Vec<String>), String> {
        let always = ["--repo=https://git.test/a/b", "--root=/git", "--link=site"];
        let arguments = always.iter().chain(flags).map(OsString::from);
        match crate::config::parse(arguments, []) {
            Ok(crate::config::Invocation::Run(config)) => Ok((config.sync, config.warnings)),
            Ok(_) => Err("not run".to_owned()),
            Err(exit) => Err(exit.text),
        }
    }

    #[test]
    fn hooks_and_notices_are_off_unless_given_and_have_git_syncs_defaults() {
        let (options, _) = parse(&[]).unwrap();
        assert!(options.hooks.exec.is_none() && options.hooks.gate.is_none() && options.hooks.webhook.is_none());
        assert_eq!(options.notices, notices::NoticeOptions::default());
        let (options, _) = parse(&[
            "--exechook-command=/bin/true",
            "--pre-publish-exechook-command=/bin/true",
            "--pre-publish-exechook-timeout=1m",
            "--webhook-url=http://web/reload",
            "--touch-file=touched",
            "--error-file=/var/run/error",
        ])
        .unwrap();
        let seconds = std::time::Duration::from_secs;
        let exec = Exec { command: "/bin/true".into(), timeout: seconds(30), backoff: seconds(3) };
        assert_eq!(options.hooks.exec.as_ref(), Some(&exec));
        assert_eq!(options.hooks.gate, Some(Exec { timeout: seconds(60), ..exec }));
        let webhook = options.hooks.webhook.unwrap();
        assert_eq!((webhook.method, webhook.success_status), (reqwest::Method::POST, 200));
        assert_eq!((webhook.timeout, webhook.backoff), (seconds(1), seconds(3)));
        assert_eq!(options.notices.touch, Some("/git/touched".into()));
        assert_eq!(options.notices.error, Some("/var/run/error".into()));
        let (options, _) = parse(&["--webhook-url=https://web/", "--webhook-success-status=-1"]).unwrap();
        assert_eq!(options.hooks.webhook.unwrap().success_status, 0);
    }

    #[test]
    fn bad_values_of_hooks_and_notices_are_refused_or_warned_of() {
        for (flag, words) in [
            ("--exechook-timeout=0", "at least 10ms"),
            ("--webhook-backoff=soon", "not a duration"),
            ("--webhook-url=reload", "is not a URL"),
            ("--webhook-method=A B", "not an HTTP method"),
            ("--webhook-success-status=20", "not an HTTP status"),
            ("--touch-file=.worktrees/x", "own files"),
            ("--error-file=site", "is the path of the link"),
        ] {
            let text = parse(&[flag]).unwrap_err();
            assert!(text.contains(words), "{flag}: {text}");
        }
        assert!(parse(&["--touch-file=x", "--error-file=./x"]).unwrap_err().contains("two names"));
        let secret = parse(&["--webhook-url=htp://u:pass@host/secret"]).unwrap_err();
        assert!(!secret.contains("secret") && !secret.contains("pass@"), "{secret}");
        let (_, warnings) = parse(&["--exechook-backoff=5s", "--webhook-method=GET"]).unwrap();
        assert!(warnings[0].contains("no effect without --exechook-command"), "{warnings:?}");
        assert!(warnings[1].contains("no effect without --webhook-url"), "{warnings:?}");
    }
}
