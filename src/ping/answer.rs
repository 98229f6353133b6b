//! Explains a response, or the lack of one, to a user who sets up a webhook.

use std::error::Error;
use std::io;

use reqwest::StatusCode;
use serde::Deserialize;

use super::probe::Spoken;

/// Joins the error and its causes on one line. The URL is left out, because it has been printed before and may
/// contain a password.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut words = Vec::<String>::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat the cause in their own message.
        if words.last().is_none_or(|last| !last.ends_with(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    if words.is_empty() { "the request could not be sent".to_owned() } else { words.join(": ") }
}

/// Returns true if a server is there that may use another protocol than the URL says.
pub(super) fn may_speak_otherwise(error: &reqwest::Error) -> bool {
    let dns = chain(error).to_ascii_lowercase();
    // reqwest has no kind of error for a name that does not exist, so its words are compared.
    let no_name = ["dns error", "failed to lookup"].iter().any(|words| dns.contains(words));
    !error.is_timeout() && !no_name && io_kind(error) != Some(io::ErrorKind::ConnectionRefused)
}

/// Explains a failure without a response. `spoken` is the protocol that the port turned out to use.
pub(super) fn explain_failure(error: &reqwest::Error, spoken: Option<Spoken>) -> &'static str {
    let chain = chain(error).to_ascii_lowercase();
    let refused = io_kind(error) == Some(io::ErrorKind::ConnectionRefused);
    let says = |words: &[&str]| words.iter().any(|word| chain.contains(word));
    // The probe of the port is more certain than the words of the error.
    match spoken {
        Some(Spoken::Tls) => {
            return "That port uses TLS, but the URL begins with http://. Use https://.";
        }
        Some(Spoken::PlainHttp) => {
            return "TLS failed: that port uses plain HTTP, but the URL begins with https://. The sidecar itself has no TLS: use \
                    the address of the gateway in front of it, or http:// from inside the cluster.";
        }
        Some(Spoken::ProxyProtocol) => {
            return "That port expects the PROXY protocol, which only a load balancer sends: use the load balancer's address, or \
                    turn the protocol off for this port.";
        }
        None => {}
    }
    if error.is_timeout() {
        "No response within 10 s. A firewall or network policy may drop the packets, or the address is wrong."
    } else if refused {
        "The connection was refused: nothing listens on that port. Is the sidecar running with --hook-secret-file, and is the \
         port the one of --hook-bind?"
    } else if says(&["dns error", "failed to lookup", "name or service not known"]) {
        "The host name does not exist in DNS. Check its spelling, and whether the record has been created."
    } else if says(&["certificate", "ssl", "tls", "handshake", "wrong version number"]) {
        "TLS failed: the certificate is not trusted or does not match the name, or the port does not use TLS."
    } else if says(&["unreachable"]) {
        "There is no route to that address from here."
    } else {
        "The connection was closed before a response. Possible causes are a proxy in between, a port that expects the PROXY protocol, \
         or one that does not use HTTP."
    }
}

/// Returns the kind of the first I/O error among the causes.
fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// The kind of a response, as far as it determines the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookAnswer {
    /// A pushsync accepted the delivery.
    Taken,
    /// A success status, but not the response of a pushsync.
    SomethingElse,
    /// A pushsync with the same secret did not receive `X-Hub-Signature-256`.
    SignatureLost,
    /// A pushsync that has no secret yet.
    NoSecret,
    /// A pushsync that received a PROXY protocol header before the request.
    ProxyProtocol,
    /// A TLS server that received plain HTTP.
    TlsPort,
    /// The server requires a login, which webhooks do not support.
    Login,
    /// Any other error status.
    Refused(StatusCode),
}

/// The body of a pushsync's response, for a delivery or an error.
#[derive(Deserialize)]
struct Said {
    queued: Option<bool>,
    reason: Option<String>,
    code: Option<String>,
}

impl HookAnswer {
    pub(super) fn read(status: StatusCode, asks_for_login: bool, body: &str) -> Self {
        let said = serde_json::from_str::<Said>(body.trim()).ok();
        let code = said.as_ref().and_then(|said| said.code.as_deref());
        let is_ours = said.as_ref().is_some_and(|said| said.queued.is_some() && said.reason.is_some());
        match (status.as_u16(), code) {
            // The status alone is not enough: a gateway's default page answers 200 to everything.
            (200..=299, _) if is_ours => Self::Taken,
            (200..=299, _) => Self::SomethingElse,
            (400, Some("signature_lost")) => Self::SignatureLost,
            (400, Some("proxy_protocol")) => Self::ProxyProtocol,
            (401, Some("no_secret")) => Self::NoSecret,
            // The messages of nginx, Go and Apache.
            (400, None)
                if ["to HTTPS port", "to an HTTPS server", "to an SSL-enabled server"]
                    .iter()
                    .any(|words| body.contains(words)) =>
            {
                Self::TlsPort
            }
            // A 401 of a pushsync has a code, so this one comes from another server.
            (401, None) if asks_for_login => Self::Login,
            _ => Self::Refused(status),
        }
    }

