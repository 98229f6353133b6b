//! Copies a commit out of a repository on this machine, where libgit2's own way fails.
//!
//! libgit2 parses every commit that it copies, and takes a shallow repository for a damaged one. Here a history ends where the
//! other repository's does, and commits are read as `git` reads them. With `--volume-limit` it is the only way: libgit2 writes
//! an object as a whole before it asks whether to go on. It must not know of refs.

use std::collections::HashSet;
use std::io::Write as _;

use git2::{ObjectType, Oid, PackBuilder, Repository, RepositoryOpenFlags};

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::protocol::ls_refs::AdvertisedRef;
use crate::git::remote::transport::{Link, Received};
use crate::git::store::shallow;
use crate::text::one_line;

/// Lists the refs of a repository as a remote would.
pub(crate) fn list(path: &str) -> Result<Vec<AdvertisedRef>, git2::Error> {
    let theirs = open(path)?;
    let mut refs = Vec::new();
    if let Ok(head) = theirs.find_reference("HEAD") {
        let target = head.symbolic_target().ok().flatten().map(str::to_owned);
        if let Ok(Some(id)) = head.resolve().map(|head| head.target()) {
            refs.push(AdvertisedRef { name: "HEAD".to_owned(), id, target });
        }
    }
    for reference in theirs.references()? {
        let reference = reference?;
        let (Ok(name), Some(id)) =
            (reference.name(), reference.resolve().ok().and_then(|reference| reference.target()))
        else {
            continue;
        };
        // No name that could steer a terminal is told or followed.
        if one_line(name, usize::MAX) != name {
            continue;
        }
        if let Some(commit) = commit::peel(&theirs, id).filter(|commit| *commit != id) {
            refs.push(AdvertisedRef { name: format!("{name}^{{}}"), id: commit, target: None });
        }
        refs.push(AdvertisedRef { name: name.to_owned(), id, target: None });
    }
    Ok(refs)
}

/// Returns true if the repository's own history ends somewhere.
pub(crate) fn is_shallow(path: &str) -> bool {
    open(path).is_ok_and(|theirs| theirs.is_shallow())
}

fn open(path: &str) -> Result<Repository, git2::Error> {
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, &[] as &[&str])
}

/// What is copied of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything, also what our store has.
    Whole,
    /// What our store has not. A folder that it has counts as whole, and a commit as one with all its history: the caller
    /// checks that.
    Missing,
}

/// Copies `wanted` with as much of its history as `--depth` says. Each piece is counted before it is written.
pub(crate) fn copy(link: &Link<'_>, wanted: Oid, extent: Extent) -> Result<Received, Error> {
    let remote = || link.options.url.to_string();
    let unreadable = |error: &git2::Error| Error::Server { remote: remote(), source: Cause::from(error), after: None };
    let theirs = open(link.options.url.bare()).map_err(|error| unreadable(&error))?;
    if !commit::exists(&theirs, wanted) {
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
            let tree = commit::tree_id(&theirs, id).map_err(|error| unreadable(&error))?;
            builder
                .insert_object(id, None)
                .and_then(|()| insert(&mut builder, &theirs, tree, &is_there))
                .map_err(|error| unreadable(&error))?;
            let parents = commit::parents(&theirs, id).unwrap_or_default();
            if depth == deepest && !parents.is_empty() || parents.iter().any(|parent| !commit::exists(&theirs, *parent))
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
    shallow::update(link.store, &ends, &[])?;
    Ok(Received { bytes, objects: builder.object_count() as u64 })
}

/// Puts a tree with all that is in it into a pack, but for what is there.
fn insert(
    builder: &mut PackBuilder<'_>,
    theirs: &Repository,
    tree: Oid,
    is_there: &impl Fn(Oid) -> bool,
) -> Result<(), git2::Error> {
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
