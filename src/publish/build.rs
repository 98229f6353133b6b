//! A commit's tree, complete and durable, under its own name in `.worktrees`.
//!
//! It is written beside, and gets its name by one rename; what fails or is cancelled before that leaves nothing. The
//! link is not its business, except that a tree which the link names is never missing for a moment.

use std::os::fd::OwnedFd;
use std::path::Path;

use git2::Oid;
use rustix::fs::RenameFlags;

use super::objects::Objects;
use super::sweep::{DOOMED, EXCHANGED, UNFINISHED};
use super::volume::{Volume, touch, unique};
use super::{Built, Error, Verdict, folder, walk, write};
use crate::worker::Cancel;

impl Volume {
    /// Writes the commit's tree into a temporary folder and renames it to `.worktrees/<commit>`. A tree of that name which
    /// `verify` calls whole is used as it is; one that differs is replaced, in one step if the link names it.
    ///
    /// # Errors
    /// `hostile_path` and `name_too_long` before anything is written; `disk_full` and its like; `store_damaged`;
    /// `cancelled`; `no_exchange`. The volume is as it was before in each case.
    pub fn build(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Built, Error> {
        let trees = self.trees_folder()?;
        if self.has_tree(&trees, commit)? && self.verify(store, commit, cancel)? == Verdict::Whole {
            return Ok(Built { commit, files: 0, bytes: 0 });
        }
        let objects = Objects::open(store)?;
        let root = objects.root(commit)?;
        let entries = walk::survey(&objects.odb()?, root, cancel)?;
        let mut new = NewTree::make(self, &trees)?;
        let written = write::write_tree(store, root, &new.folder, cancel)?;
        folder::flush(&new.folder, entries)
            .map_err(|errno| self.failed("flush", &new.name, errno).with_cause_from(&trees))?;
        new.take_the_place_of(commit, cancel)?;
        Ok(Built { commit, files: written.files, bytes: written.bytes })
    }
}

/// A tree that has no name of a commit yet. Dropped early, also by a panic, it is removed.
struct NewTree<'a> {
    volume: &'a Volume,
    trees: &'a OwnedFd,
    name: Vec<u8>,
    folder: OwnedFd,
    in_place: bool,
}

impl<'a> NewTree<'a> {
    fn make(volume: &'a Volume, trees: &'a OwnedFd) -> Result<Self, Error> {
        let name = unique(UNFINISHED);
        // Known as ours before it exists, so that no sweep takes it for a leftover.
        volume.ages().begin_build(name.clone());
        match folder::make(trees, &name, 0o755) {
            Ok(folder) => Ok(Self { volume, trees, name, folder, in_place: false }),
            Err(errno) => {
                volume.ages().end_build(&name);
                Err(volume.failed("make the folder", &name, errno).with_cause_from(trees))
            }
        }
    }

    fn take_the_place_of(&mut self, commit: Oid, cancel: &Cancel) -> Result<(), Error> {
        let volume = self.volume;
        let text = commit.to_string();
        let name = text.as_bytes();
        let failed = |doing| move |errno| volume.failed(doing, name, errno);
        // From here to the end nothing else renames; a job that nobody waits for any more must not, either.
        let mut ages = volume.ages();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut discarded = None;
        let standing = folder::look(self.trees, name).map_err(failed("look at"))?;
        if standing.is_some() && volume.is_live(name)? {
            // Readers are in there by way of the link, and the link may not be turned away meanwhile: the base name of
            // its target is the commit, by contract, so there is no second name to turn it to. Two renames would leave
            // it dangling between them. Without an exchange in one step the damaged tree therefore stays, and is told.
            rustix::fs::renameat_with(self.trees, &*self.name, self.trees, name, RenameFlags::EXCHANGE)
                .map_err(|errno| Error::NoExchange { path: volume.shown_tree(name), source: errno.into() })?;
            // What is under the temporary name now is the damaged tree. Its readers get their grace.
            self.in_place = true;
            let old = unique(EXCHANGED);
            touch(self.trees, &self.name);
            rustix::fs::renameat(self.trees, &*self.name, self.trees, &*old).map_err(failed("rename the old"))?;
            ages.replaced(old, volume.grace());
        } else {
            if standing.is_some() {
                let old = unique(DOOMED);
                rustix::fs::renameat(self.trees, name, self.trees, &*old).map_err(failed("rename the old"))?;
                discarded = Some(old);
            }
            rustix::fs::renameat(self.trees, &*self.name, self.trees, name).map_err(failed("rename a new tree to"))?;
            self.in_place = true;
        }
        ages.forget(name);
        ages.end_build(&self.name);
        drop(ages);
        rustix::fs::fsync(self.trees).map_err(failed("flush the folder of"))?;
        if let Some(old) = discarded {
            // The next sweep tries again.
            let _ = folder::remove_all(self.trees, &old);
        }
        Ok(())
    }
}

impl Drop for NewTree<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            // What cannot be removed now is a leftover for the next sweep.
            let _ = folder::remove_all(self.trees, &self.name);
        }
        self.volume.ages().end_build(&self.name);
    }
}
