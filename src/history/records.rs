//! The records in memory, and which of them are on the disk. This module does not access files.
//!
//! It does not close files either: its functions run with the lock of the history, and closing may hang on a broken disk.
//! Files that are not used any more are collected for the writer's thread.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::{Detail, PeerResult, Record};

use super::journal::{Journal, JournalContent, JournalLine, LinePosition};

/// Larger ids are ignored. Otherwise a single record from another writer to the volume could exhaust the counter.
const HIGHEST_ID: u64 = 1 << 53;

/// The memory limit for details that wait for the disk, in bytes. Beyond it the oldest details are dropped and only
/// their records kept.
const MOST_WAITING: usize = 16 << 20;

/// The result of reading the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub records: usize,
    /// Lines that could not be parsed: torn, edited, or of an unknown version.
    pub skipped: usize,
}

/// The records that wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many records are not on the disk in their current form.
    pub records: u64,
    /// When the oldest of them ended.
    pub since: Option<Timestamp>,
    /// How many records were dropped before they were written, completely or without their details.
    pub dropped: u64,
    /// True until an attached file has been read or could not be opened.
    pub opening: bool,
    /// How many files have been read so far. Each may have added older records.
    pub loads: u64,
}

#[derive(Debug)]
pub(super) struct RecordState {
    /// Oldest first.
    entries: VecDeque<StoredRecord>,
    next_id: u64,
    /// The path of the file; `None`: no file is attached.
    pub path: Option<PathBuf>,
    /// The open file, while no writer uses it.
    pub journal: Option<Journal>,
    /// The number of the attached file. Writers of an earlier one must not change anything.
    pub generation: u64,
    /// True while a writer of this generation is alive.
    pub has_writer: bool,
    /// True if a record was added or changed since a writer last failed.
    pub has_news: bool,
    pub loaded: Option<Loaded>,
    /// Why the last attempt to open or write the file failed.
    pub failure: Option<String>,
    /// Files that nothing uses any more, to be closed by a writer without the lock.
    pub unused_files: Vec<File>,
    dropped: u64,
    loads: u64,
}

#[derive(Debug)]
struct StoredRecord {
    record: Record,
    kept: Kept,
}

/// Where the details of a record are.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// Only in memory: nothing of the record is on the disk.
    InMemory(Arc<Detail>),
    /// The file contains the record in its current form.
    OnDisk(JournalLine),
    /// A line with these details exists, but the record has changed since or the file has been detached.
    Changed(JournalLine),
}

impl Kept {
    fn is_on_disk(&self) -> bool {
        matches!(self, Self::OnDisk(_))
    }

    /// Returns the file if this was its last use.
    fn into_unused_file(self) -> Option<File> {
        match self {
            Self::InMemory(_) => None,
            Self::OnDisk(line) | Self::Changed(line) => line.into_unused_file(),
        }
    }

    /// Replaces it, and collects the file if this was its last use.
    fn replace(&mut self, kept: Self, unused_files: &mut Vec<File>) {
        unused_files.extend(std::mem::replace(self, kept).into_unused_file());
    }
}

impl Default for RecordState {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            next_id: 1,
            path: None,
            journal: None,
            generation: 0,
            has_writer: false,
            has_news: false,
            loaded: None,
            failure: None,
            unused_files: Vec::new(),
            dropped: 0,
            loads: 0,
        }
    }
}

impl RecordState {
    /// Returns true if a writer has something to do.
    pub(crate) fn has_work(&self) -> bool {
        let is_written = self.loaded.is_some() && self.next_to_write().is_none();
        self.path.is_some() && !is_written || !self.unused_files.is_empty()
    }

    pub(crate) fn waiting(&self) -> Waiting {
        let mut waits = self.entries.iter().filter(|entry| !entry.kept.is_on_disk());
        let since = waits.next().map(|oldest| oldest.record.finished_at);
        let records = since.map_or(0, |_| 1 + waits.count() as u64);
        let opening = self.path.is_some() && self.loaded.is_none() && self.failure.is_none();
        Waiting { records, since, dropped: self.dropped, opening, loads: self.loads }
    }

    pub(crate) fn attach(&mut self, path: &Path) {
        if self.path.as_deref() == Some(path) {
            // A writer that waits after a failure tries again at once.
            self.has_news = true;
            return;
        }
        self.detach();
        self.path = Some(path.to_owned());
    }

    pub(crate) fn detach(&mut self) {
        self.generation += 1;
        self.unused_files.extend(self.journal.take().and_then(Journal::into_unused_file));
        (self.path, self.loaded, self.failure) = (None, None, None);
        self.has_writer = false;
        for entry in &mut self.entries {
            if let Kept::OnDisk(line) = &entry.kept {
                entry.kept = Kept::Changed(line.clone());
            }
        }
    }

    /// Inserts the records of a file before those in memory.
    pub(crate) fn insert_file(&mut self, journal: &Journal, found: JournalContent, limit: usize) {
        self.loaded = Some(Loaded { records: found.records.len(), skipped: found.skipped });
        (self.failure, self.loads) = (None, self.loads + 1);
        let ids = self.entries.iter().enumerate().map(|(at, entry)| (entry.record.id.clone(), at));
        let known: HashMap<String, usize> = ids.collect();
        let mut older = Vec::new();
        for (record, place) in found.records {
            // Another process may have given the same id to another record.
            let entry = known.get(&record.id).map(|at| &mut self.entries[*at]).filter(|entry| entry.record == record);
            match entry {
                // The file was detached and attached again.
                Some(entry) => entry.kept.replace(Kept::OnDisk(journal.line(place)), &mut self.unused_files),
                None => older.push(StoredRecord { record, kept: Kept::OnDisk(journal.line(place)) }),
            }
        }
        let ids = older.iter().filter_map(|entry| entry.record.id.parse::<u64>().ok());
        let highest = ids.filter(|id| *id <= HIGHEST_ID).max().unwrap_or(0);
        // Ids that were assigned before the file was readable may exist in it already, so move them behind the file's
        // ids.
        for entry in self.entries.iter_mut().filter(|entry| !entry.kept.is_on_disk()) {
            if let Ok(id) = entry.record.id.parse::<u64>() {
                entry.record.id = id.saturating_add(highest).to_string();
            }
        }
        self.next_id = self.next_id.saturating_add(highest);
        for entry in older.into_iter().rev() {
            self.entries.push_front(entry);
        }
        self.trim(limit);
    }

