//! The records in memory, and which of them are on the disk. Nothing here touches a file.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::{Detail, PeerResult, Record};

use super::Loaded;
use super::journal::{Found, Journal, Line, Place};

/// A higher id is none that we gave: whoever may write to the volume could bring the counter to its end by one.
const HIGHEST_ID: u64 = 1 << 53;

/// Details that wait for the disk may take so many bytes; of the oldest ones only the record is kept then.
const MOST_WAITING: usize = 16 << 20;

/// What waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records that are not on the disk as they are in memory.
    pub records: u64,
    /// When the oldest of them ended.
    pub since: Option<Timestamp>,
    /// Records that left the memory before the disk took them, or of which only the short part was kept.
    pub dropped: u64,
    /// True until a file that was attached has been read, or could not be.
    pub opening: bool,
    /// How many files were read so far; each may bring older records.
    pub loads: u64,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// Oldest first.
    entries: VecDeque<Entry>,
    next_id: u64,
    /// Where the file is to be; `None`: nothing was attached.
    pub path: Option<PathBuf>,
    /// The open file, while no writer has it.
    pub journal: Option<Journal>,
    /// Which file is attached, by its number. A writer of another one has nothing to say any more.
    pub generation: u64,
    /// True while a writer of this generation is alive.
    pub has_writer: bool,
    /// True if there is something new since a writer last failed.
    pub is_news: bool,
    pub loaded: Option<Loaded>,
    /// Why the file could not be opened or written when that was tried last.
    pub failure: Option<String>,
    dropped: u64,
    loads: u64,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    kept: Kept,
}

/// Where the long part of a record is.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// The disk has nothing of the record.
    InMemory(Arc<Detail>),
    /// The file has the record as it is.
    OnDisk(Line),
    /// There is a line with this long part, but the record has changed since, or the line is in a file that was let go of.
    Changed(Line),
}

impl Kept {
    fn is_on_disk(&self) -> bool {
        matches!(self, Self::OnDisk(_))
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            next_id: 1,
            path: None,
            journal: None,
            generation: 0,
            has_writer: false,
            is_news: false,
            loaded: None,
            failure: None,
            dropped: 0,
            loads: 0,
        }
    }
}

impl Inner {
    pub fn waiting(&self) -> Waiting {
        let mut waits = self.entries.iter().filter(|entry| !entry.kept.is_on_disk());
        let since = waits.next().map(|oldest| oldest.record.finished_at);
        let records = since.map_or(0, |_| 1 + waits.count() as u64);
        let opening = self.path.is_some() && self.loaded.is_none() && self.failure.is_none();
        Waiting { records, since, dropped: self.dropped, opening, loads: self.loads }
    }

    pub fn attach(&mut self, path: &Path) {
        if self.path.as_deref() == Some(path) {
            self.is_news = true;
            return;
        }
        self.detach();
        self.path = Some(path.to_owned());
    }

    pub fn detach(&mut self) {
        self.generation += 1;
        (self.path, self.journal, self.loaded, self.failure) = (None, None, None, None);
        self.has_writer = false;
        for entry in &mut self.entries {
            if let Kept::OnDisk(line) = &entry.kept {
                entry.kept = Kept::Changed(line.clone());
            }
        }
    }

