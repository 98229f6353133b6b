//! Access control of the admin API: clients on loopback, such as a port-forward, or with the token; no web pages.
//!
//! A page in the user's browser can send requests to a forwarded port, too. It cannot choose the `Host` that the
//! browser sends, cannot read a response without CORS, and cannot add a custom header without a preflight request.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::api::CHANGE_HEADER;
use crate::secret::Secret;

use super::answer;
use super::secret_file::SecretFile;

/// The check before every admin route.
#[derive(Clone)]
pub(crate) struct Guard {
    /// `None`: no token is configured, so the `Host` must be a loopback name.
    pub token: Option<Arc<SecretFile>>,
    /// The loopback address of `--admin-bind`. As a literal IP address in `Host` it cannot come from DNS rebinding.
    pub bound: Option<IpAddr>,
}

/// The middleware.
pub(crate) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response<Body> {
    let token = match &guard.token {
        // It follows its file, so that a rotation needs no restart.
        Some(token) => token.current().await,
        None => None,
    };
    if let Some(refused) = guard.refuse(&request, token.as_ref()) {
        return refused;
    }
    next.run(request).await
}

impl Guard {
    fn refuse(&self, request: &Request, token: Option<&Secret>) -> Option<Response<Body>> {
        let headers = request.headers();
        match &self.token {
            Some(_) => {
                if !presented(token, headers) {
                    let hint = Some("send `Authorization: Bearer` with the content of --admin-token-file");
                    let message = "the token is missing or wrong";
                    return Some(answer::refusal(StatusCode::UNAUTHORIZED, "unauthorized", message, hint));
                }
            }
            None => {
                // A page whose own name resolves to 127.0.0.1 (DNS rebinding) still has that name in `Host`.
                if !self.is_local(request) {
                    let hint = Some("use localhost, 127.0.0.1 or [::1]; other names need --admin-token-file");
                    let message = "the Host header does not name this machine";
                    return Some(answer::refusal(StatusCode::FORBIDDEN, "host_refused", message, hint));
                }
            }
        }
        if request.method() == Method::POST {
            return refuse_change(headers);
        }
        None
    }
}

impl Guard {
    /// Returns true if there is exactly one `Host` header with a loopback name, and an absolute request target names
    /// one as well.
    fn is_local(&self, request: &Request) -> bool {
        let bound = self.bound.filter(IpAddr::is_loopback).map(|ip| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        });
        let is_ours = |host: &str| is_loopback_name(host, bound.as_deref());
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        // In a request with an absolute target that name counts, and `Host` is ignored (RFC 9112, section 3.2.2). So
        // both are checked.
        let named = request.uri().authority().is_none_or(|authority| is_ours(authority.as_str()));
        named && host.to_str().is_ok_and(is_ours)
    }
}

fn refuse_change(headers: &HeaderMap) -> Option<Response<Body>> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    // A form in a page can send three other types without a preflight request, but not this one (Fetch standard,
    // "CORS-safelisted request-header").
    if !content_type.eq_ignore_ascii_case("application/json") {
        let message = "a change must have Content-Type: application/json";
        return Some(answer::refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message, None));
    }
    // For a custom header a browser sends a preflight request first, which this server refuses.
    if headers.get(CHANGE_HEADER).is_none_or(|value| value != "1") {
        let message = "a change must have the header X-Pushsync: 1";
        return Some(answer::refusal(StatusCode::FORBIDDEN, "change_header", message, None));
    }
    None
}

/// Compares digests, so that the time reveals neither the content nor the length.
fn presented(token: Option<&Secret>, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    // With two headers, a proxy in front may have checked the other one.
    let (Some(value), None, Some(token)) = (values.next(), values.next(), token) else { return false };
    let Some((scheme, presented)) = value.as_bytes().split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && Sha256::digest(presented).ct_eq(&Sha256::digest(token.expose())).into()
}

fn is_loopback_name(host: &str, bound: Option<&str>) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].into_iter().chain(bound).any(|name| {
        let Some((start, rest)) = host.split_at_checked(name.len()) else { return false };
        // Digits only: in `localhost:9180@evil.test` the host is another one.
        let port =
            rest.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        start.eq_ignore_ascii_case(name) && (rest.is_empty() || port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_must_be_a_loopback_name_or_the_bound_address() {
        assert!(is_loopback_name("127.0.77.3:9180", Some("127.0.77.3")));
        assert!(!is_loopback_name("127.0.77.3:9180", Some("127.0.77.4")));
        assert!(!is_loopback_name("127.0.77.3.nip.test", Some("127.0.77.3")));
        for host in ["localhost", "LOCALHOST:9180", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9180"] {
            assert!(is_loopback_name(host, None), "{host}");
        }
        for host in [
            "",
            "localhost.",
            "localhost.evil.test",
            "localhost:",
            "localhost:80:80",
            "localhost:9180@evil.test",
            "evil.test",
            "evil.localhost",
            "127.0.0.2",
            "127.0.0.1.nip.test",
            "127.1",
            "0.0.0.0",
            "::1",
            "[::1]x",
            "user@localhost",
        ] {
            assert!(!is_loopback_name(host, None), "{host}");
        }
    }
}
