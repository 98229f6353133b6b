//! The scope of an account or a setting: scheme, host, port, and everything below a path.
//!
//! Accounts and settings for one URL are matched by it (git-config, `http.<url>.*`).

use url::Url;

use crate::remote_url::RemoteUrl;

/// An address and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    scheme: String,
    host: String,
    port: u16,
    /// Without slashes at both ends and without `.git`.
    path: String,
}

/// The reason why a text is no scope. It never repeats the text, which may contain a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    #[error("it cannot be parsed: {0}")]
    Syntax(#[from] url::ParseError),
    #[error("it is not http:// or https://")]
    Scheme,
    #[error("it names a user; the user has a place of its own")]
    User,
}

impl Scope {
    /// Parses `https://host`, `https://host:8443/path` and the like.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadScope> {
        let url = Url::parse(text)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadScope::User);
        }
        Self::of(&url).ok_or(BadScope::Scheme)
    }

    /// Returns the scope of the whole server that an address over HTTP names.
    #[must_use]
    pub fn origin(url: &RemoteUrl) -> Option<Self> {
        Some(Self { path: String::new(), ..Self::of(&Url::parse(url.bare()).ok()?)? })
    }

    fn of(url: &Url) -> Option<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let path = url.path().trim_matches('/');
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            // An explicit default port means the same server.
            port: url.port_or_known_default()?,
            // Servers offer a repository under both names.
            path: path.strip_suffix(".git").unwrap_or(path).to_owned(),
        })
    }

    /// Returns true if the address is this one or below it. A `*` matches one label of the host name, as in git's
    /// settings.
    #[must_use]
    pub fn covers(&self, url: &RemoteUrl) -> bool {
        let parsed = Url::parse(url.bare()).ok();
        parsed.and_then(|url| Self::of(&url)).is_some_and(|it| {
            let below = match it.path.strip_prefix(&self.path) {
                Some(rest) => rest.is_empty() || self.path.is_empty() || rest.starts_with('/'),
                None => false,
            };
            it.scheme == self.scheme && it.port == self.port && same_host(&self.host, &it.host) && below
        })
    }

    /// Returns the length of the path: of two scopes that cover an address, the longer one wins.
    pub(crate) fn length(&self) -> usize {
        self.path.len()
    }
}

fn same_host(ours: &str, asked: &str) -> bool {
    if !ours.contains('*') {
        return ours == asked;
    }
    // A star stands for exactly one label: `*.test` does not cover `a.git.test` (git-config, `http.<url>.*`).
    let (ours, asked): (Vec<_>, Vec<_>) = (ours.split('.').collect(), asked.split('.').collect());
    ours.len() == asked.len() && ours.iter().zip(asked).all(|(ours, asked)| *ours == "*" || *ours == asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_its_server_below_its_path() {
        let covers = |scope: &str, url: &str| Scope::parse(scope).unwrap().covers(&RemoteUrl::parse(url).unwrap());
        assert!(covers("https://git.test", "https://git.test/a/b"));
        assert!(covers("https://git.test/", "https://git.test:443/"));
        assert!(covers("https://git.test/a/", "https://git.test/a.git"));
        assert!(!covers("https://git.test/a", "https://git.test/ab"));
        assert!(!covers("https://git.test/a/b", "https://git.test/a"));
        assert!(covers("https://*.test/a", "https://git.test/a"));
        assert!(!covers("https://*.test/a", "https://a.git.test/a"));
        assert!(covers("http://[::1]:8080", "http://[::1]:8080/x"));
        assert!(!covers("https://git.test", "ssh://git.test/a"));
        let origin = Scope::origin(&RemoteUrl::parse("https://me:secret@git.test/a/b.git").unwrap()).unwrap();
        assert_eq!(origin, Scope::parse("https://git.test").unwrap());
        assert_eq!(Scope::origin(&RemoteUrl::parse("git@git.test:a").unwrap()), None);
    }

    #[test]
    fn invalid_scopes_are_errors() {
        assert_eq!(Scope::parse("git@git.test:a"), Err(BadScope::Syntax(url::ParseError::RelativeUrlWithoutBase)));
        assert_eq!(Scope::parse("ssh://git.test/a"), Err(BadScope::Scheme));
        assert_eq!(Scope::parse("https://me@git.test/a"), Err(BadScope::User));
    }
}
