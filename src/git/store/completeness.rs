//! Checks whether the store has everything that a commit needs.

use git2::{ObjectType, OdbLookupFlags, Oid, Repository, Tree};

use crate::commit;
use crate::git::error::{Cause, Error};

use super::{partial_clone, refs};

/// Returns true if the store has the commit and its tree. Commits that a tracked ref names were checked when they
/// arrived, so they cost no walk. The repository has to be freshly opened.
pub(crate) fn has(repository: &Repository, commit: Oid) -> Result<bool, Error> {
    // The usual answer is no, and without this flag libgit2 lists all packs again before it says so.
    let there = repository.odb().map(|odb| odb.exists_ext(commit, OdbLookupFlags::NO_REFRESH));
    if !there.map_err(|error| Error::from_store(repository.path(), &error))? {
        return Ok(false);
    }
    let mut checked = None;
    for name in refs::TRACKED {
        if refs::read(repository, name)? == Some(commit) {
            checked = Some(commit);
        }
    }
    is_complete(repository, commit, checked)
}

/// Returns true if the store has the commit with every tree and blob. In a partial clone blobs are fetched on demand, so
/// only trees count there. Subtrees that the commit shares with `known` were checked before and are skipped.
pub(crate) fn is_complete(store: &Repository, commit: Oid, known: Option<Oid>) -> Result<bool, Error> {
    has_objects(store, commit, known, !partial_clone::is_partial(store.path()))
}

/// Like [`is_complete`], but blobs count in a partial clone, too.
pub(crate) fn is_complete_with_blobs(store: &Repository, commit: Oid, known: Option<Oid>) -> Result<bool, Error> {
    has_objects(store, commit, known, true)
}

fn has_objects(store: &Repository, commit: Oid, known: Option<Oid>, with_blobs: bool) -> Result<bool, Error> {
    let unreadable = |error: git2::Error| Error::from_store(store.path(), &error);
    let tree = present(commit::tree(store, commit)).map_err(|error| unreadable_commit(store, commit, &error))?;
    let Some(tree) = tree else { return Ok(false) };
    let known = known.and_then(|known| commit::tree(store, known).ok());
    let odb = store.odb().map_err(unreadable)?;
    let mut pending = vec![(tree, known)];
    while let Some((tree, known)) = pending.pop() {
        for entry in &tree {
            let twin = known.as_ref().and_then(|known: &Tree<'_>| known.get_name_bytes(entry.name_bytes()));
            if twin.as_ref().is_some_and(|twin| twin.id() == entry.id()) {
                continue;
            }
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let Some(inner) = present(store.find_tree(entry.id())).map_err(unreadable)? else {
                        return Ok(false);
                    };
                    pending.push((inner, twin.and_then(|twin| store.find_tree(twin.id()).ok())));
                }
                // The commits of a submodule are in another repository.
                Some(ObjectType::Commit) => {}
                _ if !with_blobs || odb.exists(entry.id()) => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// The error for a commit whose tree cannot be read. A commit that is present and names no tree is the pusher's fault and
/// not damage to the store.
fn unreadable_commit(store: &Repository, commit: Oid, error: &git2::Error) -> Error {
    if commit::exists(store, commit) && commit::tree_id(store, commit).is_err() {
        return Error::MalformedCommit { commit, source: Cause::from(error) };
    }
    Error::from_store(store.path(), error)
}

/// Logs a warning for a new commit that libgit2 cannot parse.
pub(crate) fn warn_if_malformed(store: &Repository, commit: Oid) {
    if let Err(error) = store.find_commit(commit)
        && commit::exists(store, commit)
    {
        let why = Cause::from(&error);
        tracing::warn!(%commit, %why, "this commit breaks the format of git; its tree is published, as git would check it out");
    }
}

/// Tells a missing object from one that cannot be read.
fn present<T>(found: Result<T, git2::Error>) -> Result<Option<T>, git2::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
