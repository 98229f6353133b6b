//! What an answer, or the lack of one, means to somebody who sets up a webhook.

use std::error::Error;
use std::io;

use reqwest::StatusCode;

/// The error and its causes on one line. The URL is left out: it stands above, and may hold a password.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut words = Vec::<String>::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if words.last().is_none_or(|last| !last.ends_with(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    if words.is_empty() { "the request could not be sent".to_owned() } else { words.join(": ") }
}

/// What to look at when nothing came back.
pub(super) fn explain_failure(error: &reqwest::Error) -> &'static str {
    let chain = chain(error).to_ascii_lowercase();
    let refused = io_kind(error) == Some(io::ErrorKind::ConnectionRefused);
    let says = |words: &[&str]| words.iter().any(|word| chain.contains(word));
    if error.is_timeout() {
        "Nothing answered in 10 s. A firewall or network policy may drop the packets, or the address is wrong."
    } else if refused {
        "The connection was refused: nothing listens on that port. Is the sidecar running with --hook-secret-file, and is the \
         port the one of --hook-bind?"
    } else if says(&["dns error", "failed to lookup", "name or service not known"]) {
        "The host name is not known to DNS. Check its spelling, and whether the record has been made."
    } else if says(&["certificate", "ssl", "tls", "handshake", "wrong version number"]) {
        "TLS failed: the certificate is not trusted, does not fit the name, or the port does not speak TLS."
    } else if says(&["unreachable"]) {
        "There is no route to that address from here."
    } else {
        "The connection broke before there was an answer. A proxy in between, or a port that does not speak HTTP, does that."
    }
}

/// The kind of the first I/O error among the causes.
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

/// What to look at when the answer was no; `None` if it was yes.
pub(super) fn explain_status(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        200..=299 => return None,
        300..=399 => "That is a redirect, which no forge follows: use the address it leads to (perhaps https://).",
        401 => "The signature was refused: the secret here and the one the sidecar reads differ.",
        403 => "Something before the sidecar refused it: a gateway, a firewall or an allow-list.",
        404 => {
            "There is no webhook under that path: it has to be exactly that of --hook-path, and the route has to keep it."
        }
        405 => "The path exists and does not take POST: it is probably another server's.",
        413 => "The delivery was called too large, by a proxy in between: a webhook may have 25 MiB.",
        429 => "Something before the sidecar limits the rate.",
        502..=504 => {
            "A gateway answered, and found no sidecar behind it: check the Service, its port, and that the pod is ready."
        }
        500..=599 => "The server failed; its log says why.",
        _ => "The delivery was understood and refused; the answer above says why.",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_explained_and_no_success_is() {
        for code in 200..300 {
            assert_eq!(explain_status(StatusCode::from_u16(code).unwrap()), None);
        }
        for code in 300..600 {
            assert!(explain_status(StatusCode::from_u16(code).unwrap()).is_some(), "{code}");
        }
        let words = |code| explain_status(StatusCode::from_u16(code).unwrap()).unwrap_or_default();
        assert!(words(401).contains("secret") && words(404).contains("--hook-path") && words(503).contains("gateway"));
    }
}
