//! Standby trees: complete trees that no reader knows, so that a push pays only for what it changes.
//!
//! A replaced tree whose readers had their grace is checked, cleaned and used again (`prepare`, `restore`); a fresh one is
//! written only where there is none. A push brings one to its commit (`incremental`).
//!
//! The name is the mark. `.spare-<commit>-…` is given by a rename after everything in it is on the disk, and taken away
//! by a rename before the first touch; what is being worked on is called `.tmp-…` and goes at the next start. A process
//! that died in between leaves one or the other, never a standby tree that is half of two commits.
//!
//! ARCHITECTURE.md says what is looked at when, and what is not caught. It must not know when a push is due.

pub(super) mod baseline;
mod demand;
mod incremental;
mod names;
mod prepare;
mod restore;
mod watch;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use git2::Oid;

use baseline::Baseline;
use demand::Demand;
pub(super) use incremental::Used;
pub(super) use names::Listings;
use watch::Watch;

use super::accepted::Accepted;
use super::folder::{self, Stamp};
use super::link::commit_named;
use super::objects::{Objects, View};
use super::room::Size;
use super::shape::Shape;
use super::sweep::{DOOMED, UNFINISHED};
use super::volume::{Volume, unique};
use super::{Error, share};
use crate::worker::Cancel;

/// What the name of a standby tree begins with; the commit and something unique follow.
pub(super) const SPARE: &str = ".spare-";

/// A standby tree of at most so many entries is looked at as a whole before it is used, while the push is still being
/// fetched: that takes some three milliseconds. Of a larger one only the folders that the push touches, and the rest right
/// after the publish.
const LOOKED_AT_FIRST: u64 = 1_000;

/// For how long such a look counts. A push that takes longer to come is slow anyway.
const LOOK_COUNTS: Duration = Duration::from_secs(1);

/// A published tree that was watched as a standby tree is compared with its commit after so long without a push. The check
/// before its next use comes first if pushes are closer together.
const LOOK_LATER: Duration = Duration::from_secs(120);

/// A plan of more steps takes too much memory.
const MOST_STEPS: u64 = 150_000;

/// A tree that is to become another commit's.
#[derive(Debug)]
pub(super) struct Standby {
    pub name: Vec<u8>,
    pub commit: Oid,
    /// At least as many as there are: it saves the count of every push. 0: not known.
    pub entries: u64,
    pub state: State,
    /// The shape that it was written with (`Shape::fingerprint`).
    pub shape: u64,
    /// Another commit with the same tree, which was live when this was prepared.
    pub equal: Option<Oid>,
}

/// What is known of a standby tree.
#[derive(Debug)]
pub(super) enum State {
    /// It may hold anything: an earlier process left it, or its check was given up. With a baseline, what that holds is
    /// known.
    Unverified(Option<Baseline>),
    Ready(Ready),
}

/// A standby tree that a push may use.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub baseline: Baseline,
    /// When everything in it was checked, or written.
    pub checked: Instant,
    /// When it was last looked at as a whole for a push that was on its way.
    pub looked_at: Option<Instant>,
    /// Since the check; `None`: it is not watched.
    pub watch: Option<Arc<Watch>>,
}

impl Ready {
    /// True if nothing was changed by others since the check, as far as the kernel reports it.
    fn is_quiet(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_quiet())
    }

    /// True if others were seen to change something since the check.
    fn is_disturbed(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.is_quiet())
    }
}

impl Standby {
    pub(super) fn ready(&self) -> Option<&Ready> {
        match &self.state {
            State::Ready(ready) => Some(ready),
            State::Unverified(_) => None,
        }
    }
}

/// What this process knows of a published tree.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// `None`: an earlier process left it, and nothing of it has been looked at.
    pub baseline: Option<Baseline>,
    pub entries: u64,
    /// When it should be compared with its commit as a whole; `None`: it was.
    pub look_due: Option<Instant>,
    /// If that comparison comes so late that apps may have changed something since.
    pub handed_over: Option<HandedOver>,
    /// The shape that it was written with.
    pub shape: u64,
    /// What hooks made of tracked files in it. The baseline is of before that.
    pub accepted: Option<Arc<Accepted>>,
}

/// A tree in which nothing else was changed before readers got it, as far as the kernel reported it.
#[derive(Clone, Debug)]
pub(super) struct HandedOver {
    /// Readers got it later.
    pub at: Stamp,
    /// Holds what the push wrote as well: not for sure, since an app may change it in the same tick of the clock, but well
    /// enough to take its times over.
    pub written: Baseline,
}

#[derive(Debug, Default)]
pub(super) struct Standbys {
    pub trees: Vec<Standby>,
    pub known: HashMap<Oid, Known>,
    /// About what the live tree takes; `None` if it has to be measured.
    pub size: Option<Size>,
    demand: Demand,
    /// True while the volume has no room for standby trees.
    no_room: bool,
    /// True if standby trees of any size are looked at as a whole before they are used.
    look_before_use: bool,
}

impl Standbys {
    fn ready(&self) -> usize {
        self.trees.iter().filter(|standby| standby.ready().is_some()).count()
    }

    /// The one that the next push uses: the one that was checked last.
    fn next(&self, shape: u64) -> Option<usize> {
        let usable = self.trees.iter().enumerate().filter(|(_, standby)| standby.shape == shape);
        let checked = usable.filter_map(|(at, standby)| Some((standby.ready()?.checked, at)));
        checked.max().map(|(_, at)| at)
    }
}

