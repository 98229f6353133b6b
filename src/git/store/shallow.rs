//! The store's `shallow` file: the commits whose parents the store does not have.
//!
//! libgit2 only adds to it, one entry for each fetch, and sends all of them with each fetch. Here it is pruned to the
//! entries that a ref reaches (gitformat: one hash a line).

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Write as _};

use git2::{Oid, Repository};

use crate::commit::{self, parents};
use crate::git::error::Error;
use crate::git::store::{flattened, refs};

/// Returns the entries of the file; none for a store with its whole history.
pub(crate) fn boundary(repository: &Repository) -> Result<HashSet<Oid>, Error> {
    match fs::read_to_string(repository.path().join("shallow")) {
        Ok(text) => text
            .lines()
            .map(|line| Oid::from_str(line).map_err(|_| refs::damaged(repository, "its shallow file holds no hashes")))
            .collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(HashSet::new()),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(refs::damaged(repository, "its shallow file is no text"))
        }
        Err(error) => Err(Error::from_disk(repository.path(), &error)),
    }
}

/// Removes the entries that no ref reaches, and restores one that is reached again.
///
/// It visits the history between the refs and the boundary; nothing in a store that was never shallow, unless
/// `moved_back` says that a ref was set to a commit that no fetch brought just now.
pub(crate) fn prune(repository: &Repository, moved_back: bool) -> Result<(), Error> {
    let entries = boundary(repository)?;
    // Only the commit itself is kept of a submodule, so its entry is needed without a walk.
    let flattened_commits = if entries.is_empty() { HashSet::new() } else { flattened::commits(repository)? };
    let mut needed: HashSet<Oid> = entries.intersection(&flattened_commits).copied().collect();
    if needed.len() == entries.len() && !moved_back {
        return Ok(());
    }
    let mut seen = HashSet::new();
    let mut pending: Vec<Oid> = refs::tips(repository)?.into_iter().collect();
    while let Some(id) = pending.pop() {
        if !seen.insert(id) {
            continue;
        }
        if entries.contains(&id) && commit::exists(repository, id) {
            needed.insert(id);
        } else if let Some(parents) = parents(repository, id) {
            if parents.iter().all(|parent| seen.contains(parent) || commit::exists(repository, *parent)) {
                pending.extend(parents);
            } else {
                needed.insert(id);
            }
        }
    }
    if needed != entries {
        write(repository, &needed).map_err(|error| Error::from_disk(repository.path(), &error))?;
    }
    Ok(())
}

/// Applies the changes that a server sent with its pack.
pub(crate) fn update(repository: &Repository, shallow: &[Oid], unshallow: &[Oid]) -> Result<(), Error> {
    let before = boundary(repository)?;
    let mut after = before.clone();
    after.extend(shallow);
    for id in unshallow {
        after.remove(id);
    }
    if after != before {
        write(repository, &after).map_err(|error| Error::from_disk(repository.path(), &error))?;
    }
    Ok(())
}

/// Makes the history of each of these commits end there.
pub(crate) fn end_at(repository: &Repository, commits: &[Oid]) -> Result<(), Error> {
    let has_parents = |id: &&Oid| parents(repository, **id).is_some_and(|parents| !parents.is_empty());
    let ends: Vec<Oid> = commits.iter().filter(has_parents).copied().collect();
    update(repository, &ends, &[])
}

/// Recomputes the file from the commits that are there, after a copy that brings no boundary.
pub(crate) fn recompute(repository: &Repository) -> Result<(), Error> {
    let mut ends = HashSet::new();
    let mut seen = HashSet::new();
    let mut pending: Vec<Oid> = refs::tips(repository)?.into_iter().collect();
    while let Some(id) = pending.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(parents) = parents(repository, id) else { continue };
        if parents.iter().all(|parent| seen.contains(parent) || commit::exists(repository, *parent)) {
            pending.extend(parents);
        } else {
            ends.insert(id);
        }
    }
    if ends == boundary(repository)? {
        return Ok(());
    }
    write(repository, &ends).map_err(|error| Error::from_disk(repository.path(), &error))
}

/// Makes the history of `commit` end after `depth` commits, even if the store has more of it.
pub(crate) fn truncate(repository: &Repository, commit: Oid, depth: u32) -> Result<(), Error> {
    let known = boundary(repository)?;
    let mut level = HashSet::from([commit]);
    let mut seen = level.clone();
    for _ in 1..depth {
        let above = level.iter().filter(|id| !known.contains(id)).filter_map(|id| parents(repository, *id));
        level = above.flatten().filter(|id| seen.insert(*id)).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    end_at(repository, &level.into_iter().collect::<Vec<_>>())
}

fn write(repository: &Repository, entries: &HashSet<Oid>) -> std::io::Result<()> {
    let path = repository.path().join("shallow");
    if entries.is_empty() {
        // An empty file would make git take the store for a shallow one.
        return fs::remove_file(path);
    }
    // The name of git's lock for the file.
    let new = repository.path().join("shallow.lock");
    let mut file = fs::File::create(&new)?;
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_unstable();
    for entry in sorted {
        writeln!(file, "{entry}")?;
    }
    drop(file);
    fs::rename(new, path)
}
