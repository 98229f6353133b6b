//! Who we are to which remote: the accounts that are configured, and which of them is meant for an address.
//!
//! `scope` says what an address covers, `askpass` and `github_app` get passwords that are not configured, `cookies` reads
//! those. It must not know how any of it is shown, which is the business of `v2` and `credentials`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::git::auth::askpass::Askpass;
use crate::git::auth::github_app::GithubApp;
use crate::git::http::scope::Scope;
use crate::remote_url::{RemoteUrl, Transport};
use crate::secret::Secret;

/// How to be let in. Everything that is a file is read anew for each look, so that rotation needs no restart.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Who we are over http(s), each for the addresses below its own.
    pub accounts: Vec<Account>,
    /// Private keys for SSH, tried in turn. As for ssh, one of several may be missing.
    pub ssh_keys: Vec<PathBuf>,
    /// Nobody named the keys: they are where keys usually lie, for a submodule that may need one, and may all be missing.
    pub ssh_keys_assumed: bool,
    /// `None`: host keys are not checked.
    pub ssh_known_hosts: Option<PathBuf>,
    /// Told of each call for a password, and whether it brought one.
    pub tell: Option<Tell>,
}

/// Who was asked for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Askpass,
    AppToken,
}

/// Hears of calls; must return at once.
pub type Tell = Arc<dyn Fn(Call, bool) + Send + Sync>;

/// One account.
#[derive(Clone)]
pub struct Account {
    /// The addresses that it is meant for; it is shown to no other.
    pub scope: Scope,
    /// `None`: whoever the address names, else what forges expect beside a token.
    pub username: Option<String>,
    pub password: Password,
}

/// Where the password comes from.
#[derive(Clone)]
pub enum Password {
    Value(Secret),
    File(PathBuf),
    /// A service says it, and the user's name.
    Askpass(Askpass),
    /// GitHub gives a token for it.
    GithubApp(GithubApp),
}

impl Credentials {
    /// The server at an address refused us: a token of an App, which we would go on showing as long as it lives, is renewed.
    pub(crate) fn forget_token(&self, url: &RemoteUrl) {
        if let Some(Account { password: Password::GithubApp(app), .. }) = self.for_url(url) {
            app.forget();
        }
    }

    /// The account for an address over http(s): what it holds itself, else the one with the longest address that covers it;
    /// of two alike, the first. An account of another user than the address names is not meant for it. An address that
    /// names only a user (`https://TOKEN@host/...`) is that user's with an empty password, as git has it.
    #[must_use]
    pub fn for_url(&self, url: &RemoteUrl) -> Option<Account> {
        if !matches!(url.transport(), Transport::Http | Transport::Https) {
            return None;
        }
        if let Some(password) = url.password() {
            let scope = Scope::origin(url)?;
            let username = url.user().map(str::to_owned);
            return Some(Account { scope, username, password: Password::Value(password.clone()) });
        }
        let is_ours = |account: &&Account| match (&account.username, url.user()) {
            (Some(ours), Some(named)) => ours == named,
            _ => true,
        };
        let fitting = self.accounts.iter().filter(|account| account.scope.covers(url)).filter(is_ours);
        // `max_by_key` would take the last one of equals.
        let Some(account) = fitting.rev().max_by_key(|account| account.scope.length()) else {
            let (scope, username) = (Scope::origin(url)?, url.user()?.to_owned());
            return Some(Account { scope, username: Some(username), password: Password::Value(Secret::new("")) });
        };
        let username = account.username.clone().or_else(|| url.user().map(str::to_owned));
        Some(Account { username, ..account.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(scope: &str, user: &str) -> Account {
        let (scope, password) = (Scope::parse(scope).unwrap(), Password::File(user.into()));
        Account { scope, username: Some(user.to_owned()), password }
    }

    fn chosen(credentials: &Credentials, url: &str) -> Option<String> {
        credentials.for_url(&RemoteUrl::parse(url).unwrap())?.username
    }

    #[test]
    fn the_longest_address_that_covers_the_url_counts() {
        let accounts = vec![
            account("https://git.test", "host"),
            account("https://git.test/acme", "acme"),
            account("https://git.test/acme/site.git", "site"),
            account("https://git.test:8443", "port"),
            account("https://git.test", "second"),
        ];
        let credentials = Credentials { accounts, ..Credentials::default() };
        let cases = [
            ("https://git.test/other/x", Some("host")),
            ("https://git.test/acme", Some("acme")),
            ("https://git.test/acme/other", Some("acme")),
            ("https://git.test/acme2/other", Some("host")),
            ("https://git.test/acme/site", Some("site")),
            ("https://GIT.test:443/acme/site.git/", Some("site")),
            ("https://git.test/acme/site.github.io", Some("acme")),
            ("https://git.test:8443/acme/site", Some("port")),
            ("http://git.test/acme/site", None),
            ("https://evil.test/git.test/acme", None),
            ("https://git.test.evil.test/acme", None),
            ("https://second@git.test/acme/site", Some("second")),
            ("https://nobody@git.test/acme/site", Some("nobody")),
            ("git@git.test:acme/site", None),
            ("/srv/git.test/acme", None),
        ];
        for (url, expected) in cases {
            assert_eq!(chosen(&credentials, url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn what_the_address_holds_itself_comes_first() {
        let accounts = vec![account("https://git.test", "host")];
        let credentials = Credentials { accounts, ..Credentials::default() };
        let url = RemoteUrl::parse("https://me:own-password@git.test/a").unwrap();
        let account = credentials.for_url(&url).unwrap();
        assert_eq!(account.username.as_deref(), Some("me"));
        assert!(matches!(account.password, Password::Value(secret) if secret.expose() == b"own-password"));
        assert!(Credentials::default().for_url(&RemoteUrl::parse("https://git.test/a").unwrap()).is_none());
        for address in
            ["https://a-token-in-place-of-a-user@git.test/a", "https://a-token-in-place-of-a-user:@git.test/a"]
        {
            let account = Credentials::default().for_url(&RemoteUrl::parse(address).unwrap()).unwrap();
            assert_eq!(account.username.as_deref(), Some("a-token-in-place-of-a-user"));
            assert!(matches!(account.password, Password::Value(secret) if secret.expose().is_empty()));
        }
        assert_eq!(crate::secret::scrub("it was a-token-in-place-of-a-user"), "it was ***");
    }
}
