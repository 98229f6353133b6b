//! Puts a commit's tree under its own name: an existing one, one made from a standby tree, or a fresh one.
//!
//! It must not change the link, unless the live tree itself has to be replaced.

use std::path::Path;

use git2::Oid;

use crate::publish::checkout::{Built, full};
use crate::publish::error::Error;
use crate::publish::removal::mark::Removal;
use crate::publish::standby::job::Parts;
use crate::publish::standby::update::{self, Used};
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::tree::view::Objects;
use crate::publish::verify::{self, Verdict, VerifyOptions};
use crate::publish::volume::git_file;
use crate::publish::volume::published::PublishedTrees;
use crate::publish::volume::worktrees::Worktrees;
use crate::worker::Cancel;

/// Builds a commit's tree, or keeps the existing one if it does not differ from the commit.
///
/// # Errors
/// As for `Volume::build`.
pub(crate) fn build(
    parts: Parts<'_>,
    removal: &Removal,
    store: &Path,
    commit: Oid,
    cancel: &Cancel,
) -> Result<Built, Error> {
    let Parts { volume, published, standby, usage } = parts;
    let trees = volume.trees_folder()?;
    if volume.has_tree(&trees, commit)? && is_usable(volume, published, store, commit, cancel)? {
        standby.store_cache.close();
        return Ok(Built { commit, files: 0, bytes: 0, standby: None, note: None, remarks: Vec::new() });
    }
    usage.measure_for_limit(volume, &|| !cancel.is_cancelled())?;
    let objects = standby.store_cache.take_or_open(store, &volume.options())?;
    let note = match update::build(parts, &objects, &trees, commit, cancel)? {
        Used::Built(built) => return Ok(built),
        Used::No(note) => note,
    };
    usage.measure_for_limit(volume, &|| !cancel.is_cancelled())?;
    // Opened again: the store that was opened before the push arrived may be why the standby tree could not be used.
    let objects = Objects::open(store, &volume.options())?;
    let fresh = || full::build((volume, published, usage), store, &objects, &trees, commit, cancel);
    let built = match fresh() {
        // A standby tree, or trees that wait for their removal, may take the space that is needed. A push cannot wait for a
        // sweep.
        Err(error) if error.is_want_of_space() && make_room(parts, removal, cancel)? => fresh(),
        built => built,
    };
    built.map(|built| Built { note, ..built })
}

/// Makes room for a push: drops the standby trees, and removes renamed entries. Returns true if any space was freed, so
/// that the push may be tried again. Trees in their grace period stay, because readers may use them.
///
/// # Errors
/// If the volume cannot be read.
pub(crate) fn make_room(parts: Parts<'_>, removal: &Removal, cancel: &Cancel) -> Result<bool, Error> {
    let Parts { volume, standby, usage, .. } = parts;
    let trees = volume.trees_folder()?;
    let standbys = standby.drop_all(volume, &trees);
    let removed = removal.remove_marked(volume, || !cancel.is_cancelled());
    usage.measure_for_limit(volume, &|| !cancel.is_cancelled())?;
    Ok(standbys || removed.is_ok_and(|(removed, _)| removed > 0))
}

/// Returns true if the tree of a commit may be published unchanged. In the live one, names that the commit does not have were
/// added by hooks and apps, and stay; a tree that becomes live again has to equal its commit.
fn is_usable(
    volume: &Worktrees,
    published: &PublishedTrees,
    store: &Path,
    commit: Oid,
    cancel: &Cancel,
) -> Result<bool, Error> {
    let is_live = volume.is_live(commit.to_string().as_bytes())?;
    Ok(compare(volume, published, store, commit, is_live, cancel)? == Verdict::Whole)
}

/// Compares the tree of a commit with the commit. `extras`: names that the commit does not have, and the changes of hooks,
/// are no difference.
///
/// # Errors
/// If the store or the tree cannot be read.
pub(crate) fn compare(
    volume: &Worktrees,
    published: &PublishedTrees,
    store: &Path,
    commit: Oid,
    extras: bool,
    cancel: &Cancel,
) -> Result<Verdict, Error> {
    let options = volume.options();
    let objects = Objects::open(store, &options)?;
    let root = objects.root(commit)?;
    if has_lost_git(&options, store, commit) {
        return Ok(Verdict::Differs("what its .git file leads to is gone".to_owned()));
    }
    let hook_changes = published.hook_changes(commit).filter(|_| extras);
    let git_file = options.worktree_git.then_some(commit);
    let wanted = VerifyOptions { git_file, extras, hook_changes: hook_changes.as_deref(), ..VerifyOptions::default() };
    let target = volume.target(commit)?;
    match target.open(&volume.trees_folder()?) {
        Ok(top) => verify::compare_with_top(&objects.view()?, root, top, wanted, cancel),
        Err(errno) => match errno {
            rustix::io::Errno::NOENT => Ok(Verdict::Differs("there is no such tree".to_owned())),
            // A file or a link is in its place (open(2), `O_DIRECTORY` and `O_NOFOLLOW`).
            rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
                Ok(Verdict::Differs("it is not a folder".to_owned()))
            }
            errno => Err(volume.failed("open the tree", target.path().as_bytes(), errno)),
        },
    }
}

/// Returns true if `--worktree-git` is given and the store no longer has the folder that the `.git` file in the commit's tree
/// names.
pub(crate) fn has_lost_git(options: &CheckoutOptions, store: &Path, commit: Oid) -> bool {
    options.worktree_git && !git_file::is_led_to(store, commit)
}