    pub(crate) fn next_id(&mut self) -> String {
        let id = self.next_id;
        self.next_id += 1;
        id.to_string()
    }

    pub(crate) fn append(&mut self, record: Record, detail: Detail, limit: usize) {
        self.entries.push_back(StoredRecord { record, kept: Kept::InMemory(Arc::new(detail)) });
        self.has_news = true;
        self.trim(limit);
    }

    pub(crate) fn amend(&mut self, id: &str, peers: Vec<PeerResult>) -> Option<Record> {
        let entry = self.entries.iter_mut().rev().find(|entry| entry.record.id == id)?;
        entry.record.peers = peers;
        if let Kept::OnDisk(line) = &entry.kept {
            entry.kept = Kept::Changed(line.clone());
        }
        self.has_news = true;
        Some(entry.record.clone())
    }

    pub(crate) fn find(&self, id: &str) -> Option<(Record, Kept)> {
        let entry = self.entries.iter().rev().find(|entry| entry.record.id == id)?;
        Some((entry.record.clone(), entry.kept.clone()))
    }

    pub(crate) fn page(&self, before: Option<&str>, limit: usize) -> Vec<Record> {
        let end = match before {
            None => self.entries.len(),
            Some(id) => self.entries.iter().rposition(|entry| entry.record.id == id).unwrap_or(0),
        };
        self.entries.range(..end).rev().take(limit).map(|entry| entry.record.clone()).collect()
    }

    pub(crate) fn commits_with_prefix(&self, prefix: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for entry in &self.entries {
            for commit in [&entry.record.new, &entry.record.old].into_iter().flatten() {
                if commit.starts_with(prefix) && !found.contains(commit) {
                    found.push(commit.clone());
                }
            }
        }
        found
    }

    /// Returns the oldest record that the file does not have in its current form.
    pub(crate) fn next_to_write(&self) -> Option<(Record, Kept)> {
        let entry = self.entries.iter().find(|entry| !entry.kept.is_on_disk())?;
        Some((entry.record.clone(), entry.kept.clone()))
    }

    /// Marks a record as written. If it was amended in the meantime, its line is written again.
    pub(crate) fn was_written(&mut self, record: &Record, line: JournalLine) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.record.id == record.id) {
            let kept = if entry.record == *record { Kept::OnDisk(line) } else { Kept::Changed(line) };
            entry.kept.replace(kept, &mut self.unused_files);
        }
    }

    /// Returns the positions of all lines of this file that are still needed, with the ids of their records. A line
    /// that is about to be replaced is needed until then.
    pub(crate) fn lines_to_keep(&self, journal: &Journal) -> Vec<(String, LinePosition)> {
        let on_disk = |entry: &StoredRecord| match &entry.kept {
            Kept::OnDisk(line) => Some((entry.record.id.clone(), line.place)),
            Kept::Changed(line) if journal.holds(line) => Some((entry.record.id.clone(), line.place)),
            _ => None,
        };
        self.entries.iter().filter_map(on_disk).collect()
    }

    /// Updates the positions after the file was rewritten. Some records may have been dropped or amended in the
    /// meantime.
    pub(crate) fn were_moved(&mut self, moved: Vec<(String, JournalLine)>) {
        let mut moved: HashMap<String, JournalLine> = moved.into_iter().collect();
        for entry in &mut self.entries {
            if let Some(line) = moved.remove(&entry.record.id) {
                let kept = if entry.kept.is_on_disk() { Kept::OnDisk(line) } else { Kept::Changed(line) };
                entry.kept.replace(kept, &mut self.unused_files);
            }
        }
    }

    /// Drops records over the limits, the oldest first.
    fn trim(&mut self, limit: usize) {
        while self.entries.len() > limit {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.dropped += u64::from(!oldest.kept.is_on_disk());
            self.unused_files.extend(oldest.kept.into_unused_file());
        }
        let weight = |entry: &StoredRecord| match &entry.kept {
            Kept::InMemory(detail) => weight_of(detail),
            _ => 0,
        };
        let mut waiting: usize = self.entries.iter().map(weight).sum();
        for entry in &mut self.entries {
            if waiting <= MOST_WAITING {
                break;
            }
            let spared = weight(entry);
            if spared > 0 {
                (entry.kept, self.dropped) = (Kept::InMemory(Arc::default()), self.dropped + 1);
                waiting -= spared;
            }
        }
    }
}

/// Estimates the bytes that details take; 0 if they are empty.
fn weight_of(detail: &Detail) -> usize {
    let commits = detail.commits.iter().map(|commit| 128 + commit.subject.len() + commit.author.len());
    let files = detail.files.iter().map(|file| 64 + file.path.len());
    let log = detail.log.iter().map(|line| 64 + line.message.len());
    commits.sum::<usize>() + files.sum::<usize>() + log.sum::<usize>()
}
