//! How remotes over http(s) are reached: the settings of git that have an effect here, by address, and the proxy for it.
//!
//! Pure. It must not know of accounts: those are in `access`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use url::Url;

use crate::git::http::scope::Scope;
use crate::proxy::{Proxies, ProxyAddress};
use crate::remote_url::RemoteUrl;
use crate::secret::Secret;

/// What is configured about the way to remotes.
#[derive(Clone, Default)]
pub struct Network {
    /// In the order in which they were given.
    pub settings: Vec<Setting>,
    pub rewrites: Vec<Rewrite>,
    /// From the environment.
    pub proxies: Proxies,
    /// An `SSL_CERT_FILE` that OpenSSL does not read to its end: it begins with a byte order mark.
    pub more_trusted: Option<PathBuf>,
}

/// One of git's settings, for an address and all below it.
#[derive(Clone)]
pub struct Setting {
    /// `None`: everywhere.
    pub scope: Option<Scope>,
    pub what: What,
}

#[derive(Clone)]
pub enum What {
    /// `http.extraHeader`: name and value; `None` forgets those before it.
    Header(Option<(String, Secret)>),
    /// `http.cookieFile`, `--cookie-file`
    CookieFile(PathBuf),
    /// `http.proxy`; `None`: straight.
    Proxy(Option<ProxyAddress>),
    /// `http.sslCAInfo`: trusted instead of the system's certificates.
    CaFile(PathBuf),
    /// `http.sslVerify`
    Verify(bool),
}

/// `url.BASE.insteadOf START`: what begins with START is had from BASE.
#[derive(Clone)]
pub struct Rewrite {
    /// May hold a user and a password.
    pub base: Secret,
    pub start: String,
}

/// The way to one address.
#[derive(Clone)]
pub(crate) struct Route {
    pub headers: Vec<(String, Secret)>,
    pub cookie_file: Option<PathBuf>,
    pub proxy: Option<ProxyAddress>,
    pub ca_file: Option<PathBuf>,
    /// Trusted besides the system's certificates.
    pub more_trusted: Option<PathBuf>,
    pub verify: bool,
}

impl Default for Route {
    fn default() -> Self {
        Self { headers: Vec::new(), cookie_file: None, proxy: None, ca_file: None, more_trusted: None, verify: true }
    }
}

impl Network {
    /// The way to an address. Of settings, one for a nearer address counts, then the later one (git-config, `http.<url>.*`).
    pub(crate) fn route(&self, url: &Url) -> Route {
        let mut way = Route { more_trusted: self.more_trusted.clone(), ..Route::default() };
        let mut straight = false;
        // One for each kind of setting: how near its address was so far.
        let mut best = [0; 5];
        let remote = RemoteUrl::parse(url.as_str()).ok();
        for Setting { scope, what } in &self.settings {
            let nearness = match (scope, &remote) {
                (None, _) => 0,
                (Some(scope), Some(remote)) if scope.covers(remote) => scope.length() + 1,
                (Some(_), _) => continue,
            };
            let kind = match what {
                What::Header(_) => 0,
                What::CookieFile(_) => 1,
                What::Proxy(_) => 2,
                What::CaFile(_) => 3,
                What::Verify(_) => 4,
            };
            if nearness < best[kind] {
                continue;
            }
            best[kind] = nearness;
            match what {
                What::Header(Some(header)) => way.headers.push(header.clone()),
                What::Header(None) => way.headers.clear(),
                What::CookieFile(path) => way.cookie_file = Some(path.clone()),
                What::Proxy(proxy) => {
                    straight = proxy.is_none();
                    way.proxy.clone_from(proxy);
                }
                What::CaFile(path) => way.ca_file = Some(path.clone()),
                What::Verify(verify) => way.verify = *verify,
            }
        }
        if self.proxies.excepts(url) {
            way.proxy = None;
        } else if way.proxy.is_none() && !straight {
            way.proxy = self.proxies.for_url(url).cloned();
        }
        way
    }

    /// The address that is meant by one that is written somewhere: the longest beginning that fits is replaced.
    #[must_use]
    pub fn rewrite<'a>(&self, address: &'a str) -> Cow<'a, str> {
        let fitting = self.rewrites.iter().filter(|rewrite| address.starts_with(&rewrite.start));
        match fitting.rev().max_by_key(|rewrite| rewrite.start.len()) {
            Some(rewrite) => {
                let base = rewrite.base.expose_str().unwrap_or_default();
                Cow::Owned(format!("{base}{}", &address[rewrite.start.len()..]))
            }
            None => Cow::Borrowed(address),
        }
    }

    /// A CA file that counts everywhere; libgit2 knows only such.
    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.settings.iter().rev().find_map(|setting| match &setting.what {
            What::CaFile(path) => Some(path.as_path()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(scope: &str, what: What) -> Setting {
        Setting { scope: (!scope.is_empty()).then(|| Scope::parse(scope).unwrap()), what }
    }

    fn header(value: &str) -> What {
        What::Header(Some(("X".into(), Secret::new(value))))
    }

    #[test]
    fn the_nearest_setting_counts_and_headers_add_up() {
        let proxy = |text: &str| What::Proxy(Some(ProxyAddress::parse(text).unwrap()));
        let settings = vec![
            setting("", header("all")),
            setting("https://git.test/acme", header("acme")),
            setting("https://git.test/acme", What::Verify(false)),
            setting("", What::Verify(true)),
            setting("", proxy("http://everywhere.test:1")),
            setting("https://git.test", What::Proxy(None)),
            setting("https://other.test", proxy("near.test:2")),
        ];
        let network = Network { settings, ..Network::default() };
        let way = |url: &str| network.route(&Url::parse(url).unwrap());
        let headers =
            |url: &str| way(url).headers.iter().map(|(_, v)| v.expose_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(headers("https://git.test/acme/site"), ["all", "acme"]);
        assert_eq!(headers("https://git.test/else"), ["all"]);
        assert!(!way("https://git.test/acme/site").verify && way("https://git.test/else").verify);
        let proxy = |url: &str| way(url).proxy.map(|proxy| proxy.to_string());
        assert_eq!(proxy("https://git.test/acme"), None);
        assert_eq!(proxy("https://else.test/").as_deref(), Some("http://everywhere.test:1"));
        assert_eq!(proxy("https://other.test/").as_deref(), Some("http://near.test:2"));
        let reset = vec![setting("", header("one")), setting("", What::Header(None)), setting("", header("two"))];
        let network = Network { settings: reset, ..Network::default() };
        assert_eq!(network.route(&Url::parse("https://git.test").unwrap()).headers.len(), 1);
    }

    #[test]
    fn the_longest_beginning_is_replaced() {
        let rewrite = |base: &str, start: &str| Rewrite { base: Secret::new(base), start: start.to_owned() };
        let rewrites = vec![
            rewrite("https://mirror.test/", "https://git.test/"),
            rewrite("https://me:token-of-acme@git.test/acme/", "https://git.test/acme/"),
            rewrite("https://git.test/", "git@git.test:"),
        ];
        let network = Network { rewrites, ..Network::default() };
        assert_eq!(network.rewrite("https://git.test/a"), "https://mirror.test/a");
        assert_eq!(network.rewrite("https://git.test/acme/a"), "https://me:token-of-acme@git.test/acme/a");
        assert_eq!(network.rewrite("git@git.test:a/b"), "https://git.test/a/b");
        assert_eq!(network.rewrite("/srv/a"), "/srv/a");
    }
}
