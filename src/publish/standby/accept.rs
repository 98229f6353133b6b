//! Accepts the changes that hooks made to a published tree.

use std::path::Path;

use git2::Oid;

use crate::publish::error::Error;
use crate::publish::path::printable;
use crate::publish::standby::restore::differences;
use crate::publish::tree::view::Objects;
use crate::publish::volume::published::PublishedTrees;
use crate::publish::volume::worktrees::Worktrees;
use crate::worker::Cancel;

/// Accepts the current differences of tracked files in a published tree, or one that is about to be published, as
/// changes by hooks: they count as published. Returns the number of paths and the first of them, if that is new.
///
/// # Errors
/// If the tree or the store cannot be read, or the list cannot be kept.
pub(crate) fn accept_changes(
    volume: &Worktrees,
    published: &PublishedTrees,
    store: &Path,
    commit: Oid,
    cancel: &Cancel,
) -> Result<Option<(usize, String)>, Error> {
    let options = &volume.options();
    let objects = &Objects::open(store, options)?;
    let (view, trees) = (objects.view()?, volume.trees_folder()?);
    let top = volume.open_tree(&trees, commit)?;
    // The baseline is from before the hooks, so every file that they changed is compared.
    let baseline = published.baseline(commit, options.fingerprint());
    let found = differences(&view, objects.root(commit)?, &top, baseline.as_ref(), cancel)?;
    let before = published.hook_changes(commit);
    if before.as_deref().map_or(found.is_empty(), |before| *before == found) {
        return Ok(None);
    }
    let news = found.first().map(|first| (found.len(), printable(first)));
    published.accept(commit, found)?;
    Ok(news)
}
