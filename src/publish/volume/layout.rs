//! `ROOT` and pushsync's own folders in it: `.pushsync` and `.worktrees`. Everything else on the volume is not touched.
//!
//! The volume may be a mount point of another owner, contain `lost+found` and files of others, and be changed by other
//! processes at any time. Folders are therefore opened for each operation, by descriptor, without following links.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, RawMode, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::group;
use crate::publish::path::shown;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::volume::durability::Durability;
use crate::publish::volume::names::{STATE, TREES};

/// The options of a volume.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// `--root`: made if it does not exist.
    pub root: PathBuf,
    /// `--link`: absolute, or relative to the root.
    pub link: PathBuf,
    /// How long a replaced tree is kept for readers that are still in it.
    pub grace: Duration,
    /// How many trees are kept ready for the next push; 0 = none.
    pub standby_trees: usize,
    pub checkout: CheckoutOptions,
    pub durability: Durability,
}

/// The paths below `ROOT`.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The resolved path.
    root: PathBuf,
}

impl Layout {
    /// Resolves `ROOT`, and makes it if it does not exist.
    pub(crate) fn make(root: &Path) -> Result<Self, Error> {
        Ok(Self { root: make_root(root)? })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `ROOT/.pushsync`
    pub(crate) fn state_folder(&self) -> PathBuf {
        self.root.join(".pushsync")
    }

    /// `ROOT/.pushsync/repo.git`
    pub(crate) fn store(&self) -> PathBuf {
        self.state_folder().join("repo.git")
    }

    /// `ROOT/.worktrees`
    pub(crate) fn trees(&self) -> PathBuf {
        self.root.join(".worktrees")
    }

    /// Opens `.pushsync`, and makes it if it is missing.
    pub(crate) fn open_state(&self, mode: RawMode) -> Result<OwnedFd, Error> {
        own_folder(&open_root(&self.root)?, &self.root, STATE, mode)
    }

    /// Opens `.worktrees`, and makes it if it is missing, since the volume may have been emptied.
    pub(crate) fn open_trees(&self, mode: RawMode) -> Result<OwnedFd, Error> {
        own_folder(&open_root(&self.root)?, &self.root, TREES, mode)
    }

    /// Returns the path of an entry of `.worktrees` for a message.
    pub(crate) fn shown_tree(&self, name: &[u8]) -> String {
        shown(&self.trees().join(OsStr::from_bytes(name)))
    }

    /// Returns the error of an operation on an entry of `.worktrees`.
    pub(crate) fn failed(&self, doing: &'static str, name: &[u8], errno: Errno) -> Error {
        Error::Io { doing, path: self.shown_tree(name), source: errno.into() }
    }

    /// Removes files `NAME.new` in `.pushsync`, which a killed process had written to replace `NAME`. Errors are ignored,
    /// because the next write of such a file removes it as well.
    pub(crate) fn clear_replacements(&self) {
        let Ok(state) = folder::open_path(&self.state_folder()) else { return };
        for name in folder::names(&state).unwrap_or_default() {
            let is_file = || matches!(folder::stat(&state, &name), Ok(Some(stat)) if folder::kind(&stat) == FileType::RegularFile);
            if name.ends_with(b".new") && is_file() {
                let _ = rustix::fs::unlinkat(&state, &*name, AtFlags::empty());
            }
        }
    }
}

/// Opens the folder for readers of other users. If the mode of our folder was narrowed (a restored backup, another umask),
/// it is widened again; a folder of another owner is not changed.
pub(crate) fn show_to_all(trees: &OwnedFd, mode: RawMode) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(trees)?;
    if group::is_ours(&stat) && stat.st_mode & mode != mode {
        folder::set_mode(trees, (stat.st_mode & 0o777) | mode)?;
    }
    Ok(())
}

/// Stores the time at which an entry was replaced, for the next process. Errors are ignored: the grace period is shorter
/// then.
pub(crate) fn touch(trees: &OwnedFd, name: &[u8]) {
    // Both times are set to now: any user with write permission may do that, but only the owner may set one of them
    // (utimensat(2)).
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let _ = rustix::fs::utimensat(trees, name, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Resolves the root, and creates it if needed with mode 0775, so that a shared group may write; an existing one is not
/// changed.
fn make_root(path: &Path) -> Result<PathBuf, Error> {
    let failed = |doing| move |source| Error::Io { doing, path: shown(path), source };
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).map_err(failed("make the folder above"))?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => {
            // The umask has narrowed the mode of the new folder.
            let shared = std::fs::Permissions::from_mode(0o775);
            std::fs::set_permissions(path, shared).map_err(failed("set the mode of"))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // A mount point on a read-only file system cannot be created and need not be.
        Err(_) if path.is_dir() => {}
        Err(error) => return Err(failed("make the folder")(error)),
    }
    path.canonicalize().map_err(failed("find"))
}

fn open_root(root: &Path) -> Result<OwnedFd, Error> {
    folder::open_path(root).map_err(|errno| Error::io("open the folder", root.as_os_str().as_bytes(), errno))
}

/// Opens a folder of ours and creates it if it is missing; its name is flushed before anything is put into it.
fn own_folder(top: &OwnedFd, root: &Path, name: &[u8], mode: RawMode) -> Result<OwnedFd, Error> {
    let path = || [root.as_os_str().as_bytes(), b"/", name].concat();
    let missing = folder::stat(top, name).map_err(|errno| Error::io("look at", path(), errno))?.is_none();
    let opened = folder::make_if_missing(top, name, mode).map_err(|errno| {
        Error::io(if missing { "make the folder" } else { "open the folder" }, path(), errno).with_cause_from(top)
    })?;
    if missing {
        folder::flush_names(top).map_err(|errno| Error::io("flush", root.as_os_str().as_bytes(), errno))?;
    }
    Ok(opened)
}
