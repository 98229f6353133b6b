//! A tree that is being made under a temporary name, until one rename gives it the name of its commit.
//!
//! A failed or cancelled build leaves nothing. It does not change the link unless the live tree itself is replaced, and never
//! removes the tree that the link names, not even for a moment. It must not know what is written into the tree.

use std::os::fd::OwnedFd;

use git2::Oid;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::baseline::Mark;
use crate::publish::folder::group;
use crate::publish::tree::entry::EntryKind;
use crate::publish::volume::durability::Durability;
use crate::publish::volume::git_file::{self, Depth};
use crate::publish::volume::grace::GracePeriods;
use crate::publish::volume::layout::touch;
use crate::publish::volume::names::{BESIDE, EXCHANGED, MARKED, STANDBY, UNFINISHED, unique};
use crate::publish::volume::published::PublishedTrees;
use crate::publish::volume::target::LinkTarget;
use crate::publish::volume::worktrees::Worktrees;
use crate::worker::Cancel;

/// A tree that does not have the name of a commit yet. It is removed when it is dropped early, also by a panic.
pub(crate) struct NewTree<'a> {
    volume: &'a Worktrees,
    trees: &'a OwnedFd,
    pub(crate) name: Vec<u8>,
    pub(crate) folder: OwnedFd,
    in_place: bool,
    /// True if it may contain a whole tree. A push does not wait for its removal.
    is_used: bool,
    is_parked: bool,
}

impl<'a> NewTree<'a> {
    pub(crate) fn make(volume: &'a Worktrees, trees: &'a OwnedFd) -> Result<Self, Error> {
        let name = unique(UNFINISHED);
        // Registered before it exists, so that no sweep removes it as a leftover.
        volume.grace_periods().begin_build(name.clone());
        match folder::make(trees, &name, volume.options().mode(EntryKind::Folder)) {
            Ok(folder) => Ok(Self { volume, trees, name, folder, in_place: false, is_used: false, is_parked: false }),
            Err(errno) => {
                volume.grace_periods().end_build(&name);
                Err(volume.failed("make the folder", &name, errno).with_cause_from(trees))
            }
        }
    }

    /// Takes over a standby tree, or a parked one, which loses its name here. `None` if it is gone, or is not a folder any
    /// more.
    pub(crate) fn of_standby(volume: &'a Worktrees, trees: &'a OwnedFd, standby: &[u8]) -> Option<Self> {
        let tree = Self::renamed(volume, trees, standby).ok();
        volume.grace_periods().end_build(standby);
        tree
    }

    /// Takes over the tree of a commit that is not live and whose grace period is over, or that was never published. It
    /// loses its name here. The caller leaves out trees that are about to be published.
    pub(crate) fn of_replaced(
        volume: &'a Worktrees,
        trees: &'a OwnedFd,
        commit: Oid,
        cancel: &Cancel,
    ) -> Result<Option<Self>, Error> {
        let text = commit.to_string();
        let name = text.as_bytes();
        let mut grace_periods = volume.grace_periods();
        if cancel.is_cancelled() || volume.is_live(name)? {
            return Ok(None);
        }
        let standing = folder::stat(trees, name).map_err(|errno| volume.failed("look at", name, errno))?;
        // With `--group-write` it may belong to another user, so that we cannot change its modes.
        let Some(stat) = standing.filter(group::is_ours) else { return Ok(None) };
        if grace_periods.remaining(name, &stat, volume.grace).is_some() {
            return Ok(None);
        }
        grace_periods.forget(name);
        let temporary = unique(UNFINISHED);
        grace_periods.begin_build(temporary.clone());
        // The rename happens under the lock; afterwards no job can publish this tree.
        let renamed = rustix::fs::renameat(trees, name, trees, &*temporary);
        drop(grace_periods);
        let opened = renamed
            .and_then(|()| folder::open(trees, &temporary))
            .and_then(|folder| git_file::remove(&folder).map(|()| folder));
        match opened {
            Ok(folder) => Ok(Some(Self {
                volume,
                trees,
                name: temporary,
                folder,
                in_place: false,
                is_used: true,
                is_parked: false,
            })),
            Err(errno) => {
                volume.grace_periods().end_build(&temporary);
                Err(volume.failed("rename", name, errno))
            }
        }
    }

