//! Replaces the old packs with the new one, so that a killed process leaves a complete store.
//!
//! First the new pack is moved in. Then the indexes of the old packs are renamed: git no longer sees these packs, but
//! they can be restored. If everything that the refs need is still there, the old packs are removed. If not, or if the
//! process dies before, they are restored.

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
use crate::git::store::compact::write::{NewPack, listed};
use crate::git::store::{completeness, refs, repository, shallow};

/// The result of a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The number of packs before.
    pub packs_before: usize,
    /// The number of packs now.
    pub packs_after: usize,
    /// Bytes of the packs with their indexes.
    pub bytes_before: u64,
    /// The same now.
    pub bytes_after: u64,
    /// Bytes that the whole store takes on the volume now.
    pub store_bytes: u64,
    /// True if all unreachable objects were dropped.
    pub full: bool,
    /// True if only some of the packs were replaced for want of room, and there is more to do.
    pub(crate) goes_on: bool,
    /// The time for all three steps.
    pub took: Duration,
}

impl Compacted {
    /// This result and that of the next step as one.
    pub(crate) fn followed_by(self, next: Self) -> Self {
        let (packs_before, bytes_before) = (self.packs_before, self.bytes_before);
        Self { packs_before, bytes_before, took: self.took + next.took, ..next }
    }
}

/// The suffix of an index whose pack is out of use, but not removed yet.
pub(crate) const ASIDE: &str = ".aside";

/// Moves the new pack in, and removes the packs that it replaces. It runs on the git thread, so no ref moves
/// meanwhile.
pub(crate) fn install(plan: &Plan, new_pack: NewPack) -> Result<Compacted, Error> {
    let replaced = replace_packs(plan, &new_pack);
    let selection = new_pack.selection.clone();
    let freed = if replaced.is_ok() { selection.replaced.iter().map(|pack| pack.bytes).sum() } else { new_pack.bytes };
    drop(new_pack);
    plan.allowance.give_back(freed);
    replaced?;
    let bytes = |packs: &[Pack]| packs.iter().map(|pack| pack.bytes).sum();
    let before: Vec<Pack> = selection.replaced.iter().chain(&selection.others).cloned().collect();
    let after = pack_files::packs(&plan.store).map_err(|error| Error::from_disk(&plan.store, &error))?;
    Ok(Compacted {
        packs_before: before.len(),
        packs_after: after.len(),
        bytes_before: bytes(&before),
        bytes_after: bytes(&after),
        store_bytes: pack_files::store_bytes(&plan.store),
        full: plan.full && selection.all,
        goes_on: !selection.all,
        took: Duration::ZERO,
    })
}

fn replace_packs(plan: &Plan, new_pack: &NewPack) -> Result<(), Error> {
    let on_disk = |error: io::Error| Error::from_disk(&plan.store, &error);
    // While the pack was written, the store may have been discarded, or the volume emptied.
    let same = fs::symlink_metadata(&plan.store).is_ok_and(|meta| (meta.dev(), meta.ino()) == plan.identity);
    if !same {
        return Err(Error::Compaction { source: Cause::new("the store was replaced meanwhile") });
    }
    if plan.full && needs_dropped_commit(plan, new_pack)? {
        return Err(in_use_error());
    }
    move_in(plan, new_pack).map_err(on_disk)?;
    let folder = pack_folder(&plan.store);
    let new: Option<OsString> = new_pack.stem.clone().map(Into::into);
    let replaced = new_pack.selection.replaced.iter().map(|pack| &pack.stem);
    let old: Vec<&OsString> = replaced.filter(|stem| new.as_ref() != Some(*stem)).collect();
    let hidden = hide(&folder, &old).map_err(on_disk);
    let whole = hidden.and_then(|()| check_still_complete(plan, new_pack));
    if let Err(error) = whole {
        // If a rename fails here, the next start of the process does it.
        let _ = restore(&plan.store);
        return Err(error);
    }
    for stem in old {
        remove_pack(&plan.store, stem).map_err(on_disk)?;
        fs::remove_file(aside(&folder, stem)).map_err(on_disk)?;
    }
    for path in plan.loose.iter().filter(|_| new_pack.selection.all) {
        let _ = fs::remove_file(path);
        // Fails while the folder has entries.
        let _ = path.parent().map(fs::remove_dir);
    }
    crate::flush::folder(&folder).map_err(on_disk)
}

