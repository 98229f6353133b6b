//! Selects the proxy for a URL from `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, like curl and git.
//!
//! A leaf module. Every HTTP client of the program (git, LFS, hooks, `ping`, the dashboard) uses it, so that the
//! variables mean the same for all of them. It must not know what is requested.

mod exceptions;

use std::fmt;

use url::{Host, Url};

use crate::names;
use crate::remote_url::decode;
use crate::secret::Secret;

use exceptions::Exceptions;

/// A proxy. `Display` shows neither the user nor the password.
#[derive(Clone)]
pub struct ProxyAddress {
    bare: String,
    login: Option<(String, Secret)>,
}

/// Why a text is no usable proxy. The message never repeats the text, which may contain a password.
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
    /// Parses `http://user:password@host:port`, with or without the scheme.
    ///
    /// # Errors
    /// [`BadProxy`]
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        let url = if text.contains("://") { Url::parse(text)? } else { Url::parse(&format!("http://{text}"))? };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadProxy::Scheme(url.scheme().to_owned()));
        }
        let host = url.host_str().ok_or(BadProxy::NoHost)?;
        // curl's default port for proxies.
        let port = url.port().unwrap_or(if url.scheme() == "https" { 443 } else { 1080 });
        let login = (!url.username().is_empty())
            .then(|| (decode(url.username()), Secret::new(decode(url.password().unwrap_or_default()))));
        Ok(Self { bare: format!("{}://{host}:{port}", url.scheme()), login })
    }

    /// Returns true if the connection to the proxy itself uses TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.bare.starts_with("https://")
    }

    /// Returns the user and password.
    #[must_use]
    pub fn login(&self) -> Option<(&str, &Secret)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password))
    }

    /// Returns the URL with user and password, for a library that accepts them in no other form.
    #[must_use]
    pub fn whole(&self) -> Secret {
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

impl ProxyAddress {
    /// Returns the proxy in the form of the HTTP library, used for every URL.
    ///
    /// # Errors
    /// The library rejects the address.
    pub fn for_client(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        let proxy = reqwest::Proxy::all(self.to_string())?;
        Ok(match self.login() {
            Some((user, password)) => proxy.basic_auth(user, password.expose_str().unwrap_or_default()),
            None => proxy,
        })
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
    exceptions: Exceptions,
    /// For each scheme, the variable whose value cannot be used, and the reason.
    unusable: Vec<(&'static str, String)>,
}

impl Proxies {
    /// Reads the variables, lower case first, as curl does. Calls `wrong` with the name of each unusable variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>, mut wrong: impl FnMut(&str, BadProxy)) -> Self {
        let find = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_uppercase()];
            names
                .into_iter()
                .find_map(|name| variable(&name).filter(|value| !value.is_empty()).map(|value| (name, value)))
        };
        let mut unusable = Vec::new();
        let mut proxy = |scheme: &'static str, variable: &str| {
            let (name, value) = find(variable).or_else(|| find("all_proxy"))?;
            match ProxyAddress::parse(&value) {
                Ok(proxy) => Some(proxy),
                Err(error) => {
                    unusable.push((scheme, format!("{name} is not a proxy that can be used: {error}")));
                    wrong(&name, error);
                    None
                }
            }
        };
        let (http, https) = (proxy("http", "http_proxy"), proxy("https", "https_proxy"));
        let exceptions = find("no_proxy").map(|(_, value)| Exceptions::parse(&value)).unwrap_or_default();
        Self { http, https, exceptions, unusable }
    }

    /// Reads the proxies from this process's environment.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::read(|name| std::env::var(name).ok(), |_, _| {})
    }

    /// Returns true if `no_proxy` lists the URL.
    #[must_use]
    pub fn excepts(&self, url: &Url) -> bool {
        self.exceptions.cover(url)
    }

    /// Returns the proxy for the URL's scheme, regardless of `no_proxy`.
    #[must_use]
    pub fn for_url(&self, url: &Url) -> Option<&ProxyAddress> {
        match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }
    }

    /// Returns the proxy for a request other than git's. Loopback addresses are always reached directly, because for
    /// a proxy they would be another machine.
    ///
    /// # Errors
    /// The variable for this URL cannot be used. A direct request instead could leak data past the proxy.
    pub fn choose(&self, url: &Url) -> Result<Option<&ProxyAddress>, String> {
        if is_loopback(url) || self.excepts(url) {
            return Ok(None);
        }
        match self.unusable.iter().find(|(scheme, _)| *scheme == url.scheme()) {
            Some((_, wrong)) => Err(wrong.clone()),
            None => Ok(self.for_url(url)),
        }
    }

    /// Makes an HTTP client use what [`Proxies::choose`] returns for the URL, and nothing else. The client resolves
    /// names on our own threads.
    ///
    /// # Errors
    /// A description of why the proxy cannot be used.
    pub fn apply(&self, client: reqwest::ClientBuilder, url: &Url) -> Result<reqwest::ClientBuilder, String> {
        // Otherwise the library would read the environment itself, by other rules.
        let client = client.no_proxy().dns_resolver(names::System);
        match self.choose(url)? {
            None => Ok(client),
            Some(proxy) => Ok(client.proxy(proxy.for_client().map_err(|error| error.to_string())?)),
        }
    }
}

/// Returns true if packets to the URL's host do not leave this machine.
#[must_use]
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            // RFC 6761, section 6.3: names below `localhost` are this machine, too.
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
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
    fn loopback_is_reached_directly_and_an_unusable_proxy_is_an_error() {
        let chosen = |variables: &[(&str, &str)], url: &str| {
            let proxies = proxies(variables).0;
            let url = Url::parse(url).unwrap();
            proxies.choose(&url).map(|proxy| proxy.map(ToString::to_string))
        };
        let all = [("all_proxy", "p.test:1"), ("no_proxy", "inner.test")];
        for direct in [
            "http://localhost:9/",
            "http://127.0.0.9/",
            "http://[::1]:9/",
            "http://[::ffff:127.0.0.1]/",
            "http://web.localhost/",
            "https://a.inner.test/",
        ] {
            assert_eq!(chosen(&all, direct), Ok(None), "{direct}");
        }
        for proxied in ["http://web/", "http://10.0.0.1/", "https://localhost.test/"] {
            assert_eq!(chosen(&all, proxied), Ok(Some("http://p.test:1".to_owned())), "{proxied}");
        }
        let socks = [("all_proxy", "socks5://me:hidden-password@p.test:1"), ("no_proxy", "inner.test")];
        assert_eq!(chosen(&socks, "http://inner.test/"), Ok(None));
        let wrong = chosen(&socks, "http://web/").unwrap_err();
        assert!(wrong.starts_with("all_proxy is not a proxy") && !wrong.contains("hidden-password"), "{wrong}");
    }

    #[test]
    fn the_password_of_a_proxy_is_not_displayed() {
        let proxy = ProxyAddress::parse("http://me:p%40ss+w=ord&x@proxy.test:3128/").unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.test:3128");
        let (user, password) = proxy.login().unwrap();
        assert_eq!((user, password.expose_str()), ("me", Some("p@ss+w=ord&x")));
        let again = ProxyAddress::parse(proxy.whole().expose_str().unwrap()).unwrap();
        assert_eq!(again.login().unwrap().1.expose_str(), Some("p@ss+w=ord&x"));
    }
}