    /// The rename marks the tree as incomplete. It is not flushed separately: a journal that has the changes also has the
    /// earlier rename, and the standby tree of an earlier process is compared with its commit before its use.
    fn renamed(volume: &'a Worktrees, trees: &'a OwnedFd, from: &[u8]) -> Result<Self, Errno> {
        let name = unique(UNFINISHED);
        volume.grace_periods().begin_build(name.clone());
        let opened = rustix::fs::renameat(trees, from, trees, &*name).and_then(|()| folder::open(trees, &name));
        match opened
            .and_then(|folder| folder::set_mode(&folder, volume.options().mode(EntryKind::Folder)).map(|()| folder))
        {
            Ok(folder) => Ok(Self { volume, trees, name, folder, in_place: false, is_used: true, is_parked: false }),
            Err(errno) => {
                volume.discard(trees, &name);
                Err(errno)
            }
        }
    }

    /// Removes the permissions of all other users that may write to the volume, since they must not change an unpublished
    /// tree.
    pub(crate) fn close_to_others(&self) -> Result<(), Error> {
        let alone = if self.volume.options().group_write { 0o770 } else { 0o700 };
        folder::set_mode(&self.folder, alone).map_err(|errno| self.volume.failed("set the mode of", &self.name, errno))
    }

    /// Gives the tree, which is flushed already, the name of a standby tree. Returns the name, and the mark of the folder.
    pub(crate) fn become_standby(mut self, commit: Oid, cancel: &Cancel) -> Result<(Vec<u8>, Mark), Error> {
        let name = unique(&format!("{STANDBY}{commit}-"));
        self.close_to_others()?;
        let failed = |doing, errno| self.volume.failed(doing, &self.name, errno);
        let grace_periods = self.volume.grace_periods();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        rustix::fs::renameat(self.trees, &*self.name, self.trees, &*name)
            .map_err(|errno| failed("rename a spare to", errno))?;
        drop(grace_periods);
        // On most file systems a rename changes the folder's own ctime.
        let stat = rustix::fs::fstat(&self.folder).map_err(|errno| failed("look at", errno))?;
        self.in_place = true;
        Ok((name, Mark::of(&stat)))
    }

    /// Keeps an unfinished tree under its temporary name, which is returned, to continue with it later. The next start
    /// removes such names of an earlier process.
    pub(crate) fn park(mut self) -> Vec<u8> {
        // The name stays registered as that of a running build, so that no sweep removes it as a leftover.
        self.is_parked = true;
        std::mem::take(&mut self.name)
    }

    /// Renames the finished tree to its commit, and replaces the one that has this name.
    ///
    /// # Errors
    /// `cancelled`, or errors of the file system. The published tree is unchanged then.
    pub(crate) fn take_the_place_of(
        &mut self,
        published: &PublishedTrees,
        commit: Oid,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let volume = self.volume;
        let text = commit.to_string();
        let name = text.as_bytes();
        let failed = |doing| move |errno| volume.failed(doing, name, errno);
        // Until the end no other job renames anything, and neither may this one if its caller has given up.
        let mut grace_periods = volume.grace_periods();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        volume.flushed.forget(commit, &volume.layout.state_folder())?;
        published.forget_hook_changes(commit)?;
        let mut discarded = None;
        let standing = folder::stat(self.trees, name).map_err(failed("look at"))?;
        if standing.is_some() && volume.is_live(name)? {
            // Readers use this name through the link: with two renames the link would dangle between them.
            let exchanged = rustix::fs::renameat_with(self.trees, &*self.name, self.trees, name, RenameFlags::EXCHANGE);
            if exchanged.is_err() {
                // NFS, SMB, CephFS and most FUSE file systems have no exchange, and overlayfs has none for folders of the
                // image.
                return self.stand_beside(commit, &mut grace_periods);
            }
            // The temporary name now belongs to the damaged tree. Its readers get their grace period.
            self.in_place = true;
            let old = unique(EXCHANGED);
            touch(self.trees, &self.name);
            rustix::fs::renameat(self.trees, &*self.name, self.trees, &*old).map_err(failed("rename the old"))?;
            grace_periods.replaced(old, volume.grace);
        } else {
            if standing.is_some() {
                // It was published before, and readers may still use it.
                let in_grace = grace_periods.is_in_grace(name);
                let old = unique(if in_grace { EXCHANGED } else { MARKED });
                rustix::fs::renameat(self.trees, name, self.trees, &*old).map_err(failed("rename the old"))?;
                if in_grace {
                    grace_periods.replaced(old, volume.grace);
                } else {
                    discarded = Some(old);
                }
            }
            rustix::fs::renameat(self.trees, &*self.name, self.trees, name).map_err(failed("rename a new tree to"))?;
            self.in_place = true;
            let live = volume.target(commit)?;
            if live.beside.is_some() {
                // Readers use the damaged tree, which is one folder deeper.
                let beside = live.entry().into_bytes();
                touch(self.trees, &beside);
                let plain = LinkTarget::plain(commit);
                volume.link.set(&plain, volume.durability)?;
                volume.note_target(&plain);
                grace_periods.replaced(beside, volume.grace);
            }
        }
        grace_periods.forget(name);
        grace_periods.end_build(&self.name);
        drop(grace_periods);
        if volume.durability == Durability::Full {
            folder::flush_names(self.trees).map_err(failed("flush the folder of"))?;
        }
        if let Some(old) = discarded {
            // The next sweep tries again.
            let _ = folder::remove_all(self.trees, &old);
        }
        Ok(())
    }

