//! Settings for the connection to the remote: `--git-config`, the cookie file, and the proxies of the environment.
//!
//! It knows the names of git's settings; the git area implements their effects.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::files::{readable, shown};
use super::git_config::{self, Pair};
use super::given::Given;
use super::problem::Problem;
use super::values;
use crate::git::{BadCertificates, Network, Rewrite, Scope, Setting, SettingValue, has_byte_order_mark};
use crate::proxy::{Proxies, ProxyAddress};
use crate::remote_url::{RemoteUrl, Transport};
use crate::secret::Secret;

/// The path of git-sync's cookie file.
const COOKIES: &str = "/etc/git-secret/cookie_file";

/// Variables of git that have no effect here, and their replacements.
const IDLE: [(&str, &str); 13] = [
    ("GIT_SSH", "; give --ssh-key-file"),
    ("GIT_SSH_COMMAND", "; give --ssh-key-file and --ssh-known-hosts-file"),
    ("GIT_SSH_VARIANT", ""),
    ("GIT_ASKPASS", "; give --username and --password-file, or --askpass-url"),
    ("SSH_ASKPASS", "; give --ssh-key-file with a key that needs no passphrase"),
    ("GIT_CONFIG_COUNT", "; give --git-config"),
    ("GIT_CONFIG_GLOBAL", "; give --git-config"),
    ("GIT_CONFIG_SYSTEM", "; give --git-config"),
    ("GIT_CONFIG_PARAMETERS", "; give --git-config"),
    ("GIT_PROXY_COMMAND", ""),
    ("GIT_SSL_CAPATH", "; give GIT_SSL_CAINFO, or SSL_CERT_DIR"),
    ("GIT_SSL_CERT", "; client certificates are not supported"),
    ("GIT_SSL_KEY", "; client certificates are not supported"),
];

/// Reads the settings that are needed to determine the URL: its rewrites.
pub(super) fn rewrites(given: &mut Given) -> (Vec<Pair>, Network) {
    let pairs = pairs(given);
    let mut network = Network::default();
    for (key, value) in &pairs {
        if let Some(base) = parts(key).filter(|(section, name, _)| section == "url" && name == "insteadof") {
            if value.is_empty() {
                given.problem("git-config", "url.<base>.insteadOf has no value; it would rewrite every URL");
            } else {
                let base = base.2.unwrap_or_default();
                network.rewrites.push(Rewrite { base: address(base), start: value.clone() });
            }
        }
    }
    (pairs, network)
}

/// Returns the base of a rewrite. Parsing registers a password in it with the scrubber.
fn address(text: &str) -> Secret {
    let _known_to_the_scrubber = RemoteUrl::parse(text);
    Secret::new(text)
}

/// Reads the settings. `--git-config` replaces, `--git-config-add` adds, like `git config` without and with `--add`.
fn pairs(given: &mut Given) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for (flag, replaces) in [("git-config", true), ("git-config-add", false)] {
        for value in given.values(flag) {
            match value.to_str().map_or_else(|| Err("is not valid UTF-8".to_owned()), git_config::parse) {
                Ok(new) => {
                    for (key, value) in new {
                        if replaces {
                            pairs.retain(|(known, _)| !known.eq_ignore_ascii_case(&key));
                        }
                        pairs.push((key, value));
                    }
                }
                Err(wrong) => given.problem(flag, format!("is not a list of key:value, {wrong}")),
            }
        }
    }
    pairs
}

/// Splits `section.middle.name`; section and name in lower case.
fn parts(key: &str) -> Option<(String, String, Option<&str>)> {
    let (section, rest) = key.split_once('.')?;
    let (middle, name) = rest.rsplit_once('.').map_or((None, rest), |(middle, name)| (Some(middle), name));
    Some((section.to_ascii_lowercase(), name.to_ascii_lowercase(), middle))
}

