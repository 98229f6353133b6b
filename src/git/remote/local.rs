//! Copies a commit out of a repository on this machine, where libgit2's own way fails.
//!
//! libgit2 parses every commit that it copies, and takes a shallow repository for a damaged one. Here a history ends where the
//! other repository's does, and commits are read as `git` reads them. It copies more than libgit2 would: nothing that our
//! store has already is left out. It must not know of refs.

use std::collections::HashSet;
use std::io::Write as _;

use git2::{Oid, Repository, RepositoryOpenFlags};

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

/// Copies `wanted` with as much of its history as `--depth` says.
pub(crate) fn copy(link: &Link<'_>, wanted: Oid) -> Result<Received, Error> {
    let remote = || link.options.url.to_string();
    let unreadable = |error: &git2::Error| Error::Server { remote: remote(), source: Cause::from(error), after: None };
    let theirs = open(link.options.url.bare()).map_err(|error| unreadable(&error))?;
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
                .and_then(|()| builder.insert_tree(tree))
                .map_err(|error| unreadable(&error))?;
            let parents = commit::parents(&theirs, id).unwrap_or_default();
            if depth == deepest && !parents.is_empty() || parents.iter().any(|parent| !commit::exists(&theirs, *parent))
            {
                ends.push(id);
            } else {
                next.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    let in_store = |error: &git2::Error| Error::from_store(link.store.path(), error);
    let odb = link.store.odb().map_err(|error| in_store(&error))?;
    let mut writer = odb.packwriter().map_err(|error| in_store(&error))?;
    let mut bytes = 0;
    let written = builder.foreach(|part| {
        bytes += part.len() as u64;
        writer.write_all(part).is_ok() && !link.cancel.is_cancelled()
    });
    written.map_err(|error| in_store(&error))?;
    writer.commit().map_err(|error| in_store(&error))?;
    drop(writer);
    odb.refresh().map_err(|error| in_store(&error))?;
    shallow::update(link.store, &ends, &[])?;
    Ok(Received { bytes, objects: builder.object_count() as u64 })
}
