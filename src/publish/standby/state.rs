//! The standby trees of a volume in this process: their names, their states, and how many there should be.
//!
//! It must not know how a tree is made or checked.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Oid;
use parking_lot::{Mutex, MutexGuard};

use crate::publish::folder;
use crate::publish::folder::baseline::Baseline;
use crate::publish::folder::group;
use crate::publish::standby::demand::Demand;
use crate::publish::standby::listings::Listings;
use crate::publish::standby::watch::Watch;
use crate::publish::tree::store_cache::StoreCache;
use crate::publish::volume::names::{STANDBY, commit_named};
use crate::publish::volume::worktrees::Worktrees;

/// A standby tree of at most this number of entries is checked as a whole before its use, while the push is still being
/// fetched, which takes some three milliseconds. Of a larger one only the folders of the push are checked before, and the
/// rest after the publish.
pub(crate) const MOST_VERIFIED_BEFORE_USE: u64 = 1_000;

/// A tree that is to become another commit's.
#[derive(Debug)]
pub(crate) struct StandbyTree {
    pub name: Vec<u8>,
    pub commit: Oid,
    /// An upper bound of the number of entries, so that they need not be counted at each push. 0: not known.
    pub entries: u64,
    pub state: StandbyState,
    /// The options with which it was written (`CheckoutOptions::fingerprint`).
    pub fingerprint: u64,
    /// Another commit with the same tree, which was live when this was prepared.
    pub equal: Option<Oid>,
}

/// The state of a standby tree.
#[derive(Debug)]
pub(crate) enum StandbyState {
    /// It may contain anything: an earlier process left it, or its check was cancelled. Entries that have not changed since
    /// the baseline, if there is one, are known.
    Unverified(Option<Baseline>),
    Ready(Ready),
}

/// A standby tree that a push may use.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub baseline: Baseline,
    /// When everything in it was checked, or written.
    pub checked: Instant,
    /// When it was last checked as a whole for an expected push.
    pub verified_at: Option<Instant>,
    /// The watch since the check; `None` if it is not watched.
    pub watch: Option<Arc<Watch>>,
}

impl Ready {
    /// Returns true if the kernel has reported no change by others since the check.
    pub(crate) fn is_quiet(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_quiet())
    }

    /// Returns true if the kernel has reported a change by others since the check.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.is_quiet())
    }
}

impl StandbyTree {
    /// Creates one that has to be checked, or continued, before its use. Its name stays registered as that of a build.
    pub(crate) fn parked(
        name: Vec<u8>,
        commit: Oid,
        entries: u64,
        fingerprint: u64,
        baseline: Option<Baseline>,
    ) -> Self {
        Self { name, commit, entries, state: StandbyState::Unverified(baseline), fingerprint, equal: None }
    }

    pub(crate) fn ready(&self) -> Option<&Ready> {
        match &self.state {
            StandbyState::Ready(ready) => Some(ready),
            StandbyState::Unverified(_) => None,
        }
    }
}

#[derive(Debug, Default)]
struct StandbyList {
    trees: Vec<StandbyTree>,
    demand: Demand,
    /// True while the volume has no room for standby trees.
    no_room: bool,
    /// True if standby trees of any size are checked as a whole before their use.
    verify_before_use: bool,
}

impl StandbyList {
    fn ready(&self) -> usize {
        self.trees.iter().filter(|standby| standby.ready().is_some()).count()
    }

    /// Returns the index of the tree for the next push: the one that was checked last.
    fn next(&self, fingerprint: u64) -> Option<usize> {
        let usable = self.trees.iter().enumerate().filter(|(_, standby)| standby.fingerprint == fingerprint);
        let checked = usable.filter_map(|(at, standby)| Some((standby.ready()?.checked, at)));
        // The tree that was checked last has had the least time to be changed by others.
        checked.max().map(|(_, at)| at)
    }
}

/// The standby trees of a volume.
#[derive(Debug)]
pub(crate) struct StandbyTrees {
    /// How many there may be.
    limit: usize,
    standbys: Mutex<StandbyList>,
    /// The names in folders of trees, so that a check need not list unchanged folders.
    pub listings: Listings,
    /// The store, while a push is expected.
    pub store_cache: StoreCache,
}