/// What a job works with.
struct Job<'a> {
    objects: &'a Objects,
    view: &'a View<'a>,
    trees: &'a OwnedFd,
    cancel: &'a Cancel,
}

impl Volume {
    /// How many standby trees there should be now.
    fn wanted_standbys(&self) -> usize {
        self.spares().demand.wanted(self.spare_limit(), Instant::now())
    }

    /// How many standby trees there are fewer than there should be.
    pub(super) fn lacking_standbys(&self) -> usize {
        let wanted = self.wanted_standbys();
        let spares = self.spares();
        if spares.no_room { 0 } else { wanted.saturating_sub(spares.ready()) }
    }

    /// True if the next push need not wait for a standby tree.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.spares().ready() > 0
    }

    /// True if something is to be done for the standby trees or the published tree: a standby tree is lacking, there are
    /// more than should be, or the published tree is to be compared with its commit.
    #[must_use]
    pub fn has_upkeep(&self) -> bool {
        let (wanted, now, lacking) = (self.wanted_standbys(), Instant::now(), self.lacking_standbys() > 0);
        let spares = self.spares();
        let look_due = spares.known.values().any(|known| known.look_due.is_some_and(|due| due <= now));
        lacking || spares.trees.len() > wanted || look_due
    }

    /// In how long there is something to do for the standby trees or the published tree, if nothing is pushed.
    #[must_use]
    pub fn next_upkeep(&self) -> Option<Duration> {
        let now = Instant::now();
        let spares = self.spares();
        let looks = spares.known.values().filter_map(|known| known.look_due);
        let look = looks.filter(|due| *due > now).min().map(|due| due - now);
        let idle = spares.demand.changes_in(self.spare_limit(), now);
        look.into_iter().chain(idle).min()
    }

    /// Another commit than before was published. The trees of all others are checked before they are used again.
    pub(super) fn note_push(&self, live: Oid) {
        let mut spares = self.spares();
        spares.demand.note_push();
        let others = spares.known.iter_mut().filter(|(commit, _)| **commit != live);
        others.for_each(|(_, known)| known.look_due = None);
    }

    /// Notes that a tree was written by this process, and was complete at a moment at which nothing else could change it. What
    /// was written in that tick of the clock is compared when there is time for it.
    pub(super) fn note_written(&self, since: Stamp, commit: Oid, entries: u64, shape: &Shape) {
        let (baseline, shape, look_due) = (Some(Baseline::at(since)), shape.fingerprint(), Some(Instant::now()));
        let known = Known { baseline, entries, look_due, handed_over: None, shape, accepted: None };
        self.spares().known.insert(commit, known);
    }

    /// What is known to be unchanged in a published tree.
    pub(super) fn baseline(&self, commit: Oid, shape: u64) -> Option<Baseline> {
        let spares = self.spares();
        spares.known.get(&commit).filter(|known| known.shape == shape)?.baseline.clone()
    }

    /// What hooks made of tracked files in a published tree.
    pub(super) fn accepted(&self, commit: Oid) -> Option<Arc<Accepted>> {
        let known = self.spares().known.get(&commit).and_then(|known| known.accepted.clone());
        // An earlier process may have kept it.
        known.or_else(|| Accepted::load(&self.state_folder(), commit).map(Arc::new))
    }

    /// Another tree is about to stand for that commit, in which no hook has run so far.
    pub(super) fn forget_accepted(&self, commit: Oid) -> Result<(), Error> {
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

    /// Takes out one that has to be worked on before it can serve pushes from the live commit.
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

    /// Removes all standby trees. True if there were any.
    pub(super) fn drop_spares(&self, trees: &OwnedFd) -> bool {
        self.drop_more_than(0, trees)
    }

    /// Removes the standby trees above a number, those that were checked last the last. True if there were any.
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

    /// Finds the standby trees that an earlier process left. They are checked before they are used; more than allowed go.
    pub(super) fn find_spares(&self, trees: &OwnedFd, names: &[Vec<u8>]) {
        for name in names {
            let Some(rest) = name.strip_prefix(SPARE.as_bytes()) else { continue };
            let commit =
                rest.get(..40).and_then(|hash| commit_named(Some(std::os::unix::ffi::OsStrExt::from_bytes(hash))));
            // With `--group-write` it may be another user's, whose modes are not ours to change.
            let ours = folder::look(trees, name).is_ok_and(|stat| stat.is_some_and(|stat| share::is_ours(&stat)));
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

    /// The present moment on the clock of the file system.
    pub(super) fn now(&self, trees: &OwnedFd) -> Result<Stamp, Error> {
        let name = unique(UNFINISHED);
        Stamp::now(trees, &name).map_err(|errno| self.failed("create", &name, errno).with_cause_from(trees))
    }

    /// Takes its name from a tree that is of no use any more. What is in it is for the next removal: a push does not wait
    /// for that.
    pub(super) fn discard(&self, trees: &OwnedFd, name: &[u8]) {
        if rustix::fs::renameat(trees, name, trees, &*unique(DOOMED)).is_ok() {
            self.removal_waits.store(true, Ordering::Relaxed);
        }
        self.ages().end_build(name);
    }
}
