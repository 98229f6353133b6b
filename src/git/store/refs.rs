//! The refs of the store: their names, and reading, writing and deleting them.
//!
//! It must not know what a ref is kept for beyond its name.

use std::collections::HashSet;

use git2::{Oid, Repository};

use crate::git::error::{Cause, Error};

/// The commit of the followed ref when its tree was last complete.
pub(crate) const HEAD: &str = "refs/pushsync/head";
/// The previous value of [`HEAD`]: the next tree is built from the one of this commit.
pub(crate) const PREVIOUS: &str = "refs/pushsync/previous";
/// The commit that was last requested by its hash.
pub(crate) const PIN: &str = "refs/pushsync/pin";
/// The target of a fetch by libgit2. It exists only while the fetch runs.
pub(crate) const INCOMING: &str = "refs/pushsync/incoming";
/// The refs of a remote in a temporary store, fetched when a commit cannot be requested by its hash.
pub(crate) const ARRIVING: &str = "refs/pushsync/arriving/";
/// The refs that keep objects alive and `shallow` entries in place. Flattened submodules have refs of their own.
pub(crate) const TRACKED: [&str; 3] = [HEAD, PREVIOUS, PIN];

/// Returns the targets of all refs. Each of them keeps its commit and the history of it in the store.
pub(crate) fn tips(store: &Repository) -> Result<HashSet<Oid>, Error> {
    let unreadable = |error: git2::Error| Error::from_store(store.path(), &error);
    let mut tips = HashSet::new();
    for reference in store.references().map_err(unreadable)? {
        tips.extend(reference.map_err(unreadable)?.target());
    }
    Ok(tips)
}

/// Returns the commit that a ref names, or `None` if there is no such ref. A ref without a target is damage.
pub(crate) fn read(store: &Repository, name: &str) -> Result<Option<Oid>, Error> {
    match store.refname_to_id(name) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(Error::from_store(store.path(), &error)),
    }
}

/// Points a ref at a commit and creates the ref if needed.
pub(crate) fn write(store: &Repository, name: &str, commit: Oid) -> Result<(), Error> {
    store.reference(name, commit, true, "pushsync").map(drop).map_err(|error| Error::from_store(store.path(), &error))
}

/// Deletes a ref. A missing one is no error.
pub(crate) fn delete(store: &Repository, name: &str) -> Result<(), Error> {
    match store.find_reference(name) {
        Ok(mut reference) => reference.delete().map_err(|error| Error::from_store(store.path(), &error)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(()),
        Err(error) => Err(Error::from_store(store.path(), &error)),
    }
}

/// Lists the refs whose names begin with `prefix`, with their targets.
pub(crate) fn list(store: &Repository, prefix: &str) -> Result<Vec<(String, Oid)>, Error> {
    let unreadable = |error: git2::Error| Error::from_store(store.path(), &error);
    let mut found = Vec::new();
    for reference in store.references_glob(&format!("{prefix}*")).map_err(unreadable)? {
        let reference = reference.map_err(unreadable)?;
        if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
            found.push((name.to_owned(), id));
        }
    }
    Ok(found)
}

/// Deletes every ref whose name begins with `prefix`.
pub(crate) fn delete_all(store: &Repository, prefix: &str) -> Result<(), Error> {
    list(store, prefix)?.iter().try_for_each(|(name, _)| delete(store, name))
}

/// The error for a store whose content contradicts itself.
pub(crate) fn damaged(store: &Repository, words: &str) -> Error {
    Error::Damaged { store: store.path().to_owned(), source: Cause::new(words) }
}
