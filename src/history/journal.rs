//! The file behind the history: append a line durably, read one back by its place, rewrite when it has grown too long.
//!
//! It knows lines and offsets; what a record means is its caller's business.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    file: File,
    /// Where the next line goes: the end of the last whole line.
    end: u64,
    lines: usize,
}

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    length: u64,
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
        let mut journal = Self { path: path.to_owned(), file, end, lines };
        if line_is_torn(&journal.file, end)? {
            journal.write(b"\n")?;
        }
        Ok((journal, Found { records: records.into(), skipped }))
    }

    /// Writes a line and waits for the disk.
    pub fn append(&mut self, record: &Record, detail: &Detail) -> io::Result<Place> {
        let mut line = serde_json::to_vec(&LineOut { record, detail })?;
        line.push(b'\n');
        let place = Place { offset: self.end, length: line.len() as u64 };
        self.write(&line)?;
        self.lines += 1;
        Ok(place)
    }

    /// Reads the long part of a line back.
    pub fn detail(&self, place: Place) -> Option<Detail> {
        let line = self.read(place).ok()?;
        serde_json::from_slice::<LineIn>(&line).ok().map(|line| line.detail)
    }

    /// True if the file holds a quarter more lines than it should, or is too long.
    pub fn is_due(&self, limit: usize) -> bool {
        self.lines > limit + limit / 4 + 16 || self.end > LONGEST_FILE
    }

    /// Writes the given lines to a new file that replaces this one, and says where they are now.
    pub fn compact(&mut self, places: &[Option<Place>]) -> io::Result<Vec<Option<Place>>> {
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
        let total: u64 = places.iter().flatten().map(|place| place.length).sum();
        let mut excess = total.saturating_sub(LONGEST_FILE / 2);
        for place in places {
            let Some(place) = place else {
                moved.push(None);
                continue;
            };
            let line = self.read(*place)?;
            let shortened = if excess > 0 { without_detail(&line) } else { None };
            let line = shortened.unwrap_or(line);
            excess = excess.saturating_sub(place.length - (line.len() as u64).min(place.length));
            file.write_all(&line)?;
            moved.push(Some(Place { offset: end, length: line.len() as u64 }));
            end += line.len() as u64;
            lines += 1;
        }
        crate::flush::file(&file)?;
        std::fs::rename(&beside, &self.path)?;
        if let Some(folder) = self.path.parent() {
            crate::flush::folder(folder)?;
        }
        (self.file, self.end, self.lines) = (file, end, lines);
        Ok(moved)
    }

    fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let length = usize::try_from(place.length.min(LONGEST_LINE)).unwrap_or(0);
        let mut line = vec![0; length];
        self.file.read_exact_at(&mut line, place.offset)?;
        Ok(line)
    }

    /// A write that fails half way is cut off again, so that the next line does not continue it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
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
