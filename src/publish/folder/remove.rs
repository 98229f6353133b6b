//! Removes a folder with everything in it, through descriptors.
//!
//! A file that cannot be removed (it is immutable, a mount point, or in a locked folder) does not stop the rest: the other
//! files are removed, and the first failure is returned at the end. Mounts inside a tree are not entered, because they
//! belong to others. It must not know why a folder is removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use crate::publish::folder::{kind, names, open, stat};

/// The entries that could not be removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// The path of the first one, below the folder in which the removal was requested.
    pub path: Vec<u8>,
    pub errno: Errno,
    /// The number of files, links and folders that could not be removed; folders that are only not empty are not counted.
    pub count: usize,
}

/// The outcome of a removal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RemovalOutcome {
    Removed,
    /// `go_on` returned false.
    Stopped,
    /// Entries are left.
    Stuck(Stuck),
}

/// Removes a file, a link (never its target) or a folder with everything in it. A missing one is no error.
pub(crate) fn remove_all(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match remove_while(parent, name, || true) {
        RemovalOutcome::Stuck(stuck) => Err(stuck.errno),
        RemovalOutcome::Removed | RemovalOutcome::Stopped => Ok(()),
    }
}

/// An open folder and the names in it.
type CheckedListings = (OwnedFd, Vec<Vec<u8>>);

struct Frame {
    folder: OwnedFd,
    pending: Vec<Vec<u8>>,
    name: Vec<u8>,
    /// True if an entry in it stays, so that it cannot be removed, either.
    is_stuck: bool,
}

/// The same, as long as `go_on`, which is called before each removal, returns true.
pub(crate) fn remove_while(parent: impl AsFd, name: &[u8], go_on: impl Fn() -> bool) -> RemovalOutcome {
    let parent = parent.as_fd();
    let mut stuck: Option<Stuck> = None;
    let mut stack: Vec<Frame> = Vec::new();
    let failed = |stuck: &mut Option<Stuck>, stack: &mut Vec<Frame>, name: &[u8], errno| {
        let above: Vec<&[u8]> = stack.iter().map(|frame| &*frame.name).chain([name]).collect();
        let first = stuck.get_or_insert_with(|| Stuck { path: above.join(&b'/'), errno, count: 0 });
        first.count += 1;
        if let Some(frame) = stack.last_mut() {
            frame.is_stuck = true;
        }
    };
    match remove_or_open(parent, name) {
        Ok(None) => return RemovalOutcome::Removed,
        Ok(Some((folder, pending))) => stack.push(Frame { folder, pending, name: name.to_vec(), is_stuck: false }),
        Err(errno) => return RemovalOutcome::Stuck(Stuck { path: name.to_vec(), errno, count: 1 }),
    }
    while let Some(frame) = stack.last_mut() {
        if !go_on() {
            return RemovalOutcome::Stopped;
        }
        if let Some(name) = frame.pending.pop() {
            match remove_or_open(frame.folder.as_fd(), &name) {
                Ok(None) => {}
                Ok(Some((folder, pending))) => stack.push(Frame { folder, pending, name, is_stuck: false }),
                Err(errno) => failed(&mut stuck, &mut stack, &name, errno),
            }
            continue;
        }
        let Some(emptied) = stack.pop() else { break };
        drop(emptied.folder);
        // Its removal would fail as well, because it is not empty. Only the first cause is reported.
        if emptied.is_stuck {
            if let Some(above) = stack.last_mut() {
                above.is_stuck = true;
            }
            continue;
        }
        let above = stack.last().map_or(parent, |frame| frame.folder.as_fd());
        match rustix::fs::unlinkat(above, &emptied.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => failed(&mut stuck, &mut stack, &emptied.name, errno),
        }
    }
    stuck.map_or(RemovalOutcome::Removed, RemovalOutcome::Stuck)
}

/// Removes a file or link. Opens a folder instead, and lists it.
fn remove_or_open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<CheckedListings>, Errno> {
    let Some(stat) = stat(parent, name)? else { return Ok(None) };
    if kind(&stat) != FileType::Directory {
        return match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        };
    }
    if rustix::fs::fstat(parent)?.st_dev != stat.st_dev || is_mount(parent, name) {
        // The error that the kernel has for the removal of a mount point.
        return Err(Errno::BUSY);
    }
    // A reader with write access can have removed our own permission, which is restored here. A folder that cannot be
    // opened stays an error.
    match open(parent, name) {
        Ok(folder) => {
            if !Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU) {
                let _ = rustix::fs::fchmod(&folder, Mode::RWXU);
            }
            let names = names(&folder)?;
            Ok(Some((folder, names)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Returns true for a mount point, also of the same file system. Kernels and sandboxes that cannot tell return false.
#[cfg(target_os = "linux")]
fn is_mount(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    use rustix::fs::{OFlags, ResolveFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(parent, name, flags, Mode::empty(), ResolveFlags::NO_XDEV);
    matches!(opened, Err(Errno::XDEV))
}

#[cfg(not(target_os = "linux"))]
fn is_mount(_: BorrowedFd<'_>, _: &[u8]) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;
    use crate::publish::folder::open_path;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["tree/a/1", "tree/a/2", "tree/b/c/3", "tree/4"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(path, "x").expect("a file");
        }
        let parent = open_path(&folder.path().canonicalize().expect("it is there")).expect("it is there");
        (folder, parent)
    }

    #[test]
    fn everything_goes_and_nothing_there_is_no_error() {
        let (folder, parent) = tree();
        assert_eq!(remove_while(&parent, b"tree", || true), RemovalOutcome::Removed);
        assert_eq!(remove_while(&parent, b"tree", || true), RemovalOutcome::Removed);
        assert_eq!(std::fs::read_dir(folder.path()).expect("it stays").count(), 0);
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let (folder, parent) = tree();
        let left = std::cell::Cell::new(3);
        let go_on = || left.replace(left.get() - 1) > 0;
        assert_eq!(remove_while(&parent, b"tree", go_on), RemovalOutcome::Stopped);
        assert!(folder.path().join("tree").exists());
    }

    #[test]
    fn a_name_of_the_tree_is_told_as_bytes() {
        let (folder, parent) = tree();
        let odd = std::ffi::OsStr::from_bytes(b"tree/\xff");
        std::fs::write(folder.path().join(odd), "x").expect("a file");
        assert_eq!(remove_while(&parent, b"tree", || true), RemovalOutcome::Removed);
    }
}
