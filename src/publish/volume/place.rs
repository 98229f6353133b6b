//! The place of a commit's tree: `.worktrees/<commit>`, or one folder deeper where two names cannot be exchanged.
//!
//! Only the link records which one. It must not know how trees are made or removed.

use std::os::fd::OwnedFd;

use git2::Oid;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::publish::volume::grace::EXCHANGED;
use crate::publish::volume::layout::{Volume, unique};
use crate::publish::volume::link::{Standing, Target};
use crate::publish::{Error, folder};

impl Volume {
    pub(crate) fn known_target(&self, commit: Oid) -> Target {
        let beside = self.beside.lock().clone();
        beside.filter(|target| target.commit == commit).unwrap_or_else(|| Target::plain(commit))
    }

    /// Remembers the link's target, for callers that must not access the disk.
    pub(crate) fn note_target(&self, target: &Target) {
        let beside = Some(target.clone()).filter(|target| target.beside.is_some());
        *self.beside.lock() = beside;
    }

    /// Returns the place of a commit's tree: the link's target if it names this commit, else its own name.
    pub(crate) fn target(&self, commit: Oid) -> Result<Target, Error> {
        Ok(match self.link.read()? {
            Standing::Ours(target) if target.commit == commit => target,
            _ => Target::plain(commit),
        })
    }

    /// Opens the tree of a commit.
    pub(crate) fn open_tree(&self, trees: &OwnedFd, commit: Oid) -> Result<OwnedFd, Error> {
        let target = self.target(commit)?;
        open_target(trees, &target).map_err(|errno| self.failed("open the tree", target.path().as_bytes(), errno))
    }

    pub(crate) fn has_tree(&self, trees: &OwnedFd, commit: Oid) -> Result<bool, Error> {
        let target = self.target(commit)?;
        self.has_target(trees, &target)
    }

    pub(crate) fn has_target(&self, trees: &OwnedFd, target: &Target) -> Result<bool, Error> {
        let commit = target.commit.to_string();
        let looked = match &target.beside {
            None => folder::look(trees, commit.as_bytes()),
            Some(beside) => match folder::open(trees, beside.as_bytes()) {
                Ok(within) => folder::look(within, commit.as_bytes()),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                Err(errno) => Err(errno),
            },
        };
        let stat = looked.map_err(|errno| self.failed("look at", target.path().as_bytes(), errno))?;
        Ok(stat.is_some_and(|stat| folder::kind(&stat) == FileType::Directory))
    }

    /// Renames the tree under the commit's own name if the link names a tree one folder deeper: it is the replaced one,
    /// which a process left that was killed between the two steps.
    pub(crate) fn take_replaced_name(&self, trees: &OwnedFd) -> Result<(), Error> {
        if let Standing::Ours(target) = self.link.read()?
            && target.beside.is_some()
            && self.has_target(trees, &target)?
        {
            let own = target.commit.to_string();
            // If the rename fails, the next start tries again.
            let _ = rustix::fs::renameat(trees, own.as_bytes(), trees, &*unique(EXCHANGED));
        }
        Ok(())
    }
}

pub(crate) fn open_target(trees: &OwnedFd, target: &Target) -> Result<OwnedFd, Errno> {
    let commit = target.commit.to_string();
    match &target.beside {
        None => folder::open(trees, commit.as_bytes()),
        Some(beside) => folder::open(folder::open(trees, beside.as_bytes())?, commit.as_bytes()),
    }
}