fn move_in(plan: &Plan, new_pack: &NewPack) -> io::Result<()> {
    let (from, to) = (new_pack.folder(), pack_folder(&plan.store));
    if let Some(stem) = new_pack.stem.clone().map(Into::into) {
        // Git writes this marker in a partial clone: objects that are missing beside such a pack can be fetched from the
        // remote.
        if new_pack.selection.replaced.iter().any(|pack| file(&to, &pack.stem, "promisor").exists()) {
            fs::write(file(&to, &stem, "promisor"), "")?;
        }
        // The index last: a pack is visible once its index is there.
        for ending in ["pack", "idx"] {
            fs::rename(file(&from, &stem, ending), file(&to, &stem, ending))?;
        }
    }
    // Files that git wrote about packs and commits which are about to be removed.
    for stale in [to.join("multi-pack-index"), plan.store.join("objects/info/commit-graph")] {
        match fs::remove_file(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // The names of the new pack have to be on the disk before the old packs are removed.
    crate::flush::folder(&to)
}

fn aside(folder: &Path, stem: &OsString) -> std::path::PathBuf {
    file(folder, stem, &format!("idx{ASIDE}"))
}

fn hide(folder: &Path, stems: &[&OsString]) -> io::Result<()> {
    stems.iter().try_for_each(|stem| fs::rename(file(folder, stem, "idx"), aside(folder, stem)))
}

/// Returns true if a ref has returned to a commit that is about to be dropped, since the plan was made. It is checked
/// before any index is renamed, since the commit's tree may be being built right now.
fn needs_dropped_commit(plan: &Plan, new_pack: &NewPack) -> Result<bool, Error> {
    let mut back = refs::tips(&repository::open(&plan.store)?)?;
    back.retain(|root| !plan.tips.contains(root) && !new_pack.commits.contains(root));
    if back.is_empty() {
        return Ok(false);
    }
    let going = listed(plan, &new_pack.selection.replaced)?;
    Ok(back.iter().any(|root| going.binary_search(root).is_ok()))
}

fn in_use_error() -> Error {
    Error::Compaction { source: Cause::new("a fetch made use of what was about to be dropped") }
}

/// Fails unless the commits of the current refs are complete without the old packs. `write` checked those of the plan;
/// since then a fetch may have brought another commit, or found an old one in a pack that is about to be removed.
fn check_still_complete(plan: &Plan, new_pack: &NewPack) -> Result<(), Error> {
    let repository = repository::open(&plan.store)?;
    let roots = refs::tips(&repository)?;
    if !plan.full {
        // Nothing was left out of the new pack.
        return Ok(());
    }
    let shallow = shallow::boundary(&repository)?;
    // A ref of the plan may lead to more history by now. An object that is no commit leads nowhere.
    for root in roots.iter().filter(|root| !plan.tips.contains(root) || new_pack.commits.contains(root)) {
        if !is_reachable(&repository, *root, plan, new_pack, &shallow)? {
            return Err(in_use_error());
        }
    }
    Ok(())
}

fn is_reachable(
    repository: &Repository,
    root: Oid,
    plan: &Plan,
    new_pack: &NewPack,
    shallow: &HashSet<Oid>,
) -> Result<bool, Error> {
    // Otherwise a shallow commit of the plan may have its parents by now: a ref that went back found them in the old
    // packs, and they are not in the new one.
    let has_no_ends = plan.depth == 0 && plan.shallow.is_empty();
    let known = new_pack.commits.iter().next().copied();
    let mut seen = HashSet::new();
    let mut pending = vec![(root, known)];
    while let Some((id, known)) = pending.pop() {
        let is_written = new_pack.commits.contains(&id);
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

/// Cleans up after a process that was killed during a compaction or a fetch: removes unfinished packs, and restores
/// hidden ones. Only for the first use in a process, when no other pack is being written.
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

/// Makes the hidden packs visible again.
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
            // Its pack was removed because the new one is complete.
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes packs without an index and indexes without a pack, which are not visible.
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
