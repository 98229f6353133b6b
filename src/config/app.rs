//! Passwords that are obtained at runtime: from the askpass service or as a GitHub App.
//!
//! Each applies to the whole server of `--repo`. A combination with other credentials is a problem.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use url::Url;

use super::files::readable;
use super::flags::APP_KEYS;
use super::given::Given;
use crate::git::{AppKey, Askpass, GithubApp, Password};
use crate::secret::Secret;

/// A private key from the environment, and the name of its variable.
pub(super) type KeyVariable = Option<(&'static str, Secret)>;

pub(super) fn key_variable(environment: &HashMap<OsString, OsString>) -> KeyVariable {
    APP_KEYS.into_iter().find_map(|name| {
        let value = environment.get(OsStr::new(name)).filter(|value| !value.is_empty())?;
        Some((name, Secret::new(value.as_encoded_bytes())))
    })
}

/// Returns the source of passwords, if one is configured. `others` is true if a fixed password is configured already.
pub(super) fn read(given: &mut Given, variable: KeyVariable, others: bool) -> Option<Password> {
    let askpass = given.text("askpass-url").and_then(|text| match address(&text) {
        Ok(url) => Some(Askpass::new(url)),
        Err(wrong) => {
            given.problem("askpass-url", wrong);
            None
        }
    });
    let app = github_app(given, variable);
    // Both would be for the same server, and it would not be clear which password a request used.
    for (name, there) in [("askpass-url", askpass.is_some()), ("github-app-installation-id", app.is_some())] {
        if there && others {
            given.problem(name, "is given together with a password; use one of them");
        }
    }
    if askpass.is_some() && app.is_some() {
        given.problem("askpass-url", "is given together with a GitHub App; use one of them");
    }
    app.map(Password::GithubApp).or(askpass.map(Password::Askpass))
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|wrong| format!("is not a URL (not shown): {wrong}"))?;
    if let Some(password) = url.password() {
        let _known_to_the_scrubber = Secret::new(password);
    }
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err("is neither http:// nor https://".to_owned()) }
}

fn github_app(given: &mut Given, variable: KeyVariable) -> Option<GithubApp> {
    let file = given.path("github-app-private-key-file");
    if let Some(path) = &file {
        readable(given, "github-app-private-key-file", path, "the private key");
    }
    let application = given.value("github-app-application-id", number);
    let client = given.value("github-app-client-id", |text| {
        let fits = text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"._-".contains(&letter));
        if fits { Ok(text.to_owned()) } else { Err("is not a client id".to_owned()) }
    });
    let installation = given.value("github-app-installation-id", number);
    let api = given.text("github-base-url").map(|text| address(&text));
    let api = match api {
        Some(Ok(url)) => Some(url),
        Some(Err(wrong)) => {
            given.problem("github-base-url", wrong);
            None
        }
        None => None,
    };
    let names = ["github-app-application-id", "github-app-client-id", "github-app-installation-id"];
    let asked = file.is_some() || variable.is_some() || names.into_iter().any(|name| given.is_given(name));
    // A value that was refused has its problem already. "Is missing" would be a second one for the same mistake.
    if !asked || names.into_iter().any(|name| given.is_refused(name)) {
        return None;
    }
    let key = match (file, variable) {
        (Some(_), Some((name, _))) => {
            given.problem("github-app-private-key-file", format!("is given together with {name}; use one of them"));
            None
        }
        (Some(path), None) => Some(AppKey::File(path)),
        (None, Some((_, secret))) => Some(AppKey::Value(secret)),
        (None, None) => {
            given.problem(
                "github-app-private-key-file",
                "is missing; give the App's private key there or in PUSHSYNC_GITHUB_APP_PRIVATE_KEY",
            );
            None
        }
    };
    let issuer = match (application, client) {
        (Some(_), Some(_)) => {
            given
                .problem("github-app-application-id", "is given together with --github-app-client-id; use one of them");
            None
        }
        (Some(id), None) => Some(id.to_string()),
        (None, Some(id)) => Some(id),
        (None, None) => {
            given.problem("github-app-application-id", "is missing; give it or --github-app-client-id");
            None
        }
    };
    if installation.is_none() {
        given.problem("github-app-installation-id", "is missing; the URL of the App's installation page contains it");
    }
    // Only here: every part that is missing has been reported above, and not only the first.
    Some(GithubApp::new(key?, issuer?, installation?, api?))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "is not a number above 0".to_owned())
}
