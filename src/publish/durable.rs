//! What of the published trees a loss of power would spare, and what is to be believed of them after one.
//!
//! A process that dies takes nothing with it: what it wrote is the kernel's. Only when the machine stops without warning
//! may a file be empty that was written minutes ago. Two answers, `--durability`: write everything through to the disk
//! before readers see it (`full`), or see to it right afterwards and compare the tree with its commit at the next start if
//! that may not have come to its end (`normal`). It must not know of links, nor of what a tree holds.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use git2::Oid;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::link::commit_named;
use super::volume::Volume;
use super::{Error, Live};
use crate::{flush, replace};

/// When what was written has to be on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Soon after readers see it.
    #[default]
    Normal,
    /// Before readers see it.
    Full,
}

const MARK: &str = "flushed";
/// A longer file is not ours.
const LONGEST: u64 = 1024;

/// What is known to be on the disk. `.pushsync/flushed` holds it for the next process: the boot, then the commit.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// The boot in which all trees were written that were not flushed before it.
    boot: Option<String>,
    /// The commit whose tree was live and wholly on the disk when the mark was written.
    commit: Option<Oid>,
    /// How many trees were put in their place by this process: what was flushed before one of them says nothing of it.
    trees: u64,
}

impl Flushed {
    /// Reads the mark that an earlier process left. What cannot be read says nothing.
    pub(super) fn load(state: &Path) -> Mutex<Self> {
        let read = || -> std::io::Result<Self> {
            // Never through a symlink, and never waiting for the writer of a pipe, that somebody put there.
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
    /// True if the content of a tree which the link names need not be compared before it is vouched for: it was written
    /// through, or the machine has not been down since it was written. Others may have changed it all the same.
    #[must_use]
    pub fn survived(&self, commit: Oid) -> bool {
        let flushed = self.flushed().lock();
        flushed.commit == Some(commit) || (flushed.boot.is_some() && flushed.boot == boot_id())
    }

    /// Another tree is about to stand for that commit: what was noted of the one before says nothing of it.
    ///
    /// # Errors
    /// What the file system says. The note may be on the disk still, so the tree must not be put there.
    pub(super) fn forget_flushed(&self, commit: Oid) -> Result<(), Error> {
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

    /// Sees to it that the tree which the link names, and the link, are on the disk, and notes it. Waits for the disk.
    ///
    /// # Errors
    /// What the file system says. The next call tries again.
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
            // One call for the tree, its name and the link, if that is on the same file system.
            match flush_all(&trees) {
                Ok(()) => {}
                // Nothing is noted then: after a loss of power the next start compares the tree before it vouches for it.
                Err(errno) if errno == Errno::PERM || flush::is_unsupported(errno) => return Ok(()),
                Err(errno) => return Err(self.failed("flush", b"", errno)),
            }
            self.link.flush()?;
        }
        let mut flushed = self.flushed().lock();
        if flushed.trees != trees_before {
            // Another tree may have come behind the flush, under this very name; whoever put it there sees to it.
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
    super::folder::flush(folder, 0)
}

/// Differs after each start of the machine (random(4)); a container sees its node's. `None`: not known here.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty() && id.len() < 64 && !id.contains(char::is_whitespace)).then(|| id.to_owned())
}
