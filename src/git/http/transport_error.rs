//! Errors below HTTP, in one form for both clients.
//!
//! It maps them to errors for a remote. It must not know what was requested.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use hyper_util::client::legacy;

use crate::git::error::{Cause, Error};

#[derive(Debug)]
pub(crate) struct TransportError {
    /// The connection, or the next part of the response, did not come in time.
    pub timeout: bool,
    /// The connection could not be established.
    pub connect: bool,
    /// The response broke off or is not HTTP.
    pub body: bool,
    pub source: Cause,
}

impl TransportError {
    /// The error for a peer that did not answer in time.
    pub(crate) fn timed_out() -> Self {
        let source = Cause::new("it did not answer in time");
        Self { timeout: true, connect: false, body: false, source }
    }

    /// Converts an error of the plain client before a response.
    pub(crate) fn from_request(error: &legacy::Error) -> Self {
        Self { timeout: is_timeout(error), connect: error.is_connect(), body: false, source: messages(error) }
    }

    /// Converts an error of the plain client within a response.
    pub(crate) fn from_body(error: &hyper::Error) -> Self {
        Self { timeout: error.is_timeout() || is_timeout(error), connect: false, body: true, source: messages(error) }
    }

    /// The error for an address that cannot be parsed.
    pub(crate) fn from_address(source: Cause) -> Self {
        Self { timeout: false, connect: true, body: false, source }
    }

    /// Returns true if the request failed on a kept connection, so that it may be sent once more.
    pub(crate) fn is_retryable(&self) -> bool {
        !(self.timeout || self.connect || self.body)
    }
}

impl From<&reqwest::Error> for TransportError {
    fn from(error: &reqwest::Error) -> Self {
        let source = library_cause(error);
        Self { timeout: error.is_timeout(), connect: error.is_connect(), body: error.is_decode(), source }
    }
}

/// Returns the library's message. It names some causes only at the end of the chain.
pub(crate) fn library_cause(error: &reqwest::Error) -> Cause {
    match error.source() {
        Some(cause) => messages(cause),
        None if error.is_timeout() => TransportError::timed_out().source,
        None => Cause::new(&error.to_string()),
    }
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    // hyper reports a time-out for connecting only as an `io::Error` somewhere below its own error.
    let mut cause = Some(error);
    while let Some(one) = cause {
        if one.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            return true;
        }
        cause = one.source();
    }
    false
}

fn messages(first: &(dyn StdError + 'static)) -> Cause {
    let mut words = String::new();
    let mut cause = Some(first);
    while let Some(one) = cause {
        // Writing to a string cannot fail.
        let _ = write!(words, "{}{one}", if words.is_empty() { "" } else { ": " });
        cause = one.source();
    }
    // OpenSSL's verdict on a certificate follows a long stack of errors, which is cut at the maximum length. So it is
    // put first.
    let verdict = words.rfind(" (").and_then(|at| words[at + 2..].split_once(')')).map(|(verdict, _)| verdict);
    match verdict.filter(|verdict| words.contains("routines:") && *verdict != "Connect") {
        Some(verdict) => Cause::new(&format!("{verdict}: {words}")),
        None => Cause::new(&words),
    }
}

/// Maps an error below HTTP to an error for the remote. The libraries name some causes only in words, at the end of
/// the chain.
pub(crate) fn into_remote_error(remote: String, after: Duration, error: TransportError) -> Error {
    if error.timeout {
        return if error.connect { Error::ConnectTimeout { remote } } else { Error::Timeout { remote, after } };
    }
    let source = error.source;
    let words = source.to_string();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    // A fault of this process, such as too few file descriptors, comes first: the remote is not to blame for it.
    if let Some(ours) = Error::of_client(&source) {
        ours
    } else if error.connect && says(&["dns error", "failed to lookup address"]) {
        Error::Dns { remote, source }
    } else if error.connect && says(&["certificate", "SSL", "ssl", "TLS", "tls"]) {
        Error::Tls { remote, source }
    } else if error.body || says(&["invalid HTTP", "invalid header", "invalid chunk", "message head is too large"]) {
        Error::Protocol { remote, source }
    } else {
        Error::Network { remote, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error;

    #[test]
    fn a_connect_timeout_does_not_suggest_a_longer_sync_timeout() {
        let late = |connect| TransportError { connect, ..TransportError::timed_out() };
        let told = |connect| into_remote_error("https://git.test/a".into(), Duration::from_secs(120), late(connect));
        let (connecting, answering) = (told(true), told(false));
        assert_eq!((connecting.kind(), answering.kind()), (error::ErrorKind::Timeout, error::ErrorKind::Timeout));
        assert_eq!(connecting.to_string(), "https://git.test/a did not accept a connection in time");
        assert!(connecting.hint().is_some_and(|hint| !hint.contains("--sync-timeout")), "{:?}", connecting.hint());
        assert_eq!(answering.to_string(), "https://git.test/a did not finish within 120s");
        assert!(answering.hint().is_some_and(|hint| hint.contains("--sync-timeout")), "{:?}", answering.hint());
    }
}
