//! A file's content shared with the same file of a tree that is known: a reflink, where the file system has them.
//!
//! It takes no time for the content and no space until one of the two is changed. Only what nobody touched since the tree
//! was known is shared; everything else is written. It must not know of commits.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags};

use super::folder::{self, Stamp};

/// A folder of a tree of the same commit, for as long as cloning works.
#[derive(Clone)]
pub(super) struct Model {
    folder: Arc<OwnedFd>,
    /// What was changed after this is not shared.
    since: Stamp,
    /// Set when the file system has no reflinks: one refusal is enough.
    useless: Arc<AtomicBool>,
}

impl Model {
    pub(super) fn new(top: OwnedFd, since: Stamp) -> Self {
        Self { folder: Arc::new(top), since, useless: Arc::default() }
    }

    /// False once the file system has refused.
    pub(super) fn works(&self) -> bool {
        !self.useless.load(Ordering::Relaxed)
    }

    /// The same for a folder inside. `None`: there is none that could be used.
    pub(super) fn inner(&self, name: &[u8]) -> Option<Self> {
        if !self.works() {
            return None;
        }
        let folder = folder::open(&*self.folder, name).ok()?;
        Some(Self { folder: Arc::new(folder), ..self.clone() })
    }

    /// Gives a new, empty file the content of the one with that name here. `None`: it is as empty as before.
    pub(super) fn share(&self, name: &[u8], with: &OwnedFd) -> Option<u64> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(&*self.folder, name, flags, Mode::empty()).ok()?;
        self.size_if_alone(&source)?;
        if clone(&source, with).is_err() {
            self.useless.store(true, Ordering::Relaxed);
            return None;
        }
        // Whoever wrote into it meanwhile has changed its time.
        let size = self.size_if_alone(&source);
        if size.is_none() {
            let _ = rustix::fs::ftruncate(with, 0);
        }
        size
    }

    fn size_if_alone(&self, file: &OwnedFd) -> Option<u64> {
        let stat = rustix::fs::fstat(file).ok()?;
        let alone = folder::kind(&stat) == FileType::RegularFile && Stamp::of(&stat) <= self.since;
        u64::try_from(stat.st_size).ok().filter(|_| alone)
    }
}

/// Gives an empty file the content of another one.
#[cfg(target_os = "linux")]
pub(super) fn clone(from: impl AsFd, to: impl AsFd) -> Result<(), rustix::io::Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn clone(_from: impl AsFd, _to: impl AsFd) -> Result<(), rustix::io::Errno> {
    Err(rustix::io::Errno::NOTSUP)
}
