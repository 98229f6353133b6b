//! `--credential`: accounts for individual URLs, in git-sync's JSON format.
//!
//! A value is one object or a list of objects. Messages never repeat a value, because it may contain a password.

use serde::Deserialize;

use super::files::password_file;
use super::given::Given;
use crate::git::{Account, Password, Scope};
use crate::secret::{self, Secret};

const SYNTAX: &str =
    r#"write it like {"url":"https://git.example.com","username":"me","password-file":"/etc/secret/token"}"#;

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Many(Vec<Written>),
    One(Written),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "password-file")]
    password_file: String,
}

/// Reads every `--credential`, in the given order.
pub(super) fn read(given: &mut Given) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    let mut number = 0;
    for value in given.values("credential") {
        // serde's error message may quote the value, so it is not used.
        let listed = match value.to_str().map(serde_json::from_str) {
            Some(Ok(Listed::Many(many))) => many,
            Some(Ok(Listed::One(one))) => vec![one],
            Some(Err(_)) | None => {
                given.problem("credential", format!("is not JSON with these fields (not shown); {SYNTAX}"));
                continue;
            }
        };
        for written in listed {
            number += 1;
            match account(given, written) {
                Ok(account) if accounts.iter().any(|other| other.scope == account.scope) => {
                    given.problem("credential", format!("number {number} has the same url as one before it"));
                }
                Ok(account) => accounts.push(account),
                Err(wrong) => given.problem("credential", format!("number {number} {wrong}")),
            }
        }
    }
    accounts
}

fn account(given: &mut Given, written: Written) -> Result<Account, String> {
    // Creating the `Secret` registers it with the scrubber, before any message about it is written.
    let password = (!written.password.is_empty()).then(|| Secret::password(written.password));
    let password = password.transpose().map_err(|wrong| format!("has a password that cannot be used: {wrong}"))?;
    if written.url.is_empty() {
        return Err(format!("has no url; {SYNTAX}"));
    }
    let scope = Scope::parse(&written.url).map_err(|wrong| format!("has a url that cannot be used: {wrong}"))?;
    if written.username.is_empty() {
        return Err("has no username; most forges take any name with a token".to_owned());
    }
    secret::check_user(&written.username).map_err(|wrong| format!("has a username that cannot be used: {wrong}"))?;
    let password = match (password, written.password_file) {
        (Some(_), file) if !file.is_empty() => return Err("has both password and password-file; use one".to_owned()),
        (Some(secret), _) => {
            if given.origin("credential") == "--credential" {
                given.warn(
                    "credential",
                    "holds a password, and every process of the machine can read arguments; use password-file",
                );
            }
            Password::Value(secret)
        }
        (None, file) if file.is_empty() => return Err("has neither password nor password-file".to_owned()),
        (None, file) => {
            password_file(given, "credential", file.as_ref());
            Password::File(file.into())
        }
    };
    Ok(Account { scope, username: Some(written.username), password })
}
