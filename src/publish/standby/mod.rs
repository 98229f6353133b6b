//! Standby trees: complete trees that no reader knows, so that the cost of a push follows its change.
//!
//! A replaced tree whose grace period is over is checked, cleaned and used again (`prepare`, `restore`); a fresh one is
//! written only if there is none. A push updates one to its commit (`incremental`).
//!
//! The name marks the state. A rename gives the name `.spare-<commit>-…` after everything in the tree is on the disk, and
//! takes it away before the first change; a tree that is being changed is called `.tmp-…`, and the next start removes it.
//! After a kill in between, a tree has one of the two names, and no standby tree mixes two commits.
//!
//! ARCHITECTURE.md lists what is checked when, and which changes are not detected. It must not know when a push is due.

mod demand;
mod listings;
mod prepare;
mod restore;
mod update;
mod watch;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use git2::Oid;

use demand::Demand;
pub(crate) use listings::Listings;
pub(crate) use update::Used;
use watch::Watch;

use crate::publish::Error;
use crate::publish::folder;
use crate::publish::folder::Stamp;
use crate::publish::folder::baseline::Baseline;
use crate::publish::folder::group;
use crate::publish::folder::space::Size;
use crate::publish::tree::options::Shape;
use crate::publish::tree::view::{Objects, View};
use crate::publish::volume::grace::{DOOMED, UNFINISHED};
use crate::publish::volume::hook_changes::Accepted;
use crate::publish::volume::layout::{Volume, unique};
use crate::publish::volume::link::commit_named;
use crate::worker::Cancel;

/// The prefix of a standby tree's name; the commit and a unique part follow.
pub(crate) const SPARE: &str = ".spare-";

/// A standby tree of at most this number of entries is checked as a whole before its use, while the push is still being
/// fetched, which takes some three milliseconds. Of a larger one only the folders of the push are checked before, and the
/// rest after the publish.
const LOOKED_AT_FIRST: u64 = 1_000;

/// How long such a check counts. A push that takes longer to arrive is slow anyway.
const LOOK_COUNTS: Duration = Duration::from_secs(1);

/// A published tree that was watched as a standby tree is compared with its commit after this time without a push. With
/// more frequent pushes the check before its next use comes first.
const LOOK_LATER: Duration = Duration::from_secs(120);

/// A plan with more steps takes too much memory.
const MOST_STEPS: u64 = 150_000;

/// A tree that is to become another commit's.
#[derive(Debug)]
pub(crate) struct Standby {
    pub name: Vec<u8>,
    pub commit: Oid,
    /// An upper bound of the number of entries, so that they need not be counted at each push. 0: not known.
    pub entries: u64,
    pub state: State,
    /// The shape with which it was written (`Shape::fingerprint`).
    pub shape: u64,
    /// Another commit with the same tree, which was live when this was prepared.
    pub equal: Option<Oid>,
}

/// The state of a standby tree.
#[derive(Debug)]
pub(crate) enum State {
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
    pub looked_at: Option<Instant>,
    /// The watch since the check; `None` if it is not watched.
    pub watch: Option<Arc<Watch>>,
}

impl Ready {
    /// Returns true if the kernel has reported no change by others since the check.
    fn is_quiet(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_quiet())
    }

    /// Returns true if the kernel has reported a change by others since the check.
    fn is_disturbed(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.is_quiet())
    }
}

impl Standby {
    pub(crate) fn ready(&self) -> Option<&Ready> {
        match &self.state {
            State::Ready(ready) => Some(ready),
            State::Unverified(_) => None,
        }
    }
}

/// The state of a published tree in this process.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// `None` if an earlier process left it and it has not been checked.
    pub baseline: Option<Baseline>,
    pub entries: u64,
    /// When it should be compared with its commit as a whole; `None` if that was done.
    pub look_due: Option<Instant>,
    /// Set if that comparison comes so late that apps may have changed something since.
    pub handed_over: Option<HandedOver>,
    /// The shape with which it was written.
    pub shape: u64,
    /// The changes of tracked files by hooks. The baseline is from before them.
    pub accepted: Option<Arc<Accepted>>,
}

