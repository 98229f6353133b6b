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
use rustix::io::Errno;

use crate::publish::volume::layout::Volume;
use crate::publish::volume::link::commit_named;
use crate::publish::{Error, Live};
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
pub(crate) struct Flushed {
    /// The boot id under which all unflushed trees were written. While it has not changed, no write is lost.
    boot: Option<String>,
    /// The commit whose tree was live and completely on the disk when the mark was written.
    commit: Option<Oid>,
    /// The number of trees that this process has put in place. A flush that began before one of them does not cover it.
    trees: u64,
}

impl Flushed {
    /// Reads the mark of an earlier process. A mark that cannot be read counts as none.
    pub(crate) fn load(state: &Path) -> Mutex<Self> {
        let read = || -> std::io::Result<Self> {
            // Another process may have put a symlink or a pipe there: never follow the one or wait for a writer of the
            // other.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let mut text = String::new();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(state.join(MARK))?;
            file.take(LONGEST).read_to_string(&mut text)?;
            let mut words = text.split_whitespace();
            let boot = words.next().map(str::to_owned);
            Ok(Self { boot, commit: words.next().and_then(|word| commit_named(Some(word.as_ref()))), trees: 0 })
        };
        Mutex::new(read().unwrap_or_default())
    }

    fn store(&self, state: &Path) -> std::io::Result<()> {
        let (Some(boot), Some(commit)) = (&self.boot, self.commit) else { return Ok(()) };
        let mark = format!("{boot} {commit}\n");
        // Not flushed: should a loss of power bring the old mark back, the next start only compares the tree once more.
        let durability = replace::Durability::None;
        replace::file(&state.join(MARK), replace::UNFINISHED, durability, |file| file.write_all(mark.as_bytes()))?;
        Ok(())
    }
}

impl Volume {
    /// Returns true if the tree that the link names can be trusted without a comparison of its content: it was flushed, or
    /// the machine has not been down since. Other processes may have changed it all the same.
    #[must_use]
    pub fn survived(&self, commit: Oid) -> bool {
        let flushed = self.flushed().lock();
        flushed.commit == Some(commit) || (flushed.boot.is_some() && flushed.boot == boot_id())
    }

    /// Removes the note about a commit, because another tree is about to replace its tree.
    ///
    /// # Errors
    /// Errors of the file system. The note may still be on the disk then, so the tree must not be put in place.
    pub(crate) fn forget_flushed(&self, commit: Oid) -> Result<(), Error> {
        let mut flushed = self.flushed().lock();
        flushed.trees += 1;
        if flushed.commit != Some(commit) {
            return Ok(());
        }
        let state = self.state_folder();
        let gone = std::fs::remove_file(state.join(MARK)).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        gone.and_then(|()| flush::folder(&state)).map_err(|source| Error::Io {
            doing: "remove",
            path: ".pushsync/flushed".to_owned(),
            source,
        })?;
        flushed.commit = None;
        Ok(())
    }

    /// Flushes the tree that the link names, and the link, and writes the note. Waits for the disk.
    ///
    /// # Errors
    /// Errors of the file system. The next call tries again.
    pub fn write_through(&self) -> Result<(), Error> {
        let Live::Tree(live) = self.live()? else { return Ok(()) };
        let boot = boot_id();
        let known = |flushed: &Flushed| flushed.commit == Some(live) && flushed.boot == boot;
        let trees_before = {
            let flushed = self.flushed().lock();
            if known(&flushed) {
                return Ok(());
            }
            flushed.trees
        };
        let trees = self.trees_folder()?;
        if self.durability() == Durability::Normal {
            // One call flushes the tree, its name and the link, if that is on the same file system.
            match flush_all(&trees) {
                Ok(()) => {}
                // Without the note, the next start after a loss of power compares the tree.
                Err(errno) if errno == Errno::PERM || flush::is_unsupported(errno) => return Ok(()),
                Err(errno) => return Err(self.failed("flush", b"", errno)),
            }
            self.link.flush()?;
        }
        let mut flushed = self.flushed().lock();
        if flushed.trees != trees_before {
            // Another tree may have been put in place after the flush, even under the same name. Its own call flushes it.
            return Ok(());
        }
        let now = Flushed { boot, commit: Some(live), trees: trees_before };
        now.store(&self.state_folder()).map_err(|source| Error::Io {
            doing: "write",
            path: ".pushsync/flushed".to_owned(),
            source,
        })?;
        *flushed = now;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn flush_all(folder: &std::os::fd::OwnedFd) -> Result<(), rustix::io::Errno> {
    rustix::fs::syncfs(folder)
}

#[cfg(not(target_os = "linux"))]
fn flush_all(folder: &std::os::fd::OwnedFd) -> Result<(), rustix::io::Errno> {
    crate::publish::folder::flush(folder, 0)
}

/// Returns the boot id, which changes with each start of the machine (random(4)); a container sees its node's. `None` if
/// the system has none.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty() && id.len() < 64 && !id.contains(char::is_whitespace)).then(|| id.to_owned())
}
