//! One writer for each `ROOT`: an flock, which the kernel releases when the process ends in any way.
//!
//! The file is never removed, and its text is only informative; the lock is decisive. It must not know what it protects.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::flush;
use crate::publish::error::Error;
use crate::publish::path::printable;
use crate::publish::volume::names::STATE;

const NAME: &[u8] = b"lock";

/// A process that was killed may hold the lock for a moment longer, in itself or in a child between fork and exec.
const PATIENCE: Duration = Duration::from_millis(300);

/// Returns true if a process holds the lock of `root`. Creates nothing.
pub fn has_owner(root: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = root.join(OsStr::from_bytes(STATE)).join(OsStr::from_bytes(NAME));
    let file = rustix::fs::open(path, flags, Mode::empty());
    // Shared, so that two observers do not take each other for an owner, who holds it exclusively (flock(2)).
    file.is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::AGAIN))
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: OwnedFd,
    /// The reason why there is no lock: the file system has none.
    missing: Option<Errno>,
}

impl Lock {
    /// Takes the lock in a folder, or returns an error that names its owner. `shown` is the folder's path, for messages.
    pub(crate) fn take(folder: impl AsFd, shown: &[u8]) -> Result<Self, Error> {
        let folder = folder.as_fd();
        let path = [shown, b"/", NAME].concat();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, NAME, flags, Mode::from_bits_truncate(0o664))
            .map_err(|errno| Error::io("open", &path, errno).with_cause_from(folder))?;
        let until = Instant::now() + PATIENCE;
        let mut missing = None;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::AGAIN) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                Err(Errno::AGAIN) => return Err(Error::Locked { path: printable(&path), owner: owner(folder) }),
                Err(errno) if is_no_lock(errno) => {
                    missing = Some(errno);
                    break;
                }
                Err(errno) => return Err(Error::io("lock", &path, errno)),
            }
        }
        // A full disk must not prevent the start, and the text is only informative.
        let _ = sign(&file);
        Ok(Self { file, missing })
    }

    /// Returns a warning for the operator if the file system has no locks.
    pub(crate) fn warning(&self) -> Option<String> {
        let errno = self.missing?;
        Some(format!(
            "this volume has no file locks (flock: {errno}): a second pushsync with the same --root would not be noticed"
        ))
    }

    /// Returns true if the locked file is still the one in the folder. If it was removed, the next process would create and
    /// lock another one.
    pub(crate) fn guards(&self, folder: impl AsFd) -> bool {
        let ours = rustix::fs::fstat(&self.file);
        let there = rustix::fs::statat(folder, NAME, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        matches!((ours, there), (Ok(ours), Ok(there)) if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino))
    }
}

impl Drop for Lock {
    /// Unlocks by name: a child between fork and exec has a copy of the file, and closing ours would leave the lock to it.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Returns true for errors of NFS without a lock daemon, and of file systems without flock.
fn is_no_lock(errno: Errno) -> bool {
    errno == Errno::NOLCK || flush::is_unsupported(errno)
}

/// Writes the pid and the name of the pod, because in a container the pid is often 1.
fn sign(file: &OwnedFd) -> Result<(), Errno> {
    let host = rustix::system::uname();
    let text = format!("pid {} on {}\n", std::process::id(), host.nodename().to_string_lossy());
    rustix::fs::ftruncate(file, 0)?;
    rustix::io::pwrite(file, text.as_bytes(), 0)?;
    Ok(())
}

fn owner(folder: impl AsFd) -> String {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut text = Vec::new();
    if let Ok(file) = rustix::fs::openat(folder, NAME, flags, Mode::empty()) {
        let _ = std::fs::File::from(file).take(200).read_to_end(&mut text);
    }
    match text.trim_ascii() {
        b"" => "it has not said which".to_owned(),
        text => printable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_dropped_is_free_although_a_child_has_a_copy_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let open = || std::fs::File::open(folder.path()).unwrap();
        let lock = Lock::take(open(), b"folder").unwrap();
        // As fork copies it.
        let _copy = lock.file.try_clone().unwrap();
        drop(lock);
        Lock::take(open(), b"folder").unwrap();
    }
}
