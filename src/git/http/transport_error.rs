//! What went wrong below HTTP, told in one way for both clients: the library's, and ours for plain http.
//!
//! It must not know of git; what a fault means for a sync is for those to say who asked.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use hyper_util::client::legacy;

use crate::git::error::{Cause, Error};

#[derive(Debug)]
pub(crate) struct TransportError {
    /// No connection, or no part of the answer, came in time.
    pub timeout: bool,
    /// There is no connection.
    pub connect: bool,
    /// The answer broke off or is no HTTP.
    pub body: bool,
    pub source: Cause,
}

impl TransportError {
    /// Nothing came in time.
    pub(crate) fn late() -> Self {
        let source = Cause::new("it did not answer in time");
        Self { timeout: true, connect: false, body: false, source }
    }

    /// What our own client ran into before there was an answer.
    pub(crate) fn of_request(error: &legacy::Error) -> Self {
        Self { timeout: is_timeout(error), connect: error.is_connect(), body: false, source: words(error) }
    }

    /// The same within an answer.
    pub(crate) fn of_body(error: &hyper::Error) -> Self {
        Self { timeout: error.is_timeout() || is_timeout(error), connect: false, body: true, source: words(error) }
    }

    /// There is no such address.
    pub(crate) fn of_address(source: Cause) -> Self {
        Self { timeout: false, connect: true, body: false, source }
    }

    /// True if the request was lost on a connection that there was: it may be sent once more.
    pub(crate) fn may_go_again(&self) -> bool {
        !(self.timeout || self.connect || self.body)
    }
}

impl From<&reqwest::Error> for TransportError {
    fn from(error: &reqwest::Error) -> Self {
        let source = library(error);
        Self { timeout: error.is_timeout(), connect: error.is_connect(), body: error.is_decode(), source }
    }
}

/// What the library says. Some causes it tells only at the end of the chain.
pub(crate) fn library(error: &reqwest::Error) -> Cause {
    match error.source() {
        Some(cause) => words(cause),
        None if error.is_timeout() => TransportError::late().source,
        None => Cause::new(&error.to_string()),
    }
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if one.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            return true;
        }
        cause = one.source();
    }
    false
}

fn words(first: &(dyn StdError + 'static)) -> Cause {
    let mut words = String::new();
    let mut cause = Some(first);
    while let Some(one) = cause {
        // Writing to a string cannot fail.
        let _ = write!(words, "{}{one}", if words.is_empty() { "" } else { ": " });
        cause = one.source();
    }
    // OpenSSL's verdict on a certificate stands behind a long stack of errors, which is cut where it gets too long.
    let verdict = words.rfind(" (").and_then(|at| words[at + 2..].split_once(')')).map(|(verdict, _)| verdict);
    match verdict.filter(|verdict| words.contains("routines:") && *verdict != "Connect") {
        Some(verdict) => Cause::new(&format!("{verdict}: {words}")),
        None => Cause::new(&words),
    }
}

/// Sorts what went wrong below HTTP. The libraries tell some causes only in words, at the end of the chain.
pub(crate) fn broken(remote: String, after: Duration, fault: TransportError) -> Error {
    if fault.timeout {
        return Error::Timeout { remote, after };
    }
    let source = fault.source;
    let words = source.to_string();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if let Some(ours) = Error::of_client(&source) {
        ours
    } else if fault.connect && says(&["dns error", "failed to lookup address"]) {
        Error::Dns { remote, source }
    } else if fault.connect && says(&["certificate", "SSL", "ssl", "TLS", "tls"]) {
        Error::Tls { remote, source }
    } else if fault.body || says(&["invalid HTTP", "invalid header", "invalid chunk", "message head is too large"]) {
        Error::Protocol { remote, source }
    } else {
        Error::Network { remote, source }
    }
}
