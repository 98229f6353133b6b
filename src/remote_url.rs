//! The URL of a git remote: parsed for connecting, redacted for printing, and compared as a repository of a forge.
//!
//! A leaf module: git connects with it, the server compares deliveries with it, and other areas print its redacted
//! form.

use std::borrow::Cow;
use std::fmt;

use url::Url;

use crate::secret::{self, BadPassword, Secret};

/// A user name of at least this length without a password is a token (GitHub's have at least 40 characters, GitLab's
/// 26), so the scrubber hides it everywhere.
const SHORTEST_TOKEN: usize = 20;

/// How the remote is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http,
    Https,
    Ssh,
    /// A path on this machine, with or without `file://`.
    Local,
}

/// A parsed `--repo`. `Display` and `Debug` never show a password.
#[derive(Clone)]
pub struct RemoteUrl {
    transport: Transport,
    /// The URL for libgit2: without a password, and for http(s) without a user.
    bare: String,
    user: Option<String>,
    password: Option<Secret>,
    /// Host and path as used by the forge; `None` for a local path.
    host: Option<String>,
    path: String,
}

/// Why a `--repo` cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("it is empty")]
    Empty,
    #[error("`{0}://` is not supported; use https://, http://, ssh://, user@host:path, file:// or a path")]
    Scheme(String),
    #[error("it cannot be parsed: {0}")]
    Syntax(#[from] url::ParseError),
    #[error("it names no host")]
    NoHost,
    #[error("it contains a control character (`echo` adds a newline, for example)")]
    Control,
    #[error("`/`, `?` or `#` in a user name or password is written as %2F, %3F or %23")]
    Reserved,
    #[error("the user name in it cannot be used: {0}")]
    User(BadPassword),
    #[error("the password in it cannot be used: {0}")]
    Password(BadPassword),
}

