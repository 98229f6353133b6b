//! The bounded journal of sync attempts: the newest records in memory, one JSON line each in a file on the volume.
//!
//! It knows records, not how they come about. Records are in memory first; a thread of the history's own writes them, in order
//! (`writer.rs`), and no lock is held over a call to the disk. So a disk that hangs keeps records waiting, and nothing else. The
//! file lies on a volume that others may write: a torn last line is what a crash leaves, and garbage is skipped with a count,
//! never fatal. The long details of records that are on the disk are not kept in memory.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod journal;
mod ring;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{Detail, PeerResult, Record, SCHEMA, SyncDetail};
use crate::worker::Worker;

use ring::{Inner, Kept};

pub use ring::Waiting;

/// Thread-safe. Only [`History::detail`], [`History::attached`] and [`History::written`] wait, each until a deadline.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    /// Reads details back. Apart from the writer, which may hang in a call that a read does not need.
    reader: Worker,
}

/// What the history and its writer share.
#[derive(Debug)]
struct Shared {
    limit: usize,
    inner: Mutex<Inner>,
    /// Wakes a writer that waits before it tries again.
    more: Condvar,
    /// Writers that are alive, with those that hang in files that were let go of.
    writers: AtomicUsize,
    waiting: watch::Sender<Waiting>,
}

/// What was found in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub records: usize,
    /// Lines that are no record of ours: torn, edited, or of a version we cannot read.
    pub skipped: usize,
}

/// The disk did not say in time what is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history's disk did not answer in time")]
pub struct Late;

impl History {
    /// A history that remembers at most `limit` records, in memory until [`History::attach`] gives it a file.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let shared = Shared {
            limit: limit.max(1),
            inner: Mutex::default(),
            more: Condvar::new(),
            writers: AtomicUsize::new(0),
            waiting: watch::Sender::new(Waiting::default()),
        };
        Self { shared: Arc::new(shared), reader: Worker::new("history-read") }
    }

    /// Keeps records in memory only; for tests of its readers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(1000)
    }

    /// Has the file's records read in front of those in memory, which are appended to it, as all later ones are. Does not wait
    /// for any of it; see [`History::attached`].
    pub fn attach(&self, path: &Path) {
        self.shared.change(|inner| inner.attach(path));
        writer::wake(&self.shared);
    }

    /// Waits until the file was read.
    ///
    /// # Errors
    /// Why it could not be opened, if that is known; the writer tries again with each new record and every ten seconds. `TimedOut`
    /// at the deadline. The content of the file never is an error.
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

    /// Lets go of the file. What is in it stays readable for as long as the disk allows, and is written to the next one.
    pub fn detach(&self) {
        self.shared.change(Inner::detach);
    }

    /// The id for the next record: a number that grows, also over restarts.
    #[must_use]
    pub fn next_id(&self) -> String {
        self.shared.lock().next_id()
    }

    /// Adds a record. It is written as soon as those before it are; see [`History::written`].
    pub fn append(&self, record: Record, detail: Detail) {
        self.shared.change(|inner| inner.append(record, detail, self.shared.limit));
        writer::wake(&self.shared);
    }

    /// Adds what the peers answered to a record that is there already, and has its line written once more: the later one
    /// counts. Returns the record as it is now, if it is still kept.
    pub fn amend(&self, id: &str, peers: Vec<PeerResult>) -> Option<Record> {
        let amended = self.shared.change(|inner| inner.amend(id, peers));
        writer::wake(&self.shared);
        amended
    }

    /// Waits until every record is on the disk. False at the deadline.
    pub async fn written(&self, deadline: Instant) -> bool {
        let mut waiting = self.shared.waiting.subscribe();
        let written = waiting.wait_for(|waiting| waiting.records == 0);
        tokio::time::timeout_at(deadline, written).await.is_ok()
    }

    /// What waits for the disk, now and after each change.
    #[must_use]
    pub fn waiting(&self) -> watch::Receiver<Waiting> {
        self.shared.waiting.subscribe()
    }

    /// At most `limit` records older than the record `before`, newest first. An unknown `before` gives none.
    #[must_use]
    pub fn page(&self, before: Option<&str>, limit: usize) -> Vec<Record> {
        self.shared.lock().page(before, limit)
    }

    /// One record with everything about it. What is on the disk is read on a thread of its own. A detail that cannot be read
    /// any more is left out.
    ///
    /// # Errors
    /// [`Late`], if the disk did not answer by the deadline.
    pub async fn detail(&self, id: &str, deadline: Instant) -> Result<Option<SyncDetail>, Late> {
        let Some((record, kept)) = self.shared.lock().find(id) else { return Ok(None) };
        let detail = match kept {
            Kept::InMemory(detail) => Detail::clone(&detail),
            Kept::OnDisk(line) | Kept::Changed(line) => {
                self.reader.run(deadline, move |_| line.detail().unwrap_or_default()).await.map_err(|_| Late)?
            }
        };
        Ok(Some(SyncDetail { schema: SCHEMA, record, detail }))
    }

    /// Lets go of the thread that read details, until one is wanted again.
    pub fn rest(&self) {
        self.reader.rest();
    }

    /// The different commits of all records that begin with `prefix`.
    #[must_use]
    pub fn commits_with_prefix(&self, prefix: &str) -> Vec<String> {
        self.shared.lock().commits_with_prefix(prefix)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // A writer that waits before it tries again must not outlive its history.
        self.shared.change(Inner::detach);
        self.shared.more.notify_all();
    }
}

impl Shared {
    /// Never held over a call to the disk.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the records, and says what waits then.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let changed = change(&mut inner);
        let now = inner.waiting();
        self.waiting.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
        changed
    }
}

#[cfg(test)]
mod tests;