/// Reads everything else. `url` is the URL after the rewrites.
pub(super) fn read(
    given: &mut Given,
    pairs: Vec<Pair>,
    url: Option<&RemoteUrl>,
    environment: &HashMap<OsString, OsString>,
    network: &mut Network,
) {
    let home = url.and_then(Scope::origin);
    let mut idle = Vec::new();
    for (key, value) in pairs {
        let Some((section, name, middle)) = parts(&key) else {
            given.problem("git-config", format!("`{key}` is not a key; it has no dot"));
            continue;
        };
        if section == "url" && name == "insteadof" {
            continue;
        }
        if section != "http" {
            idle.push(key);
            continue;
        }
        let scope = match middle.map(Scope::parse).transpose() {
            Ok(scope) => scope,
            Err(wrong) => {
                given.problem("git-config", format!("http.<url>.{name} has a url that cannot be used: {wrong}"));
                continue;
            }
        };
        match setting(given, &name, &value) {
            // A header may contain a password, and a hostile `.gitmodules` could name any server, so a header without
            // a scope is sent only to the server of `--repo`.
            Some(Ok(what @ SettingValue::Header(_))) if scope.is_none() => {
                network.settings.extend(home.clone().map(|home| Setting { scope: Some(home), value: what }));
            }
            Some(Ok(what)) => network.settings.push(Setting { scope, value: what }),
            Some(Err(wrong)) => given.problem("git-config", format!("http.{name} {wrong}")),
            None => idle.push(key),
        }
    }
    if !idle.is_empty() {
        let flag = if given.is_given("git-config") { "git-config" } else { "git-config-add" };
        given.warn(flag, format!("pushsync runs no git program, so these have no effect: {}", idle.join(", ")));
    }
    if let Some(path) = cookie_file(given) {
        network.settings.push(Setting { scope: None, value: SettingValue::CookieFile(path) });
    }
    from_environment(given, environment, url, network);
    let variable = |name: &str| environment.get(OsStr::new(name)).and_then(|value| value.to_str()).map(str::to_owned);
    let mut problems = Vec::new();
    network.proxies = Proxies::read(variable, |name, wrong| problems.push((name.to_owned(), wrong.to_string())));
    // `all_proxy` is read for http and for https, and is one mistake.
    problems.dedup();
    // A direct connection instead could leak data past the proxy, and is often not possible.
    let over_http = home.is_some();
    for (name, wrong) in problems {
        let message = format!("is not a proxy that can be used: {wrong}");
        if over_http {
            given.problems.push(Problem { origin: name, message, unknown: false });
        } else {
            given.warnings.push(format!("{name}: {message}"));
        }
    }
}

/// Reads git's own variables for certificates (git(1), git-config(1)), which take precedence over the settings, as in
/// git. Git's variables for programs have no effect, because no program is run.
fn from_environment(
    given: &mut Given,
    environment: &HashMap<OsString, OsString>,
    url: Option<&RemoteUrl>,
    network: &mut Network,
) {
    let named = |name: &str| environment.get(OsStr::new(name));
    // As in git, only whether it is set matters, and `GIT_SSL_NO_VERIFY=false` turns verification off as well.
    let unverified = named("GIT_SSL_NO_VERIFY").is_some();
    if unverified {
        let what = "an attacker in between can impersonate the server and read the credentials";
        given.warnings.push(format!("GIT_SSL_NO_VERIFY: certificates are not checked: {what}"));
        network.settings.retain(|setting| !matches!(setting.value, SettingValue::Verify(_)));
        network.settings.push(Setting { scope: None, value: SettingValue::Verify(false) });
    }
    let needed = !unverified && url.is_some_and(|url| url.transport() == Transport::Https);
    // Certificates are only needed for https, and reading them takes a while.
    if let Some(path) = named("SSL_CERT_FILE").filter(|path| needed && !path.is_empty()).map(PathBuf::from) {
        match crate::git::check_certificates(&path) {
            Ok(()) if has_byte_order_mark(&path) => network.more_trusted = Some(path),
            Ok(()) => {}
            // Images often set the variable to a file that does not exist, beside an existing folder.
            Err(BadCertificates::Unreadable(error)) => {
                given.warnings.push(format!("SSL_CERT_FILE: `{}` cannot be read ({error})", path.display()));
            }
            Err(wrong) => {
                let message = format!("`{}` {wrong}", path.display());
                given.problems.push(Problem { origin: "SSL_CERT_FILE".to_owned(), message, unknown: false });
            }
        }
    }
    if let Some(path) = named("GIT_SSL_CAINFO").filter(|path| !path.is_empty()).map(PathBuf::from) {
        let wrong = crate::git::check_certificates(&path).err();
        match wrong.map(|wrong| format!("`{}` {wrong}", path.display())) {
            None => {
                network.settings.retain(|setting| !matches!(setting.value, SettingValue::CaFile(_)));
                network.settings.push(Setting { scope: None, value: SettingValue::CaFile(path) });
            }
            Some(message) if needed => {
                let message = format!("{message}; mount the certificates there, or remove the variable");
                given.problems.push(Problem { origin: "GIT_SSL_CAINFO".to_owned(), message, unknown: false });
            }
            Some(message) => given.warnings.push(format!("GIT_SSL_CAINFO: {message} and has no effect")),
        }
    }
    for (name, instead) in IDLE {
        if named(name).is_some() {
            given.warnings.push(format!("{name}: has no effect, because pushsync runs no git program{instead}"));
        }
    }
}