    /// Takes in what a file held, in front of what is here.
    pub fn take_in(&mut self, journal: &Journal, found: Found, limit: usize) {
        self.loaded = Some(Loaded { records: found.records.len(), skipped: found.skipped });
        (self.failure, self.loads) = (None, self.loads + 1);
        let ids = self.entries.iter().enumerate().map(|(at, entry)| (entry.record.id.clone(), at));
        let known: HashMap<String, usize> = ids.collect();
        let mut older = Vec::new();
        for (record, place) in found.records {
            let entry = known.get(&record.id).map(|at| &mut self.entries[*at]).filter(|entry| entry.record == record);
            match entry {
                // The file was let go of and is back.
                Some(entry) => entry.kept = Kept::OnDisk(journal.line(place)),
                None => older.push(Entry { record, kept: Kept::OnDisk(journal.line(place)) }),
            }
        }
        let ids = older.iter().filter_map(|entry| entry.record.id.parse::<u64>().ok());
        let highest = ids.filter(|id| *id <= HIGHEST_ID).max().unwrap_or(0);
        // Ids given out before the file was readable may be in it already: these move behind them.
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

    pub fn next_id(&mut self) -> String {
        let id = self.next_id;
        self.next_id += 1;
        id.to_string()
    }

    pub fn append(&mut self, record: Record, detail: Detail, limit: usize) {
        self.entries.push_back(Entry { record, kept: Kept::InMemory(Arc::new(detail)) });
        self.is_news = true;
        self.trim(limit);
    }

    pub fn amend(&mut self, id: &str, peers: Vec<PeerResult>) -> Option<Record> {
        let entry = self.entries.iter_mut().rev().find(|entry| entry.record.id == id)?;
        entry.record.peers = peers;
        if let Kept::OnDisk(line) = &entry.kept {
            entry.kept = Kept::Changed(line.clone());
        }
        self.is_news = true;
        Some(entry.record.clone())
    }

    pub fn find(&self, id: &str) -> Option<(Record, Kept)> {
        let entry = self.entries.iter().rev().find(|entry| entry.record.id == id)?;
        Some((entry.record.clone(), entry.kept.clone()))
    }

    pub fn page(&self, before: Option<&str>, limit: usize) -> Vec<Record> {
        let end = match before {
            None => self.entries.len(),
            Some(id) => self.entries.iter().rposition(|entry| entry.record.id == id).unwrap_or(0),
        };
        self.entries.range(..end).rev().take(limit).map(|entry| entry.record.clone()).collect()
    }

    pub fn commits_with_prefix(&self, prefix: &str) -> Vec<String> {
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

    /// The oldest record that the file does not have as it is.
    pub fn next_to_write(&self) -> Option<(Record, Kept)> {
        let entry = self.entries.iter().find(|entry| !entry.kept.is_on_disk())?;
        Some((entry.record.clone(), entry.kept.clone()))
    }

    /// A record is in the file now. If it was amended meanwhile, its line is written once more.
    pub fn was_written(&mut self, record: &Record, line: Line) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.record.id == record.id) {
            entry.kept = if entry.record == *record { Kept::OnDisk(line) } else { Kept::Changed(line) };
        }
    }

    /// The places of all lines of this file that count, and the ids of their records. One that is about to be replaced counts
    /// until it is.
    pub fn lines_to_keep(&self, journal: &Journal) -> Vec<(String, Place)> {
        let on_disk = |entry: &Entry| match &entry.kept {
            Kept::OnDisk(line) => Some((entry.record.id.clone(), line.place)),
            Kept::Changed(line) if journal.holds(line) => Some((entry.record.id.clone(), line.place)),
            _ => None,
        };
        self.entries.iter().filter_map(on_disk).collect()
    }

    /// The file was rewritten: the lines are in other places. Some records may have been dropped or amended meanwhile.
    pub fn were_moved(&mut self, moved: Vec<(String, Line)>) {
        let mut moved: HashMap<String, Line> = moved.into_iter().collect();
        for entry in &mut self.entries {
            if let Some(line) = moved.remove(&entry.record.id) {
                entry.kept = match entry.kept {
                    Kept::OnDisk(_) => Kept::OnDisk(line),
                    _ => Kept::Changed(line),
                };
            }
        }
    }

    /// Drops what is over the limits, the oldest first.
    fn trim(&mut self, limit: usize) {
        while self.entries.len() > limit {
            let oldest = self.entries.pop_front();
            self.dropped += u64::from(oldest.is_some_and(|entry| !entry.kept.is_on_disk()));
        }
        let weight = |entry: &Entry| match &entry.kept {
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

/// About how many bytes a detail takes; none if there is nothing in it.
fn weight_of(detail: &Detail) -> usize {
    let commits = detail.commits.iter().map(|commit| 128 + commit.subject.len() + commit.author.len());
    let files = detail.files.iter().map(|file| 64 + file.path.len());
    let log = detail.log.iter().map(|line| 64 + line.message.len());
    commits.sum::<usize>() + files.sum::<usize>() + log.sum::<usize>()
}
