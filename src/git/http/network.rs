//! Git's HTTP settings by address, and the choice of proxy, certificates and headers for one address.
//!
//! Pure. It must not know of accounts, which are in `auth`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use url::Url;

use crate::git::http::scope::Scope;
use crate::proxy::{Proxies, ProxyAddress};
use crate::remote_url::RemoteUrl;
use crate::secret::Secret;

/// The configured settings for reaching remotes.
#[derive(Clone, Default)]
pub struct Network {
    /// In the order in which they were configured.
    pub settings: Vec<Setting>,
    /// `insteadOf`, in the order in which they were configured.
    pub rewrites: Vec<Rewrite>,
    /// The proxies of the environment.
    pub proxies: Proxies,
    /// An `SSL_CERT_FILE` that begins with a byte order mark, so that OpenSSL misses its first certificate.
    pub more_trusted: Option<PathBuf>,
}

/// One of git's settings, for an address and all below it.
#[derive(Clone)]
pub struct Setting {
    /// `None`: the setting applies everywhere.
    pub scope: Option<Scope>,
    /// The setting.
    pub value: SettingValue,
}

/// The settings that have an effect here.
#[derive(Clone)]
pub enum SettingValue {
    /// `http.extraHeader`: name and value; `None` drops the headers before it.
    Header(Option<(String, Secret)>),
    /// `http.cookieFile`, `--cookie-file`
    CookieFile(PathBuf),
    /// `http.proxy`; `None`: no proxy.
    Proxy(Option<ProxyAddress>),
    /// `http.sslCAInfo`: trusted instead of the system's certificates.
    CaFile(PathBuf),
    /// `http.sslVerify`
    Verify(bool),
}

/// `url.BASE.insteadOf START`: an address that begins with START begins with BASE instead.
#[derive(Clone)]
pub struct Rewrite {
    /// May contain a user and a password.
    pub base: Secret,
    /// The beginning of an address that is replaced.
    pub start: String,
}

/// The route to one address.
#[derive(Clone)]
pub(crate) struct Route {
    pub headers: Vec<(String, Secret)>,
    pub cookie_file: Option<PathBuf>,
    pub proxy: Option<ProxyAddress>,
    pub ca_file: Option<PathBuf>,
    /// Trusted in addition to the system's certificates.
    pub more_trusted: Option<PathBuf>,
    pub verify: bool,
}

impl Default for Route {
    fn default() -> Self {
        Self { headers: Vec::new(), cookie_file: None, proxy: None, ca_file: None, more_trusted: None, verify: true }
    }
}

impl Network {
    /// Returns the route to an address. A setting with a longer matching scope wins, of equal ones the later
    /// (git-config, `http.<url>.*`).
    pub(crate) fn route(&self, url: &Url) -> Route {
        let mut route = Route { more_trusted: self.more_trusted.clone(), ..Route::default() };
        let mut straight = false;
        // The length of the best matching scope so far, for each kind of setting.
        let mut best = [0; 5];
        let remote = RemoteUrl::parse(url.as_str()).ok();
        for Setting { scope, value } in &self.settings {
            let nearness = match (scope, &remote) {
                // A scope for a whole server has an empty path. The one more below makes it win over a setting for
                // everywhere.
                (None, _) => 0,
                (Some(scope), Some(remote)) if scope.covers(remote) => scope.length() + 1,
                (Some(_), _) => continue,
            };
            let kind = match value {
                SettingValue::Header(_) => 0,
                SettingValue::CookieFile(_) => 1,
                SettingValue::Proxy(_) => 2,
                SettingValue::CaFile(_) => 3,
                SettingValue::Verify(_) => 4,
            };
            // Of equal scopes the later setting replaces the earlier one.
            if nearness < best[kind] {
                continue;
            }
            best[kind] = nearness;
            match value {
                SettingValue::Header(Some(header)) => route.headers.push(header.clone()),
                // An empty value drops the headers before it (git-config, `http.extraHeader`).
                SettingValue::Header(None) => route.headers.clear(),
                SettingValue::CookieFile(path) => route.cookie_file = Some(path.clone()),
                SettingValue::Proxy(proxy) => {
                    // An empty `http.proxy` turns off the proxies of the environment as well.
                    straight = proxy.is_none();
                    route.proxy.clone_from(proxy);
                }
                SettingValue::CaFile(path) => route.ca_file = Some(path.clone()),
                SettingValue::Verify(verify) => route.verify = *verify,
            }
        }
        // `no_proxy` counts for a configured proxy as well.
        if self.proxies.excepts(url) {
            route.proxy = None;
        } else if route.proxy.is_none() && !straight {
            route.proxy = self.proxies.for_url(url).cloned();
        }
        route
    }

    /// Applies `insteadOf` to an address: replaces the longest matching beginning.
    #[must_use]
    pub fn rewrite<'a>(&self, address: &'a str) -> Cow<'a, str> {
        let fitting = self.rewrites.iter().filter(|rewrite| address.starts_with(&rewrite.start));
        // `max_by_key` returns the last of equal elements, and the first is wanted.
        match fitting.rev().max_by_key(|rewrite| rewrite.start.len()) {
            Some(rewrite) => {
                let base = rewrite.base.expose_str().unwrap_or_default();
                Cow::Owned(format!("{base}{}", &address[rewrite.start.len()..]))
            }
            None => Cow::Borrowed(address),
        }
    }

    /// Returns the last configured CA file, whatever its scope: libgit2 has one for all addresses.
    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.settings.iter().rev().find_map(|setting| match &setting.value {
            SettingValue::CaFile(path) => Some(path.as_path()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(scope: &str, value: SettingValue) -> Setting {
        Setting { scope: (!scope.is_empty()).then(|| Scope::parse(scope).unwrap()), value }
    }

    fn header(value: &str) -> SettingValue {
        SettingValue::Header(Some(("X".into(), Secret::new(value))))
    }

    #[test]
    fn the_nearest_setting_counts_and_headers_add_up() {
        let proxy = |text: &str| SettingValue::Proxy(Some(ProxyAddress::parse(text).unwrap()));
        let settings = vec![
            setting("", header("all")),
            setting("https://git.test/acme", header("acme")),
            setting("https://git.test/acme", SettingValue::Verify(false)),
            setting("", SettingValue::Verify(true)),
            setting("", proxy("http://everywhere.test:1")),
            setting("https://git.test", SettingValue::Proxy(None)),
            setting("https://other.test", proxy("near.test:2")),
        ];
        let network = Network { settings, ..Network::default() };
        let route = |url: &str| network.route(&Url::parse(url).unwrap());
        let headers =
            |url: &str| route(url).headers.iter().map(|(_, v)| v.expose_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(headers("https://git.test/acme/site"), ["all", "acme"]);
        assert_eq!(headers("https://git.test/else"), ["all"]);
        assert!(!route("https://git.test/acme/site").verify && route("https://git.test/else").verify);
        let proxy = |url: &str| route(url).proxy.map(|proxy| proxy.to_string());
        assert_eq!(proxy("https://git.test/acme"), None);
        assert_eq!(proxy("https://else.test/").as_deref(), Some("http://everywhere.test:1"));
        assert_eq!(proxy("https://other.test/").as_deref(), Some("http://near.test:2"));
        let reset =
            vec![setting("", header("one")), setting("", SettingValue::Header(None)), setting("", header("two"))];
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
