//! The flags of the group "credentials": how the program authenticates at the remote, and whether that fits the URL.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use super::accounts;
use super::app::{self, KeyVariable};
use super::files::{open, password_file, readable, shown};
use super::flags::PASSWORDS;
use super::given::Given;
use super::problem::Problem;
use super::values;
use crate::git::{Account, Credentials, Password, Scope};
use crate::remote_url::{RemoteUrl, Transport};
use crate::secret::{self, Secret};

/// Flags of credentials for http(s) that are obtained at runtime.
const ASKED: [&str; 5] = [
    "askpass-url",
    "github-app-private-key-file",
    "github-app-application-id",
    "github-app-client-id",
    "github-app-installation-id",
];

/// A password from the environment, and the name of its variable.
pub(super) type FromVariable = Option<(&'static str, Secret)>;

/// Finds a password in the environment and registers it with the scrubber. As in git-sync, the old flag takes
/// precedence over the variables.
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
            let message = format!("is not a valid password: {wrong}");
            given.problems.push(Problem { origin: name.to_owned(), message, unknown: false });
            None
        }
    }
}

/// Returns the credentials that apply to the URL. Others become problems or warnings.
pub(super) fn read(given: &mut Given, url: &RemoteUrl, variable: FromVariable, key: KeyVariable) -> Credentials {
    // Accounts for specific URLs come first, because of two equally specific ones the first is used.
    let mut credentials = Credentials { accounts: accounts::read(given), ..Credentials::default() };
    match url.transport() {
        Transport::Http | Transport::Https => credentials.accounts.extend(for_http(given, url, variable, key)),
        Transport::Ssh => for_ssh(given, url, variable.as_ref().map(|(name, _)| *name)),
        Transport::Local => {
            for name in ["username", "password-file"].into_iter().chain(ASKED) {
                if given.is_given(name) {
                    given.warn(name, "has no effect, because the repository is a local path");
                }
            }
        }
    }
    // Read independently of the URL, so that a bad value is reported now and not when the URL changes.
    let check_hosts = given.value("ssh-known-hosts", values::switch);
    ssh_files(given, &mut credentials, check_hosts != Some(false), url.transport() == Transport::Ssh);
    credentials
}

/// Returns the account for the URL's whole server. It applies to submodules on the same server, and no other server
/// receives it.
fn for_http(given: &mut Given, url: &RemoteUrl, variable: FromVariable, key: KeyVariable) -> Option<Account> {
    let username = given.text("username");
    let file = given.path("password-file");
    if let Some(path) = &file {
        password_file(given, "password-file", path);
    }
    if let Some(Err(wrong)) = username.as_deref().map(secret::check_user) {
        given.problem("username", format!("is not a valid user name: {wrong}"));
    }
    if let (Some(_), Some((name, _))) = (&file, &variable) {
        given.problem("password-file", format!("is given together with {name}; use one of them"));
    }
    let variable_name = variable.as_ref().map(|(name, _)| *name);
    let separate = file.map(Password::File).or(variable.map(|(_, secret)| Password::Value(secret)));
    let from = variable_name.map_or_else(|| given.origin("password-file"), str::to_owned);

    if username.is_some() && (url.user().is_some() || url.password().is_some()) {
        given.problem("username", "is given, but the URL also contains a user; use one of them");
    } else if username.is_some() && separate.is_none() {
        given.problem("username", "has no password; give --password-file or PUSHSYNC_PASSWORD");
    } else if separate.is_some() && url.password().is_some() {
        given.problem("repo", format!("contains a password, and {from} gives another; use one of them"));
    } else if separate.is_some() && username.is_none() && url.user().is_none() {
        given.problem(
            "username",
            format!("is missing, although {from} gives a password; most forges take any name with a token"),
        );
    }
    let password = separate.or_else(|| url.password().cloned().map(Password::Value));
    let asked = app::read(given, key, password.is_some());
    let password = password.or(asked);
    // `http://TOKEN@host/...` has the token in place of the user.
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
            // git-sync starts with this combination, so it is only a warning.
            given.warn(
                name,
                "has no effect: it is for http(s); over SSH the URL contains the user, and a key authenticates it",
            );
        }
    }
    if let Some(name) = variable {
        // Such variables are often set for a whole namespace, so this is only a warning.
        given.warnings.push(format!("{name}: has no effect, because SSH uses a key and no password"));
    }
    if url.password().is_some() {
        given.problem("repo", "contains a password, which is not used for SSH; remove it and set --ssh-key-file");
    }
}

/// Reads the SSH files. A submodule may use SSH even if the repository does not, and then its host's key must be
/// checked as well. Files that only submodules need may be missing at the start.
fn ssh_files(given: &mut Given, credentials: &mut Credentials, check_hosts: bool, needed: bool) {
    credentials.ssh_keys = given.paths("ssh-key-file");
    credentials.ssh_keys_assumed = !needed && !given.is_given("ssh-key-file");
    if check_hosts {
        credentials.ssh_known_hosts = given.path("ssh-known-hosts-file");
    }
    if !needed {
        for name in ["ssh-key-file", "ssh-known-hosts-file"] {
            if given.is_given(name) {
                given.warn(name, "is used for submodules only, because the URL does not use SSH");
            }
        }
        return;
    }
    // As with ssh, some of several key files may be missing if at least one exists.
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

fn is_this_machine(url: &RemoteUrl) -> bool {
    let Some((host, _)) = url.repository() else { return true };
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
