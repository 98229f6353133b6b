//! Builds a commit's complete tree under its own name in `.worktrees`.
//!
//! The tree is written under a temporary name and gets its own by one rename, so a failed or cancelled build leaves
//! nothing. It does not change the link, but never removes the tree that the link names, not even for a moment.

use std::os::fd::OwnedFd;
use std::path::Path;

use git2::Oid;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::publish::checkout::writers;
use crate::publish::folder::baseline::{Baseline, Mark};
use crate::publish::folder::group;
use crate::publish::folder::space::Size;
use crate::publish::standby::{SPARE, Standby, State, Used};
use crate::publish::tree::remarks::Remarks;
use crate::publish::tree::survey;
use crate::publish::tree::view::{EntryKind, Objects};
use crate::publish::volume::git_file;
use crate::publish::volume::git_file::Depth;
use crate::publish::volume::grace::{Ages, DOOMED, EXCHANGED, UNFINISHED};
use crate::publish::volume::layout::{Volume, touch, unique};
use crate::publish::volume::link::{BESIDE, Target};
use crate::publish::{Built, Durability, Error, folder};
use crate::worker::Cancel;

impl Volume {
    /// Builds the commit's complete tree under a temporary name and renames it to `.worktrees/<commit>`: from a standby
    /// tree if a usable one exists, else fresh. An existing tree of that name is kept if `verify` finds no difference;
    /// otherwise it is replaced, in one step if the link names it.
    ///
    /// # Errors
    /// `hostile_path` and `name_too_long` before anything is written; `disk_full` and similar; `store_damaged`;
    /// `cancelled`. The published tree is unchanged in each case.
    pub fn build(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Built, Error> {
        self.read_shape_again()?;
        if self.has_lost_git(commit) && self.has_tree(&self.trees_folder()?, commit)? {
            // The store may be new although the tree is not. Errors of either are reported below.
            let entry = self.target(commit)?.path();
            let _ = git_file::prepare(store, commit, &entry, &self.shape());
        }
        let built = self.build_tree(store, commit, cancel);
        if let Err(Error::Object { .. }) = built {
            // The missing object is looked up and fetched again.
            self.forget_whole();
        }
        let mut built = built?;
        built.remarks.retain(|remark| !Remarks::is_lasting(remark) || self.is_new(remark));
        let shape = self.shape();
        if shape.worktree_git && (built.files > 0 || built.spare.is_some() || !git_file::is_led_to(store, commit)) {
            git_file::prepare(store, commit, &self.target(commit)?.path(), &shape)?;
        }
        Ok(built)
    }

    /// Returns true if `--worktree-git` is given and the store no longer has the folder that the `.git` file in the
    /// commit's tree names.
    pub fn has_lost_git(&self, commit: Oid) -> bool {
        self.shape().worktree_git && !git_file::is_led_to(&self.store(), commit)
    }

    fn build_tree(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Built, Error> {
        let trees = self.trees_folder()?;
        if self.has_tree(&trees, commit)? && self.is_usable(store, commit, cancel)? {
            self.warm.close();
            return Ok(Built { commit, files: 0, bytes: 0, spare: None, note: None, remarks: Vec::new() });
        }
        self.measure_for_limit(&|| !cancel.is_cancelled())?;
        let objects = self.warm.take_or_open(store, &self.shape())?;
        let note = match self.build_from_spare(&objects, &trees, commit, cancel)? {
            Used::Built(built) => return Ok(built),
            Used::No(note) => note,
        };
        self.measure_for_limit(&|| !cancel.is_cancelled())?;
        // Opened again: the store that was opened before the push arrived may be why the standby tree could not be used.
        let objects = Objects::open(store, &self.shape())?;
        let built = match self.build_fresh(store, &objects, &trees, commit, cancel) {
            // A standby tree, or trees that wait for their removal, may take the space that is needed. A push cannot wait
            // for a sweep.
            Err(error) if error.is_want_of_space() && self.make_room(cancel)? => {
                self.build_fresh(store, &objects, &trees, commit, cancel)
            }
            built => built,
        };
        built.map(|built| Built { note, ..built })
    }

    fn build_fresh(
        &self,
        store: &Path,
        objects: &Objects,
        trees: &OwnedFd,
        commit: Oid,
        cancel: &Cancel,
    ) -> Result<Built, Error> {
        let root = objects.root(commit)?;
        let entries = survey::survey(&objects.view()?, root, cancel)?;
        let mut new = NewTree::make(self, trees)?;
        let shape = self.shape();
        let written = writers::write_tree(store, objects, root, &new.folder, None, cancel)?;
        if shape.worktree_git {
            git_file::write(&new.folder, commit, Depth::Plain, &shape)?;
        }
        if self.durability() == Durability::Full {
            folder::flush(&new.folder, entries)
                .map_err(|errno| self.failed("flush", &new.name, errno).with_cause_from(trees))?;
        }
        // Taken before readers with write access can change the tree.
        let since = self.now(trees).ok();
        new.take_the_place_of(commit, cancel)?;
        if let Some(since) = since {
            self.note_written(since, commit, entries, &shape);
        }
        self.spares().size = Some(Size::of(written.size()));
        let remarks = written.remarks.words(shape.lfs);
        Ok(Built { commit, files: written.files, bytes: written.bytes, spare: None, note: None, remarks })
    }
}

/// A tree that does not have the name of a commit yet. It is removed when it is dropped early, also by a panic.
pub(crate) struct NewTree<'a> {
    volume: &'a Volume,
    trees: &'a OwnedFd,
    pub(crate) name: Vec<u8>,
    pub(crate) folder: OwnedFd,
    in_place: bool,
    /// True if it may contain a whole tree. A push does not wait for its removal.
    is_used: bool,
    is_parked: bool,
}

impl<'a> NewTree<'a> {
    pub(crate) fn make(volume: &'a Volume, trees: &'a OwnedFd) -> Result<Self, Error> {
        let name = unique(UNFINISHED);
        // Registered before it exists, so that no sweep removes it as a leftover.
        volume.ages().begin_build(name.clone());
        match folder::make(trees, &name, volume.shape().mode(EntryKind::Folder)) {
            Ok(folder) => Ok(Self { volume, trees, name, folder, in_place: false, is_used: false, is_parked: false }),
            Err(errno) => {
                volume.ages().end_build(&name);
                Err(volume.failed("make the folder", &name, errno).with_cause_from(trees))
            }
        }
    }

