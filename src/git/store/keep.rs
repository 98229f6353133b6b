//! Drops the refs of commits that need not be kept, so that the next compaction drops their objects.
//!
//! It must not know why there is no room.

use std::collections::HashSet;
use std::path::Path;

use git2::Oid;

use crate::commit;
use crate::git::error::Error;
use crate::submodules::{GRAFTS, Submodules};

use super::{refs, repository, shallow};

/// Drops the refs to other commits than those in `keep`. The followed ref goes back to `live` instead, if the store has
/// that: the next fetch continues from there.
pub(crate) fn keep_only(path: &Path, keep: &[Oid], live: Option<Oid>, submodules: Submodules) -> Result<(), Error> {
    let store = repository::open(path)?;
    let live = live.filter(|live| commit::exists(&store, *live));
    for name in refs::TRACKED {
        let Some(commit) = refs::read(&store, name)?.filter(|commit| !keep.contains(commit)) else { continue };
        match live {
            Some(live) if name == refs::HEAD => {
                tracing::debug!(dropped = %commit, live = %live, "the followed ref goes back to the live commit");
                refs::write(&store, name, live)?;
            }
            // Without it the next fetch would bring the whole history again.
            None if name == refs::HEAD => {}
            _ => refs::delete(&store, name)?,
        }
    }
    let mut kept: Vec<Oid> = keep.to_vec();
    kept.extend(refs::read(&store, refs::HEAD)?);
    let flattened: HashSet<String> = kept.iter().filter_map(|commit| submodules.graft(commit)).collect();
    for (name, _) in refs::list(&store, GRAFTS)? {
        if !flattened.contains(&name) {
            refs::delete(&store, &name)?;
        }
    }
    shallow::prune(&store, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kept_commits_have_refs_and_the_followed_one_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repo.git");
        let store = repository::open(&path).unwrap();
        let tree = store.treebuilder(None).unwrap().write().unwrap();
        let tree = store.find_tree(tree).unwrap();
        let author = git2::Signature::new("a", "a@example.com", &git2::Time::new(1, 0)).unwrap();
        let make = |message| store.commit(None, &author, &author, message, &tree, &[]).unwrap();
        let [live, failed, previous, pin] = ["live", "failed", "previous", "pin"].map(make);
        for (name, commit) in [(refs::HEAD, failed), (refs::PREVIOUS, previous), (refs::PIN, pin)] {
            refs::write(&store, name, commit).unwrap();
        }
        let now = || refs::TRACKED.map(|name| refs::read(&store, name).unwrap());
        keep_only(&path, &[live, failed, pin], Some(live), Submodules::Off).unwrap();
        assert_eq!(now(), [Some(failed), None, Some(pin)]);
        keep_only(&path, &[pin], None, Submodules::Off).unwrap();
        assert_eq!(now(), [Some(failed), None, Some(pin)]);
        keep_only(&path, &[live], Some(live), Submodules::Off).unwrap();
        assert_eq!(now(), [Some(live), None, None]);
    }
}
