//! The one error that crosses module borders. It says where a sync failed, whether a retry helps, and what to do about it.
//!
//! Inside an area errors are that area's own `thiserror` enum. At the seam (`sync`) they become a [`SyncError`], whose
//! words are the same in the log, in the API and on the dashboard.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::api;
use crate::secret::scrub;

pub use crate::api::Phase;

/// Whether trying again soon can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The cause may pass by itself: retry with a backoff that starts at a second and never exceeds the poll period.
    Soon,
    /// The server asked to be left alone for so long: the poll waits, too.
    After(Duration),
    /// A person has to change something first: the ordinary poll is soon enough.
    NextPoll,
}

/// The kind and the hint where the process has as many files and connections open as it may, or the whole machine has.
pub const NO_DESCRIPTORS: &str = "no_descriptors";
pub const NO_DESCRIPTORS_HINT: &str = "raise the limit of open files (ulimit -n, or the container runtime's); each connection to a listener takes one: let only the forge and the pod reach them";

/// The hint where what was pushed needs more memory than there is for it.
pub const OUT_OF_MEMORY_HINT: &str = "raise the container's memory limit: a part of it bounds what a push may be unpacked to; or find the file in that push that is too large for it";

/// The kind and the hint where the system starts no more threads for this container.
pub const NO_THREAD: &str = "no_thread";
pub const NO_THREAD_HINT: &str = "the limit of processes and threads is reached (pids.max of the container or pod, ulimit -u): raise it (kubelet --pod-max-pids, docker --pids-limit), or look for what else in the container starts threads";

/// Libraries hand on the system's words where they do not hand on its number (EMFILE, ENFILE).
#[must_use]
pub fn is_want_of_descriptors(words: &str) -> bool {
    words.contains("Too many open files")
}

/// A sync that did not reach its end. The tree published before stays published.
#[derive(Debug)]
pub struct SyncError {
    /// Where in the sync it happened.
    pub phase: Phase,
    /// A stable word for machines, such as `auth`, `network`, `ref_missing`, `disk_full`.
    pub kind: &'static str,
    /// Whether to retry before the next poll.
    pub retry: Retry,
    /// Advice for the operator, if there is any.
    pub hint: Option<&'static str>,
    /// The cause, in the words of the area that reports it.
    pub source: Box<dyn StdError + Send + Sync>,
}

impl SyncError {
    /// The message with its chain of causes, scrubbed of secrets, on one line.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = self.source.to_string();
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.ends_with(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            cause = error.source();
        }
        scrub(&text).replace(['\n', '\r'], " ")
    }

    /// The form that goes into records and over the wire.
    #[must_use]
    pub fn to_api(&self) -> api::ErrorInfo {
        api::ErrorInfo {
            phase: self.phase,
            kind: self.kind.to_owned(),
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
    fn the_whole_chain_is_told_on_one_line_without_secrets() {
        let error = SyncError {
            phase: Phase::Fetch,
            kind: "network",
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
