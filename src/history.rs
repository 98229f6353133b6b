//! The bounded journal of sync attempts: one JSON line each, durable before anybody is told of the outcome.
//!
//! It knows records, not how they come about. The file lies on a volume that others may write: a torn last line is what
//! a crash leaves, and garbage is skipped with a count, never fatal. Records stay in memory, their long details on disk.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod journal;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::{Detail, PeerResult, Record, SCHEMA, SyncDetail};

use journal::{Found, Journal, Place};

/// A higher id is none that we gave: whoever may write to the volume could bring the counter to its end by one.
const HIGHEST_ID: u64 = 1 << 53;

/// Thread-safe. Readers are served while the sync loop appends.
#[derive(Debug)]
pub struct History {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// `None` until the volume is open, and while it cannot be written.
    journal: Option<Journal>,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    detail: Kept,
}

/// Where the long part of a record is.
#[derive(Debug)]
enum Kept {
    InMemory(Detail),
    OnDisk(Place),
}

/// What was found in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub records: usize,
    /// Lines that are no record of ours: torn, edited, or of a version we cannot read.
    pub skipped: usize,
}

impl History {
    /// A history that remembers at most `limit` records, in memory until [`History::attach`] gives it a file.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let inner = Inner { entries: VecDeque::new(), journal: None, next_id: 1 };
        Self { limit: limit.max(1), inner: Mutex::new(inner) }
    }

    /// Keeps records in memory only; for tests of its readers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(1000)
    }

    /// Reads the file's records in front of those in memory, and appends to it from now on. Blocking.
    ///
    /// # Errors
    /// If the file cannot be opened or written. Its content never is an error.
    pub fn attach(&self, path: &Path) -> io::Result<Loaded> {
        let (mut journal, Found { records: found, skipped }) = Journal::open(path, self.limit)?;
        let mut inner = self.lock();
        let loaded = Loaded { records: found.len(), skipped };
        // Read before, by this process: the file was let go of and is back.
        let is_new = |record: &Record| inner.entries.iter().all(|entry| entry.record != *record);
        let found: Vec<_> = found.into_iter().filter(|(record, _)| is_new(record)).collect();
        let ids = found.iter().filter_map(|(record, _)| record.id.parse::<u64>().ok());
        let highest = ids.filter(|id| *id <= HIGHEST_ID).max().unwrap_or(0);
        // Ids given out before the file was readable may be in it already: these move behind them.
        for entry in &mut inner.entries {
            if let Ok(id) = entry.record.id.parse::<u64>() {
                entry.record.id = id.saturating_add(highest).to_string();
            }
        }
        inner.next_id = inner.next_id.saturating_add(highest);
        for entry in &mut inner.entries {
            if let Kept::InMemory(detail) = &entry.detail {
                entry.detail = Kept::OnDisk(journal.append(&entry.record, detail)?);
            }
        }
        for (record, place) in found.into_iter().rev() {
            inner.entries.push_front(Entry { record, detail: Kept::OnDisk(place) });
        }
        inner.journal = Some(journal);
        self.trim(&mut inner);
        Ok(loaded)
    }

    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.lock().journal.is_some()
    }

    /// Lets go of the file, whatever became of it, and takes what it can still read of it into memory.
    pub fn detach(&self) {
        let mut inner = self.lock();
        let Some(journal) = inner.journal.take() else { return };
        for entry in &mut inner.entries {
            if let Kept::OnDisk(place) = entry.detail {
                entry.detail = Kept::InMemory(journal.detail(place).unwrap_or_default());
            }
        }
    }

    /// Adds a record to memory only, unless it is there already.
    pub fn remember(&self, record: Record, detail: Detail) {
        let mut inner = self.lock();
        if inner.entries.iter().all(|entry| entry.record.id != record.id) {
            inner.entries.push_back(Entry { record, detail: Kept::InMemory(detail) });
            self.trim(&mut inner);
        }
    }

    /// The id for the next record: a number that grows, also over restarts.
    #[must_use]
    pub fn next_id(&self) -> String {
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        id.to_string()
    }

    /// Adds a record; it is on disk when this returns. Blocking.
    ///
    /// # Errors
    /// If the file cannot be written. The record is kept in memory all the same.
    pub fn append(&self, record: Record, detail: Detail) -> io::Result<()> {
        let mut inner = self.lock();
        let written = match &mut inner.journal {
            None => Ok(None),
            Some(journal) => journal.append(&record, &detail).map(Some),
        };
        let (kept, outcome) = match written {
            Ok(Some(place)) => (Kept::OnDisk(place), Ok(())),
            Ok(None) => (Kept::InMemory(detail), Ok(())),
            Err(error) => (Kept::InMemory(detail), Err(error)),
        };
        inner.entries.push_back(Entry { record, detail: kept });
        self.trim(&mut inner);
        outcome
    }

    /// Adds what the peers answered to a record that is there already: another line of the file with the same id, which
    /// counts instead of the first one. Returns the record as it is now, if it is still kept; it is also if the file
    /// cannot be written. Blocking.
    pub fn amend(&self, id: &str, peers: Vec<PeerResult>) -> (Option<Record>, io::Result<()>) {
        let mut inner = self.lock();
        let Inner { entries, journal, .. } = &mut *inner;
        let Some(entry) = entries.iter_mut().rev().find(|entry| entry.record.id == id) else { return (None, Ok(())) };
        entry.record.peers = peers;
        let record = entry.record.clone();
        let Some(journal) = journal else { return (Some(record), Ok(())) };
        let detail = match &entry.detail {
            Kept::InMemory(detail) => detail.clone(),
            Kept::OnDisk(place) => journal.detail(*place).unwrap_or_default(),
        };
        let written = journal.append(&record, &detail).map(|place| entry.detail = Kept::OnDisk(place));
        self.trim(&mut inner);
        (Some(record), written)
    }

    /// At most `limit` records older than the record `before`, newest first. An unknown `before` gives none.
    #[must_use]
    pub fn page(&self, before: Option<&str>, limit: usize) -> Vec<Record> {
        let inner = self.lock();
        let end = match before {
            None => inner.entries.len(),
            Some(id) => inner.entries.iter().rposition(|entry| entry.record.id == id).unwrap_or(0),
        };
        inner.entries.range(..end).rev().take(limit).map(|entry| entry.record.clone()).collect()
    }

    /// One record with everything about it. Reads the file. A detail that cannot be read any more is left out.
    #[must_use]
    pub fn detail(&self, id: &str) -> Option<SyncDetail> {
        let inner = self.lock();
        let entry = inner.entries.iter().rev().find(|entry| entry.record.id == id)?;
        let detail = match &entry.detail {
            Kept::InMemory(detail) => detail.clone(),
            Kept::OnDisk(place) => {
                inner.journal.as_ref().and_then(|journal| journal.detail(*place)).unwrap_or_default()
            }
        };
        Some(SyncDetail { schema: SCHEMA, record: entry.record.clone(), detail })
    }

    /// The different commits of all records that begin with `prefix`.
    #[must_use]
    pub fn commits_with_prefix(&self, prefix: &str) -> Vec<String> {
        let inner = self.lock();
        let mut found: Vec<String> = Vec::new();
        for entry in &inner.entries {
            for commit in [&entry.record.new, &entry.record.old].into_iter().flatten() {
                if commit.starts_with(prefix) && !found.contains(commit) {
                    found.push(commit.clone());
                }
            }
        }
        found
    }

    /// Drops what is over the limit; rewrites the file when it holds a good deal more than that.
    fn trim(&self, inner: &mut Inner) {
        while inner.entries.len() > self.limit {
            inner.entries.pop_front();
        }
        let Inner { entries, journal, .. } = inner;
        let Some(journal) = journal else { return };
        if !journal.is_due(self.limit) {
            return;
        }
        let places = entries.iter().map(|entry| match &entry.detail {
            Kept::OnDisk(place) => Some(*place),
            Kept::InMemory(_) => None,
        });
        match journal.compact(&places.collect::<Vec<_>>()) {
            Ok(moved) => {
                for (entry, place) in entries.iter_mut().zip(moved) {
                    if let Some(place) = place {
                        entry.detail = Kept::OnDisk(place);
                    }
                }
            }
            // It is only longer than it should be; the next append tries again.
            Err(error) => tracing::warn!(%error, "the history file could not be compacted"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
