//! Taking trees away: first their names, which is quick, and then, whenever there is time, what is in them.
//!
//! To remove a hundred thousand files takes seconds, and a push must not wait for that. What has lost its name is nobody's
//! any more, so the files may go on a thread of their own, in parts, or at the next start. It must not know when that is.

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

use super::link::commit_named;
use super::removal::{self, Outcome};
use super::room::Size;
use super::standby::SPARE;
use super::sweep::{DOOMED, EXCHANGED};
use super::volume::{Volume, unique};
use super::{Error, folder, git_file, room};
use crate::worker::Cancel;

/// A tree that is to become a standby tree is looked for again after so long: a push may have stopped that.
const ROTATES_SOON: Duration = Duration::from_secs(1);

/// What a sweep does with an entry of `.worktrees`.
enum Fate {
    /// It has lost its name.
    Goes,
    /// Its readers have so much of their grace left.
    Waits(Duration),
    Stays,
}

impl Volume {
    /// Takes the names of trees whose grace is over, and of leftovers, and removes what is in them. Never touches the tree
    /// that the link names, nor those that `is_kept`. `go_on` is asked before each removal. Answers how much went.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are removed all the same.
    pub fn sweep(&self, is_kept: impl Fn(Oid) -> bool, go_on: impl Fn() -> bool) -> Result<usize, Error> {
        let doomed = self.doom_old(is_kept);
        let removed = self.empty_trash(go_on)?;
        doomed.map(|_| removed)
    }

    /// The first half of a sweep, which does not take longer for larger trees. Whether a tree is kept is asked at the moment
    /// when nobody else can give it its name, or take it.
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn doom_old(&self, is_kept: impl Fn(Oid) -> bool) -> Result<Option<Duration>, Error> {
        self.doom_all(&is_kept, &|_| false, false)
    }

    /// A push does not fit beside the old trees: takes their names, also of those whose readers have some of their grace left.
    /// `is_kept` and the live tree stay. To be followed by [`Volume::make_room`].
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn doom_in_grace(&self, is_kept: impl Fn(Oid) -> bool) -> Result<(), Error> {
        self.doom_all(&is_kept, &|_| false, true).map(drop)
    }

    /// The same, but of trees that may become standby trees as many as are lacking stay for a moment. Answers in how long there is more to do.
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
        // Nothing goes before what took its place would outlive a loss of power.
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

    /// The second half: removes what has lost its name. `go_on` is asked before each removal; what it stops goes the next
    /// time. Answers how much went.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are removed all the same.
    pub fn empty_trash(&self, go_on: impl Fn() -> bool) -> Result<usize, Error> {
        match self.remove_trash(go_on)? {
            (_, Some(failed)) => Err(failed),
            (removed, None) => Ok(removed),
        }
    }

    /// The same, with both.
    pub(super) fn remove_trash(&self, go_on: impl Fn() -> bool) -> Result<(usize, Option<Error>), Error> {
        let trees = self.trees_folder()?;
        self.removal_waits.store(false, Ordering::Relaxed);
        let (mut first_failure, mut removed) = (None, 0);
        for name in self.names(&trees)? {
            if !name.starts_with(DOOMED.as_bytes()) {
                continue;
            }
            match removal::remove_while(&trees, &name, &go_on) {
                Outcome::Removed => removed += 1,
                Outcome::Stopped => return Err(Error::Cancelled),
                Outcome::Stuck(stuck) => {
                    // It is tried again by each sweep, and told once.
                    if self.stuck().insert(name) {
                        first_failure.get_or_insert(self.failed("remove", &stuck.path, stuck.errno));
                    }
                }
            }
        }
        Ok((removed, first_failure))
    }

    fn stuck(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.stuck.lock()
    }

    /// Bytes used on the volume: `(store, trees)`. A tree is measured once and then counted along with what is written into
    /// it, so that this costs a look at each file of each fresh tree. `go_on` is asked at each.
    ///
    /// # Errors
    /// `cancelled` if it was stopped, or if something could not be looked at.
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

    /// Counts anew what the volume takes, if there is a limit for it. What is known of a tree is not measured again.
    pub(super) fn measure_for_limit(&self, go_on: &impl Fn() -> bool) -> Result<(), Error> {
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

    /// A push found no room: drops the standby trees, and removes what has lost its name. True if something went, so that it
    /// may be tried again. Trees in their grace stay: readers may be in them.
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

    /// A push is about to be fetched: counts what there is.
    ///
    /// # Errors
    /// If the volume cannot be read.
    pub fn expect_writes(&self, cancel: &Cancel) -> Result<(), Error> {
        self.measure_for_limit(&|| !cancel.is_cancelled())
    }

    /// So much was written into a tree.
    pub(super) fn tree_grew(&self, folder: &OwnedFd, written: (u64, u64)) {
        let Ok(stat) = rustix::fs::fstat(folder) else { return };
        if let Some(size) = self.sizes.lock().get_mut(&stat.st_ino) {
            size.grow(written);
        }
    }

    /// The live tree is the one before it with so much written into it.
    pub(super) fn live_tree_grew(&self, written: (u64, u64)) {
        if let Some(size) = &mut self.spares().size {
            size.grow(written);
        }
    }

    /// Decides whether an entry of `.worktrees` goes, and takes its name from it if so: a folder that is half deleted
    /// must not be called a tree.
    fn doom(
        &self,
        trees: &OwnedFd,
        name: &[u8],
        is_kept: &dyn Fn(Oid) -> bool,
        may_rotate: &dyn Fn(Oid) -> bool,
        in_grace_too: bool,
    ) -> Result<Fate, Error> {
        let commit = commit_named(Some(OsStrExt::from_bytes(name)));
        // What is under any other name is not ours, and goes like a replaced tree, once nothing in the folder itself was
        // changed for as long as a replaced tree is kept. A mount point of ext4 has a lost+found.
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
            // Whoever builds it removes it or gives it its place.
            Some(Duration::MAX) => return Ok(Fate::Stays),
            Some(_) if in_grace_too && (commit.is_some() || name.starts_with(EXCHANGED.as_bytes())) => {}
            Some(left) => return Ok(Fate::Waits(left)),
        }
        ages.forget(name);
        rustix::fs::renameat(trees, name, trees, &*unique(DOOMED))
            .map_err(|errno| self.failed("rename", name, errno))?;
        Ok(Fate::Goes)
    }
}

/// Something that goes meanwhile takes nothing.
fn measured(
    parent: &OwnedFd,
    name: &[u8],
    go_on: &impl Fn() -> bool,
    failed: impl Fn(Errno) -> Error,
) -> Result<u64, Error> {
    match room::measure(parent, name, go_on) {
        Ok(size) => size.map(|(bytes, _)| bytes).ok_or(Error::Cancelled),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(failed(errno)),
    }
}