    /// Replaces the live tree of a commit where two folders cannot be exchanged in one step. The new tree is put at
    /// `.worktrees/<unique>/<commit>`, where `basename $(readlink LINK)` is still the commit, and the link is changed to
    /// it. The replaced tree loses its name, so that it is not mistaken for the commit's. The next push is published as
    /// usual.
    fn stand_beside(&mut self, commit: Oid, grace_periods: &mut GracePeriods) -> Result<(), Error> {
        let volume = self.volume;
        let text = commit.to_string();
        let target = LinkTarget { commit, beside: Some(String::from_utf8_lossy(&unique(BESIDE)).into_owned()) };
        let entry = target.entry().into_bytes();
        let options = volume.options();
        let failed = |doing| {
            let name = target.path();
            move |errno| volume.failed(doing, name.as_bytes(), errno)
        };
        let within = folder::make(self.trees, &entry, options.mode(EntryKind::Folder))
            .map_err(|errno| failed("make the folder of")(errno).with_cause_from(self.trees))?;
        let moved = || {
            if options.worktree_git {
                git_file::write(&self.folder, commit, Depth::Beside, &options)?;
                git_file::prepare(&volume.layout.store(), commit, &target.path(), &options)?;
            }
            rustix::fs::renameat(self.trees, &*self.name, &within, text.as_bytes())
                .map_err(failed("rename a new tree to"))
        };
        if let Err(error) = moved() {
            let _ = rustix::fs::unlinkat(self.trees, &*entry, AtFlags::REMOVEDIR);
            return Err(error);
        }
        self.in_place = true;
        if volume.durability == Durability::Full {
            folder::flush_names(&within).and_then(|()| folder::flush_names(self.trees)).map_err(failed("flush"))?;
        }
        touch(self.trees, text.as_bytes());
        // If this fails the new tree is an entry without a link, which the next sweep removes.
        volume.link.set(&target, volume.durability)?;
        volume.note_target(&target);
        let old = unique(EXCHANGED);
        rustix::fs::renameat(self.trees, text.as_bytes(), self.trees, &*old)
            .map_err(|errno| volume.failed("rename the old", text.as_bytes(), errno))?;
        grace_periods.forget(text.as_bytes());
        grace_periods.replaced(old, volume.grace);
        grace_periods.end_build(&self.name);
        Ok(())
    }
}

impl Drop for NewTree<'_> {
    fn drop(&mut self) {
        if self.is_parked {
            return;
        }
        if !self.in_place && self.is_used {
            self.volume.discard(self.trees, &self.name);
        } else if !self.in_place {
            // The next sweep removes the rest.
            let _ = folder::remove_all(self.trees, &self.name);
        }
        self.volume.grace_periods().end_build(&self.name);
    }
}