impl RemoteUrl {
    /// Parses a URL, an scp-like address (`git@host:owner/name.git`) or a path, as git does (gitprotocol, "GIT
    /// URLS").
    ///
    /// # Errors
    /// [`BadUrl`]. The message never repeats the text, which may contain a password.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        if text.is_empty() {
            return Err(BadUrl::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(BadUrl::Control);
        }
        // The text before `://` may not be a scheme but contain a password: `me:secret@host/a?u=http://x`.
        if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            return Self::parse_url(scheme, text);
        }
        // Colons in brackets belong to an IPv6 address.
        let bracket = text.find("@[").map_or(0, |at| at + 1);
        if text[bracket..].starts_with('[')
            && !text[..bracket].contains(['/', ':'])
            && let Some(end) = text.find("]:")
        {
            return Self::parse_scp(&text[..=end], &text[end + 2..]);
        }
        // As in git, a colon before the first slash makes the text scp-like, unless the path starts with `./`.
        let colon = text.find(':');
        let slash = text.find('/').unwrap_or(text.len());
        match colon {
            // git would treat the text as a host here, but it is a typing mistake, and a password may follow:
            // `.https://me:secret@host/a`.
            Some(colon) if text[colon..].starts_with("://") && !text[..colon].contains(['@', '/']) => {
                Err(BadUrl::Scheme(text[..colon].to_owned()))
            }
            Some(colon) if colon < slash => Self::parse_scp(&text[..colon], &text[colon + 1..]),
            _ => Self::local(text),
        }
    }

    fn parse_url(scheme: &str, text: &str) -> Result<Self, BadUrl> {
        let transport = match scheme.to_ascii_lowercase().as_str() {
            "http" => Transport::Http,
            "https" => Transport::Https,
            "ssh" | "git+ssh" | "ssh+git" => Transport::Ssh,
            "file" => {
                let written = &text["file://".len()..];
                let path = decode(written);
                if path.chars().any(char::is_control) {
                    return Err(BadUrl::Control);
                }
                // Without its scheme, a colon in the first part would turn the path into an scp-like address. git
                // accepts `./` to prevent that.
                let beside = !path.starts_with('/') && path.split('/').next().is_some_and(|first| first.contains(':'));
                let local = if beside { Self::local(&format!("./{path}")) } else { Self::local(&path) };
                // As in git-sync, the link's name is taken from the URL as written.
                return local.map(|local| Self { path: written.to_owned(), ..local });
            }
            other => return Err(BadUrl::Scheme(other.to_owned())),
        };
        if has_unescaped_password(text) {
            return Err(BadUrl::Reserved);
        }
        let mut url = Url::parse(text)?;
        let host = url.host_str().ok_or(BadUrl::NoHost)?.to_owned();
        let user = (!url.username().is_empty()).then(|| decode(url.username()));
        let password = url.password().map(decode);
        let password = password.map(Secret::password).transpose().map_err(BadUrl::Password)?;
        if let Some(user) = &user {
            secret::check_user(user).map_err(BadUrl::User)?;
            if password.is_none() && transport != Transport::Ssh && user.len() >= SHORTEST_TOKEN {
                let _known_to_the_scrubber = Secret::new(user.as_str());
            }
        }
        let path = url.path().to_owned();
        // Cannot fail for a URL with a host, which was checked above.
        let _ = url.set_password(None);
        if transport != Transport::Ssh {
            let _ = url.set_username("");
        }
        Ok(Self { transport, bare: url.into(), user, password, host: Some(host), path })
    }

    fn parse_scp(user_and_host: &str, path: &str) -> Result<Self, BadUrl> {
        let (user, host) = match user_and_host.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, user_and_host),
        };
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(BadUrl::NoHost);
        }
        Ok(Self {
            transport: Transport::Ssh,
            bare: format!("{user_and_host}:{path}"),
            user,
            password: None,
            host: Some(host.to_owned()),
            path: path.to_owned(),
        })
    }

    fn local(path: &str) -> Result<Self, BadUrl> {
        if path.is_empty() {
            return Err(BadUrl::Empty);
        }
        Ok(Self {
            transport: Transport::Local,
            bare: path.to_owned(),
            user: None,
            password: None,
            host: None,
            path: path.to_owned(),
        })
    }

    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns the URL without a password (and for http(s) without a user), safe to print and to pass to libgit2.
    #[must_use]
    pub fn bare(&self) -> &str {
        &self.bare
    }

    /// Returns the URL for libgit2. libgit2 sends the path of `ssh://` to the server as written, while git decodes
    /// it. libgit2's other form has no escapes: `[user@host:port]:path`.
    #[must_use]
    pub fn for_libgit2(&self) -> Cow<'_, str> {
        let decoded = decode(&self.path);
        let is_plain = decoded == self.path || decoded.chars().any(char::is_control);
        match Url::parse(&self.bare) {
            Ok(url) if self.transport == Transport::Ssh && !is_plain => {
                let (user, at) = self.user.as_deref().map_or(("", ""), |user| (user, "@"));
                let host = self.host.as_deref().unwrap_or_default();
                Cow::Owned(format!("[{user}{at}{host}:{}]:{decoded}", url.port().unwrap_or(22)))
            }
            _ => Cow::Borrowed(&self.bare),
        }
    }

    /// Returns the user in the URL.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the password in the URL.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Returns the same URL with the user and password of another one. The caller decides whether they may be used
    /// for it.
    #[must_use]
    pub fn with_login_of(self, other: &Self) -> Self {
        Self { user: other.user.clone(), password: other.password.clone(), ..self }
    }

    /// Returns the host (no port, no user) and the path without slashes at its ends and without `.git`; `None` for a
    /// local path.
    #[must_use]
    pub fn repository(&self) -> Option<(&str, &str)> {
        let path = self.path.trim_matches('/');
        // `…/name/.git` is the folder of a non-bare repository.
        Some((self.host.as_deref()?, path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/')))
    }

    /// Returns the last part of the path: the default name of the link, including `.git`, as in git-sync.
    #[must_use]
    pub fn leaf(&self) -> Option<&str> {
        let path = self.path.trim_end_matches('/');
        let path = path.strip_suffix("/.git").unwrap_or(path);
        let leaf = path.rsplit(['/', ':']).next()?;
        (!leaf.is_empty() && leaf != "." && leaf != "..").then_some(leaf)
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare)
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({})", self.bare)
    }
}

