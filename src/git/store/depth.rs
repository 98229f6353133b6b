//! How deep the history in the store is, compared with `--depth`, which may have changed since the last process.
//!
//! Reads commits and moves the ends of the history; what is missing is fetched elsewhere.

use std::collections::HashSet;

use git2::{Oid, Repository};

use crate::commit;
use crate::git::error::Error;
use crate::git::store::{refs, shallow};

/// How the history of a commit compares with the depth that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DepthFit {
    Right,
    /// There is more of it at the remote.
    TooShallow,
    /// There is more of it in the store.
    TooDeep,
}

/// Costs as many commits as `depth` says; 0, which is all of it, costs them only in a store that is shallow.
pub(crate) fn compare(repository: &Repository, commit: Oid, depth: u32) -> Result<DepthFit, Error> {
    let roots = shallow::boundary(repository)?;
    if depth == 0 && roots.is_empty() {
        return Ok(DepthFit::Right);
    }
    let mut level = vec![commit];
    let mut seen = HashSet::from([commit]);
    let mut at = 1;
    while !level.is_empty() {
        let mut next = Vec::new();
        for id in level {
            let Some(parents) = commit::parents(repository, id) else { continue };
            let ends_here = roots.contains(&id);
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

/// Cuts the history of everything that is followed to the depth. True if something was cut off.
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
