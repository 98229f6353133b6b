//! How deep the history in the store is, compared with `--depth`, which may have changed since the last process.
//!
//! Reads commits and moves the ends of the history; what is missing is fetched elsewhere.

use std::collections::HashSet;

use git2::{Oid, Repository};

use super::{Error, shallow, store};

/// How the history of a commit compares with the depth that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Right,
    /// There is more of it at the remote.
    TooShallow,
    /// There is more of it in the store.
    TooDeep,
}

/// Costs as many commits as `depth` says; 0, which is all of it, costs them only in a store that is shallow.
pub(super) fn fit(repository: &Repository, commit: Oid, depth: u32) -> Result<Fit, Error> {
    let roots = shallow::roots(repository)?;
    if depth == 0 && roots.is_empty() {
        return Ok(Fit::Right);
    }
    let mut level = vec![commit];
    let mut seen = HashSet::from([commit]);
    let mut at = 1;
    while !level.is_empty() {
        let mut next = Vec::new();
        for id in level {
            let Some(parents) = shallow::parents(repository, id) else { continue };
            let ends_here = roots.contains(&id);
            if depth == 0 || at < depth {
                if ends_here {
                    return Ok(Fit::TooShallow);
                }
                next.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
            } else if !ends_here && !parents.is_empty() {
                return Ok(Fit::TooDeep);
            }
        }
        level = next;
        at += 1;
    }
    Ok(Fit::Right)
}

/// Cuts the history of everything that is followed to the depth. True if something was cut off.
pub(super) fn cut_all(repository: &Repository, depth: u32) -> Result<bool, Error> {
    if depth == 0 {
        return Ok(false);
    }
    let mut cut = false;
    for name in store::KEPT {
        let Some(commit) = store::kept(repository, name)? else { continue };
        if fit(repository, commit, depth)? == Fit::TooDeep {
            shallow::cut(repository, commit, depth)?;
            cut = true;
        }
    }
    if cut {
        shallow::prune(repository, false)?;
    }
    Ok(cut)
}
