//! Removes trees in two steps: first their names, which is quick, and later their content.
//!
//! To remove a hundred thousand files takes seconds, and a push must not wait for that. A renamed tree is not used by
//! anything, so its files may be removed by another thread, in parts, or at the next start. It must not know when that is.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use git2::Oid;
use parking_lot::MutexGuard;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::publish::folder::remove;
use crate::publish::folder::remove::Outcome;
use crate::publish::folder::space;
use crate::publish::folder::space::Size;
use crate::publish::standby::SPARE;
use crate::publish::volume::git_file;
use crate::publish::volume::grace::{DOOMED, EXCHANGED};
use crate::publish::volume::layout::{Volume, unique};
use crate::publish::volume::link::commit_named;
use crate::publish::{Error, folder};
use crate::worker::Cancel;

/// A tree that is to become a standby tree is checked again after this time, because a push may have stopped that.
const ROTATES_SOON: Duration = Duration::from_secs(1);

/// The decision of a sweep about an entry of `.worktrees`.
enum Fate {
    /// It was renamed, and will be removed.
    Goes,
    /// Its readers have this much of their grace period left.
    Waits(Duration),
    Stays,
}

impl Volume {
    /// Renames the trees whose grace period is over, and leftovers, and removes their content. Never touches the tree that
    /// the link names, nor those that `is_kept`. `go_on` is called before each removal. Returns the number of removed
    /// entries.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are removed all the same.
    pub fn sweep(&self, is_kept: impl Fn(Oid) -> bool, go_on: impl Fn() -> bool) -> Result<usize, Error> {
        let doomed = self.doom_old(is_kept);
        let removed = self.empty_trash(go_on)?;
        doomed.map(|_| removed)
    }

    /// The first half of a sweep, whose time does not depend on the size of trees. `is_kept` is called while no other job
    /// can give the tree its name, or take it. Returns the time until there is more to do.
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn doom_old(&self, is_kept: impl Fn(Oid) -> bool) -> Result<Option<Duration>, Error> {
        self.doom_all(&is_kept, &|_| false, false)
    }

    /// Renames old trees, also in their grace period, because a push does not fit beside them. Trees that `is_kept`, and
    /// the live tree, stay. To be followed by [`Volume::make_room`].
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn doom_in_grace(&self, is_kept: impl Fn(Oid) -> bool) -> Result<(), Error> {
        self.doom_all(&is_kept, &|_| false, true).map(drop)
    }

    /// The same, but keeps as many trees that may become standby trees as are lacking. Returns the time until there is more
    /// to do.
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn doom_superfluous(&self, is_kept: impl Fn(Oid) -> bool) -> Result<Option<Duration>, Error> {
        let lacking = Cell::new(self.lacking_standbys());
        let may_rotate = |commit| {
            let stays = lacking.get() > 0 && self.may_rotate(commit);
            lacking.set(lacking.get().saturating_sub(usize::from(stays)));
            stays
        };
        self.doom_all(&is_kept, &may_rotate, false)
    }

    fn doom_all(
        &self,
        is_kept: &dyn Fn(Oid) -> bool,
        may_rotate: &dyn Fn(Oid) -> bool,
        in_grace_too: bool,
    ) -> Result<Option<Duration>, Error> {
        self.warm.close();
        // A tree must not be removed before its successor would survive a loss of power.
        self.write_through()?;
        let trees = self.trees_folder()?;
        let (mut first_failure, mut next) = (None, None);
        for name in self.names(&trees)? {
            match self.doom(&trees, &name, is_kept, may_rotate, in_grace_too) {
                Ok(Fate::Waits(left)) => next = Some(next.map_or(left, |next: Duration| next.min(left))),
                Ok(Fate::Goes | Fate::Stays) => {}
                Err(error) => {
                    first_failure.get_or_insert(error);
                }
            }
        }
        git_file::sweep(&self.store(), |commit| self.has_tree(&trees, commit).unwrap_or(true));
        first_failure.map_or(Ok(next), Err)
    }

