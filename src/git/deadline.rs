//! The end of an operation on a remote, and the error for an operation that reaches it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::Error;

/// The moment at which an operation is given up, with the words for its error.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    /// The address of the remote, without a password.
    remote: String,
    timeout: Duration,
}

impl Deadline {
    /// `timeout` is the configured time for the whole operation; the error names it.
    pub(crate) fn new(at: Instant, remote: String, timeout: Duration) -> Self {
        Self { at, remote, timeout }
    }

    /// Returns the moment itself.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Returns the error for an operation that did not end in time.
    pub(crate) fn error(&self) -> Error {
        Error::Timeout { remote: self.remote.clone(), after: self.timeout }
    }

    /// Waits for `work` until the deadline.
    pub(crate) async fn limit<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout_at(self.at, work).await.unwrap_or_else(|_| Err(self.error()))
    }
}
