//! Which proxy stands before an address: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, as curl and git read them.
//!
//! Pure; whose environment it is, is the caller's business.

use std::fmt;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::remote_url::decode;
use crate::secret::Secret;

/// A proxy. `Display` shows neither user nor password.
#[derive(Clone)]
pub struct ProxyAddress {
    bare: String,
    login: Option<(String, Secret)>,
}

/// Why a text is no proxy. It never repeats the text, which may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    #[error("it cannot be parsed: {0}")]
    Syntax(#[from] url::ParseError),
    #[error("`{0}://` is no proxy that pushsync can use; http:// and https:// are")]
    Scheme(String),
    #[error("it names no host")]
    NoHost,
}

impl ProxyAddress {
    /// Reads `http://user:password@host:port`, or that without a scheme.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        let url = if text.contains("://") { Url::parse(text)? } else { Url::parse(&format!("http://{text}"))? };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadProxy::Scheme(url.scheme().to_owned()));
        }
        let host = url.host_str().ok_or(BadProxy::NoHost)?;
        // curl's port for a proxy that names none.
        let port = url.port().unwrap_or(if url.scheme() == "https" { 443 } else { 1080 });
        let login = (!url.username().is_empty())
            .then(|| (decode(url.username()), Secret::new(decode(url.password().unwrap_or_default()))));
        Ok(Self { bare: format!("{}://{host}:{port}", url.scheme()), login })
    }

    /// True if the way to the proxy itself is TLS.
    pub(super) fn is_https(&self) -> bool {
        self.bare.starts_with("https://")
    }

    /// User and password.
    pub(super) fn login(&self) -> Option<(&str, &Secret)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password))
    }

    /// With user and password, for a library that takes them in no other way.
    pub(super) fn whole(&self) -> Secret {
        let mut url = self.bare.clone();
        if let (Some((user, password)), Ok(mut parsed)) = (&self.login, Url::parse(&self.bare)) {
            // Cannot fail for an address with a host.
            let _ = parsed.set_username(user);
            let _ = parsed.set_password(password.expose_str());
            url = parsed.into();
        }
        Secret::new(url)
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare)
    }
}

/// The proxies of the environment.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<ProxyAddress>,
    https: Option<ProxyAddress>,
    no: Option<No>,
}

/// What is reached without a proxy.
#[derive(Clone)]
enum No {
    Everything,
    /// Built once; it matches whatever is not excepted.
    Some(Arc<Matcher>),
}

impl Proxies {
    /// Reads the variables, lower case first, as curl does. What is wrong with one is told with its name.
    pub fn read(variable: impl Fn(&str) -> Option<String>, mut wrong: impl FnMut(&str, BadProxy)) -> Self {
        let find = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_uppercase()];
            names
                .into_iter()
                .find_map(|name| variable(&name).filter(|value| !value.is_empty()).map(|value| (name, value)))
        };
        let mut proxy = |name: &str| {
            let (name, value) = find(name).or_else(|| find("all_proxy"))?;
            ProxyAddress::parse(&value).map_err(|error| wrong(&name, error)).ok()
        };
        let (http, https) = (proxy("http_proxy"), proxy("https_proxy"));
        let no = find("no_proxy").map(|(_, value)| {
            let value: Vec<&str> = value.split(',').map(str::trim).collect();
            if value.contains(&"*") {
                // The library takes this for names only.
                return No::Everything;
            }
            let value: Vec<&str> = value.iter().map(|one| one.trim_start_matches("*.")).collect();
            No::Some(Matcher::builder().all("http://proxy.invalid:1").no(value.join(",")).build().into())
        });
        Self { http, https, no }
    }

    pub(super) fn excepts(&self, url: &Url) -> bool {
        let matcher = match &self.no {
            None => return false,
            Some(No::Everything) => return true,
            Some(No::Some(matcher)) => matcher,
        };
        let Some(host) = url.host_str() else { return false };
        format!("http://{host}/").parse().is_ok_and(|uri| matcher.intercept(&uri).is_none())
    }

    pub(super) fn for_url(&self, url: &Url) -> Option<&ProxyAddress> {
        match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> (Proxies, Vec<String>) {
        let mut problems = Vec::new();
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let proxies = Proxies::read(find, |name, wrong| problems.push(format!("{name}: {wrong}")));
        (proxies, problems)
    }

    fn before(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let (proxies, problems) = proxies(variables);
        assert!(problems.is_empty(), "{problems:?}");
        let url = Url::parse(url).unwrap();
        if proxies.excepts(&url) { None } else { proxies.for_url(&url).map(ToString::to_string) }
    }

    #[test]
    fn the_scheme_and_the_exceptions_choose_the_proxy() {
        let variables = [
            ("http_proxy", "http://plain.test:3128"),
            ("HTTP_PROXY", "http://upper.test:1"),
            ("HTTPS_PROXY", "secure.test"),
            ("no_proxy", "localhost, .inner.test,10.0.0.0/8,*.star.test,[::1]"),
        ];
        let cases = [
            ("http://git.test/a", Some("http://plain.test:3128")),
            ("https://git.test/a", Some("http://secure.test:1080")),
            ("https://git.inner.test/a", None),
            ("https://git.star.test/a", None),
            ("https://winner.test/a", Some("http://secure.test:1080")),
            ("http://10.1.2.3:8080/a", None),
            ("http://11.1.2.3:8080/a", Some("http://plain.test:3128")),
            ("http://localhost:1/a", None),
        ];
        for (url, expected) in cases {
            assert_eq!(before(&variables, url).as_deref(), expected, "{url}");
        }
        assert_eq!(before(&[("ALL_PROXY", "p.test:1")], "https://git.test").as_deref(), Some("http://p.test:1"));
        assert_eq!(before(&[("all_proxy", "p.test:1"), ("NO_PROXY", "*")], "https://git.test"), None);
        for no in ["*", "git.test, *"] {
            assert_eq!(before(&[("all_proxy", "p.test:1"), ("no_proxy", no)], "http://127.0.0.1:8080/a"), None, "{no}");
        }
        assert_eq!(before(&[("http_proxy", "")], "http://git.test"), None);
        let (_, problems) = proxies(&[("all_proxy", "socks5://me:hidden-password@p.test:1")]);
        assert!(problems.len() == 2 && problems[0].starts_with("all_proxy: `socks5://` is no proxy"), "{problems:?}");
    }

    #[test]
    fn a_password_is_kept_apart() {
        let proxy = ProxyAddress::parse("http://me:p%40ss+w=ord&x@proxy.test:3128/").unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.test:3128");
        let (user, password) = proxy.login().unwrap();
        assert_eq!((user, password.expose_str()), ("me", Some("p@ss+w=ord&x")));
        let again = ProxyAddress::parse(proxy.whole().expose_str().unwrap()).unwrap();
        assert_eq!(again.login().unwrap().1.expose_str(), Some("p@ss+w=ord&x"));
    }
}
