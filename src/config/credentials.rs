//! The group "credentials": who we are to the remote, and whether what was given fits the URL.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;

use super::accounts;
use super::app::{self, KeyVariable};
use super::flags::PASSWORDS;
use super::given::Given;
use super::problem::Problem;
use super::values;
use crate::git::{Account, Credentials, Password, Scope};
use crate::remote_url::{RemoteUrl, Transport};
use crate::secret::{self, Secret};

/// Flags of ways in over http(s) that ask somebody for the password.
const ASKED: [&str; 5] = [
    "askpass-url",
    "github-app-private-key-file",
    "github-app-application-id",
    "github-app-client-id",
    "github-app-installation-id",
];

/// A password from the environment and the variable it came from.
pub(super) type FromVariable = Option<(&'static str, Secret)>;

/// Looks for a password; the value is known to the scrubber from here on. As in git-sync, its old flag beats variables.
pub(super) fn password_variable(given: &mut Given, environment: &HashMap<OsString, OsString>) -> FromVariable {
    let from_environment = || {
        PASSWORDS.into_iter().find_map(|name| {
            let value = environment.get(OsStr::new(name)).filter(|value| !value.is_empty())?;
            Some((name, Secret::new(value.as_encoded_bytes())))
        })
    };
    let (name, stored) = given.password.take().map(|secret| ("--password", secret)).or_else(from_environment)?;
    match Secret::password(stored.expose()) {
        Ok(secret) => Some((name, secret)),
        Err(wrong) => {
            let message = format!("is no password: {wrong}");
            given.problems.push(Problem { origin: name.to_owned(), message, unknown: false });
            None
        }
    }
}

/// Credentials that fit the URL; what does not becomes problems.
pub(super) fn read(given: &mut Given, url: &RemoteUrl, variable: FromVariable, key: KeyVariable) -> Credentials {
    // Those for single addresses first: of two that fit alike, the first counts.
    let mut credentials = Credentials { accounts: accounts::read(given), ..Credentials::default() };
    match url.transport() {
        Transport::Http | Transport::Https => credentials.accounts.extend(for_http(given, url, variable, key)),
        Transport::Ssh => for_ssh(given, url, variable.as_ref().map(|(name, _)| *name)),
        Transport::Local => {
            for name in ["username", "password-file"].into_iter().chain(ASKED) {
                if given.is_given(name) {
                    given.warn(name, "has no effect, since the repository is a path");
                }
            }
        }
    }
    // Read for any URL, so that a bad value is told today and not on the day the URL changes.
    let check_hosts = given.value("ssh-known-hosts", values::switch);
    ssh_files(given, &mut credentials, check_hosts != Some(false), url.transport() == Transport::Ssh);
    credentials
}

/// The account for the whole server of the URL, so that submodules from there are let in as well, and nobody else sees it.
fn for_http(given: &mut Given, url: &RemoteUrl, variable: FromVariable, key: KeyVariable) -> Option<Account> {
    let username = given.text("username");
    let file = given.path("password-file");
    if let Some(path) = &file {
        password_file(given, "password-file", path);
    }
    if let Some(Err(wrong)) = username.as_deref().map(secret::check_user) {
        given.problem("username", format!("is no name of a user: {wrong}"));
    }
    if let (Some(_), Some((name, _))) = (&file, &variable) {
        given.problem("password-file", format!("is given together with {name}; use one of them"));
    }
    let variable_name = variable.as_ref().map(|(name, _)| *name);
    let separate = file.map(Password::File).or(variable.map(|(_, secret)| Password::Value(secret)));
    let from = variable_name.map_or_else(|| given.origin("password-file"), str::to_owned);

    if username.is_some() && (url.user().is_some() || url.password().is_some()) {
        given.problem("username", "is given, but the URL names a user, too; use one of them");
    } else if username.is_some() && separate.is_none() {
        given.problem("username", "has no password; give --password-file or PUSHSYNC_PASSWORD");
    } else if separate.is_some() && url.password().is_some() {
        given.problem("repo", format!("holds a password, and {from} gives one, too; use one of them"));
    } else if separate.is_some() && username.is_none() && url.user().is_none() {
        given.problem(
            "username",
            format!("is missing, although {from} gives a password; most forges take any name with a token"),
        );
    }
    let password = separate.or_else(|| url.password().cloned().map(Password::Value));
    let asked = app::read(given, key, password.is_some());
    let password = password.or(asked);
    // `http://TOKEN@host/...`: a token in the place of the user.
    let shows_one = password.is_some() || url.user().is_some();
    if shows_one && url.transport() == Transport::Http && !is_this_machine(url) {
        given.warn("repo", "is http://, so the password crosses the network unencrypted; use https://");
    }
    let username = username.or_else(|| url.user().map(str::to_owned));
    Some(Account { scope: Scope::origin(url)?, username, password: password? })
}

fn for_ssh(given: &mut Given, url: &RemoteUrl, variable: Option<&str>) {
    for name in ["username", "password-file"].into_iter().chain(ASKED) {
        if given.is_given(name) {
            // Known to start with git-sync, so it is no reason not to start.
            given.warn(
                name,
                "has no effect: it is for http(s), while the URL of SSH names its user, and a key lets it in",
            );
        }
    }
    if let Some(name) = variable {
        // Often set for a whole namespace, so it is no reason not to start.
        given.warnings.push(format!("{name}: has no effect, since SSH takes a key and no password"));
    }
    if url.password().is_some() {
        given.problem("repo", "holds a password, which SSH does not use here; take it out and give --ssh-key-file");
    }
}

/// A submodule may be reached over SSH even if the repository is not: its host's key must be checked then, too. What only
/// submodules need may be missing at the start.
fn ssh_files(given: &mut Given, credentials: &mut Credentials, check_hosts: bool, needed: bool) {
    credentials.ssh_keys = given.paths("ssh-key-file");
    credentials.ssh_keys_assumed = !needed && !given.is_given("ssh-key-file");
    if check_hosts {
        credentials.ssh_known_hosts = given.path("ssh-known-hosts-file");
    }
    if !needed {
        for name in ["ssh-key-file", "ssh-known-hosts-file"] {
            if given.is_given(name) {
                given.warn(name, "is for submodules only, since the URL is not one for SSH");
            }
        }
        return;
    }
    // As for ssh: one of several may be missing, if another is there.
    let enough = credentials.ssh_keys.iter().any(|path| open(path).is_ok());
    for path in &credentials.ssh_keys {
        match open(path) {
            Err(error) if enough => {
                let wrong = format!("{} cannot be read ({error}); the other keys are tried without it", shown(path));
                given.warn("ssh-key-file", wrong);
            }
            _ => readable(given, "ssh-key-file", path, "the key"),
        }
    }
    if let Some(path) = &credentials.ssh_known_hosts
        && let Err(error) = open(path)
    {
        let hint = "mount the output of `ssh-keyscan HOST`, checked against what the forge publishes";
        given.problem("ssh-known-hosts-file", format!("`{}` cannot be read ({error}); {hint}", path.display()));
    }
}

/// A problem if the file cannot be opened. A value that is no path may be the secret itself, given by mistake.
pub(super) fn readable(given: &mut Given, name: &str, path: &Path, what: &str) {
    if let Err(error) = open(path) {
        given.problem(name, format!("{} cannot be read ({error}); mount a file with {what} there", shown(path)));
    }
}

/// The same for a file whose content is a password, which must be one.
pub(super) fn password_file(given: &mut Given, name: &str, path: &Path) {
    readable(given, name, path, "the password");
    if open(path).is_ok()
        && let Ok(content) = std::fs::read(path)
        && let Err(wrong) = Secret::password(content)
    {
        given.problem(name, format!("{} holds no password: {wrong}", shown(path)));
    }
}

/// The path for a message, unless it is likelier to be a secret that was put where its file was asked for.
pub(super) fn shown(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.starts_with(b"/") || bytes.starts_with(b".") {
        format!("`{}`", path.display())
    } else {
        "the file (not shown: it is no absolute path, and may be the secret itself)".to_owned()
    }
}

fn open(path: &Path) -> io::Result<()> {
    // Opening a FIFO would wait for its writer, and a device may have no end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path).map(drop)
}

fn is_this_machine(url: &RemoteUrl) -> bool {
    let Some((host, _)) = url.repository() else { return true };
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
