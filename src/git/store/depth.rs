//! Compares the history in the store with `--depth`, which may have changed since the last process.
//!
//! It reads commits and moves the shallow boundary; missing history is fetched elsewhere.

use std::collections::HashSet;

use git2::{Oid, Repository};

use crate::commit;
use crate::git::error::Error;
use crate::git::store::{refs, shallow};

/// The result of comparing a commit's history with the configured depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DepthFit {
    Right,
    /// The remote has more history.
    TooShallow,
    /// The store has more history than is asked for.
    TooDeep,
}

/// Compares the history of a commit. It visits as many commits as `depth` says; for 0, which means all, only if the
/// store is shallow.
pub(crate) fn compare(repository: &Repository, commit: Oid, depth: u32) -> Result<DepthFit, Error> {
    let boundary = shallow::boundary(repository)?;
    if depth == 0 && boundary.is_empty() {
        return Ok(DepthFit::Right);
    }
    let mut level = vec![commit];
    let mut seen = HashSet::from([commit]);
    let mut at = 1;
    while !level.is_empty() {
        let mut next = Vec::new();
        for id in level {
            // A commit that is missing ends the history here; whether the store is complete is checked elsewhere.
            let Some(parents) = commit::parents(repository, id) else { continue };
            let ends_here = boundary.contains(&id);
            if depth == 0 || at < depth {
                if ends_here {
                    return Ok(DepthFit::TooShallow);
                }
                next.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
            } else if !ends_here && !parents.is_empty() {
                return Ok(DepthFit::TooDeep);
            }
        }
        level = next;
        at += 1;
    }
    Ok(DepthFit::Right)
}

/// Truncates the history of all tracked refs to the depth. Returns true if something was cut off.
pub(crate) fn truncate_all(repository: &Repository, depth: u32) -> Result<bool, Error> {
    if depth == 0 {
        return Ok(false);
    }
    let mut cut = false;
    for name in refs::TRACKED {
        let Some(commit) = refs::read(repository, name)? else { continue };
        if compare(repository, commit, depth)? == DepthFit::TooDeep {
            shallow::truncate(repository, commit, depth)?;
            cut = true;
        }
    }
    if cut {
        shallow::prune(repository, false)?;
    }
    Ok(cut)
}
