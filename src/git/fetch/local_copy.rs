//! Copies a commit out of a repository on this machine, where libgit2's own fetch fails.
//!
//! libgit2 parses every commit that it copies, and takes a shallow repository for a damaged one. Here the history ends where
//! that of the other repository ends, and commits are read as `git` reads them. With `--volume-limit` every local fetch uses
//! it: libgit2 writes an object as a whole before it asks whether to continue. It must not know of refs.

use std::collections::HashSet;
use std::io::Write as _;

use git2::{ObjectType, Oid, PackBuilder, Repository};

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::remote::local;
use crate::git::remote::transport::{Libgit2Remote, Received};
use crate::git::store::shallow;

/// The objects of a commit to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All objects, also those that our store has.
    Whole,
    /// The objects that our store lacks. A tree that it has counts as complete, and a commit as one with its whole history:
    /// the caller checks that.
    Missing,
}

/// Copies `wanted` with as much history as `--depth` asks for. Each part is counted before it is written.
pub(crate) fn copy(link: &Libgit2Remote<'_>, wanted: Oid, extent: Extent) -> Result<Received, Error> {
    let theirs = local::open(link.options.url.bare()).map_err(|error| unreadable(link, &error))?;
    copy_from(&theirs, link, wanted, extent)
}

/// The same out of another repository than that of the remote.
pub(crate) fn copy_from(
    theirs: &Repository,
    link: &Libgit2Remote<'_>,
    wanted: Oid,
    extent: Extent,
) -> Result<Received, Error> {
    let remote = || link.options.url.to_string();
    let unreadable = |error: &git2::Error| unreadable(link, error);
    if !commit::exists(theirs, wanted) {
        return Err(Error::NoSuchCommit { commit: wanted, remote: remote(), source: None });
    }
    let in_store = |error: git2::Error| Error::from_store(link.store.path(), &error);
    let odb = link.store.odb().map_err(in_store)?;
    let is_there = |id: Oid| extent == Extent::Missing && odb.exists(id);
    let mut builder = theirs.packbuilder().map_err(|error| unreadable(&error))?;
    let mut level = vec![wanted];
    let (mut seen, mut ends) = (HashSet::from([wanted]), Vec::new());
    let deepest = if link.options.depth == 0 { u32::MAX } else { link.options.depth };
    for depth in 1..=deepest {
        let mut next = Vec::new();
        for id in level {
            if link.cancel.is_cancelled() {
                return Err(Error::Timeout { remote: remote(), after: link.options.timeout });
            }
            let tree = commit::tree_id(theirs, id).map_err(|error| unreadable(&error))?;
            builder
                .insert_object(id, None)
                .and_then(|()| insert_tree(&mut builder, theirs, tree, &is_there))
                .map_err(|error| unreadable(&error))?;
            let parents = commit::parents(theirs, id).unwrap_or_default();
            // The history ends at the configured depth, or where that of the other repository does, if it is shallow.
            if depth == deepest && !parents.is_empty() || parents.iter().any(|parent| !commit::exists(theirs, *parent))
            {
                ends.push(id);
            } else {
                next.extend(parents.into_iter().filter(|parent| !is_there(*parent) && seen.insert(*parent)));
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    let mut writer = odb.packwriter().map_err(in_store)?;
    let (mut bytes, mut over_limit) = (0, None);
    let written = builder.foreach(|part| {
        bytes += part.len() as u64;
        // The callback can only stop libgit2, without a reason, so the reason is kept beside it.
        over_limit = link.options.allowance.take(part.len() as u64).err();
        over_limit.is_none() && writer.write_all(part).is_ok() && !link.cancel.is_cancelled()
    });
    if let Some(exceeded) = over_limit {
        return Err(Error::over_limit(exceeded));
    }
    written.map_err(in_store)?;
    writer.commit().map_err(in_store)?;
    drop(writer);
    odb.refresh().map_err(in_store)?;
    // Before the caller moves a ref: after a kill in between, no ref reaches commits whose parents are missing.
    shallow::update(link.store, &ends, &[])?;
    Ok(Received { bytes, objects: builder.object_count() as u64 })
}

fn unreadable(link: &Libgit2Remote<'_>, error: &git2::Error) -> Error {
    Error::Server { remote: link.options.url.to_string(), source: Cause::from(error), after: None }
}

/// Inserts a tree with everything in it into a pack, without the objects that are there.
fn insert_tree(
    builder: &mut PackBuilder<'_>,
    theirs: &Repository,
    tree: Oid,
    is_there: &impl Fn(Oid) -> bool,
) -> Result<(), git2::Error> {
    // A list instead of recursion: folders may be nested deeper than the stack allows.
    let mut pending = vec![tree];
    while let Some(id) = pending.pop() {
        if is_there(id) {
            continue;
        }
        builder.insert_object(id, None)?;
        for entry in &theirs.find_tree(id)? {
            match entry.kind() {
                Some(ObjectType::Tree) => pending.push(entry.id()),
                Some(ObjectType::Blob) if !is_there(entry.id()) => builder.insert_object(entry.id(), None)?,
                // A submodule's commit is in another repository.
                _ => {}
            }
        }
    }
    Ok(())
}
