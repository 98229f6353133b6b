//! Reads the refs of a repository on this machine, where libgit2 fails to list them.
//!
//! libgit2 parses the object that each ref names, and fails as a whole. It must not know of our store.

use git2::{Repository, RepositoryOpenFlags};

use crate::commit;
use crate::git::protocol::ls_refs::AdvertisedRef;
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
        // Names with control characters are neither shown nor followed.
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

/// Returns true if the repository itself is shallow.
pub(crate) fn is_shallow(path: &str) -> bool {
    open(path).is_ok_and(|theirs| theirs.is_shallow())
}

pub(crate) fn open(path: &str) -> Result<Repository, git2::Error> {
    // Without this flag libgit2 would also open a repository in a folder above.
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, &[] as &[&str])
}
