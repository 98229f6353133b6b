//! What is shown to the remote during one look or fetch: the password of the moment, headers, cookies.
//!
//! Files are read on the git thread, since a disk may hang; services are asked on tokio's, under the caller's deadline.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tokio::time::{Instant, timeout_at};

use crate::git::auth::cookies::Jar;
use crate::git::auth::credentials::{Account, Call, Password};
use crate::git::auth::github_app::GithubApp;
use crate::git::auth::login::Login;
use crate::git::auth::request_auth::RequestAuth;
use crate::git::engine::Engine;
use crate::git::error::{Cause, Error};
use crate::remote_url::Transport;
use crate::secret::{BadPassword, Secret};

/// What a token without a user name is given with; forges look at the token only.
const TOKEN_USER: &str = "git";
/// No password, key or cookie file is longer.
const LONGEST_FILE: u64 = 1024 * 1024;

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Look,
    /// What follows a look: who was asked then is not asked again.
    Fetch,
}

impl Engine {
    /// Gets together what is shown to our remote.
    pub(crate) async fn pass(&self, purpose: Purpose, deadline: Instant) -> Result<RequestAuth, Error> {
        let options = self.options();
        if !matches!(options.url.transport(), Transport::Http | Transport::Https) {
            return Ok(RequestAuth::default());
        }
        let way = options.route();
        let jar = match way.cookie_file {
            None => Jar::default(),
            Some(path) => {
                let text = self.read_file(path.clone(), deadline).await?;
                Jar::parse(text.expose_str().unwrap_or_default()).map_err(|line| Error::CookieFile { path, line })?
            }
        };
        let login = match options.credentials.for_url(&options.url) {
            None => None,
            Some(account) => Some(self.login(account, purpose, deadline).await?),
        };
        Ok(RequestAuth::new(login, way.headers, jar))
    }

    async fn login(&self, account: Account, purpose: Purpose, deadline: Instant) -> Result<Login, Error> {
        let user = account.username.unwrap_or_else(|| TOKEN_USER.to_owned());
        let network = &self.options().network;
        match account.password {
            Password::Value(password) => Ok(Login { user, password }),
            Password::File(path) => {
                let stored = self.read_file(path.clone(), deadline).await?;
                let password = Secret::password(stored.expose());
                let unusable =
                    |wrong: BadPassword| Error::CredentialFile { path, source: Cause::new(&wrong.to_string()) };
                Ok(Login { user, password: password.map_err(unusable)? })
            }
            Password::Askpass(askpass) => {
                if let Some(login) = askpass.said().filter(|_| purpose == Purpose::Fetch) {
                    return Ok(login);
                }
                let asked = timeout_at(deadline, askpass.ask(network)).await;
                self.told(Call::Askpass, asked.unwrap_or_else(|_| Err(self.late())))
            }
            Password::GithubApp(app) => {
                if let Some(login) = app.held() {
                    return Ok(login);
                }
                self.told(Call::AppToken, self.new_token(&app, deadline).await)
            }
        }
    }

    async fn new_token(&self, app: &GithubApp, deadline: Instant) -> Result<Login, Error> {
        let key = match app.key_file() {
            Some(path) => Some(self.read_file(path.to_owned(), deadline).await?),
            None => None,
        };
        let renewed = timeout_at(deadline, app.renew(key, &self.options().network)).await;
        renewed.unwrap_or_else(|_| Err(self.late()))
    }

    fn told(&self, call: Call, outcome: Result<Login, Error>) -> Result<Login, Error> {
        if let Some(tell) = &self.options().credentials.tell {
            tell(call, outcome.is_ok());
        }
        outcome
    }

    async fn read_file(&self, path: PathBuf, deadline: Instant) -> Result<Secret, Error> {
        self.run_quietly(deadline, move |_, _| {
            read(&path).map_err(|error| Error::CredentialFile { path, source: Cause::from(&error) })
        })
        .await
    }
}

fn read(path: &Path) -> std::io::Result<Secret> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    // As text it is taught to the scrubber whole; a password again without the newline that no log would repeat.
    Ok(Secret::new(bytes))
}