/// Returns the forge that a host belongs to. Some forges have another host for SSH over port 443, for networks that
/// block port 22. Other hosts are returned unchanged, in lower case and without brackets.
#[must_use]
pub fn forge(host: &str) -> String {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_lowercase();
    match host.as_str() {
        "ssh.github.com" => "github.com".to_owned(),
        "altssh.gitlab.com" => "gitlab.com".to_owned(),
        "altssh.bitbucket.org" => "bitbucket.org".to_owned(),
        _ => host,
    }
}

/// Returns true for a scheme as git defines it: letters, digits and a few signs.
fn is_scheme(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(part)
}

/// Returns true if the authority of a URL ends within a password, because the password contains an unescaped
/// delimiter.
///
/// A number after the colon is a port, and the text after it is a path, in which `@` has no meaning.
fn has_unescaped_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let Some(end) = rest.find(['/', '?', '#']) else { return false };
    let (authority, behind) = rest.split_at(end);
    if authority.contains('@') || !behind.contains('@') {
        return false;
    }
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    // IPv6 addresses contain colons.
    let is_host = is_port || authority.ends_with(']');
    !behind.starts_with('/') || !is_host
}

/// Decodes percent-encoding. If the result is not valid UTF-8, the text is returned unchanged.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            // `from_str_radix` would accept a sign.
            .filter(|two| two.iter().all(u8::is_ascii_hexdigit))
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        if let (b'%', Some(byte)) = (first, hex) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_git_takes_names_its_repository() {
        let cases = [
            ("https://github.com/acme/site.git", Transport::Https, Some(("github.com", "acme/site")), "site.git"),
            ("https://u:p@github.com:8443/acme/site", Transport::Https, Some(("github.com", "acme/site")), "site"),
            ("git@github.com:acme/site.git", Transport::Ssh, Some(("github.com", "acme/site")), "site.git"),
            ("ssh://git@github.com:2222/acme/site.git/", Transport::Ssh, Some(("github.com", "acme/site")), "site.git"),
            ("https://git.test/acme/site/.git", Transport::Https, Some(("git.test", "acme/site")), "site"),
            ("file:///srv/git/site.git", Transport::Local, None, "site.git"),
            ("/srv/git/site/.git", Transport::Local, None, "site"),
            ("file://git.test:site", Transport::Local, None, "site"),
            ("./odd:name", Transport::Local, None, "name"),
            ("[2001:db8::1]:acme/site", Transport::Ssh, Some(("2001:db8::1", "acme/site")), "site"),
            ("git@[2001:db8::1]:acme/site", Transport::Ssh, Some(("2001:db8::1", "acme/site")), "site"),
        ];
        for (text, transport, repository, leaf) in cases {
            let url = RemoteUrl::parse(text).expect(text);
            assert_eq!(url.transport(), transport, "{text}");
            assert_eq!(url.repository(), repository, "{text}");
            assert_eq!(url.leaf(), Some(leaf), "{text}");
        }
    }

    #[test]
    fn ssh_hosts_of_forges_are_mapped_to_the_forge() {
        for (host, expected) in [
            ("ssh.github.com", "github.com"),
            ("SSH.GitHub.com.", "github.com"),
            ("altssh.gitlab.com", "gitlab.com"),
            ("altssh.bitbucket.org", "bitbucket.org"),
            ("ssh.github.com.evil.test", "ssh.github.com.evil.test"),
            ("ssh.git.test", "ssh.git.test"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(forge(host), expected);
        }
    }

    #[test]
    fn credentials_are_taken_out_and_never_shown() {
        let url = RemoteUrl::parse("https://me:p%40ss%3Aword@git.test/a/b.git").expect("a URL");
        assert_eq!(url.user(), Some("me"));
        assert!(url.password().is_some_and(|password| password.expose() == b"p@ss:word"));
        assert_eq!(url.to_string(), "https://git.test/a/b.git");
        assert_eq!(format!("{url:?}"), "RemoteUrl(https://git.test/a/b.git)");
    }

    #[test]
    fn an_unusable_url_is_rejected_with_the_reason() {
        assert_eq!(RemoteUrl::parse("").err(), Some(BadUrl::Empty));
        assert_eq!(RemoteUrl::parse("ftp://host/x").err(), Some(BadUrl::Scheme("ftp".into())));
        assert_eq!(RemoteUrl::parse(".https://me:secret@host/x").err(), Some(BadUrl::Scheme(".https".into())));
        assert!(RemoteUrl::parse("git@my_host://srv/x").is_ok_and(|url| url.transport() == Transport::Ssh));
        assert_eq!(RemoteUrl::parse("https:///x\n").err(), Some(BadUrl::Control));
        assert_eq!(RemoteUrl::parse("@:x").err(), Some(BadUrl::NoHost));
        assert_eq!(RemoteUrl::parse("[::1]").err(), Some(BadUrl::NoHost));
        assert_eq!(RemoteUrl::parse("file://").err(), Some(BadUrl::Empty));
    }

    #[test]
    fn paths_are_decoded_for_opening_and_the_link_keeps_its_written_name() {
        let url = RemoteUrl::parse("file:///srv/my%20site%231.git").unwrap();
        assert_eq!((url.bare(), url.leaf()), ("/srv/my site#1.git", Some("my%20site%231.git")));
        assert_eq!(RemoteUrl::parse("file:///srv/a%0Ab").err(), Some(BadUrl::Control));
        let cases = [
            ("ssh://git@git.test:2222/srv/my%20site.git", "[git@git.test:2222]:/srv/my site.git"),
            ("ssh://git.test/a%3Fb", "[git.test:22]:/a?b"),
            ("ssh://git@git.test/plain.git", "ssh://git@git.test/plain.git"),
            ("git@git.test:a%20b", "git@git.test:a%20b"),
            ("https://git.test/a%20b", "https://git.test/a%20b"),
        ];
        for (text, expected) in cases {
            let url = RemoteUrl::parse(text).unwrap();
            assert_eq!((url.for_libgit2().as_ref(), url.bare()), (expected, text));
        }
    }

    #[test]
    fn unescaped_delimiters_in_a_password_are_reported() {
        for text in [
            "https://me:pa#ss@git.test/a",
            "https://me:pa/ss@git.test/a",
            "https://me:p?ss@git.test/a",
            "https://tok#en@git.test/a",
            "https://tok?en@git.test/a",
        ] {
            assert_eq!(RemoteUrl::parse(text).err(), Some(BadUrl::Reserved), "{text}");
        }
        for text in
            ["https://git.test:8443/a@b", "https://git.test/a@b", "https://me:pw@git.test/a#@", "ssh://[::1]/a@b"]
        {
            assert!(RemoteUrl::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn line_breaks_at_the_end_of_a_password_are_dropped_and_elsewhere_refused() {
        let url = RemoteUrl::parse("https://me:secret%0D%0A%0A@git.test/a").unwrap();
        assert!(url.password().is_some_and(|password| password.expose() == b"secret"));
        let bad = |text| RemoteUrl::parse(text).err();
        assert_eq!(bad("https://me:sec%0Aret@git.test/a"), Some(BadUrl::Password(BadPassword::LineBreak)));
        assert_eq!(bad("https://me%0A:secret@git.test/a"), Some(BadUrl::User(BadPassword::LineBreak)));
    }

    #[test]
    fn a_refusal_does_not_repeat_a_password() {
        // The colon before the first slash makes the text scp-like, as in git.
        let url = RemoteUrl::parse("me:secret@git.test/a?u=ftp://x").expect("scp-like");
        assert_eq!((url.transport(), url.user()), (Transport::Ssh, None));
        let url = RemoteUrl::parse("https://me:100%+1@git.test/a").expect("a URL");
        assert!(url.password().is_some_and(|password| password.expose() == b"100%+1"));
    }
}
