//! Puts a new pack in the place of the old ones, so that a process that is killed in between leaves a whole store.
//!
//! The new pack first, then the old indexes are renamed: what they list is out of sight, but nothing is lost. If all that
//! the refs name is still there, the old packs go. If not, or if the process dies before, they are taken back.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use git2::{Oid, Repository};

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::store::compact::pack_files;
use crate::git::store::compact::pack_files::{Pack, file, pack_folder, remove_pack};
use crate::git::store::compact::plan::Plan;
use crate::git::store::compact::temporary::TemporaryStore;
use crate::git::store::compact::write::{Written, listed};
use crate::git::store::{completeness, refs, repository, shallow};

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub packs_before: usize,
    pub packs_after: usize,
    /// Bytes of the packs.
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// What the whole store takes on the volume now.
    pub store_bytes: u64,
    /// True if what is not kept was dropped.
    pub full: bool,
    pub took: Duration,
}

/// The suffix of an index whose pack is out of use, but not removed yet.
pub(crate) const ASIDE: &str = ".aside";

/// Takes the new pack in, and removes what it replaces. On the git thread: no ref moves meanwhile.
pub(crate) fn install(plan: &Plan, written: Written) -> Result<Compacted, Error> {
    put_in_place(plan, &written)?;
    drop(written);
    let bytes = |packs: &[Pack]| packs.iter().map(|pack| pack.bytes).sum();
    let before: Vec<Pack> = plan.chosen.iter().chain(&plan.others).cloned().collect();
    let after = pack_files::packs(&plan.store).map_err(|error| Error::from_disk(&plan.store, &error))?;
    Ok(Compacted {
        packs_before: before.len(),
        packs_after: after.len(),
        bytes_before: bytes(&before),
        bytes_after: bytes(&after),
        store_bytes: pack_files::store_bytes(&plan.store),
        full: plan.full,
        took: Duration::ZERO,
    })
}

fn put_in_place(plan: &Plan, written: &Written) -> Result<(), Error> {
    let on_disk = |error: io::Error| Error::from_disk(&plan.store, &error);
    let same = fs::symlink_metadata(&plan.store).is_ok_and(|meta| (meta.dev(), meta.ino()) == plan.identity);
    if !same {
        return Err(Error::Compaction { source: Cause::new("the store was replaced meanwhile") });
    }
    if plan.full && names_what_goes(plan, written)? {
        return Err(used_meanwhile());
    }
    take_in(plan, written).map_err(on_disk)?;
    let folder = pack_folder(&plan.store);
    let new: OsString = written.stem.clone().into();
    let old: Vec<&OsString> = plan.chosen.iter().map(|pack| &pack.stem).filter(|stem| **stem != new).collect();
    let hidden = hide(&folder, &old).map_err(on_disk);
    let whole = hidden.and_then(|()| still_whole(plan, written));
    if let Err(error) = whole {
        // A rename that fails here is done by the next start.
        let _ = restore(&plan.store);
        return Err(error);
    }
    for stem in old {
        remove_pack(&plan.store, stem).map_err(on_disk)?;
        fs::remove_file(aside(&folder, stem)).map_err(on_disk)?;
    }
    for path in &plan.loose {
        let _ = fs::remove_file(path);
        // Fails while there is something in it.
        let _ = path.parent().map(fs::remove_dir);
    }
    crate::flush::folder(&folder).map_err(on_disk)
}