    /// Takes over a standby tree, or a parked one, which loses its name here. `None` if it is gone, or is not a folder any
    /// more.
    pub(crate) fn of_spare(volume: &'a Volume, trees: &'a OwnedFd, spare: &[u8]) -> Option<Self> {
        let tree = Self::renamed(volume, trees, spare).ok();
        volume.ages().end_build(spare);
        tree
    }

    /// Takes over the tree of a commit that is not live and whose grace period is over, or that was never published. It
    /// loses its name here. The caller leaves out trees that are about to be published.
    pub(crate) fn of_replaced(
        volume: &'a Volume,
        trees: &'a OwnedFd,
        commit: Oid,
        cancel: &Cancel,
    ) -> Result<Option<Self>, Error> {
        let text = commit.to_string();
        let name = text.as_bytes();
        let mut ages = volume.ages();
        if cancel.is_cancelled() || volume.is_live(name)? {
            return Ok(None);
        }
        let standing = folder::look(trees, name).map_err(|errno| volume.failed("look at", name, errno))?;
        // With `--group-write` it may belong to another user, so that we cannot change its modes.
        let Some(stat) = standing.filter(group::is_ours) else { return Ok(None) };
        if ages.owed(name, &stat, volume.grace()).is_some() {
            return Ok(None);
        }
        ages.forget(name);
        let temporary = unique(UNFINISHED);
        ages.begin_build(temporary.clone());
        // The rename happens under the lock; afterwards no job can publish this tree.
        let renamed = rustix::fs::renameat(trees, name, trees, &*temporary);
        drop(ages);
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
                volume.ages().end_build(&temporary);
                Err(volume.failed("rename", name, errno))
            }
        }
    }

    /// The rename marks the tree as incomplete. It is not flushed separately: a journal that has the changes also has the
    /// earlier rename, and the standby tree of an earlier process is compared with its commit before its use.
    fn renamed(volume: &'a Volume, trees: &'a OwnedFd, from: &[u8]) -> Result<Self, Errno> {
        let name = unique(UNFINISHED);
        volume.ages().begin_build(name.clone());
        let opened = rustix::fs::renameat(trees, from, trees, &*name).and_then(|()| folder::open(trees, &name));
        match opened
            .and_then(|folder| folder::set_mode(&folder, volume.shape().mode(EntryKind::Folder)).map(|()| folder))
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
        let alone = if self.volume.shape().group_write { 0o770 } else { 0o700 };
        folder::set_mode(&self.folder, alone).map_err(|errno| self.volume.failed("set the mode of", &self.name, errno))
    }

    /// Gives the tree, which is flushed already, the name of a standby tree. Returns the name, and the mark of the folder.
    pub(crate) fn become_spare(mut self, commit: Oid, cancel: &Cancel) -> Result<(Vec<u8>, Mark), Error> {
        let name = unique(&format!("{SPARE}{commit}-"));
        self.close_to_others()?;
        let failed = |doing, errno| self.volume.failed(doing, &self.name, errno);
        let ages = self.volume.ages();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        rustix::fs::renameat(self.trees, &*self.name, self.trees, &*name)
            .map_err(|errno| failed("rename a spare to", errno))?;
        drop(ages);
        // On most file systems a rename changes the folder's own ctime.
        let stat = rustix::fs::fstat(&self.folder).map_err(|errno| failed("look at", errno))?;
        self.in_place = true;
        Ok((name, Mark::of(&stat)))
    }

    /// Keeps an unfinished tree under its temporary name, to continue with it later. The next start removes such names of
    /// an earlier process.
    pub(crate) fn park(mut self, commit: Oid, entries: u64, shape: u64, baseline: Option<Baseline>) -> Standby {
        // The name stays registered as that of a running build, so that no sweep removes it as a leftover.
        self.is_parked = true;
        let name = std::mem::take(&mut self.name);
        Standby { name, commit, entries, state: State::Unverified(baseline), shape, equal: None }
    }

    pub(crate) fn take_the_place_of(&mut self, commit: Oid, cancel: &Cancel) -> Result<(), Error> {
        let volume = self.volume;
        let text = commit.to_string();
        let name = text.as_bytes();
        let failed = |doing| move |errno| volume.failed(doing, name, errno);
        // Until the end no other job renames anything, and neither may this one if its caller has given up.
        let mut ages = volume.ages();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        volume.forget_flushed(commit)?;
        volume.forget_accepted(commit)?;
        let mut discarded = None;
        let standing = folder::look(self.trees, name).map_err(failed("look at"))?;
        if standing.is_some() && volume.is_live(name)? {
            // Readers use this name through the link: with two renames the link would dangle between them.
            let exchanged = rustix::fs::renameat_with(self.trees, &*self.name, self.trees, name, RenameFlags::EXCHANGE);
            if exchanged.is_err() {
                // NFS, SMB, CephFS and most FUSE file systems have no exchange, and overlayfs has none for folders of the
                // image.
                return self.stand_beside(commit, &mut ages);
            }
            // The temporary name now belongs to the damaged tree. Its readers get their grace period.
            self.in_place = true;
            let old = unique(EXCHANGED);
            touch(self.trees, &self.name);
            rustix::fs::renameat(self.trees, &*self.name, self.trees, &*old).map_err(failed("rename the old"))?;
            ages.replaced(old, volume.grace());
        } else {
            if standing.is_some() {
                // It was published before, and readers may still use it.
                let in_grace = ages.is_in_grace(name);
                let old = unique(if in_grace { EXCHANGED } else { DOOMED });
                rustix::fs::renameat(self.trees, name, self.trees, &*old).map_err(failed("rename the old"))?;
                if in_grace {
                    ages.replaced(old, volume.grace());
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
                let plain = Target::plain(commit);
                volume.link.set(&plain, volume.durability())?;
                volume.note_target(&plain);
                ages.replaced(beside, volume.grace());
            }
        }
        ages.forget(name);
        ages.end_build(&self.name);
        drop(ages);
        if volume.durability() == Durability::Full {
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
    fn stand_beside(&mut self, commit: Oid, ages: &mut Ages) -> Result<(), Error> {
        let volume = self.volume;
        let text = commit.to_string();
        let target = Target { commit, beside: Some(String::from_utf8_lossy(&unique(BESIDE)).into_owned()) };
        let entry = target.entry().into_bytes();
        let shape = volume.shape();
        let failed = |doing| {
            let name = target.path();
            move |errno| volume.failed(doing, name.as_bytes(), errno)
        };
        let within = folder::make(self.trees, &entry, shape.mode(EntryKind::Folder))
            .map_err(|errno| failed("make the folder of")(errno).with_cause_from(self.trees))?;
        let moved = || {
            if shape.worktree_git {
                git_file::write(&self.folder, commit, Depth::Beside, &shape)?;
                git_file::prepare(&volume.store(), commit, &target.path(), &shape)?;
            }
            rustix::fs::renameat(self.trees, &*self.name, &within, text.as_bytes())
                .map_err(failed("rename a new tree to"))
        };
        if let Err(error) = moved() {
            let _ = rustix::fs::unlinkat(self.trees, &*entry, AtFlags::REMOVEDIR);
            return Err(error);
        }
        self.in_place = true;
        if volume.durability() == Durability::Full {
            folder::flush_names(&within).and_then(|()| folder::flush_names(self.trees)).map_err(failed("flush"))?;
        }
        touch(self.trees, text.as_bytes());
        // If this fails the new tree is an entry without a link, which the next sweep removes.
        volume.link.set(&target, volume.durability())?;
        volume.note_target(&target);
        let old = unique(EXCHANGED);
        rustix::fs::renameat(self.trees, text.as_bytes(), self.trees, &*old)
            .map_err(|errno| volume.failed("rename the old", text.as_bytes(), errno))?;
        ages.forget(text.as_bytes());
        ages.replaced(old, volume.grace());
        ages.end_build(&self.name);
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
        self.volume.ages().end_build(&self.name);
    }
}