    pub(super) fn is_taken(self) -> bool {
        self == Self::Taken
    }

    /// Returns advice; `None` if the delivery was accepted.
    pub(super) fn explain(self) -> Option<&'static str> {
        Some(match self {
            Self::Taken => return None,
            Self::SomethingElse => {
                "The response did not come from a pushsync. Check the host, the route and the Service's port; a \
                 gateway's default page, the app itself or a receiver of other webhooks may be behind that path."
            }
            Self::SignatureLost => {
                "The secret is right, but a gateway in between drops the header X-Hub-Signature-256, so every delivery is rejected. \
                 Let it pass that header, X-GitHub-Event and X-GitHub-Delivery."
            }
            Self::NoSecret => {
                "There is no secret in the pod yet: the file of --hook-secret-file does not exist there. Create the Secret \
                 (scripts/make-secret); a pod has it within about a minute."
            }
            Self::ProxyProtocol => {
                "The load balancer sends the PROXY protocol to the sidecar, which reads plain HTTP: turn it off for this port."
            }
            Self::TlsPort => "That port uses TLS, but the URL begins with http://. Use https://.",
            Self::Login => {
                "A gateway or another server in front of the sidecar requires a login. Forges send none, so the webhook's \
                 path must be reachable without one."
            }
            Self::Refused(status) => explain_status(status),
        })
    }
}

/// Returns advice for an error status.
fn explain_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "That is a redirect, which no forge follows: use the address it leads to (perhaps https://).",
        400 => {
            "A server could not parse the request. This happens if a load balancer sends the PROXY protocol, or TLS, \
             to a port that takes plain HTTP."
        }
        401 => {
            "The signature was rejected: the secret here and the one the sidecar reads differ. (Or a gateway changes the body, or \
             drops unknown headers; the sidecar's log names the reason, at most once a minute.)"
        }
        403 => "A gateway, a firewall or an allow-list in front of the sidecar rejected the request.",
        404 => {
            "There is no webhook at that path: it must be exactly that of --hook-path, and the route must not rewrite it."
        }
        405 => "The path exists but does not accept POST: it probably belongs to another server.",
        413 => "A proxy rejected the delivery as too large: it must allow 25 MiB for a webhook.",
        429 => "A gateway in front of the sidecar limits the rate.",
        431 => "The request's headers are too large: a gateway adds more than 100 of them, or more than 16 KiB.",
        502..=504 => {
            "A gateway responded, but could not reach the sidecar: check the Service, its port, and that the pod is ready."
        }
        500..=599 => "The server reported an internal error; see its log.",
        _ => "The delivery was rejected; the response above gives the reason.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_response_of_a_pushsync_is_success() {
        let read =
            |code: u16, login: bool, body: &str| HookAnswer::read(StatusCode::from_u16(code).unwrap(), login, body);
        let taken = r#"{"queued":false,"reason":"pong","delivery":"x"}"#;
        assert_eq!(read(200, false, taken), HookAnswer::Taken);
        assert_eq!(read(202, false, r#"{"queued":true,"reason":"the followed ref was pushed to"}"#), HookAnswer::Taken);
        assert_eq!(read(200, false, taken).explain(), None);
        for body in ["", "ok", "<html>welcome</html>", "{}", "[]", r#"{"queued":true}"#, r#"{"reason":"pong"}"#, "null"]
        {
            assert_eq!(read(200, false, body), HookAnswer::SomethingElse, "{body}");
        }
        assert_eq!(read(500, false, taken), HookAnswer::Refused(StatusCode::INTERNAL_SERVER_ERROR));
        let coded = |code| format!(r#"{{"code":"{code}","message":"x"}}"#);
        assert_eq!(read(400, false, &coded("signature_lost")), HookAnswer::SignatureLost);
        assert_eq!(read(400, false, &coded("proxy_protocol")), HookAnswer::ProxyProtocol);
        assert_eq!(read(401, false, &coded("no_secret")), HookAnswer::NoSecret);
        assert_eq!(read(401, true, &coded("unauthorized")), HookAnswer::Refused(StatusCode::UNAUTHORIZED));
        assert_eq!(read(401, true, "login"), HookAnswer::Login);
        let nginx = "<h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port";
        assert_eq!(read(400, false, nginx), HookAnswer::TlsPort);
    }

    #[test]
    fn every_refusal_is_explained() {
        let words = |code| {
            let status = StatusCode::from_u16(code).unwrap();
            HookAnswer::read(status, false, "").explain().unwrap_or_default()
        };
        for code in 200..600 {
            assert!(!words(code).is_empty(), "{code}");
        }
        assert!(words(401).contains("secret") && words(404).contains("--hook-path") && words(503).contains("gateway"));
    }
}
