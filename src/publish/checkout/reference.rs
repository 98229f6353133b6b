//! Copies the times of files from the live tree of the same commit to a standby tree, and their content where the file
//! system has reflinks.
//!
//! With equal times, a push changes the times of its changed files only, so that rsync, HTTP validators and file watchers
//! see only these. A reflink copies no content and takes no space until one of the two files is changed. Files that were
//! touched since the tree's baseline are not used. It must not know of commits.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};

use crate::publish::folder;
use crate::publish::folder::baseline::{Baseline, inside};

/// A folder of a tree of the same commit.
#[derive(Clone)]
pub(crate) struct ReferenceTree {
    folder: Arc<OwnedFd>,
    path: Arc<[u8]>,
    /// Files that have changed since this baseline are not used for content.
    baseline: Baseline,
    /// The same for times.
    times: Baseline,
    /// Set when the file system has refused a reflink, so that no other is tried.
    useless: Arc<AtomicBool>,
}

impl ReferenceTree {
    pub(crate) fn new(top: OwnedFd, baseline: Baseline, times: Baseline) -> Self {
        Self { folder: Arc::new(top), path: Arc::default(), baseline, times, useless: Arc::default() }
    }

    /// Returns false once the file system has refused to share content.
    pub(crate) fn works(&self) -> bool {
        !self.useless.load(Ordering::Relaxed)
    }

    /// Returns the model of a folder inside. `None` if there is no usable one.
    pub(crate) fn inner(&self, name: &[u8]) -> Option<Self> {
        let folder = folder::open(&*self.folder, name).ok()?;
        Some(Self { folder: Arc::new(folder), path: inside(&self.path, name).into(), ..self.clone() })
    }

    /// Gives a new, empty file the content of the one with that name in this tree. `None` if it stays empty.
    pub(crate) fn share(&self, name: &[u8], with: &OwnedFd) -> Option<u64> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(&*self.folder, name, flags, Mode::empty()).ok()?;
        self.size_if_held(&source, name)?;
        if folder::reflink(&source, with).is_err() {
            self.useless.store(true, Ordering::Relaxed);
            return None;
        }
        // A process that wrote into it meanwhile has changed its ctime.
        let size = self.size_if_held(&source, name);
        if size.is_none() {
            let _ = rustix::fs::ftruncate(with, 0);
        }
        size
    }

    /// Gives a new file or link `name` in `folder` the times of the one in this tree. Errors are ignored, because times are
    /// no content.
    pub(crate) fn give_times(&self, name: &[u8], folder: &OwnedFd, file: Option<&OwnedFd>) {
        let Ok(Some(stat)) = folder::stat(&*self.folder, name) else { return };
        let wanted = if file.is_some() { FileType::RegularFile } else { FileType::Symlink };
        if folder::kind(&stat) != wanted || !self.times.holds(&self.path, name, &stat) {
            return;
        }
        let times = times(&stat);
        let _ = match file {
            Some(file) => rustix::fs::futimens(file, &times),
            None => rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        };
    }

    fn size_if_held(&self, file: &OwnedFd, name: &[u8]) -> Option<u64> {
        let stat = rustix::fs::fstat(file).ok()?;
        let held = folder::kind(&stat) == FileType::RegularFile && self.baseline.holds(&self.path, name, &stat);
        u64::try_from(stat.st_size).ok().filter(|_| held)
    }
}

fn times(stat: &Stat) -> Timestamps {
    // The types of these fields differ between systems.
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "not useless on all of them"
    )]
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: rustix::fs::Nsecs::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
