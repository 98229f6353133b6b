//! `--group-write` on a volume that was filled without it: gives the group access to the folders and files beside the
//! trees, so that the next pod, with another user of that group, can continue with them.
//!
//! It must not touch the trees: they have their own modes, and are rebuilt if those differ.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use crate::publish::folder;

const GROUP: RawMode = Mode::WGRP.as_raw_mode();

/// Gives the group the owner's permissions in a folder of ours at any depth, and at last on the folder itself, which marks
/// it as done. If it is done already this costs one `stat`. Files of other users are skipped, because only their owner can
/// change them.
pub(crate) fn with_group(state: &OwnedFd) -> Result<(), Errno> {
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
            // It has vanished, or only another user can open it.
            Err(Errno::NOENT | Errno::ACCESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    });
    match shared {
        // A folder that only another user can open: the entries after it in the list stay unchanged.
        Err(Errno::ACCESS) => Ok(()),
        shared => shared.and_then(|()| alone_with_group(state)),
    }
}

/// The same for one file or folder, without its content.
pub(crate) fn alone_with_group(opened: &OwnedFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(opened)?;
    // No process may write to a pack, and a second hard link may belong to a file of others outside.
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

/// Returns true if our user owns it, and so may change its mode. Root could as well, but not in most containers.
pub(crate) fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}
