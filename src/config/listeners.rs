//! Options of the webhook, http and admin listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::files::shown;
use super::given::Given;
use super::values;
use crate::peers;
use crate::remote_url::RemoteUrl;
use crate::secret_file;
use crate::server::{AdminBind, Audience, Repository, ServerOptions, WebhookOptions};

/// The webhook listener's address if only a secret is given.
const DEFAULT_HOOK: &str = ":8080";

/// Reads the server's options; `None` if there was a problem.
pub(super) fn read(given: &mut Given, url: Option<&RemoteUrl>, reference: Option<&str>) -> Option<ServerOptions> {
    // Some of the functions below return a value even after a problem, so the problems are counted.
    let before = given.problems.len();
    let hook = hook(given, url, reference);
    let http = given.value("http-bind", values::address);
    let http_metrics = given.value("http-metrics", values::switch);
    if http_metrics == Some(true) && http.is_none() && !given.is_refused("http-bind") {
        given.problem("http-metrics", "needs --http-bind, the listener that serves it");
    }
    let (admin, admin_token_file) = admin(given);
    different_ports(given, hook.as_ref().map(|hook| hook.bind), http, admin);
    if given.problems.len() > before {
        return None;
    }
    Some(ServerOptions { hook, http, http_metrics: http_metrics?, admin: admin?, admin_token_file })
}

/// Reads the options of the webhook listener. Without a secret there is no listener, and an explicit address is a
/// problem.
fn hook(given: &mut Given, url: Option<&RemoteUrl>, reference: Option<&str>) -> Option<WebhookOptions> {
    let secret_optional = given.value("hook-secret-optional", values::switch).unwrap_or_default();
    let secret_files = secrets(given, secret_optional);
    let path = given.value("hook-path", hook_path);
    let wanted = given.value("hook-repo", repository);
    if secret_files.is_empty() {
        if given.is_given("hook-bind") {
            // Not a warning: a listener that was asked for and is missing would only be noticed at the first push.
            given.problem("hook-bind", "needs --hook-secret-file: webhooks without a secret are not received");
        }
        if given.is_given("peers") {
            given.problem("peers", "needs --hook-secret-file: messages to peers are signed with a key made from it");
        }
        for name in ["hook-path", "hook-repo", "hook-rate", "hook-secret-optional"] {
            if given.is_given(name) {
                given.warn(name, "has no effect without --hook-secret-file");
            }
        }
        return None;
    }
    let bind = if given.is_given("hook-bind") {
        given.value("hook-bind", values::address)
    } else {
        values::address(DEFAULT_HOOK).ok()
    };
    let from_url = || {
        let (host, name) = url?.repository()?;
        Some(Repository { host: Some(host.to_owned()), name: name.to_owned() })
    };
    let audience =
        Audience { repository: wanted.or_else(from_url), reference: reference.unwrap_or_default().to_owned() };
    let peers = peers::PeerOptions {
        names: peers(given),
        repo: url.map(ToString::to_string).unwrap_or_default(),
        reference: audience.reference.clone(),
    };
    Some(WebhookOptions { bind: bind?, path: path?, secret_files, secret_optional, audience, peers })
}

/// Reads the peers; the flag may be repeated, and each value may be a list.
fn peers(given: &mut Given) -> Vec<peers::Name> {
    let mut names: Vec<peers::Name> = Vec::new();
    for value in given.paths("peers") {
        let text = value.to_string_lossy();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match peer(part) {
                Ok(name) if names.contains(&name) => {}
                Ok(name) => names.push(name),
                Err(wrong) => given.problem("peers", format!("`{part}` {wrong}")),
            }
        }
    }
    names
}

