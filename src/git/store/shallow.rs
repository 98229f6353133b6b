//! The store's `shallow` file: the commits whose parents the store does not have.
//!
//! libgit2 only ever adds to it, one root for each fetch, and sends all of them with each fetch. Here it is cut back to
//! the roots that something kept still reaches (gitformat: one hash a line).

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Write as _};

use git2::{Oid, Repository};

use crate::commit::{self, parents};
use crate::git::error::Error;
use crate::git::store::{flattened, refs};

/// The roots in the file; empty for a store with its whole history.
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

/// Leaves only the roots that a kept ref reaches, and puts back one that was taken out and is reached again.
///
/// Costs the history between those refs and the roots; nothing in a store that was never shallow, unless `moved_back`
/// says that a ref was set to a commit that no fetch brought just now.
pub(crate) fn prune(repository: &Repository, moved_back: bool) -> Result<(), Error> {
    let roots = boundary(repository)?;
    // Of a submodule only the commit itself is kept, so its root is known without a walk.
    let grafted = if roots.is_empty() { HashSet::new() } else { flattened::commits(repository)? };
    let mut needed: HashSet<Oid> = roots.intersection(&grafted).copied().collect();
    if needed.len() == roots.len() && !moved_back {
        return Ok(());
    }
    let mut seen = HashSet::new();
    let mut pending: Vec<Oid> = refs::tips(repository)?.into_iter().collect();
    while let Some(id) = pending.pop() {
        if !seen.insert(id) {
            continue;
        }
        if roots.contains(&id) && commit::exists(repository, id) {
            needed.insert(id);
        } else if let Some(parents) = parents(repository, id) {
            if parents.iter().all(|parent| seen.contains(parent) || commit::exists(repository, *parent)) {
                pending.extend(parents);
            } else {
                needed.insert(id);
            }
        }
    }
    if needed != roots {
        write(repository, &needed).map_err(|error| Error::from_disk(repository.path(), &error))?;
    }
    Ok(())
}

/// Moves the boundary as a server said that it moved with the pack it sent.
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

/// Makes the history of each of these end there.
pub(crate) fn end_at(repository: &Repository, commits: &[Oid]) -> Result<(), Error> {
    let has_parents = |id: &&Oid| parents(repository, **id).is_some_and(|parents| !parents.is_empty());
    let ends: Vec<Oid> = commits.iter().filter(has_parents).copied().collect();
    update(repository, &ends, &[])
}

/// Finds the ends of the history anew, from what is there of it, after more of it came in a way that tells no ends.
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

/// Makes the history of `commit` end after `depth` commits, whatever more of it is in the store.
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

fn write(repository: &Repository, roots: &HashSet<Oid>) -> std::io::Result<()> {
    let path = repository.path().join("shallow");
    if roots.is_empty() {
        return fs::remove_file(path);
    }
    // The name that git locks the file by.
    let new = repository.path().join("shallow.lock");
    let mut file = fs::File::create(&new)?;
    let mut sorted: Vec<_> = roots.iter().collect();
    sorted.sort_unstable();
    for root in sorted {
        writeln!(file, "{root}")?;
    }
    drop(file);
    fs::rename(new, path)
}
