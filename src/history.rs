//! The bounded journal of sync attempts: the newest records in memory, and one JSON line for each in a file on the
//! volume.
//!
//! This area knows records, not how they come about. A record is added in memory first, and the history's own thread
//! writes records to the file in order (`writer.rs`). No lock is held during a call to the disk, so a disk that hangs
//! only delays the writing. Other containers may write to the volume: a torn last line is expected after a crash, and
//! invalid lines are skipped and counted, never fatal. Once a record is on the disk, its long details are no longer
//! kept in memory.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod journal;
mod records;
mod shared;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{Detail, PeerResult, Record, SCHEMA, SyncDetail};
use crate::worker::Worker;

use records::{Kept, RecordState};
use shared::SharedHistory;

pub use records::{Loaded, Waiting};

/// Thread-safe. Only [`History::detail`], [`History::attached`] and [`History::written`] wait, each with a deadline.
#[derive(Debug)]
pub struct History {
    shared: Arc<SharedHistory>,
    /// Reads details from the file. Separate from the writer, which may hang in a call that a read does not need.
    reader: Worker,
}

/// The disk did not respond in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history's disk did not answer in time")]
pub struct Late;

impl History {
    /// Creates a history of at most `limit` records. It is in memory only until [`History::attach`] sets a file.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let shared = SharedHistory {
            limit: limit.max(1),
            inner: Mutex::default(),
            more: Condvar::new(),
            writers: AtomicUsize::new(0),
            waiting: watch::Sender::new(Waiting::default()),
        };
        Self { shared: Arc::new(shared), reader: Worker::new("history-read") }
    }

    /// Creates a history in memory, for tests of its readers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(1000)
    }

    /// Sets the file. Its records are inserted before those in memory, which are appended to the file, as are all
    /// later ones. Does not wait for this; see [`History::attached`].
    pub fn attach(&self, path: &Path) {
        self.shared.change(|inner| inner.attach(path));
        writer::wake(&self.shared);
    }

    /// Waits until the file has been read.
    ///
    /// # Errors
    /// The reason, if the file could not be opened; the writer retries with each new record and every ten seconds.
    /// `TimedOut` at the deadline. Invalid content is never an error.
    pub async fn attached(&self, deadline: Instant) -> io::Result<Loaded> {
        let mut waiting = self.shared.waiting.subscribe();
        let _ = tokio::time::timeout_at(deadline, waiting.wait_for(|waiting| !waiting.opening)).await;
        let inner = self.shared.lock();
        match (&inner.loaded, &inner.failure) {
            (Some(loaded), _) => Ok(*loaded),
            (None, Some(failure)) => Err(io::Error::other(failure.clone())),
            (None, None) => Err(io::Error::new(io::ErrorKind::TimedOut, Late)),
        }
    }

    /// Detaches the file. Details in it stay readable for as long as the disk responds, and are copied to the next
    /// file.
    pub fn detach(&self) {
        self.shared.change(RecordState::detach);
        writer::wake(&self.shared);
    }

    /// Returns the id for the next record: a number that grows, also over restarts.
    #[must_use]
    pub fn next_id(&self) -> String {
        self.shared.lock().next_id()
    }

    /// Adds a record. It is written after the records before it; see [`History::written`].
    pub fn append(&self, record: Record, detail: Detail) {
        self.shared.change(|inner| inner.append(record, detail, self.shared.limit));
        writer::wake(&self.shared);
    }

    /// Adds the peers' results to a record and writes its line again; the later line is valid. Returns the changed
    /// record if it is still in memory.
    pub fn amend(&self, id: &str, peers: Vec<PeerResult>) -> Option<Record> {
        let amended = self.shared.change(|inner| inner.amend(id, peers));
        writer::wake(&self.shared);
        amended
    }

    /// Waits until every record is on the disk. Returns false at the deadline.
    pub async fn written(&self, deadline: Instant) -> bool {
        let mut waiting = self.shared.waiting.subscribe();
        let written = waiting.wait_for(|waiting| waiting.records == 0);
        tokio::time::timeout_at(deadline, written).await.is_ok()
    }

    /// Returns the state of the records that wait for the disk, updated with each change.
    #[must_use]
    pub fn waiting(&self) -> watch::Receiver<Waiting> {
        self.shared.waiting.subscribe()
    }

    /// Returns at most `limit` records older than the record `before`, newest first. An unknown `before` gives none.
    #[must_use]
    pub fn page(&self, before: Option<&str>, limit: usize) -> Vec<Record> {
        self.shared.lock().page(before, limit)
    }

    /// Returns one record with its details. Details on the disk are read on a separate thread; unreadable ones are
    /// left out.
    ///
    /// # Errors
    /// [`Late`], if the disk did not respond by the deadline.
    pub async fn detail(&self, id: &str, deadline: Instant) -> Result<Option<SyncDetail>, Late> {
        // Copied out of the lock, because reading the line may hang.
        let Some((record, kept)) = self.shared.lock().find(id) else { return Ok(None) };
        let detail = match kept {
            Kept::InMemory(detail) => Detail::clone(&detail),
            Kept::OnDisk(line) | Kept::Changed(line) => {
                self.reader.run(deadline, move |_| line.detail().unwrap_or_default()).await.map_err(|_| Late)?
            }
        };
        Ok(Some(SyncDetail { schema: SCHEMA, record, detail }))
    }

    /// Ends the reading thread until it is needed again.
    pub fn rest(&self) {
        self.reader.rest();
    }

    /// Returns the distinct commits of all records that begin with `prefix`.
    #[must_use]
    pub fn commits_with_prefix(&self, prefix: &str) -> Vec<String> {
        self.shared.lock().commits_with_prefix(prefix)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // A writer that waits before its next attempt must not outlive the history.
        self.detach();
    }
}

#[cfg(test)]
mod tests;
