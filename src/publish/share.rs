//! `--group-write` on a volume that was filled without it: the folders and files beside the trees become the group's as
//! well, or the next pod, with another user of that group, could not go on with them.
//!
//! It must not touch the trees: they have modes of their own, and are rebuilt if those differ.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use super::folder;

const GROUP: RawMode = Mode::WGRP.as_raw_mode();

/// Lets the group write what is in a folder of ours at any depth, and then, as the mark that it is done, the folder. Costs
/// one look where that is so already. What belongs to somebody else is his to share, and is left as it is.
pub(super) fn with_group(state: &OwnedFd) -> Result<(), Errno> {
    if rustix::fs::fstat(state)?.st_mode & GROUP != 0 {
        return Ok(());
    }
    folder::visit(folder::open(state, b".")?, |parent, name, stat| {
        // A pack is nobody's to write, a link has no mode, and a second name may be a file of somebody's outside.
        let shared = match folder::kind(stat) {
            FileType::Directory => true,
            FileType::RegularFile => stat.st_nlink == 1 && stat.st_mode & Mode::WUSR.as_raw_mode() != 0,
            _ => false,
        };
        if !shared {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(opened) => alone_with_group(&opened),
            // It vanished, or is another user's alone.
            Err(Errno::NOENT | Errno::ACCESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    })?;
    alone_with_group(state)
}

/// The same for one file or folder, without what is in it.
pub(super) fn alone_with_group(opened: &OwnedFd) -> Result<(), Errno> {
    let mode = rustix::fs::fstat(opened)?.st_mode;
    if mode & GROUP != 0 {
        return Ok(());
    }
    match rustix::fs::fchmod(opened, Mode::from_raw_mode(mode | GROUP)) {
        Err(Errno::PERM) => Ok(()),
        changed => changed,
    }
}

/// True if this process may change the mode of something: what its user made.
pub(super) fn is_ours(stat: &Stat) -> bool {
    let user = rustix::process::geteuid();
    user.is_root() || stat.st_uid == user.as_raw()
}