/// A tree without reported changes by others before readers got it.
#[derive(Clone, Debug)]
pub(crate) struct HandedOver {
    /// A time before readers got it.
    pub at: Stamp,
    /// A baseline that also contains the push's files. An app may change one in the same tick of the clock, so it is used
    /// only to copy times.
    pub written: Baseline,
}

#[derive(Debug, Default)]
pub(crate) struct Standbys {
    pub trees: Vec<Standby>,
    pub known: HashMap<Oid, Known>,
    /// The approximate size of the live tree; `None` if it has to be measured.
    pub size: Option<Size>,
    demand: Demand,
    /// True while the volume has no room for standby trees.
    no_room: bool,
    /// True if standby trees of any size are checked as a whole before their use.
    look_before_use: bool,
}

impl Standbys {
    fn ready(&self) -> usize {
        self.trees.iter().filter(|standby| standby.ready().is_some()).count()
    }

    /// Returns the index of the tree for the next push: the one that was checked last.
    fn next(&self, shape: u64) -> Option<usize> {
        let usable = self.trees.iter().enumerate().filter(|(_, standby)| standby.shape == shape);
        let checked = usable.filter_map(|(at, standby)| Some((standby.ready()?.checked, at)));
        checked.max().map(|(_, at)| at)
    }
}

/// The parts of a job.
struct Job<'a> {
    objects: &'a Objects,
    view: &'a View<'a>,
    trees: &'a OwnedFd,
    cancel: &'a Cancel,
}

impl Volume {
    /// Returns how many standby trees there should be now.
    fn wanted_standbys(&self) -> usize {
        self.spares().demand.wanted(self.spare_limit(), Instant::now())
    }

    /// Returns how many standby trees are missing.
    pub(crate) fn lacking_standbys(&self) -> usize {
        let wanted = self.wanted_standbys();
        let spares = self.spares();
        if spares.no_room { 0 } else { wanted.saturating_sub(spares.ready()) }
    }