/// Parses `name:port`, `192.0.2.1:8080` or `[2001:db8::1]:8080`.
pub(super) fn peer(text: &str) -> Result<peers::Name, String> {
    const FORM: &str = "is not a host and port; write it like site-peers:8080";
    // From the right, because an IPv6 address contains colons.
    let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(FORM)?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let good = in_brackets.map_or_else(
        // The longest name in DNS: 255 bytes in its wire form (RFC 1035, section 2.3.4).
        || (1..=253).contains(&host.len()) && host.bytes().all(part),
        |host| host.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    if good { Ok(peers::Name { host: in_brackets.unwrap_or(host).to_owned(), port }) } else { Err(FORM.to_owned()) }
}

/// Checks the secret files. The first must exist unless it is optional. Others may be missing, because a previous
/// secret exists only during a rotation. Existing files must be usable.
fn secrets(given: &mut Given, optional: bool) -> Vec<PathBuf> {
    let files = given.paths("hook-secret-file");
    for (at, path) in files.iter().enumerate() {
        match secret_file::read(path) {
            Err(wrong) if wrong.is_missing() && at > 0 => {}
            Err(wrong) if wrong.is_missing() && optional => given.warn(
                "hook-secret-file",
                format!(
                    "{} does not exist: webhooks are rejected until it does, and only polls find changes",
                    shown(path)
                ),
            ),
            Err(wrong) => given.problem("hook-secret-file", format!("{} {wrong}", shown(path))),
            Ok(secret) => {
                if let Some(odd) = secret_file::oddity(&secret) {
                    given.warn("hook-secret-file", format!("{}: {odd}", shown(path)));
                }
            }
        }
    }
    files
}

pub(super) fn hook_path(text: &str) -> Result<String, String> {
    let wrong = if !text.starts_with('/') {
        "does not begin with a slash"
    } else if text == "/" {
        // GET / of this listener answers the health checks of load balancers.
        "is the root; give the webhook a path of its own, such as /webhook"
    } else if text.contains(['?', '#']) {
        "contains ? or #, which are not part of a path"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "contains a space, a control character or a non-ASCII letter; use its percent-encoded form"
    } else if text.trim_end_matches('/').ends_with("/peer") {
        "ends in /peer, which is reserved for messages between replicas"
    } else {
        return Ok(text.to_owned());
    };
    Err(wrong.to_owned())
}

/// Parses `owner/name` or `host/owner/name`. A first part with a dot is a host if at least two more follow. GitLab
/// has nested groups, whose names contain no dot.
pub(super) fn repository(text: &str) -> Result<Repository, String> {
    const FORM: &str = "is not a repository; write it owner/name or host/owner/name";
    let name = text.trim_matches('/');
    let name = name.strip_suffix(".git").unwrap_or(name);
    let parts: Vec<&str> = name.split('/').collect();
    let bad =
        |part: &&str| part.is_empty() || part.contains([':', '@', '?', '#']) || part.contains(char::is_whitespace);
    if parts.len() < 2 || parts.iter().any(bad) {
        return Err(FORM.to_owned());
    }
    let is_host = parts.len() > 2 && (parts[0].contains('.') || parts[0] == "localhost");
    let (host, name) =
        if is_host { (Some(parts[0].to_owned()), parts[1..].join("/")) } else { (None, parts.join("/")) };
    Ok(Repository { host, name })
}

fn admin(given: &mut Given) -> (Option<AdminBind>, Option<PathBuf>) {
    let bind = match given.text("admin-bind").as_deref() {
        // A given value without text is not UTF-8, and that is a problem already.
        None => (!given.is_given("admin-bind")).then_some(AdminBind::Default),
        Some("off") => Some(AdminBind::Off),
        Some(_) => given.value("admin-bind", values::address).map(AdminBind::Address),
    };
    let token_file = given.path("admin-token-file");
    if let Some(path) = &token_file {
        match secret_file::read(path) {
            Ok(token) => {
                if let Some(odd) = secret_file::oddity(&token) {
                    given.warn("admin-token-file", format!("{}: {odd}", shown(path)));
                }
            }
            Err(wrong) => given.problem("admin-token-file", format!("{} {wrong}", shown(path))),
        }
    }
    if let Some(AdminBind::Address(address)) = bind
        && !address.ip().is_loopback()
        && token_file.is_none()
    {
        given.problem(
            "admin-bind",
            format!("`{address}` is not loopback, so any client that reaches it could pin or pause; set --admin-token-file, or use 127.0.0.1"),
        );
    }
    (bind, token_file)
}

fn different_ports(given: &mut Given, hook: Option<SocketAddr>, http: Option<SocketAddr>, admin: Option<AdminBind>) {
    let admin = match admin {
        Some(AdminBind::Address(address)) => Some(address),
        // The default address finds a free port by itself.
        _ => None,
    };
    let bound = [("hook-bind", hook), ("http-bind", http), ("admin-bind", admin)];
    for (at, (name, address)) in bound.iter().enumerate() {
        for (other, other_address) in &bound[at + 1..] {
            if let (Some(one), Some(two)) = (address, other_address)
                && values::collide(*one, *two)
            {
                let first = given.origin(name);
                given.problem(
                    other,
                    format!("`{two}` is taken by {first} (`{one}`); every listener needs its own port"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_path_is_a_path_of_its_own() {
        for good in ["/webhook", "/hooks/site", "/peers", "/a%20b", "/speer"] {
            assert!(hook_path(good).is_ok(), "{good}");
        }
        for bad in ["webhook", "/", "", "/a?b", "/a#b", "/a b", "/\u{e9}", "/peer", "/hook/peer", "/hook/peer/", "/\n"]
        {
            assert!(hook_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_peer_is_a_host_and_a_port() {
        for good in ["site-peers:8080", "192.0.2.1:1", "[2001:db8::1]:65535", "a.b.svc.cluster.local.:80"] {
            assert_eq!(peer(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "site-peers",
            ":80",
            "a:0",
            "a:65536",
            "a:b",
            "2001:db8::1:80",
            "[a]:80",
            "http://a:80",
            "a b:80",
            "me@a:80",
        ] {
            assert!(peer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_repository_may_name_its_host() {
        let read = |text| repository(text).map(|repository| (repository.host, repository.name));
        assert_eq!(read("acme/site"), Ok((None, "acme/site".into())));
        assert_eq!(read("git.test/acme/site.git"), Ok((Some("git.test".into()), "acme/site".into())));
        assert_eq!(read("localhost/acme/site"), Ok((Some("localhost".into()), "acme/site".into())));
        assert_eq!(read("group/sub/site"), Ok((None, "group/sub/site".into())));
        assert_eq!(read("acme.test/site"), Ok((None, "acme.test/site".into())));
        for bad in ["site", "", "https://git.test/a/b", "a//b", "git.test:80/a/b", "a/b c", "git@host/a/b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
