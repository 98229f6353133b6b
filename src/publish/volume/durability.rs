//! Which published trees survive a loss of power, and whether a tree can be trusted after one.
//!
//! A killed process loses nothing, because its writes are in the kernel. Only when the machine stops without warning may
//! files be empty that were written minutes before. `--durability` chooses between two answers: flush everything before
//! readers see it (`full`), or flush right afterwards, and compare the tree with its commit at the next start if that flush
//! may not have finished (`normal`). It must not know of links, nor of the content of trees.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use git2::Oid;
use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::publish::error::Error;
use crate::publish::volume::names::commit_named;
use crate::{flush, replace};

/// When written data has to be on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Soon after readers see it.
    #[default]
    Normal,
    /// Before readers see it.
    Full,
}

const MARK: &str = "flushed";
/// The longest file that is read: a longer one was not written by pushsync.
const LONGEST: u64 = 1024;

/// The flushed trees. `.pushsync/flushed` stores them for the next process: the boot, then the commit.
#[derive(Debug, Default)]
pub(crate) struct Flushed(Mutex<Note>);

#[derive(Debug, Default)]
struct Note {
    /// The boot id under which all unflushed trees were written. While it has not changed, no write is lost.
    boot: Option<String>,
    /// The commit whose tree was live and completely on the disk when the mark was written.
    commit: Option<Oid>,
    /// The number of trees that this process has put in place. A flush that began before one of them does not cover it.
    trees: u64,
}

/// A note that is true once everything written before it was made has been flushed.
pub(crate) struct Pending(Note);

impl Flushed {
    /// Reads the mark of an earlier process. A mark that cannot be read counts as none.
    pub(crate) fn load(state: &Path) -> Self {
        let read = || -> std::io::Result<Note> {
            // Another process may have put a symlink or a pipe there: never follow the one or wait for a writer of the
            // other.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let mut text = String::new();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(state.join(MARK))?;
            file.take(LONGEST).read_to_string(&mut text)?;
            let mut words = text.split_whitespace();
            let boot = words.next().map(str::to_owned);
            Ok(Note { boot, commit: words.next().and_then(|word| commit_named(Some(word.as_ref()))), trees: 0 })
        };
        Self(Mutex::new(read().unwrap_or_default()))
    }

    /// Returns true if the tree that the link names can be trusted without a comparison of its content: it was flushed, or
    /// the machine has not been down since. Other processes may have changed it all the same.
    pub(crate) fn survived(&self, commit: Oid) -> bool {
        let note = self.0.lock();
        note.commit == Some(commit) || (note.boot.is_some() && note.boot == boot_id())
    }

    /// Removes the note about a commit, because another tree is about to replace its tree.
    ///
    /// # Errors
    /// Errors of the file system. The note may still be on the disk then, so the tree must not be put in place.
    pub(crate) fn forget(&self, commit: Oid, state: &Path) -> Result<(), Error> {
        let mut note = self.0.lock();
        note.trees += 1;
        if note.commit != Some(commit) {
            return Ok(());
        }
        let gone = std::fs::remove_file(state.join(MARK)).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        gone.and_then(|()| flush::folder(state)).map_err(|source| failed("remove", source))?;
        note.commit = None;
        Ok(())
    }

    /// To be called before a flush of the live tree. `None` if it was flushed already.
    pub(crate) fn begin(&self, live: Oid) -> Option<Pending> {
        let boot = boot_id();
        let note = self.0.lock();
        let is_known = note.commit == Some(live) && note.boot == boot;
        (!is_known).then(|| Pending(Note { boot, commit: Some(live), trees: note.trees }))
    }

    /// Stores the note after the flush.
    pub(crate) fn finish(&self, pending: Pending, state: &Path) -> Result<(), Error> {
        let mut note = self.0.lock();
        if note.trees != pending.0.trees {
            // Another tree may have been put in place after the flush, even under the same name. Its own call flushes it.
            return Ok(());
        }
        pending.0.store(state).map_err(|source| failed("write", source))?;
        *note = pending.0;
        Ok(())
    }
}

impl Note {
    fn store(&self, state: &Path) -> std::io::Result<()> {
        let (Some(boot), Some(commit)) = (&self.boot, self.commit) else { return Ok(()) };
        let mark = format!("{boot} {commit}\n");
        // Not flushed: should a loss of power bring the old mark back, the next start only compares the tree once more.
        let durability = replace::Durability::None;
        replace::file(&state.join(MARK), replace::UNFINISHED, durability, |file| file.write_all(mark.as_bytes()))?;
        Ok(())
    }
}

fn failed(doing: &'static str, source: std::io::Error) -> Error {
    Error::Io { doing, path: ".pushsync/flushed".to_owned(), source }
}

#[cfg(target_os = "linux")]
pub(crate) fn flush_all(folder: &std::os::fd::OwnedFd) -> Result<(), rustix::io::Errno> {
    rustix::fs::syncfs(folder)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn flush_all(folder: &std::os::fd::OwnedFd) -> Result<(), rustix::io::Errno> {
    crate::publish::folder::flush(folder, 0)
}

/// Returns the boot id, which changes with each start of the machine (random(4)); a container sees its node's. `None` if
/// the system has none.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty() && id.len() < 64 && !id.contains(char::is_whitespace)).then(|| id.to_owned())
}
