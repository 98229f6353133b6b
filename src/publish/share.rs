//! `--group-write` on a volume that was filled without it: the folders and files beside the trees become the group's as
//! well, or the next pod, with another user of that group, could not go on with them.
//!
//! It must not touch the trees: they have modes of their own, and are rebuilt if those differ.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use super::folder;

const GROUP: RawMode = Mode::WGRP.as_raw_mode();

/// Lets the group do what the owner may do in a folder of ours at any depth, and then, as the mark that it is done, with the
/// folder. Costs one look where that is so already. What belongs to somebody else is his to share, and is left as it is.
pub(super) fn with_group(state: &OwnedFd) -> Result<(), Errno> {
    if rustix::fs::fstat(state)?.st_mode & GROUP != 0 {
        return Ok(());
    }
    let shared = folder::visit(folder::open(state, b".")?, |parent, name, stat| {
        if !matches!(folder::kind(stat), FileType::Directory | FileType::RegularFile) {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(opened) => alone_with_group(&opened),
            // It vanished, or is another user's alone.
            Err(Errno::NOENT | Errno::ACCESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    });
    match shared {
        // A folder that is another user's alone: whatever else is behind it in the list stays as it is.
        Err(Errno::ACCESS) => Ok(()),
        shared => shared.and_then(|()| alone_with_group(state)),
    }
}

/// The same for one file or folder, without what is in it.
pub(super) fn alone_with_group(opened: &OwnedFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(opened)?;
    // A pack is nobody's to write, and a second name may be a file of somebody's outside.
    let is_shared = match folder::kind(&stat) {
        FileType::Directory => true,
        FileType::RegularFile => stat.st_nlink == 1 && stat.st_mode & Mode::WUSR.as_raw_mode() != 0,
        _ => false,
    };
    if !is_shared || stat.st_mode & GROUP != 0 {
        return Ok(());
    }
    let group = (stat.st_mode & Mode::RWXU.as_raw_mode()) >> 3;
    match rustix::fs::fchmod(opened, Mode::from_raw_mode(stat.st_mode | group)) {
        Err(Errno::PERM) => Ok(()),
        changed => changed,
    }
}

/// True if our user made it, and so may change its mode. That root may, too, is not so in most containers.
pub(super) fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}