    /// The second half: removes the renamed entries. `go_on` is called before each removal; if it stops the removal, the
    /// next call continues. Returns the number of removed entries.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are removed all the same.
    pub fn empty_trash(&self, go_on: impl Fn() -> bool) -> Result<usize, Error> {
        match self.remove_trash(go_on)? {
            (_, Some(failed)) => Err(failed),
            (removed, None) => Ok(removed),
        }
    }

    /// The same, but returns the number and the first failure.
    pub(crate) fn remove_trash(&self, go_on: impl Fn() -> bool) -> Result<(usize, Option<Error>), Error> {
        let trees = self.trees_folder()?;
        self.removal_waits.store(false, Ordering::Relaxed);
        let (mut first_failure, mut removed, mut stuck_now) = (None, 0, BTreeSet::new());
        for name in self.names(&trees)? {
            if !name.starts_with(DOOMED.as_bytes()) {
                continue;
            }
            match remove::remove_while(&trees, &name, &go_on) {
                Outcome::Removed => removed += 1,
                Outcome::Stopped => return Err(Error::Cancelled),
                Outcome::Stuck(stuck) => {
                    // Each sweep tries again, but reports it only once.
                    if !self.stuck().contains(&name) {
                        first_failure.get_or_insert(self.failed("remove", &stuck.path, stuck.errno));
                    }
                    stuck_now.insert(name);
                }
            }
        }
        *self.stuck() = stuck_now;
        Ok((removed, first_failure))
    }

    /// Returns true if the last removal had to leave entries behind.
    #[must_use]
    pub fn is_removal_stuck(&self) -> bool {
        !self.stuck().is_empty()
    }

    fn stuck(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.stuck.lock()
    }

    /// Returns the bytes used on the volume: `(store, trees)`. A tree is measured once and then increased by what is
    /// written into it, so the cost is a `stat` of each file of each fresh tree. `go_on` is called at each.
    ///
    /// # Errors
    /// `cancelled` if it was stopped, or if an entry could not be read.
    pub fn usage(&self, go_on: impl Fn() -> bool) -> Result<(u64, u64), Error> {
        let store = match folder::open_path(&self.store()) {
            Ok(store) => measured(&store, b".", &go_on, |errno| {
                Error::io("measure", self.store().as_os_str().as_bytes(), errno)
            })?,
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(Error::io("open", self.store().as_os_str().as_bytes(), errno)),
        };
        let trees = self.trees_folder()?;
        let sizes = || self.sizes.lock();
        let (mut all, mut there) = (0, HashSet::new());
        for name in self.names(&trees)? {
            let looked = folder::look(&trees, &name).map_err(|errno| self.failed("look at", &name, errno))?;
            let Some(stat) = looked.filter(|stat| folder::kind(stat) == FileType::Directory) else { continue };
            let known = sizes().get(&stat.st_ino).copied().and_then(Size::at_most);
            let size = match known {
                Some((bytes, _)) => bytes,
                None => measured(&trees, &name, &go_on, |errno| self.failed("measure", &name, errno))?,
            };
            all += size;
            if commit_named(Some(OsStrExt::from_bytes(&name))).is_some() || name.starts_with(SPARE.as_bytes()) {
                if known.is_none() {
                    sizes().insert(stat.st_ino, Size::of((size, 1)));
                }
                there.insert(stat.st_ino);
            }
        }
        sizes().retain(|tree, _| there.contains(tree));
        Ok((store, all))
    }

    /// Measures the used space again, if there is a limit for it. Trees whose size is known are not measured again.
    pub(crate) fn measure_for_limit(&self, go_on: &impl Fn() -> bool) -> Result<(), Error> {
        let shape = self.shape();
        if shape.allowance.limit().is_none() {
            return Ok(());
        }
        let folder = self.state_folder();
        let shown = folder.as_os_str().as_bytes();
        let state = folder::open_path(&folder).map_err(|errno| Error::io("open", shown, errno))?;
        let state = measured(&state, b".", go_on, |errno| Error::io("measure", shown, errno))?;
        let (_, trees) = self.usage(go_on)?;
        shape.allowance.measured(state.saturating_add(trees));
        Ok(())
    }

