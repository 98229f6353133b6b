//! Writes a commit's whole tree, and puts it in place.

use std::os::fd::OwnedFd;
use std::path::Path;

use git2::Oid;

use crate::publish::checkout::Built;
use crate::publish::checkout::new_tree::NewTree;
use crate::publish::checkout::writers;
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::tree::survey;
use crate::publish::tree::view::Objects;
use crate::publish::volume::durability::Durability;
use crate::publish::volume::git_file::{self, Depth};
use crate::publish::volume::published::PublishedTrees;
use crate::publish::volume::usage::Usage;
use crate::publish::volume::worktrees::Worktrees;
use crate::worker::Cancel;

/// Writes the tree of a commit under a temporary name and renames it to its commit.
///
/// # Errors
/// As for `Volume::build`. Nothing stays of the tree then.
pub(crate) fn build(
    (volume, published, usage): (&Worktrees, &PublishedTrees, &Usage),
    store: &Path,
    objects: &Objects,
    trees: &OwnedFd,
    commit: Oid,
    cancel: &Cancel,
) -> Result<Built, Error> {
    let root = objects.root(commit)?;
    // Before anything is written, so that a hostile tree leaves nothing.
    let entries = survey::survey(&objects.view()?, root, cancel)?;
    let mut new = NewTree::make(volume, trees)?;
    let options = volume.options();
    let written = writers::write_tree(store, objects, root, &new.folder, None, cancel)?;
    if options.worktree_git {
        git_file::write(&new.folder, commit, Depth::Plain, &options)?;
    }
    if volume.durability == Durability::Full {
        folder::flush(&new.folder, entries)
            .map_err(|errno| volume.failed("flush", &new.name, errno).with_cause_from(trees))?;
    }
    // Taken before readers with write access can change the tree.
    let since = volume.now(trees).ok();
    new.take_the_place_of(published, commit, cancel)?;
    if let Some(since) = since {
        published.note_written(since, commit, entries, &options);
    }
    // Later trees are made from this one or replace it, so its size serves for all.
    usage.set_live_tree(written.size());
    let remarks = written.remarks.words(options.lfs);
    Ok(Built { commit, files: written.files, bytes: written.bytes, standby: None, note: None, remarks })
}
