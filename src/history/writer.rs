//! The thread that opens the history's file and writes records to it, in order.
//!
//! It runs while records wait to be written. A call to the disk that never returns blocks this thread and the records
//! behind it, and nothing else. When another file is attached, a new thread takes over. A writer also closes files that
//! are not used any more. It does so last, when the next writer may already run, because closing may hang as well.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::Record;

use super::journal::{Journal, LinePosition};
use super::records::{Kept, RecordState};
use super::shared::SharedHistory;

/// The pause before the next attempt to open or write the file, if no new record arrives earlier.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The most threads that may hang in detached files. At this limit records stay in memory.
const MOST_THREADS: usize = 8;

/// Makes sure that waiting records get written, by the running writer or a new one.
pub(super) fn wake(shared: &Arc<SharedHistory>) {
    shared.more.notify_all();
    let mut inner = shared.lock();
    if inner.has_writer || !inner.has_work() {
        return;
    }
    let one_more = |count| (count < MOST_THREADS).then_some(count + 1);
    if shared.writers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
        return;
    }
    let writer = Writer { shared: Arc::clone(shared), generation: inner.generation, has_ended: Cell::new(false) };
    // Set before the thread can report its end. If no thread can be started, the next record tries again.
    inner.has_writer = true;
    drop(inner);
    let _ = std::thread::Builder::new().name("history".to_owned()).spawn(move || writer.write_all());
}

/// One writer, from before the start of its thread until its end.
struct Writer {
    shared: Arc<SharedHistory>,
    generation: u64,
    /// True once it has handed over to the next writer.
    has_ended: Cell<bool>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.writers.fetch_sub(1, Ordering::Relaxed);
        let mut inner = self.shared.lock();
        // The thread panicked or could not be started.
        if inner.generation == self.generation && !self.has_ended.get() {
            inner.has_writer = false;
        }
    }
}

/// The next step of a writer.
enum WriterStep {
    Open(PathBuf),
    Write(Box<Record>, Kept),
    Rewrite(Vec<(String, LinePosition)>),
}

impl Writer {
    fn write_all(&self) {
        let (mut journal, mut unused_files) = (None, Vec::new());
        while let Some(step) = self.next_step(&mut journal, &mut unused_files) {
            // Without the lock, because each of these may block forever.
            let failed = match (step, &mut journal) {
                (WriterStep::Open(path), _) => self.open(&path, &mut journal),
                (WriterStep::Write(record, kept), Some(journal)) => self.write(&record, &kept, journal),
                (WriterStep::Rewrite(lines), Some(journal)) => {
                    self.rewrite(lines, journal);
                    None
                }
                (_, None) => None,
            };
            if let Some(failure) = failed {
                self.wait_after(failure);
            }
        }
    }

    /// Returns the next step, or `None` if there is none or another file is attached; then the thread ends. What is in
    /// `unused_files` then is closed by the caller, without the lock.
    fn next_step(&self, journal: &mut Option<Journal>, unused_files: &mut Vec<File>) -> Option<WriterStep> {
        let mut inner = self.shared.lock();
        if inner.generation != self.generation {
            return None;
        }
        inner.has_news = false;
        if journal.is_none() {
            *journal = inner.journal.take();
        }
        match (journal.as_ref(), &inner.path) {
            // Before the next record, because a continuous flow of records would otherwise postpone the rewrite forever.
            (Some(open), _) if open.is_due(self.shared.limit) => {
                return Some(WriterStep::Rewrite(inner.lines_to_keep(open)));
            }
            (Some(_), _) => {
                if let Some((record, kept)) = inner.next_to_write() {
                    return Some(WriterStep::Write(Box::new(record), kept));
                }
            }
            (None, Some(path)) => return Some(WriterStep::Open(path.clone())),
            // Only files are to be closed.
            (None, None) => {}
        }
        inner.journal = journal.take();
        *unused_files = std::mem::take(&mut inner.unused_files);
        // In the same critical section, so that a record that arrives now starts the next writer.
        inner.has_writer = false;
        self.has_ended.set(true);
        None
    }

    /// Opens and reads the file. Returns the reason if that failed.
    fn open(&self, path: &Path, journal: &mut Option<Journal>) -> Option<String> {
        let (opened, found) = match Journal::open(path, self.shared.limit) {
            Ok(opened) => opened,
            Err(error) => return Some(format!("cannot be opened: {error}")),
        };
        let mut opened = Some(opened);
        self.shared.change(|inner| {
            if inner.generation == self.generation
                && let Some(opened) = opened.take()
            {
                inner.insert_file(&opened, found, self.shared.limit);
                *journal = Some(opened);
            }
        });
        // Closed without the lock, if another file was attached in the meantime.
        drop(opened);
        None
    }

    /// Writes a record. Returns the reason if that failed.
    fn write(&self, record: &Record, kept: &Kept, journal: &mut Journal) -> Option<String> {
        let detail = match kept {
            Kept::InMemory(detail) => Arc::clone(detail),
            Kept::OnDisk(line) | Kept::Changed(line) => Arc::new(line.detail().unwrap_or_default()),
        };
        let line = match journal.append(record, &detail) {
            Ok(line) => line,
            Err(error) => return Some(format!("cannot be written: {error}")),
        };
        let recovered = self.shared.change(|inner| {
            if inner.generation != self.generation {
                return false;
            }
            inner.was_written(record, line);
            inner.failure.take().is_some()
        });
        if recovered {
            tracing::info!("the history file can be written again");
        }
        None
    }

    fn rewrite(&self, lines: Vec<(String, LinePosition)>, journal: &mut Journal) {
        let (ids, places): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        match journal.compact(&places) {
            Ok(moved) => self.shared.change(|inner| {
                if inner.generation == self.generation {
                    inner.were_moved(ids.into_iter().zip(moved).collect());
                }
            }),
            Err(error) => {
                // The file is only longer than intended. The next attempt follows when it has grown by as much again.
                journal.put_off();
                tracing::warn!(%error, "the history file could not be compacted");
            }
        }
    }

    /// Waits for a new record, another file, or [`TRY_AGAIN`].
    fn wait_after(&self, failure: String) {
        let is_new = self.shared.change(|inner| {
            let is_new = inner.generation == self.generation && inner.failure.as_ref() != Some(&failure);
            if is_new {
                inner.failure = Some(failure.clone());
            }
            is_new
        });
        if is_new {
            tracing::warn!("the history file {failure}; records wait in memory");
        }
        let waits = |inner: &mut RecordState| inner.generation == self.generation && !inner.has_news;
        self.shared.more.wait_while_for(&mut self.shared.lock(), waits, TRY_AGAIN);
    }
}