    /// Returns true if the next push need not wait for a standby tree.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.spares().ready() > 0
    }

    /// Returns true if there is work on the standby trees or the published tree: a standby tree is missing, there are too
    /// many, or the published tree has to be compared with its commit.
    #[must_use]
    pub fn has_upkeep(&self) -> bool {
        let (wanted, now, lacking) = (self.wanted_standbys(), Instant::now(), self.lacking_standbys() > 0);
        let spares = self.spares();
        let look_due = spares.known.values().any(|known| known.look_due.is_some_and(|due| due <= now));
        lacking || spares.trees.len() > wanted || look_due
    }

    /// Returns the time until there is work on the standby trees or the published tree, without a push.
    #[must_use]
    pub fn next_upkeep(&self) -> Option<Duration> {
        let now = Instant::now();
        let spares = self.spares();
        let looks = spares.known.values().filter_map(|known| known.look_due);
        let look = looks.filter(|due| *due > now).min().map(|due| due - now);
        let idle = spares.demand.changes_in(self.spare_limit(), now);
        look.into_iter().chain(idle).min()
    }

    /// Notes that another commit was published. The trees of all others are checked before they are used again.
    pub(crate) fn note_push(&self, live: Oid) {
        let mut spares = self.spares();
        spares.demand.note_push();
        let others = spares.known.iter_mut().filter(|(commit, _)| **commit != live);
        others.for_each(|(_, known)| known.look_due = None);
    }

    /// Notes that this process wrote a tree, which was complete at a time when no other process could change it. Entries
    /// that were written in that tick of the clock are compared later.
    pub(crate) fn note_written(&self, since: Stamp, commit: Oid, entries: u64, shape: &Shape) {
        let (baseline, shape, look_due) = (Some(Baseline::at(since)), shape.fingerprint(), Some(Instant::now()));
        let known = Known { baseline, entries, look_due, handed_over: None, shape, accepted: None };
        self.spares().known.insert(commit, known);
    }

    /// Returns the baseline of a published tree.
    pub(crate) fn baseline(&self, commit: Oid, shape: u64) -> Option<Baseline> {
        let spares = self.spares();
        spares.known.get(&commit).filter(|known| known.shape == shape)?.baseline.clone()
    }

    /// Returns the changes of tracked files in a published tree by hooks.
    pub(crate) fn accepted(&self, commit: Oid) -> Option<Arc<Accepted>> {
        let known = self.spares().known.get(&commit).and_then(|known| known.accepted.clone());
        // An earlier process may have stored it.
        known.or_else(|| Accepted::load(&self.state_folder(), commit).map(Arc::new))
    }

    /// Notes that another tree is about to replace that commit's, in which no hook has run yet.
    pub(crate) fn forget_accepted(&self, commit: Oid) -> Result<(), Error> {
        if self.accepted(commit).is_none() {
            return Ok(());
        }
        if let Some(known) = self.spares().known.get_mut(&commit) {
            known.accepted = None;
        }
        Accepted::default().store(&self.state_folder(), commit).map_err(|source| Error::Io {
            doing: "remove",
            path: ".pushsync/hook-changes".to_owned(),
            source,
        })
    }

    fn take_next(&self, shape: u64) -> Option<(Standby, Ready)> {
        let mut spares = self.spares();
        let at = spares.next(shape)?;
        let standby = spares.trees.remove(at);
        let ready = standby.ready()?.clone();
        Some((standby, ready))
    }

    /// Takes out a standby tree that has to be worked on before it can serve pushes from the live commit.
    fn take_unready(&self, live: Oid, shape: u64) -> Option<Standby> {
        let mut spares = self.spares();
        let unready = |standby: &Standby| {
            let fits = standby.commit == live || standby.equal == Some(live);
            standby.ready().is_none() || standby.shape != shape || !fits
        };
        let at = spares.trees.iter().position(unready)?;
        Some(spares.trees.remove(at))
    }

    fn put_back(&self, standby: Standby) {
        self.spares().trees.push(standby);
    }

    /// Removes all standby trees. Returns true if there were any.
    pub(crate) fn drop_spares(&self, trees: &OwnedFd) -> bool {
        self.drop_more_than(0, trees)
    }

    /// Removes standby trees beyond a number, the most recently checked ones last. Returns true if there were any.
    fn drop_more_than(&self, kept: usize, trees: &OwnedFd) -> bool {
        let dropped: Vec<_> = {
            let mut spares = self.spares();
            spares.trees.sort_by_key(|standby| std::cmp::Reverse(standby.ready().map(|ready| ready.checked)));
            let kept = kept.min(spares.trees.len());
            spares.trees.drain(kept..).collect()
        };
        for standby in &dropped {
            self.discard(trees, &standby.name);
        }
        !dropped.is_empty()
    }

    /// Finds the standby trees of an earlier process. They are checked before their use; superfluous ones are removed.
    pub(crate) fn find_spares(&self, trees: &OwnedFd, names: &[Vec<u8>]) {
        for name in names {
            let Some(rest) = name.strip_prefix(SPARE.as_bytes()) else { continue };
            let commit =
                rest.get(..40).and_then(|hash| commit_named(Some(std::os::unix::ffi::OsStrExt::from_bytes(hash))));
            // With `--group-write` it may belong to another user, so that we cannot change its modes.
            let ours = folder::look(trees, name).is_ok_and(|stat| stat.is_some_and(|stat| group::is_ours(&stat)));
            let wanted = ours && self.spares().trees.len() < self.spare_limit();
            match commit {
                Some(commit) if wanted => {
                    let (name, state) = (name.clone(), State::Unverified(None));
                    self.put_back(Standby { name, commit, entries: 0, state, shape: 0, equal: None });
                }
                _ => self.discard(trees, name),
            }
        }
    }

    /// Returns the current time of the file system's clock.
    pub(crate) fn now(&self, trees: &OwnedFd) -> Result<Stamp, Error> {
        let name = unique(UNFINISHED);
        Stamp::now(trees, &name).map_err(|errno| self.failed("create", &name, errno).with_cause_from(trees))
    }

    /// Renames a tree that is not needed any more. The next removal deletes its content, so a push does not wait for that.
    pub(crate) fn discard(&self, trees: &OwnedFd, name: &[u8]) {
        if rustix::fs::renameat(trees, name, trees, &*unique(DOOMED)).is_ok() {
            self.removal_waits.store(true, Ordering::Relaxed);
        }
        self.ages().end_build(name);
    }
}
