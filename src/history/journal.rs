//! The history's file: appends a line durably, reads one back by its position, rewrites the file when it has grown
//! too long.
//!
//! It knows lines and offsets, not what a record means.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::api::{Detail, Record};
use crate::replace::{self, Durability};

/// Longer lines are invalid: the longest line that is written has 500 paths, 50 commits and 200 log lines.
const LONGEST_LINE: u64 = 4 << 20;
/// A line replaces an earlier one with the same id if at most this many lines lie between them. Records are amended
/// within seconds, so the distance is small.
const AMENDED_WITHIN: usize = 64;
/// A longer file is rewritten regardless of the number of its lines.
const LONGEST_FILE: u64 = 32 << 20;

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// Shared with the [`JournalLine`]s, so that they stay readable.
    file: Arc<File>,
    /// The offset of the next line: the end of the last complete line.
    end: u64,
    lines: usize,
    /// The number of lines and bytes when a rewrite last failed.
    put_off: (usize, u64),
}

/// The position of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinePosition {
    offset: u64,
    length: u64,
}

/// A line of a file. It can be read as long as this value exists, even after the file was replaced.
#[derive(Clone, Debug)]
pub(crate) struct JournalLine {
    file: Arc<File>,
    pub place: LinePosition,
}

impl JournalLine {
    /// Returns the file if nothing else uses it any more. The caller has to close it.
    pub(crate) fn into_unused_file(self) -> Option<File> {
        Arc::into_inner(self.file)
    }

    /// Reads the long part of the record.
    pub(crate) fn detail(&self) -> Option<Detail> {
        let line = read(&self.file, self.place).ok()?;
        serde_json::from_slice::<LineIn>(&line).ok().map(|line| line.detail)
    }
}

/// The content of a file.
pub(crate) struct JournalContent {
    /// The newest records, oldest first.
    pub records: Vec<(Record, LinePosition)>,
    pub skipped: usize,
}

#[derive(Serialize)]
struct LineOut<'a> {
    #[serde(flatten)]
    record: &'a Record,
    detail: &'a Detail,
}

#[derive(Deserialize)]
struct LineIn {
    #[serde(flatten)]
    record: Record,
    #[serde(default)]
    detail: Detail,
}

