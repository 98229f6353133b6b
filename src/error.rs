//! The error type that crosses area borders. It says where a sync failed, whether a retry may help, and what the
//! operator can do.
//!
//! Inside an area, errors are that area's own `thiserror` enum. The sync area converts them to a [`SyncError`], whose
//! texts are the same in the log, the API and the dashboard.

mod kind;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::api;
use crate::secret::scrub;

pub use crate::api::Phase;
pub use kind::ErrorKind;

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The cause may disappear by itself: retry with a backoff that starts at one second and never exceeds the poll
    /// period.
    Soon,
    /// The server asked for a pause of this length; polls wait for it as well.
    After(Duration),
    /// An operator has to change something first, so the next poll is soon enough.
    NextPoll,
}

/// The hint if the process or the whole machine has reached its limit of open files and connections.
pub const NO_DESCRIPTORS_HINT: &str = "raise the limit of open files (ulimit -n, or the container runtime's); each connection to a listener uses one, so restrict the network access to the listeners";

/// The hint if a push needs more memory than is available.
pub const OUT_OF_MEMORY_HINT: &str = "raise the container's memory limit, a part of which limits the unpacked size of a push; or remove the file from the push that is too large for it";

/// The hint for an operation on a remote that took too long. The sync and its fetch share a deadline, and either may notice it
/// first.
pub const TIMEOUT_HINT: &str =
    "the remote, the link or the disk is slow, or the repository is large: raise --sync-timeout, or lower --depth";

/// The hint if the system starts no more threads for this container.
pub const NO_THREAD_HINT: &str = "the limit of processes and threads is reached (pids.max of the container or pod, ulimit -u): raise it (kubelet --pod-max-pids, docker --pids-limit), or find out which other program in the container starts threads";

/// Returns true for the system's message of EMFILE and ENFILE. Some libraries pass on only the text, not the number.
#[must_use]
pub fn is_want_of_descriptors(words: &str) -> bool {
    words.contains("Too many open files")
}

/// A failed sync. The previously published tree stays published.
#[derive(Debug)]
pub struct SyncError {
    /// The phase in which it failed.
    pub phase: Phase,
    /// The kind of the error, for machines.
    pub kind: ErrorKind,
    /// Whether to retry before the next poll.
    pub retry: Retry,
    /// Advice for the operator, if available.
    pub hint: Option<&'static str>,
    /// The cause, as the failing area reports it.
    pub source: Box<dyn StdError + Send + Sync>,
}

impl SyncError {
    /// Returns the message with its chain of causes, without secrets, on one line.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = self.source.to_string();
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // Some libraries repeat the cause in their own message.
            if !text.ends_with(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            cause = error.source();
        }
        // Scrubbed first: a secret with a line break in it would not be recognized afterwards.
        scrub(&text).replace(['\n', '\r'], " ")
    }

    /// Converts it to the form of records and the API.
    #[must_use]
    pub fn to_api(&self) -> api::ErrorInfo {
        api::ErrorInfo {
            phase: self.phase,
            kind: self.kind.as_str().to_owned(),
            message: self.message(),
            hint: self.hint.map(str::to_owned),
        }
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({}): {}", self.phase, self.kind, self.message())
    }
}

impl StdError for SyncError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot reach https://user:hunter22@git.test/a.git")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("connection\nrefused")]
    struct Inner;

    #[test]
    fn the_message_has_the_whole_chain_on_one_line_without_secrets() {
        let error = SyncError {
            phase: Phase::Fetch,
            kind: ErrorKind::Network,
            retry: Retry::Soon,
            hint: Some("check the URL"),
            source: Box::new(Outer(Inner)),
        };
        assert_eq!(error.message(), "cannot reach https://***@git.test/a.git: connection refused");
        assert_eq!(
            error.to_string(),
            "fetch failed (network): cannot reach https://***@git.test/a.git: connection refused"
        );
    }
}
