//! Lock files and unfinished files that a killed process left in the store.
//!
//! `ROOT` has one writer, so a lock is held only for a moment: by this process, or by a git that was run there by
//! hand. No lock may stop a sync. It must not know what the locks are for.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::clock::Clock;
use crate::git::store::compact::install;

/// A lock is held for milliseconds. An older one was left behind.
const OLDEST: Duration = Duration::from_secs(1);
/// Refs may lie in nested folders, but not this deep.
const DEEPEST: usize = 16;

/// The name prefixes of unfinished packs and objects, of libgit2 and git.
const HALF_PACKS: [&str; 4] = ["pack_git2_", "tmp_pack_", "tmp_idx_", "tmp_rev_"];
const HALF_OBJECTS: [&str; 2] = ["tmp_obj_", "tmp_object_"];

/// Removes everything that an earlier process left. Only for the first use in a process: later an abandoned thread may
/// still be writing a pack.
pub(crate) fn clear_leftovers(store: &Path) {
    for lock in locks(store) {
        let _ = fs::remove_file(lock);
    }
    // Before anything reads the store: packs that are needed may be hidden.
    install::restore_leftovers(store);
    let objects = store.join("objects");
    let begins = |name: &str, with: &[&str]| with.iter().any(|half| name.starts_with(half));
    for folder in fs::read_dir(&objects).into_iter().flatten().flatten() {
        let in_packs = folder.file_name() == "pack";
        for entry in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if begins(&name, if in_packs { &HALF_PACKS } else { &HALF_OBJECTS }) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    for entry in fs::read_dir(objects).into_iter().flatten().flatten() {
        if begins(&entry.file_name().to_string_lossy(), &HALF_OBJECTS) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes stale locks, and waits for recent ones to become stale.
pub(crate) fn break_locks(store: &Path) {
    for lock in locks(store) {
        let Ok(meta) = fs::symlink_metadata(&lock) else { continue };
        let changed = meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000);
        // A time in the future counts as old.
        let age = u64::try_from(Clock::real().now().as_millisecond().saturating_sub(changed));
        sleep(OLDEST.saturating_sub(age.map_or(OLDEST, Duration::from_millis)));
        let _ = fs::remove_file(lock);
    }
}

/// Finds `HEAD.lock`, `config.lock`, `index.lock`, `packed-refs.lock`, `shallow.lock` and those of single refs.
fn locks(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![(store.join("refs"), DEEPEST)];
    let mut look = |folder: &Path, deeper: usize, pending: &mut Vec<(PathBuf, usize)>| {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && deeper > 0 {
                pending.push((path, deeper - 1));
            } else if !is_folder && path.extension().is_some_and(|ending| ending == "lock") {
                found.push(path);
            }
        }
    };
    look(store, 0, &mut pending);
    while let Some((folder, deeper)) = pending.pop() {
        look(&folder, deeper, &mut pending);
    }
    found
}
