//! Moves a tracked ref to a commit that has arrived.

use git2::{Oid, Repository};

use crate::git::error::Error;

use super::{refs, shallow};

/// Points the ref at the commit and prunes `shallow` to the entries that the refs still need. `was_present` is true if no
/// fetch brought the commit just now.
pub(crate) fn advance_ref(repository: &Repository, name: &str, commit: Oid, was_present: bool) -> Result<(), Error> {
    let before = refs::read(repository, name)?;
    if before != Some(commit) {
        if name == refs::HEAD
            && let Some(before) = before
        {
            // Before the followed ref itself: after a kill in between, the old commit still has a ref, and its objects
            // stay.
            refs::write(repository, refs::PREVIOUS, before)?;
        }
        refs::write(repository, name, commit)?;
    }
    refs::delete(repository, refs::INCOMING)?;
    shallow::prune(repository, was_present && before != Some(commit))
}
