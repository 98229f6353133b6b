//! Counts rejected requests and logs them, at most one line a minute, without any text from the request.
//!
//! An operator who configured a wrong secret needs a log line, but a client that sends a thousand requests a second
//! must not be able to flood the log. This module does not decide which requests are rejected.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

/// The minimum time between two lines.
const EVERY: Duration = Duration::from_secs(60);

/// Why a request was rejected before its content was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The signature matches none of the secrets.
    WrongSignature,
    /// The signature header is missing, malformed or repeated.
    NoSignature,
    /// No secret file could be read so far.
    NoSecret,
    /// A peer message whose MAC matches none of the secrets.
    PeerSecret,
    /// A peer message with a valid MAC that was signed more than a minute ago, or in the future.
    PeerClock,
    /// The connection began with the header of the PROXY protocol.
    ProxyProtocol,
    /// The connection began with a TLS handshake.
    Tls,
}

impl Why {
    const ALL: [Self; 7] = [
        Self::WrongSignature,
        Self::NoSignature,
        Self::NoSecret,
        Self::PeerSecret,
        Self::PeerClock,
        Self::ProxyProtocol,
        Self::Tls,
    ];

    fn words(self) -> &'static str {
        match self {
            Self::WrongSignature => {
                "signed with another secret than the one in --hook-secret-file, or modified by a gateway"
            }
            Self::NoSignature => {
                "without a usable X-Hub-Signature-256: the sender has no secret set, or a gateway drops the header"
            }
            Self::NoSecret => "before a secret was available: the file of --hook-secret-file does not exist",
            Self::PeerSecret => "from another replica with another secret",
            Self::PeerClock => "from another replica whose clock differs from ours by more than a minute",
            Self::ProxyProtocol => {
                "in the PROXY protocol, which is not read here: turn it off in the load balancer for this port"
            }
            Self::Tls => {
                "in TLS, which is not read here: the gateway in front must end TLS and speak plain HTTP to this port"
            }
        }
    }
}

/// The rejected requests since the last line.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    since_last: [u64; Why::ALL.len()],
    /// True for a minute after each line.
    quiet: bool,
}

impl Refusals {
    /// Counts a rejected request. It is logged at once if there was no line in the last minute, otherwise with all
    /// others at the end of that minute. Must be called within a tokio runtime.
    pub(crate) fn note(self: &Arc<Self>, why: Why) {
        let line = {
            let mut counts = self.0.lock();
            counts.since_last[why as usize] += 1;
            if counts.quiet {
                return;
            }
            counts.quiet = true;
            counts.take()
        };
        // Without the lock, which every refused request takes.
        log_line(line);
        let refusals = Arc::clone(self);
        // A task only for as long as requests are refused: a timer would wake an idle process.
        tokio::spawn(async move { refusals.keep_quiet().await });
    }

    /// Waits a minute and logs what was counted meanwhile. A minute without rejections ends the quiet period.
    async fn keep_quiet(&self) {
        loop {
            sleep(EVERY).await;
            let line = {
                let mut counts = self.0.lock();
                let line = counts.take();
                counts.quiet = line.is_some();
                line
            };
            if line.is_none() {
                return;
            }
            log_line(line);
        }
    }
}

impl Counts {
    /// Returns the text for the counts and resets them, or `None` if nothing was counted.
    fn take(&mut self) -> Option<(u64, String)> {
        let counted = std::mem::take(&mut self.since_last);
        let all: u64 = counted.iter().sum();
        let kinds = Why::ALL.iter().zip(counted).filter(|(_, count)| *count > 0);
        let words: Vec<String> = kinds.map(|(why, count)| format!("{count} {}", why.words())).collect();
        (all > 0).then(|| (all, words.join("; ")))
    }
}

fn log_line(line: Option<(u64, String)>) {
    if let Some((count, words)) = line {
        tracing::warn!(count, "refused requests: {words}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        for (at, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at, "{why:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusal_is_logged_at_once_and_later_ones_once_a_minute() {
        let refusals = Arc::new(Refusals::default());
        let waiting = |refusals: &Refusals| {
            let counts = refusals.0.lock();
            (counts.quiet, counts.since_last.iter().sum::<u64>())
        };
        refusals.note(Why::WrongSignature);
        assert_eq!(waiting(&refusals), (true, 0), "said");
        for _ in 0..1000 {
            refusals.note(Why::NoSignature);
        }
        refusals.note(Why::Tls);
        assert_eq!(waiting(&refusals), (true, 1001), "counted");
        let (count, words) = {
            let mut counts = refusals.0.lock();
            let before = counts.since_last;
            let line = counts.take();
            counts.since_last = before;
            line.unwrap()
        };
        assert_eq!(count, 1001);
        assert!(
            words.starts_with("1000 without a usable X-Hub-Signature-256") && words.contains("; 1 in TLS"),
            "{words}"
        );
        sleep(EVERY + Duration::from_secs(1)).await;
        assert_eq!(waiting(&refusals), (true, 0), "said together");
        sleep(EVERY).await;
        assert_eq!(waiting(&refusals), (false, 0), "nothing more came");
        refusals.note(Why::NoSecret);
        assert_eq!(waiting(&refusals), (true, 0), "said at once again");
    }
}
