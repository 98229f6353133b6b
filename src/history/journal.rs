//! The file behind the history: append a line durably, read one back by its place, rewrite when it has grown too long.
//!
//! It knows lines and offsets; what a record means is its caller's business.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::api::{Detail, Record};

/// A longer line is not ours: the longest that we write has 500 paths, 50 commits and 200 log lines.
const LONGEST_LINE: u64 = 4 << 20;
/// A later line with the same id counts instead of the earlier one, if no more lines than this lie between: a record is
/// amended within seconds.
const AMENDED_WITHIN: usize = 64;
/// A longer file is rewritten whatever the number of its lines.
const LONGEST_FILE: u64 = 32 << 20;

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Shared with the lines that can be read back.
    file: Arc<File>,
    /// Where the next line goes: the end of the last whole line.
    end: u64,
    lines: usize,
    /// The file had so many lines and bytes when it could not be rewritten.
    put_off: (usize, u64),
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    length: u64,
}

/// A line of a file, which can be read for as long as it is held: also after the file was replaced.
#[derive(Clone, Debug)]
pub struct Line {
    file: Arc<File>,
    pub place: Place,
}

impl Line {
    /// Reads the long part back.
    pub fn detail(&self) -> Option<Detail> {
        let line = read(&self.file, self.place).ok()?;
        serde_json::from_slice::<LineIn>(&line).ok().map(|line| line.detail)
    }
}

/// What a file held.
pub struct Found {
    /// The newest, oldest first.
    pub records: Vec<(Record, Place)>,
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
    /// Opens or makes the file and reads the newest `limit` records of it.
    pub fn open(path: &Path, limit: usize) -> io::Result<(Self, Found)> {
        let mut file = open_file(path, false)?;
        let mut records = std::collections::VecDeque::<(Record, Place)>::new();
        let (mut end, mut lines, mut skipped) = (0, 0, 0);
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        loop {
            line.clear();
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
                    let place = Place { offset, length };
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
            journal.write(b"\n")?;
        }
        Ok((journal, Found { records: records.into(), skipped }))
    }

    /// Writes a line and waits for the disk.
    pub fn append(&mut self, record: &Record, detail: &Detail) -> io::Result<Line> {
        let mut line = serde_json::to_vec(&LineOut { record, detail })?;
        line.push(b'\n');
        let place = Place { offset: self.end, length: line.len() as u64 };
        self.write(&line)?;
        self.lines += 1;
        Ok(self.line(place))
    }

    pub fn line(&self, place: Place) -> Line {
        Line { file: Arc::clone(&self.file), place }
    }

    /// True if a line is one of this file.
    pub fn holds(&self, line: &Line) -> bool {
        Arc::ptr_eq(&self.file, &line.file)
    }

    /// True if the file holds a quarter more lines than it should, or is too long.
    pub fn is_due(&self, limit: usize) -> bool {
        let (lines, end) = self.put_off;
        self.lines > lines.max(limit) + limit / 4 + 16 || self.end > LONGEST_FILE.max(end + LONGEST_FILE / 4)
    }

    /// It could not be rewritten now: not before it has grown again.
    pub fn put_off(&mut self) {
        self.put_off = (self.lines, self.end);
    }

    /// Writes the given lines to a new file that replaces this one, and returns them as they are there.
    pub fn compact(&mut self, places: &[Place]) -> io::Result<Vec<Line>> {
        let beside = self.path.with_extension("jsonl.new");
        // What a crash left of an earlier try, whatever it is.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open_file(&beside, true)?;
        let (mut end, mut lines) = (0, 0);
        let mut moved = Vec::with_capacity(places.len());
        // Half the length is left for what comes, so that one long record does not cause a rewrite each.
        let total: u64 = places.iter().map(|place| place.length).sum();
        let mut excess = total.saturating_sub(LONGEST_FILE / 2);
        for place in places {
            let line = read(&self.file, *place)?;
            let shortened = if excess > 0 { without_detail(&line) } else { None };
            let line = shortened.unwrap_or(line);
            excess = excess.saturating_sub(place.length - (line.len() as u64).min(place.length));
            file.write_all(&line)?;
            moved.push(Place { offset: end, length: line.len() as u64 });
            end += line.len() as u64;
            lines += 1;
        }
        crate::flush::file(&file)?;
        std::fs::rename(&beside, &self.path)?;
        if let Some(folder) = self.path.parent() {
            crate::flush::folder(folder)?;
        }
        (self.file, self.end, self.lines, self.put_off) = (Arc::new(file), end, lines, (0, 0));
        Ok(moved.into_iter().map(|place| self.line(place)).collect())
    }

    /// A write that fails half way is cut off again, so that the next line does not continue it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.end))?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        match written {
            Ok(()) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If this fails as well, the torn line is skipped by the next start.
                let _ = self.file.set_len(self.end);
                Err(error)
            }
        }
    }
}

fn read(file: &File, place: Place) -> io::Result<Vec<u8>> {
    let length = usize::try_from(place.length.min(LONGEST_LINE)).unwrap_or(0);
    let mut line = vec![0; length];
    file.read_exact_at(&mut line, place.offset)?;
    Ok(line)
}

/// Never through a symlink that somebody else put there.
fn open_file(path: &Path, new: bool) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o664).custom_flags(no_follow);
    if new {
        options.create_new(true)
    } else {
        options.create(true).truncate(false)
    };
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

/// The same record with nothing but its short part.
fn without_detail(line: &[u8]) -> Option<Vec<u8>> {
    let read: LineIn = serde_json::from_slice(line).ok()?;
    let mut short = serde_json::to_vec(&LineOut { record: &read.record, detail: &Detail::default() }).ok()?;
    short.push(b'\n');
    Some(short)
}
