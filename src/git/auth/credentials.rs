//! Credentials by address: the configured accounts, and the choice of the one for a remote.
//!
//! It must not know how credentials are sent.

use std::path::PathBuf;
use std::sync::Arc;

use crate::git::auth::askpass::Askpass;
use crate::git::auth::github_app::GithubApp;
use crate::git::http::scope::Scope;
use crate::remote_url::{RemoteUrl, Transport};
use crate::secret::Secret;

/// All configured credentials. Files are read again for each request, so that rotation needs no restart.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Accounts for HTTP, each for the addresses below its own.
    pub accounts: Vec<Account>,
    /// Private keys for SSH, tried in turn. As with ssh, some of several may be missing.
    pub ssh_keys: Vec<PathBuf>,
    /// True if no key was configured: `ssh_keys` are the usual paths, for a submodule that may need one, and all may
    /// be missing.
    pub ssh_keys_assumed: bool,
    /// `None`: host keys are not checked.
    pub ssh_known_hosts: Option<PathBuf>,
    /// Called after each call to a credential service, with its success.
    pub observer: Option<CallObserver>,
}

/// A call to a credential service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A call to the askpass service.
    Askpass,
    /// A request for a token of a GitHub App.
    AppToken,
}

/// Observes calls to credential services. It has to return at once.
pub type CallObserver = Arc<dyn Fn(Call, bool) + Send + Sync>;

/// One account.
#[derive(Clone)]
pub struct Account {
    /// The addresses that the account is for. It is sent to no other.
    pub scope: Scope,
    /// `None`: the user in the remote's address, else the name that forges expect beside a token.
    pub username: Option<String>,
    /// The source of the password.
    pub password: Password,
}

/// The source of a password.
#[derive(Clone)]
pub enum Password {
    /// A configured value.
    Value(Secret),
    /// A file, which is read for each request.
    File(PathBuf),
    /// The askpass service returns it together with the user name.
    Askpass(Askpass),
    /// GitHub issues a token for the App.
    GithubApp(GithubApp),
}

impl Credentials {
    /// Drops the App's token for an address after the server refused it. Otherwise it would be sent until it expires.
    pub(crate) fn forget_token(&self, url: &RemoteUrl) {
        if let Some(Account { password: Password::GithubApp(app), .. }) = self.for_url(url) {
            app.forget();
        }
    }

    /// Returns the account for an address over HTTP: the login in the address itself, else the account with the
    /// longest matching scope, of equally long ones the first. An account for another user than the address names does
    /// not match. An address that names only a user (`https://TOKEN@host/...`) means an empty password, as with git.
    #[must_use]
    pub fn for_url(&self, url: &RemoteUrl) -> Option<Account> {
        if !matches!(url.transport(), Transport::Http | Transport::Https) {
            return None;
        }
        // As with git, a login in the address wins over configured accounts.
        if let Some(password) = url.password() {
            let scope = Scope::origin(url)?;
            let username = url.user().map(str::to_owned);
            return Some(Account { scope, username, password: Password::Value(password.clone()) });
        }
        let is_ours = |account: &&Account| match (&account.username, url.user()) {
            // The address asks for one user: the account of another is not shown.
            (Some(ours), Some(named)) => ours == named,
            _ => true,
        };
        let fitting = self.accounts.iter().filter(|account| account.scope.covers(url)).filter(is_ours);
        // `max_by_key` returns the last of equal elements, and the first is wanted.
        let Some(account) = fitting.rev().max_by_key(|account| account.scope.length()) else {
            // Forges accept a token in place of the user name, with an empty password.
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
            ("https://guest@git.test/acme/site", Some("guest")),
            ("git@git.test:acme/site", None),
            ("/srv/git.test/acme", None),
        ];
        for (url, expected) in cases {
            assert_eq!(chosen(&credentials, url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_login_in_the_address_comes_first() {
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