impl StandbyTrees {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, standbys: Mutex::default(), listings: Listings::default(), store_cache: StoreCache::default() }
    }

    fn lock(&self) -> MutexGuard<'_, StandbyList> {
        self.standbys.lock()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns how many standby trees there should be now.
    pub(crate) fn wanted(&self) -> usize {
        self.lock().demand.wanted(self.limit, Instant::now())
    }

    /// Returns how many standby trees are missing.
    pub(crate) fn lacking(&self) -> usize {
        let wanted = self.wanted();
        let standbys = self.lock();
        // Trees that do not fit are not missing. They would be made and dropped in turn.
        if standbys.no_room { 0 } else { wanted.saturating_sub(standbys.ready()) }
    }

    /// Returns how many standby trees a push may use.
    pub(crate) fn ready(&self) -> usize {
        self.lock().ready()
    }

    /// Returns true if there are more standby trees than there should be.
    pub(crate) fn has_too_many(&self) -> bool {
        let wanted = self.wanted();
        self.lock().trees.len() > wanted
    }

    /// Returns the time until fewer standby trees are wanted, without a push.
    pub(crate) fn demand_changes_in(&self, now: Instant) -> Option<Duration> {
        self.lock().demand.changes_in(self.limit, now)
    }

    /// Notes that another commit was published.
    pub(crate) fn note_push(&self) {
        self.lock().demand.note_push();
    }

    pub(crate) fn set_no_room(&self, no_room: bool) {
        self.lock().no_room = no_room;
    }

    pub(crate) fn set_verify_before_use(&self) {
        self.lock().verify_before_use = true;
    }

    pub(crate) fn commits(&self) -> Vec<Oid> {
        self.lock().trees.iter().map(|standby| standby.commit).collect()
    }

    /// Returns up to how many entries a standby tree is checked as a whole before its use.
    pub(crate) fn verified_before_use(&self) -> u64 {
        if self.lock().verify_before_use { u64::MAX } else { MOST_VERIFIED_BEFORE_USE }
    }

    /// Returns the commit of the next standby tree, if it is too large to be checked as a whole, and no change was reported
    /// in it.
    pub(crate) fn next_if_large(&self, fingerprint: u64) -> Option<Oid> {
        let most = self.verified_before_use();
        let standbys = self.lock();
        let next = &standbys.trees[standbys.next(fingerprint)?];
        let is_disturbed = next.ready().is_some_and(Ready::is_disturbed);
        (next.entries > most && !is_disturbed).then_some(next.commit)
    }

    /// Takes out the tree for the next push.
    pub(crate) fn take_next(&self, fingerprint: u64) -> Option<(StandbyTree, Ready)> {
        let mut standbys = self.lock();
        let at = standbys.next(fingerprint)?;
        let standby = standbys.trees.remove(at);
        let ready = standby.ready()?.clone();
        Some((standby, ready))
    }

    /// Takes out a standby tree that has to be worked on before it can serve pushes from the live commit.
    pub(crate) fn take_unready(&self, live: Oid, fingerprint: u64) -> Option<StandbyTree> {
        let mut standbys = self.lock();
        let unready = |standby: &StandbyTree| {
            let fits = standby.commit == live || standby.equal == Some(live);
            standby.ready().is_none() || standby.fingerprint != fingerprint || !fits
        };
        let at = standbys.trees.iter().position(unready)?;
        Some(standbys.trees.remove(at))
    }

    pub(crate) fn put_back(&self, standby: StandbyTree) {
        self.lock().trees.push(standby);
    }

    /// Removes all standby trees. Returns true if there were any.
    pub(crate) fn drop_all(&self, volume: &Worktrees, trees: &OwnedFd) -> bool {
        self.drop_more_than(0, volume, trees)
    }

    /// Removes standby trees beyond a number, the most recently checked ones last. Returns true if there were any.
    pub(crate) fn drop_more_than(&self, kept: usize, volume: &Worktrees, trees: &OwnedFd) -> bool {
        let dropped: Vec<_> = {
            let mut standbys = self.lock();
            // `None` is less than any time, so trees that are not ready come last and are dropped first.
            standbys.trees.sort_by_key(|standby| std::cmp::Reverse(standby.ready().map(|ready| ready.checked)));
            let kept = kept.min(standbys.trees.len());
            standbys.trees.drain(kept..).collect()
        };
        // Renamed after the lock was released: callers that ask for the number of trees must not wait for the disk.
        for standby in &dropped {
            volume.discard(trees, &standby.name);
        }
        !dropped.is_empty()
    }

    /// Finds the standby trees of an earlier process. They are checked before their use; superfluous ones are removed.
    pub(crate) fn find(&self, volume: &Worktrees, trees: &OwnedFd, names: &[Vec<u8>]) {
        for name in names {
            let Some(rest) = name.strip_prefix(STANDBY.as_bytes()) else { continue };
            let commit = rest.get(..40).and_then(|hash| commit_named(Some(std::ffi::OsStr::from_bytes(hash))));
            // With `--group-write` it may belong to another user, so that we cannot change its modes.
            let ours = folder::stat(trees, name).is_ok_and(|stat| stat.is_some_and(|stat| group::is_ours(&stat)));
            let wanted = ours && self.lock().trees.len() < self.limit;
            match commit {
                Some(commit) if wanted => {
                    // Neither its entries nor its options are known, so it is compared as a whole.
                    let (name, state) = (name.clone(), StandbyState::Unverified(None));
                    self.put_back(StandbyTree { name, commit, entries: 0, state, fingerprint: 0, equal: None });
                }
                _ => volume.discard(trees, name),
            }
        }
    }
}