fn take_in(plan: &Plan, written: &Written) -> io::Result<()> {
    let (from, to) = (written.folder(), pack_folder(&plan.store));
    let stem = written.stem.clone().into();
    // Made by git in a partial clone: what is missing beside such a pack can be had from the remote.
    if plan.chosen.iter().any(|pack| file(&to, &pack.stem, "promisor").exists()) {
        fs::write(file(&to, &stem, "promisor"), "")?;
    }
    // The index last: a pack is there when its index is.
    for ending in ["pack", "idx"] {
        fs::rename(file(&from, &stem, ending), file(&to, &stem, ending))?;
    }
    // Made by git, and about packs and commits that are about to go.
    for stale in [to.join("multi-pack-index"), plan.store.join("objects/info/commit-graph")] {
        match fs::remove_file(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    crate::flush::folder(&to)
}

fn aside(folder: &Path, stem: &OsString) -> std::path::PathBuf {
    file(folder, stem, &format!("idx{ASIDE}"))
}

fn hide(folder: &Path, stems: &[&OsString]) -> io::Result<()> {
    stems.iter().try_for_each(|stem| fs::rename(file(folder, stem, "idx"), aside(folder, stem)))
}

/// Did a ref go back, since the plan was made, to a commit that is about to be dropped? Known before anything is hidden:
/// whoever made it go back may be building its tree right now.
fn names_what_goes(plan: &Plan, written: &Written) -> Result<bool, Error> {
    let mut back = refs::tips(&repository::open(&plan.store)?)?;
    back.retain(|root| !plan.roots.contains(root) && !written.commits.contains(root));
    if back.is_empty() {
        return Ok(false);
    }
    let going = listed(plan, &plan.chosen)?;
    Ok(back.iter().any(|root| going.binary_search(root).is_ok()))
}

fn used_meanwhile() -> Error {
    Error::Compaction { source: Cause::new("a fetch made use of what was about to be dropped") }
}

/// Are the commits that our refs name by now whole without the old packs? What they named at first is in the new one, as
/// was checked; since then a fetch may have brought another, or found an old one in what was about to go.
fn still_whole(plan: &Plan, written: &Written) -> Result<(), Error> {
    let repository = repository::open(&plan.store)?;
    let roots = refs::tips(&repository)?;
    if !plan.full {
        // Nothing was left out of the new pack.
        return Ok(());
    }
    let shallow = shallow::boundary(&repository)?;
    // One that was there before may lead further back by now. What is no commit leads nowhere.
    for root in roots.iter().filter(|root| !plan.roots.contains(root) || written.commits.contains(root)) {
        if !is_reachable(&repository, *root, plan, written, &shallow)? {
            return Err(used_meanwhile());
        }
    }
    Ok(())
}

fn is_reachable(
    repository: &Repository,
    root: Oid,
    plan: &Plan,
    written: &Written,
    shallow: &HashSet<Oid>,
) -> Result<bool, Error> {
    // Otherwise what was an end of the history when the new pack was planned may be none any more: a ref that went back
    // found its parents in the old packs, and they are not in the new one.
    let has_no_ends = plan.depth == 0 && plan.shallow.is_empty();
    let known = written.commits.iter().next().copied();
    let mut seen = HashSet::new();
    let mut pending = vec![(root, known)];
    while let Some((id, known)) = pending.pop() {
        let is_written = written.commits.contains(&id);
        if !seen.insert(id) || is_written && has_no_ends {
            continue;
        }
        if !is_written && !completeness::is_complete(repository, id, known)? {
            return Ok(false);
        }
        if !shallow.contains(&id)
            && let Some(parents) = commit::parents(repository, id)
        {
            pending.extend(parents.into_iter().map(|parent| (parent, Some(id))));
        }
    }
    Ok(true)
}

/// What a killed process left of a compaction or a fetch: unfinished new packs go, hidden old ones come back. Only for the
/// first use in a process, as nobody else makes packs then.
pub(crate) fn restore_leftovers(store: &Path) {
    if let Ok(entries) = fs::read_dir(store) {
        for entry in entries.flatten() {
            if TemporaryStore::is_one(&entry.file_name()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
    let _ = restore(store).and_then(|()| remove_halves(&pack_folder(store)));
}

/// Shows the hidden packs again.
fn restore(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(pack_folder(store))? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| *ending != ASIDE[1..]) {
            continue;
        }
        let index = path.with_extension("");
        if index.with_extension("pack").exists() {
            fs::rename(&path, &index)?;
        } else {
            // Its pack went, because the new one is whole.
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes packs without an index and indexes without a pack: nobody sees what they hold.
fn remove_halves(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let other = match path.extension().and_then(|ending| ending.to_str()) {
            Some("pack") => "idx",
            Some("idx") => "pack",
            _ => continue,
        };
        if !path.with_extension(other).exists() && !path.with_extension("keep").exists() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
