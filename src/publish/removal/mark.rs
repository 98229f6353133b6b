//! Marks trees for removal by a rename, which is quick, and removes their content later.
//!
//! To remove a hundred thousand files takes seconds, and a push must not wait for that. A renamed tree is not used by
//! anything, so its files may be removed by another thread, in parts, or at the next start. It must not know when that is.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use git2::Oid;
use parking_lot::Mutex;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::remove::{self, RemovalOutcome};
use crate::publish::volume::git_file;
use crate::publish::volume::names::{EXCHANGED, MARKED, STANDBY, commit_named, unique};
use crate::publish::volume::worktrees::Worktrees;

/// A tree that is to become a standby tree is checked again after this time, because a push may have stopped that.
const ROTATES_SOON: Duration = Duration::from_secs(1);

/// The decision about an entry of `.worktrees`.
enum MarkOutcome {
    /// It was renamed, and will be removed.
    Marked,
    /// Its readers have this much of their grace period left.
    Waits(Duration),
    Stays,
}

/// The trees that stay.
pub(crate) struct Keep<'a> {
    /// Trees that may be published again. Called while no other job can give a tree its name, or take it.
    pub is_kept: &'a dyn Fn(Oid) -> bool,
    /// Expired trees that are to become standby trees.
    pub may_rotate: &'a dyn Fn(Oid) -> bool,
    /// False if trees go in their grace period, too, because a push does not fit beside them.
    pub in_grace: bool,
}

/// Renames the trees whose grace period is over, and leftovers. Its time does not depend on the size of trees. Never touches
/// the tree that the link names. Returns the time until there is more to do.
///
/// # Errors
/// The first entry that could not be renamed; the others are renamed all the same.
pub(crate) fn mark_trees(volume: &Worktrees, keep: &Keep<'_>) -> Result<Option<Duration>, Error> {
    // A tree must not be removed before its successor would survive a loss of power.
    volume.write_through()?;
    let trees = volume.trees_folder()?;
    let (mut first_failure, mut next) = (None, None);
    for name in volume.names(&trees)? {
        match mark(volume, &trees, &name, keep) {
            Ok(MarkOutcome::Waits(left)) => next = Some(next.map_or(left, |next: Duration| next.min(left))),
            Ok(MarkOutcome::Marked | MarkOutcome::Stays) => {}
            Err(error) => {
                first_failure.get_or_insert(error);
            }
        }
    }
    // If the volume cannot tell, the folder stays, since git in the tree needs it.
    git_file::sweep(&volume.layout.store(), |commit| volume.has_tree(&trees, commit).unwrap_or(true));
    first_failure.map_or(Ok(next), Err)
}

/// Decides whether an entry of `.worktrees` is removed, and renames it if so, because a partly deleted folder must not
/// have the name of a tree.
fn mark(volume: &Worktrees, trees: &OwnedFd, name: &[u8], keep: &Keep<'_>) -> Result<MarkOutcome, Error> {
    let commit = commit_named(Some(OsStrExt::from_bytes(name)));
    // Entries with any other name do not belong to pushsync. They are removed like a replaced tree, once the folder itself
    // has not changed for the grace period. ext4 has a lost+found in its mount point.
    let is_kept_elsewhere = [STANDBY, MARKED].iter().any(|prefix| name.starts_with(prefix.as_bytes()));
    if is_kept_elsewhere || name == b"lost+found" {
        return Ok(MarkOutcome::Stays);
    }
    // Held over the rename, so that no other job publishes or reuses the tree in between.
    let mut grace_periods = volume.grace_periods();
    let found = folder::stat(trees, name).map_err(|errno| volume.failed("look at", name, errno))?;
    let Some(stat) = found else { return Ok(MarkOutcome::Stays) };
    let is_tree = folder::kind(&stat) == FileType::Directory;
    if volume.is_live(name)? || is_tree && commit.is_some_and(keep.is_kept) {
        return Ok(MarkOutcome::Stays);
    }
    match grace_periods.remaining(name, &stat, volume.grace) {
        None if is_tree && commit.is_some_and(keep.may_rotate) => return Ok(MarkOutcome::Waits(ROTATES_SOON)),
        None => {}
        // Its build is still running, and will remove it or put it in place.
        Some(Duration::MAX) => return Ok(MarkOutcome::Stays),
        Some(_) if !keep.in_grace && (commit.is_some() || name.starts_with(EXCHANGED.as_bytes())) => {}
        Some(left) => return Ok(MarkOutcome::Waits(left)),
    }
    grace_periods.forget(name);
    match rustix::fs::renameat(trees, name, trees, &*unique(MARKED)) {
        Ok(()) => Ok(MarkOutcome::Marked),
        // Files by which the clock of the file system is read exist for a moment only.
        Err(Errno::NOENT) => Ok(MarkOutcome::Stays),
        Err(errno) => Err(volume.failed("rename", name, errno)),
    }
}

/// The renamed entries.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Entries whose removal failed and was reported.
    stuck: Mutex<BTreeSet<Vec<u8>>>,
}

impl Removal {
    /// Removes the renamed entries. `go_on` is called before each removal; if it stops the removal, the next call continues.
    /// Returns the number of removed entries and the first failure; the others are removed all the same.
    ///
    /// # Errors
    /// `cancelled`, or if the folder of the trees cannot be read.
    pub(crate) fn remove_marked(
        &self,
        volume: &Worktrees,
        go_on: impl Fn() -> bool,
    ) -> Result<(usize, Option<Error>), Error> {
        let trees = volume.trees_folder()?;
        volume.begin_removal();
        let (mut first_failure, mut removed, mut stuck_now) = (None, 0, BTreeSet::new());
        for name in volume.names(&trees)? {
            if !name.starts_with(MARKED.as_bytes()) {
                continue;
            }
            match remove::remove_while(&trees, &name, &go_on) {
                RemovalOutcome::Removed => removed += 1,
                RemovalOutcome::Stopped => return Err(Error::Cancelled),
                RemovalOutcome::Stuck(stuck) => {
                    // Each sweep tries again, but reports it only once.
                    if !self.stuck.lock().contains(&name) {
                        first_failure.get_or_insert(volume.failed("remove", &stuck.path, stuck.errno));
                    }
                    stuck_now.insert(name);
                }
            }
        }
        *self.stuck.lock() = stuck_now;
        Ok((removed, first_failure))
    }

    /// Returns true if the last removal had to leave entries behind.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.stuck.lock().is_empty()
    }
}
