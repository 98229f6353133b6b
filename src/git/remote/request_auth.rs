//! Collects the authentication for a request: password files, askpass, the GitHub App, headers and cookies.
//!
//! Files are read on the git thread, since a disk may hang. Services are called on tokio's threads. Both are bounded by
//! the caller's deadline.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::git::auth::cookies::Jar;
use crate::git::auth::credentials::{Account, Call, Password};
use crate::git::auth::github_app::GithubApp;
use crate::git::auth::login::Login;
use crate::git::auth::request_auth::RequestAuth;
use crate::git::deadline::Deadline;
use crate::git::error::{Cause, Error};
use crate::git::store::handle::Store;
use crate::remote_url::Transport;
use crate::secret::{BadPassword, Secret};

use super::connection::Remote;

/// The user name beside a token without one. Forges check only the token.
const TOKEN_USER: &str = "git";
/// The most bytes that are read of a password, key or cookie file.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The request that the authentication is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Listing refs.
    LsRefs,
    /// A fetch that follows. The askpass service is not called again for it.
    Fetch,
}

/// Collects the authentication for a request to the remote.
pub(crate) async fn request_auth(
    store: &Store,
    remote: &Remote,
    purpose: Purpose,
    deadline: &Deadline,
) -> Result<RequestAuth, Error> {
    let options = remote.options();
    // Over ssh the credential callbacks read the keys.
    if !matches!(options.url.transport(), Transport::Http | Transport::Https) {
        return Ok(RequestAuth::default());
    }
    let route = options.route();
    let jar = match route.cookie_file {
        None => Jar::default(),
        Some(path) => {
            let text = read_file(store, path.clone(), deadline).await?;
            Jar::parse(text.expose()).map_err(|line| Error::CookieFile { path, line })?
        }
    };
    let login = match options.credentials.for_url(&options.url) {
        None => None,
        Some(account) => Some(login(store, remote, account, purpose, deadline).await?),
    };
    Ok(RequestAuth::new(login, route.headers, jar))
}

async fn login(
    store: &Store,
    remote: &Remote,
    account: Account,
    purpose: Purpose,
    deadline: &Deadline,
) -> Result<Login, Error> {
    let user = account.username.unwrap_or_else(|| TOKEN_USER.to_owned());
    match account.password {
        Password::Value(password) => Ok(Login { user, password }),
        Password::File(path) => {
            let stored = read_file(store, path.clone(), deadline).await?;
            let password = Secret::password(stored.expose());
            let unusable = |wrong: BadPassword| Error::CredentialFile { path, source: Cause::new(&wrong.to_string()) };
            Ok(Login { user, password: password.map_err(unusable)? })
        }
        Password::Askpass(askpass) => {
            // Listing the refs called the service a moment ago. As in git-sync, it is called once for each sync.
            if let Some(login) = askpass.last_answer().filter(|_| purpose == Purpose::Fetch) {
                return Ok(login);
            }
            report(remote, Call::Askpass, deadline.limit(askpass.ask(&remote.options().network)).await)
        }
        Password::GithubApp(app) => {
            if let Some(login) = app.valid_token() {
                return Ok(login);
            }
            report(remote, Call::AppToken, new_token(store, remote, &app, deadline).await)
        }
    }
}

async fn new_token(store: &Store, remote: &Remote, app: &GithubApp, deadline: &Deadline) -> Result<Login, Error> {
    let key = match app.key_file() {
        Some(path) => Some(read_file(store, path.to_owned(), deadline).await?),
        None => None,
    };
    deadline.limit(app.renew(key, &remote.options().network)).await
}

/// Passes the outcome of a call on to the observer of the credentials.
fn report(remote: &Remote, call: Call, outcome: Result<Login, Error>) -> Result<Login, Error> {
    if let Some(observer) = &remote.options().credentials.observer {
        observer(call, outcome.is_ok());
    }
    outcome
}

async fn read_file(store: &Store, path: PathBuf, deadline: &Deadline) -> Result<Secret, Error> {
    let reading = store.read(deadline, move |_, _| {
        read(&path).map_err(|error| Error::CredentialFile { path, source: Cause::from(&error) })
    });
    reading.await
}

fn read(path: &Path) -> std::io::Result<Secret> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    // The scrubber learns the whole text here. A password is registered again without its newline, which no log repeats.
    Ok(Secret::new(bytes))
}