impl Journal {
    /// Opens or creates the file and reads its newest `limit` records.
    pub(crate) fn open(path: &Path, limit: usize) -> io::Result<(Self, JournalContent)> {
        let mut file = open_file(path)?;
        let mut records = std::collections::VecDeque::<(Record, LinePosition)>::new();
        let (mut end, mut lines, mut skipped) = (0, 0, 0);
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line without an end must not fill the memory. Its rest is read as further lines, which are skipped.
            let length = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)? as u64;
            if length == 0 {
                break;
            }
            let offset = end;
            end += length;
            lines += 1;
            let whole = line.last() == Some(&b'\n');
            match serde_json::from_slice::<LineIn>(&line) {
                Ok(read) if whole => {
                    let place = LinePosition { offset, length };
                    let known =
                        records.iter_mut().rev().take(AMENDED_WITHIN).find(|(known, _)| known.id == read.record.id);
                    if let Some(known) = known {
                        *known = (read.record, place);
                        continue;
                    }
                    records.push_back((read.record, place));
                    if records.len() > limit {
                        records.pop_front();
                    }
                }
                _ => skipped += 1,
            }
        }
        drop(reader);
        let mut journal = Self { path: path.to_owned(), file: Arc::new(file), end, lines, put_off: (0, 0) };
        if line_is_torn(&journal.file, end)? {
            // The next record needs a line of its own. The torn line is skipped at each start, until the file is
            // rewritten.
            journal.write(b"\n")?;
        }
        Ok((journal, JournalContent { records: records.into(), skipped }))
    }

    /// Writes a line and waits until it is on the disk.
    pub(crate) fn append(&mut self, record: &Record, detail: &Detail) -> io::Result<JournalLine> {
        let mut line = serde_json::to_vec(&LineOut { record, detail })?;
        line.push(b'\n');
        let place = LinePosition { offset: self.end, length: line.len() as u64 };
        self.write(&line)?;
        self.lines += 1;
        Ok(self.line(place))
    }

    /// Returns the file if no line uses it any more. The caller has to close it.
    pub(crate) fn into_unused_file(self) -> Option<File> {
        Arc::into_inner(self.file)
    }

    pub(crate) fn line(&self, place: LinePosition) -> JournalLine {
        JournalLine { file: Arc::clone(&self.file), place }
    }

    /// Returns true if a line belongs to this file.
    pub(crate) fn holds(&self, line: &JournalLine) -> bool {
        Arc::ptr_eq(&self.file, &line.file)
    }

    /// Returns true if the file should be rewritten: it has a quarter more lines than the limit, or is too long.
    pub(crate) fn is_due(&self, limit: usize) -> bool {
        let (lines, end) = self.put_off;
        self.lines > lines.max(limit) + limit / 4 + 16 || self.end > LONGEST_FILE.max(end + LONGEST_FILE / 4)
    }

    /// Postpones the next rewrite after a failed one until the file has grown again.
    pub(crate) fn put_off(&mut self) {
        self.put_off = (self.lines, self.end);
    }

    /// Writes the given lines to a new file that replaces this one, and returns their new positions.
    pub(crate) fn compact(&mut self, places: &[LinePosition]) -> io::Result<Vec<JournalLine>> {
        let (mut end, mut lines) = (0, 0);
        let mut moved = Vec::with_capacity(places.len());
        // Keep half of the length free for new records, so that one long record does not cause a rewrite each time.
        let total: u64 = places.iter().map(|place| place.length).sum();
        let mut excess = total.saturating_sub(LONGEST_FILE / 2);
        let (file, ()) = replace::file(&self.path, replace::UNFINISHED, Durability::Full, |file| {
            for place in places {
                let line = read(&self.file, *place)?;
                let shortened = if excess > 0 { without_detail(&line) } else { None };
                let line = shortened.unwrap_or(line);
                excess = excess.saturating_sub(place.length - (line.len() as u64).min(place.length));
                file.write_all(&line)?;
                moved.push(LinePosition { offset: end, length: line.len() as u64 });
                end += line.len() as u64;
                lines += 1;
            }
            Ok(())
        })?;
        (self.file, self.end, self.lines, self.put_off) = (Arc::new(file), end, lines, (0, 0));
        Ok(moved.into_iter().map(|place| self.line(place)).collect())
    }

    /// Writes bytes at the end. A partial write is truncated, so that the next line does not continue it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.end))?;
        // `sync_data` also writes the new length of the file, which reading the line needs (fdatasync(2)).
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        match written {
            Ok(()) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If this fails as well, the next start skips the torn line.
                let _ = self.file.set_len(self.end);
                Err(error)
            }
        }
    }
}

fn read(file: &File, place: LinePosition) -> io::Result<Vec<u8>> {
    let length = usize::try_from(place.length.min(LONGEST_LINE)).unwrap_or(0);
    let mut line = vec![0; length];
    file.read_exact_at(&mut line, place.offset)?;
    Ok(line)
}

/// Never follows a symlink, because other containers may write to the volume.
fn open_file(path: &Path) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o664).custom_flags(no_follow);
    options.open(path)
}

fn line_is_torn(file: &File, end: u64) -> io::Result<bool> {
    if end == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.read_exact_at(&mut last, end - 1)?;
    Ok(last != [b'\n'])
}

/// Returns the same record without its details.
fn without_detail(line: &[u8]) -> Option<Vec<u8>> {
    let read: LineIn = serde_json::from_slice(line).ok()?;
    let mut short = serde_json::to_vec(&LineOut { record: &read.record, detail: &Detail::default() }).ok()?;
    short.push(b'\n');
    Some(short)
}