/// Parses a setting; `None` if it has no effect here.
fn setting(given: &mut Given, name: &str, value: &str) -> Option<Result<SettingValue, String>> {
    Some(match name {
        "extraheader" => header(value).map(SettingValue::Header),
        "proxy" if value.is_empty() => Ok(SettingValue::Proxy(None)),
        "proxy" => match ProxyAddress::parse(value) {
            Ok(proxy) => Ok(SettingValue::Proxy(Some(proxy))),
            Err(wrong) => Err(format!("cannot be used: {wrong}")),
        },
        "sslcainfo" => {
            if let Err(wrong) = crate::git::check_certificates(Path::new(value)) {
                let message = format!("http.sslCAInfo: {} {wrong}", shown(Path::new(value)));
                given.problem("git-config", message);
            }
            Ok(SettingValue::CaFile(PathBuf::from(value)))
        }
        "sslverify" => match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(SettingValue::Verify(true)),
            "false" | "no" | "off" | "0" | "" => {
                given.warn(
                    "git-config",
                    "http.sslVerify is off: an attacker in between can impersonate the server and read the credentials",
                );
                Ok(SettingValue::Verify(false))
            }
            _ => Err("is neither true nor false".to_owned()),
        },
        "cookiefile" => {
            readable(given, "git-config", Path::new(value), "the cookies of http.cookieFile");
            Ok(SettingValue::CookieFile(PathBuf::from(value)))
        }
        _ => return None,
    })
}

/// Parses `Name: value`. An empty text discards earlier headers.
fn header(text: &str) -> Result<Option<(String, Secret)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (name, value) = text.split_once(':').ok_or("is not a header; write it like `Name: value` (not shown)")?;
    let (name, value) = (name.trim(), value.trim());
    // The characters of a token, which a header's name is (RFC 9110, section 5.6.2).
    let token = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    if name.is_empty() || !name.chars().all(token) || value.chars().any(char::is_control) {
        return Err("is not a valid header (not shown)".to_owned());
    }
    if let Some((_, word)) = value.rsplit_once(' ') {
        // Registers the token of `Bearer TOKEN` with the scrubber, because it may also occur alone.
        let _known_to_the_scrubber = Secret::new(word);
    }
    Ok(Some((name.to_owned(), Secret::new(value))))
}

/// Reads `--cookie-file`. In git-sync it is a switch with a fixed path; here it may also be a path.
fn cookie_file(given: &mut Given) -> Option<PathBuf> {
    let text = given.text("cookie-file")?;
    let path = match values::switch(&text) {
        Ok(true) => PathBuf::from(COOKIES),
        Ok(false) => return None,
        Err(_) if text.starts_with('/') => PathBuf::from(text),
        Err(_) => {
            given.problem(
                "cookie-file",
                "is neither true nor false nor an absolute path (not shown: it may be a cookie)",
            );
            return None;
        }
    };
    readable(given, "cookie-file", &path, "the cookies");
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_section_a_name_and_perhaps_an_address() {
        let own = |key| parts(key).map(|(section, name, middle)| (section, name, middle.map(str::to_owned)));
        assert_eq!(own("HTTP.ExtraHeader"), Some(("http".into(), "extraheader".into(), None)));
        let scoped = Some(("http".into(), "proxy".into(), Some("https://git.test/a.b".into())));
        assert_eq!(own("http.https://git.test/a.b.proxy"), scoped);
        assert_eq!(own("nodot"), None);
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let (name, value) = header("Authorization: Bearer abcdefgh").unwrap().unwrap();
        assert_eq!((name.as_str(), value.expose_str()), ("Authorization", Some("Bearer abcdefgh")));
        assert!(header("").unwrap().is_none());
        for wrong in ["no colon", ": x", "A b: c", "A: b\r\nC: d"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }
}
