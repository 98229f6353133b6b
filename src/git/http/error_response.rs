//! HTTP responses that report an error: status, text, authentication schemes, `Retry-After`.
//!
//! It maps a status to an error for a remote. It must not know of packets or of how a request is sent.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::git::error::words::{Category, categorize};
use crate::git::error::{Cause, Error};

/// The most bytes that are read of the text in an error response.
pub(crate) const LONGEST_WORDS: usize = 4 * 1024;
/// The longest pause that is honored. A server that asks for more is asked again after an hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How many schemes an error lists.
const MOST_SCHEMES: usize = 8;

/// A response with a status other than success.
#[derive(Clone, Debug)]
pub(crate) struct ErrorResponse {
    pub status: StatusCode,
    words: String,
    schemes: Vec<String>,
    again_after: Option<Duration>,
}

/// Returns true if the body is text for people. Git prints it, too.
pub(crate) fn has_words(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/plain")
}

impl ErrorResponse {
    /// Reads the headers; `body` is the text of the response, or empty if it is not for people.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let words = String::from_utf8_lossy(body);
        // Joins several lines into one.
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let again_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let again_after = again_after.and_then(|text| pause(text, Timestamp::now()));
        Self { status, words, schemes: schemes(headers), again_after }
    }

    /// Returns the status and the text as a cause.
    pub(crate) fn cause(&self) -> Cause {
        Cause::new(&self.text())
    }

    fn text(&self) -> String {
        let mut text = format!("it answered {}", self.status.as_u16());
        if let Some(reason) = self.status.canonical_reason() {
            text = format!("{text} {reason}");
        }
        if self.words.is_empty() { text } else { format!("{text}: {}", self.words) }
    }

    /// The error for a server that requires credentials when none are configured.
    pub(crate) fn no_credentials(self, remote: String) -> Error {
        let (offered, source) = (self.offered(), self.cause());
        Error::NoCredentials { remote, offered, source: (!self.words.is_empty()).then_some(source) }
    }

    /// The error for refused credentials. `note` says what is odd about them.
    pub(crate) fn refused(&self, remote: String, note: &str) -> Error {
        let offered = self.offered();
        let offered = if offered.is_empty() { offered } else { format!(" (it takes {offered})") };
        Error::Refused { remote, source: Cause::new(&format!("{}{offered}{note}", self.text())) }
    }

    /// Returns the error where no other request mode is left; `None` if the status says nothing about the remote.
    pub(crate) fn error(&self, remote: String) -> Option<Error> {
        let (source, after) = (self.cause(), self.again_after);
        let is_busy = after.is_some() || categorize(&self.words) == Some(Category::Server);
        Some(match self.status {
            // GitHub answers 403 to a client over its rate limit.
            StatusCode::FORBIDDEN if is_busy => Error::Server { remote, source, after },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.refused(remote, ""),
            StatusCode::NOT_FOUND | StatusCode::GONE => Error::NotFound { remote, source: Some(source) },
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::PAYMENT_REQUIRED
            | StatusCode::LOCKED
            | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => Error::Server { remote, source, after },
            status if status.is_server_error() => Error::Server { remote, source, after },
            // Some servers report a refusal with 400 and say the reason only in words.
            _ => match categorize(&self.words)? {
                Category::Auth => Error::Refused { remote, source },
                Category::NotFound => Error::NotFound { remote, source: Some(source) },
                Category::Server => Error::Server { remote, source, after },
            },
        })
    }

    fn offered(&self) -> String {
        self.schemes.join(", ")
    }
}

/// Returns the schemes of all challenges (RFC 9110, section 11.6.1). A scheme is followed by parameters, which have an
/// equals sign.
fn schemes(headers: &HeaderMap) -> Vec<String> {
    let mut schemes: Vec<String> = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
        for part in outside_of_quotes(value).split(',') {
            let word = part.split_whitespace().next().unwrap_or_default();
            let is_scheme = !word.is_empty() && !word.contains('=') && word.bytes().all(|byte| byte.is_ascii_graphic());
            if is_scheme
                && schemes.len() < MOST_SCHEMES
                && !schemes.iter().any(|known| known.eq_ignore_ascii_case(word))
            {
                schemes.push(word.to_owned());
            }
        }
    }
    schemes
}

/// Removes quoted strings, since a realm may contain commas.
fn outside_of_quotes(text: &str) -> String {
    text.split('"').step_by(2).collect::<Vec<_>>().join("x")
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3): seconds or a date.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let seconds = if let Ok(seconds) = text.parse::<u64>() {
        seconds
    } else {
        let until = rfc2822::DateTimeParser::new().parse_timestamp(text.replace("GMT", "+0000")).ok()?;
        // A time that has passed means at once.
        u64::try_from(until.as_second() - now.as_second()).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_challenge_names_its_scheme_and_no_parameter_is_one() {
        let found = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("www-authenticate", *value)).collect();
            schemes(&headers(&pairs)).join(" ")
        };
        assert_eq!(found(&["Basic realm=\"git, Inc\", charset=\"UTF-8\""]), "Basic");
        assert_eq!(found(&["Negotiate", "NTLM", "basic realm=x"]), "Negotiate NTLM basic");
        assert_eq!(found(&["Bearer realm=\"a\", error=\"b\", Basic realm=\"c\""]), "Bearer Basic");
        assert_eq!(found(&[]), "");
    }

    #[test]
    fn a_pause_is_a_number_of_seconds_or_a_date_and_never_longer_than_an_hour() {
        let now: Timestamp = "2015-10-21T07:27:30Z".parse().unwrap();
        assert_eq!(pause("120", now), Some(Duration::from_secs(120)));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(pause("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(pause("99999999", now), Some(LONGEST_PAUSE));
        assert_eq!(pause("soon", now), None);
    }

    #[test]
    fn status_and_text_decide_the_kind_of_error() {
        let kind = |status: u16, pairs: &[(&'static str, &str)], body: &str| {
            let refusal = ErrorResponse::new(StatusCode::from_u16(status).unwrap(), &headers(pairs), body.as_bytes());
            refusal.error("r".into()).map(|error| error.kind())
        };
        assert_eq!(kind(403, &[], "Your account is suspended."), Some(ErrorKind::Auth));
        assert_eq!(kind(403, &[], "You have exceeded a secondary rate limit."), Some(ErrorKind::ServerError));
        assert_eq!(kind(403, &[("retry-after", "60")], ""), Some(ErrorKind::ServerError));
        assert_eq!(kind(404, &[], "Repository not found."), Some(ErrorKind::NotFound));
        assert_eq!(kind(400, &[], "Repository access denied."), Some(ErrorKind::Auth));
        assert_eq!(kind(400, &[], ""), None);
        assert_eq!(kind(503, &[], "down for maintenance"), Some(ErrorKind::ServerError));
        let refusal = ErrorResponse::new(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"two\n  lines\n");
        assert_eq!(refusal.cause().to_string(), "it answered 502 Bad Gateway: two lines");
    }
}
