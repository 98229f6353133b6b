//! The result of the message to one peer, and its word in records and metrics.
//!
//! Pure functions: they interpret responses and send nothing.

use std::io;

use jiff::fmt::rfc2822;

use super::message::{NO_SECRET_CODE, SKEW};
use super::network::PeerAnswer;

/// The result of the message to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Told,
    /// The address belongs to this replica.
    Own,
    /// The peer answered 401.
    Refused(Disagreement),
    /// The peer has the same secret but follows something else, or uses another version of the message.
    NotOurs,
    TimedOut,
    Unreachable,
    /// The response did not come from a pushsync.
    BadAnswer,
    /// The name server answered that the name has no address.
    Unresolved,
    /// No name server answered.
    NoDnsAnswer,
    /// This replica has no secret to sign with.
    NoSecret,
    /// The time limit for all peers was reached.
    NotTried,
}

/// Why a peer rejects our signature. Its response is always the same, but the `Date` header shows its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// The response had no date.
    Unknown,
    /// The clocks agree, so the secrets differ.
    Secrets,
    /// The peer has no secret yet.
    NoSecret,
    /// By how many seconds the peer's clock is ahead of ours; negative: behind.
    Clocks(i64),
}

impl Fate {
    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Own => "self",
            Self::Refused(_) => "refused",
            Self::NotOurs => "not_ours",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
            Self::Unresolved => "unresolved",
            Self::NoDnsAnswer => "no_dns_answer",
            Self::NoSecret => "no_secret",
            Self::NotTried => "not_tried",
        }
    }

    /// The word in records and the log. For a rejection it includes the reason.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Refused(Disagreement::Secrets) => "refused: the secrets differ".to_owned(),
            Self::Refused(Disagreement::NoSecret) => "refused: it has no secret yet".to_owned(),
            Self::Refused(Disagreement::Clocks(ahead)) => {
                let direction = if ahead < 0 { "behind" } else { "ahead of" };
                format!("refused: its clock is {} s {direction} ours", ahead.unsigned_abs())
            }
            other => other.word().to_owned(),
        }
    }
}

/// Interprets a response that arrived at `now`, in seconds since 1970. `date` is the response's `Date` header.
pub(super) fn of_answer(answer: &PeerAnswer, date: Option<&str>, now: i64) -> Fate {
    #[derive(serde::Deserialize)]
    struct Said {
        result: Option<String>,
        code: Option<String>,
    }
    let said = serde_json::from_slice::<Said>(&answer.body).ok();
    let (result, code) = said.map_or((None, None), |said| (said.result, said.code));
    match (answer.status, result.as_deref()) {
        (202, Some("queued")) => Fate::Told,
        (200, Some("self")) => Fate::Own,
        (401, _) if code.as_deref() == Some(NO_SECRET_CODE) => Fate::Refused(Disagreement::NoSecret),
        (401, _) => Fate::Refused(disagreement(date, now)),
        (422, _) => Fate::NotOurs,
        _ => Fate::BadAnswer,
    }
}

fn disagreement(date: Option<&str>, now: i64) -> Disagreement {
    let Some(date) = date.and_then(|date| rfc2822::parse(date).ok()) else { return Disagreement::Unknown };
    let ahead = date.timestamp().as_second() - now;
    // The header has a resolution of a second, and the response took some milliseconds.
    if ahead.abs() >= SKEW { Disagreement::Clocks(ahead) } else { Disagreement::Secrets }
}

/// Interprets a failed exchange.
pub(super) fn of_failure(error: &io::Error) -> Fate {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    // A response arrived that was no valid HTTP.
    let answered = cause.map_or(error.get_ref().is_some(), hyper::Error::is_parse);
    if answered { Fate::BadAnswer } else { Fate::Unreachable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_whether_the_secrets_or_the_clocks_differ() {
        const NOW: i64 = 1_700_000_000;
        let told = |date: Option<&str>, body: &str| {
            let answer = PeerAnswer { status: 401, body: body.as_bytes().to_vec() };
            of_answer(&answer, date, NOW).text()
        };
        // 1,700,000,000 is 2023-11-14T22:13:20Z.
        let cases = [
            (Some("Tue, 14 Nov 2023 22:13:20 GMT"), "refused: the secrets differ"),
            (Some("Tue, 14 Nov 2023 22:14:10 GMT"), "refused: the secrets differ"),
            (Some("Tue, 14 Nov 2023 22:14:35 GMT"), "refused: its clock is 75 s ahead of ours"),
            (Some("Tue, 14 Nov 2023 22:12:05 GMT"), "refused: its clock is 75 s behind ours"),
            (Some("yesterday"), "refused"),
            (None, "refused"),
        ];
        for (date, expected) in cases {
            assert_eq!(told(date, r#"{"code":"unauthorized"}"#), expected, "{date:?}");
        }
        assert_eq!(told(cases[2].0, r#"{"code":"no_secret"}"#), "refused: it has no secret yet");
        assert_eq!(Fate::Refused(Disagreement::Clocks(75)).word(), "refused");
    }
}