    /// Makes room for a push: drops the standby trees, and removes renamed entries. Returns true if any space was freed, so
    /// that the push may be tried again. Trees in their grace period stay, because readers may use them.
    ///
    /// # Errors
    /// If the volume cannot be read.
    pub fn make_room(&self, cancel: &Cancel) -> Result<bool, Error> {
        let trees = self.trees_folder()?;
        let spares = self.drop_spares(&trees);
        let trash = self.remove_trash(|| !cancel.is_cancelled());
        self.measure_for_limit(&|| !cancel.is_cancelled())?;
        Ok(spares || trash.is_ok_and(|(removed, _)| removed > 0))
    }

    /// Measures the volume before a push is fetched.
    ///
    /// # Errors
    /// If the volume cannot be read.
    pub fn expect_writes(&self, cancel: &Cancel) -> Result<(), Error> {
        self.measure_for_limit(&|| !cancel.is_cancelled())
    }

    /// Adds what was written into a tree to its size.
    pub(crate) fn tree_grew(&self, folder: &OwnedFd, written: (u64, u64)) {
        let Ok(stat) = rustix::fs::fstat(folder) else { return };
        if let Some(size) = self.sizes.lock().get_mut(&stat.st_ino) {
            size.grow(written);
        }
    }

    /// Adds what was written to the size of the live tree, which was made from the previous one.
    pub(crate) fn live_tree_grew(&self, written: (u64, u64)) {
        if let Some(size) = &mut self.spares().size {
            size.grow(written);
        }
    }

    /// Decides whether an entry of `.worktrees` is removed, and renames it if so, because a partly deleted folder must not
    /// have the name of a tree.
    fn doom(
        &self,
        trees: &OwnedFd,
        name: &[u8],
        is_kept: &dyn Fn(Oid) -> bool,
        may_rotate: &dyn Fn(Oid) -> bool,
        in_grace_too: bool,
    ) -> Result<Fate, Error> {
        let commit = commit_named(Some(OsStrExt::from_bytes(name)));
        // Entries with any other name do not belong to pushsync. They are removed like a replaced tree, once the folder
        // itself has not changed for the grace period. ext4 has a lost+found in its mount point.
        let is_kept_elsewhere = [SPARE, DOOMED].iter().any(|prefix| name.starts_with(prefix.as_bytes()));
        if is_kept_elsewhere || name == b"lost+found" {
            return Ok(Fate::Stays);
        }
        let mut ages = self.ages();
        let looked = folder::look(trees, name).map_err(|errno| self.failed("look at", name, errno))?;
        let Some(stat) = looked else { return Ok(Fate::Stays) };
        let is_tree = folder::kind(&stat) == FileType::Directory;
        if self.is_live(name)? || is_tree && commit.is_some_and(is_kept) {
            return Ok(Fate::Stays);
        }
        match ages.owed(name, &stat, self.grace()) {
            None if is_tree && commit.is_some_and(may_rotate) => return Ok(Fate::Waits(ROTATES_SOON)),
            None => {}
            // Its build is still running, and will remove it or put it in place.
            Some(Duration::MAX) => return Ok(Fate::Stays),
            Some(_) if in_grace_too && (commit.is_some() || name.starts_with(EXCHANGED.as_bytes())) => {}
            Some(left) => return Ok(Fate::Waits(left)),
        }
        ages.forget(name);
        match rustix::fs::renameat(trees, name, trees, &*unique(DOOMED)) {
            Ok(()) => Ok(Fate::Goes),
            // Files by which the clock of the file system is read exist for a moment only.
            Err(Errno::NOENT) => Ok(Fate::Stays),
            Err(errno) => Err(self.failed("rename", name, errno)),
        }
    }
}

/// Measures an entry; 0 for one that vanishes meanwhile.
fn measured(
    parent: &OwnedFd,
    name: &[u8],
    go_on: &impl Fn() -> bool,
    failed: impl Fn(Errno) -> Error,
) -> Result<u64, Error> {
    match space::measure(parent, name, go_on) {
        Ok(size) => size.map(|(bytes, _)| bytes).ok_or(Error::Cancelled),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(failed(errno)),
    }
}
