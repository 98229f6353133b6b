//! Prepares the next standby trees in the background, preferably from existing trees.
//!
//! All of this can be cancelled between two files, for a push: unfinished trees are continued later, finished ones stay. It
//! must not touch published trees.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Oid;

use crate::publish::checkout::build::NewTree;
use crate::publish::checkout::incremental::{Brought, Marking, Plan, Work, plan};
use crate::publish::checkout::model::Model;
use crate::publish::checkout::writers;
use crate::publish::folder::Stamp;
use crate::publish::folder::baseline::Baseline;
use crate::publish::folder::group;
use crate::publish::folder::space;
use crate::publish::folder::space::{Room, Size};
use crate::publish::path::printable;
use crate::publish::standby::restore::{differences, is_exact, restore};
use crate::publish::standby::watch::Watch;
use crate::publish::standby::{Job, Known, LOOKED_AT_FIRST, MOST_STEPS, Ready, Standby, State};
use crate::publish::tree::survey;
use crate::publish::tree::view::Objects;
use crate::publish::verify;
use crate::publish::verify::Look;
use crate::publish::volume::git_file;
use crate::publish::volume::layout::Volume;
use crate::publish::{Durability, Error, Live, Prepared, Verdict, folder};
use crate::worker::Cancel;

/// Longer than a tick of the kernel's clock.
const TICK: Duration = Duration::from_millis(10);

/// On an overloaded machine, or with a disk of another machine, the clock may stand still for longer than a tick.
const MOST_TICKS: usize = 20;

/// A replaced tree whose grace period ends within this time is awaited, instead of writing a fresh one. At a steady pace of
/// pushes the grace period of an earlier tree often ends just after the last standby tree was used.
const SOON: Duration = Duration::from_millis(200);

/// The permitted work for standby trees.
struct Effort {
    /// True if a fresh one may be written.
    fresh: bool,
    /// This number is enough; `None`: as many as there should be.
    enough: Option<usize>,
}

/// A tree on its way to become a standby tree.
struct Candidate {
    commit: Oid,
    entries: u64,
    shape: u64,
    baseline: Option<Baseline>,
    /// When all of it was checked; `None` if that has to be done now.
    checked: Option<Instant>,
    /// The watch since then.
    watch: Option<Arc<Watch>>,
}

impl Volume {
    /// Compares the live tree with its commit, if that is still due: for a tree that was published from a standby tree, or
    /// one of an earlier process. To be called while no sync needs the volume, and cancelled when one does.
    ///
    /// # Errors
    /// Among others `no_submodules`: it was published with other submodules than those that are configured now.
    pub fn look_again(&self, store: &Path, cancel: &Cancel) -> Result<Verdict, Error> {
        self.warm.close();
        let Live::Tree(live) = self.live()? else { return Ok(Verdict::Whole) };
        let trees = &self.trees_folder()?;
        let objects = &Objects::open(store, &self.shape())?;
        self.look_after(&Job { objects, view: &objects.view()?, trees, cancel }, live)
    }

    /// Returns true if [`Volume::look_again`] should be called now.
    #[must_use]
    pub fn look_is_due(&self) -> bool {
        let Ok(Live::Tree(live)) = self.live() else { return false };
        let due = self.spares().known.get(&live).and_then(|known| known.look_due);
        due.is_some_and(|due| due <= Instant::now())
    }

    /// Trusts a tree of an earlier process for now, and leaves its comparison to [`Volume::look_again`].
    pub fn believe_for_now(&self, commit: Oid) {
        let (shape, look_due) = (self.shape().fingerprint(), Some(Instant::now()));
        let known = Known { baseline: None, entries: 0, look_due, handed_over: None, shape, accepted: None };
        self.spares().known.insert(commit, known);
    }

    /// Makes as many standby trees as there should be; at least one, even if it has to be written. To be called while no
    /// sync needs the volume. `keep` are trees that no link names and that must stay.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn prepare(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        self.prepare_from(store, keep, &Effort { fresh: true, enough: None }, cancel)
    }

    /// The same for the one standby tree that the next push needs.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn prepare_one(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        self.prepare_from(store, keep, &Effort { fresh: true, enough: Some(1) }, cancel)
    }

    /// The same for as many as there should be, but only from trees that are there.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn rotate(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        self.prepare_from(store, keep, &Effort { fresh: false, enough: None }, cancel)
    }

    fn prepare_from(&self, store: &Path, keep: &[Oid], effort: &Effort, cancel: &Cancel) -> Result<Prepared, Error> {
        let Live::Tree(live) = self.live()? else { return Ok(Prepared::Nothing) };
        if self.spare_limit() == 0 {
            return Ok(Prepared::Nothing);
        }
        let trees = &self.trees_folder()?;
        let shape = &self.shape();
        let objects = &Objects::open(store, shape)?;
        let view = &objects.view()?;
        let job = Job { objects, view, trees, cancel };
        self.forget_swept(trees);
        if self.room(&job, live)?.is_tight() {
            self.spares().no_room = true;
            self.drop_spares(trees);
            return Ok(Prepared::NoRoom);
        }
        self.spares().no_room = false;
        let wanted = self.wanted_standbys();
        let enough = effort.enough.map_or(wanted, |enough| enough.min(wanted));
        let has_enough = || effort.enough.is_some() && self.spares().ready() >= enough;
        while !has_enough() {
            let Some(standby) = self.take_unready(live, shape.fingerprint()) else { break };
            self.renew(&job, standby, live)?;
        }
        self.drop_more_than(wanted, trees);
        while self.spares().ready() < enough {
            if !self.rotate_one(&job, live, keep)? {
                break;
            }
        }
        if effort.fresh && self.spares().ready() == 0 {
            let is_large = self.spares().known.get(&live).is_some_and(|known| known.entries > LOOKED_AT_FIRST);
            if is_large && let Some(left) = self.next_replaced(trees, live, keep)?.filter(|left| *left <= SOON) {
                return Ok(Prepared::Soon(left));
            }
            if !self.room(&job, live)?.is_ample() {
                self.spares().no_room = true;
                return Ok(Prepared::NoRoom);
            }
            self.write_fresh(store, &job, live)?;
        }
        Ok(Prepared::Ready(self.spares().ready()))
    }

    /// Accepts the current differences of tracked files in a published tree, or one that is about to be published, as
    /// changes by hooks: they count as published. Returns the number of paths and the first of them, if that is new.
    ///
    /// # Errors
    /// If the tree or the store cannot be read, or the list cannot be kept.
    pub fn accept_changes(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Option<(usize, String)>, Error> {
        let shape = &self.shape();
        let objects = &Objects::open(store, shape)?;
        let (view, trees) = (objects.view()?, self.trees_folder()?);
        let top = self.open_tree(&trees, commit)?;
        let baseline = self.baseline(commit, shape.fingerprint());
        let found = differences(&view, objects.root(commit)?, &top, baseline.as_ref(), cancel)?;
        let before = self.accepted(commit);
        if before.as_deref().map_or(found.is_empty(), |before| *before == found) {
            return Ok(None);
        }
        found.store(&self.state_folder(), commit).map_err(|source| Error::Io {
            doing: "write",
            path: ".pushsync/hook-changes".to_owned(),
            source,
        })?;
        let news = found.first().map(|first| (found.len(), printable(first)));
        if let Some(known) = self.spares().known.get_mut(&commit) {
            known.accepted = (!found.is_empty()).then(|| Arc::new(found));
        }
        Ok(news)
    }

    /// Returns true if an expired tree should stay until it can become a standby tree. To be called only for as many as are
    /// missing.
    #[must_use]
    pub fn may_rotate(&self, commit: Oid) -> bool {
        // Without a live tree there is no commit to update it to.
        if self.lacking_standbys() == 0 || !matches!(self.live(), Ok(Live::Tree(_))) {
            return false;
        }
        // With `--group-write` it may belong to another user, and is then never reused.
        let name = commit.to_string();
        let look = self.trees_folder().and_then(|trees| {
            folder::look(&trees, name.as_bytes()).map_err(|errno| self.failed("look at", name.as_bytes(), errno))
        });
        look.is_ok_and(|stat| stat.is_some_and(|stat| group::is_ours(&stat)))
    }

    /// Drops the state of trees that were swept.
    fn forget_swept(&self, trees: &OwnedFd) {
        let known: Vec<Oid> = self.spares().known.keys().copied().collect();
        let gone: Vec<Oid> =
            known.into_iter().filter(|commit| !self.has_tree(trees, *commit).unwrap_or(true)).collect();
        self.spares().known.retain(|commit, _| !gone.contains(commit));
    }

    fn write_fresh(&self, store: &Path, job: &Job<'_>, live: Oid) -> Result<(), Error> {
        let (root, shape) = (job.objects.root(live)?, job.view.shape().fingerprint());
        let entries = survey::survey(job.view, root, job.cancel)?;
        let tree = NewTree::make(self, job.trees)?;
        let model = self.model(job.trees, live, shape);
        writers::write_tree(store, job.objects, root, &tree.folder, model, job.cancel)?;
        if self.durability() == Durability::Full {
            folder::flush(&tree.folder, entries).map_err(|errno| self.failed("flush", &tree.name, errno))?;
        }
        let top = folder::open(&tree.folder, b".").map_err(|errno| self.failed("open", &tree.name, errno))?;
        let (name, _) = tree.become_spare(live, job.cancel)?;
        let since = self.now_after(job.trees, &top).inspect_err(|_| self.discard(job.trees, &name))?;
        let (baseline, checked) = (Baseline::at(since), Instant::now());
        let state = State::Ready(Ready { baseline, checked, looked_at: None, watch: None });
        self.put_back(Standby { name, commit: live, entries, state, shape, equal: None });
        Ok(())
    }

    /// Returns the current time, later than the rename that gave a tree its name if it can wait for that: a change in the
    /// noted tick of the clock counts as later.
    fn now_after(&self, trees: &OwnedFd, top: &OwnedFd) -> Result<Stamp, Error> {
        let renamed = rustix::fs::fstat(top).map_err(|errno| self.failed("look at", b"", errno))?;
        for _ in 0..MOST_TICKS {
            let now = self.now(trees)?;
            if now > Stamp::of(&renamed) {
                return Ok(now);
            }
            std::thread::sleep(TICK);
        }
        self.now(trees)
    }

    /// Returns the live tree as a model for times and content, as far as it is known to equal its commit.
    fn model(&self, trees: &OwnedFd, live: Oid, shape: u64) -> Option<Model> {
        let known = self.spares().known.get(&live).filter(|known| known.shape == shape)?.clone();
        let baseline = known.baseline?;
        let top = self.open_tree(trees, live).ok()?;
        let times = known.handed_over.map_or_else(|| baseline.clone(), |handed| handed.written);
        Some(Model::new(top, baseline, times))
    }

    fn room(&self, job: &Job<'_>, live: Oid) -> Result<Room, Error> {
        let name = live.to_string();
        let failed = |errno| self.failed("measure", name.as_bytes(), errno);
        let known = self.spares().size.and_then(Size::at_most);
        let tree = if let Some(tree) = known {
            tree
        } else {
            let top = self.open_tree(job.trees, live)?;
            let tree = space::measure(&top, b".", &|| !job.cancel.is_cancelled()).map_err(failed)?;
            let tree = tree.ok_or(Error::Cancelled)?;
            self.spares().size = Some(Size::of(tree));
            tree
        };
        self.measure_for_limit(&|| !job.cancel.is_cancelled())?;
        Room::of(job.trees, tree).map(|room| room.within(self.shape().allowance.left())).map_err(failed)
    }

    /// Compares a tree that was published from a standby tree with its commit, if that is still due.
    fn look_after(&self, job: &Job<'_>, live: Oid) -> Result<Verdict, Error> {
        let known = self.spares().known.get(&live).cloned();
        let shape = job.view.shape();
        // A tree of another shape is replaced by the next push, not repaired.
        let Some(known) = known.filter(|known| known.look_due.is_some() && known.shape == shape.fingerprint()) else {
            return Ok(Verdict::Whole);
        };
        let top = self.open_tree(job.trees, live)?;
        let since = self.now_after(job.trees, &top)?;
        if shape.worktree_git && !git_file::is_led_to(&self.store(), live) {
            return Ok(Verdict::Differs("what its .git file leads to is gone".to_owned()));
        }
        let git_file = shape.worktree_git.then_some(live);
        let root = job.objects.root(live)?;
        let accepted = self.accepted(live);
        let (baseline, until) = (known.baseline.as_ref(), known.handed_over.as_ref().map(|handed| handed.at));
        let look = Look { git_file, baseline, extras: true, accepted: accepted.as_deref(), until };
        let exact = accepted.is_none() && is_exact(job.view, root, &top, known.baseline.as_ref(), job.cancel)?;
        let verdict = if exact { Verdict::Whole } else { verify::compare(job.view, root, top, look, job.cancel)? };
        if verdict == Verdict::Whole {
            let entries = match known.entries {
                0 => survey::survey(job.view, root, job.cancel)?,
                known => known,
            };
            // Changes by hooks and apps are not part of the commit, so the check before the tree's next use has to find
            // them.
            let baseline = if exact { Some(Baseline::at(since)) } else { known.baseline };
            let known = Known { baseline, look_due: None, handed_over: None, entries, accepted, ..known };
            self.spares().known.insert(live, known);
        }
        Ok(verdict)
    }

    /// Checks an unchecked standby tree, or updates an unused one to the live commit.
    fn renew(&self, job: &Job<'_>, standby: Standby, live: Oid) -> Result<(), Error> {
        let shape = job.view.shape().fingerprint();
        let ready = standby.ready().filter(|ready| standby.shape == shape && !ready.baseline.is_long()).cloned();
        if ready.is_some() {
            match Self::is_equal(job, standby.commit, live) {
                Ok(true) => {
                    self.put_back(Standby { equal: Some(live), ..standby });
                    return Ok(());
                }
                Err(Error::Cancelled) => {
                    self.put_back(standby);
                    return Err(Error::Cancelled);
                }
                Ok(false) | Err(_) => {}
            }
        }
        let Some(tree) = NewTree::of_spare(self, job.trees, &standby.name) else { return Ok(()) };
        let baseline = match &standby.state {
            State::Ready(ready) => Some(ready.baseline.clone()),
            State::Unverified(baseline) => baseline.clone(),
        };
        let baseline = baseline.filter(|_| standby.shape == shape);
        let (checked, watch) = ready.map_or((None, None), |ready| (Some(ready.checked), ready.watch));
        let Standby { commit, entries, .. } = standby;
        self.bring_up(job, tree, Candidate { commit, entries, shape, baseline, checked, watch }, live).map(drop)
    }

    fn is_equal(job: &Job<'_>, from: Oid, live: Oid) -> Result<bool, Error> {
        let plan = plan_between(job, job.objects.root(from).ok(), live)?;
        Ok(plan.is_some_and(|plan| plan.changes() == 0))
    }

    /// Turns an expired tree into a standby tree. Returns false if there is none.
    fn rotate_one(&self, job: &Job<'_>, live: Oid, keep: &[Oid]) -> Result<bool, Error> {
        let shape = job.view.shape().fingerprint();
        let mut replaced: Vec<(bool, _, Oid)> = Vec::new();
        for commit in self.trees()? {
            if commit != live && !keep.contains(&commit) {
                let since = self.baseline(commit, shape).map(|baseline| baseline.since());
                // A tree of an earlier process costs the most. The oldest comes first, because it is the least likely to
                // have readers.
                replaced.push((since.is_none(), since, commit));
            }
        }
        replaced.sort_unstable();
        for (_, _, commit) in replaced {
            let Some(tree) = NewTree::of_replaced(self, job.trees, commit, job.cancel)? else { continue };
            let known = self.spares().known.remove(&commit);
            let known = known.filter(|known| known.shape == shape);
            let (entries, baseline) = known.map_or((0, None), |known| (known.entries, known.baseline));
            let candidate = Candidate { commit, entries, shape, baseline, checked: None, watch: None };
            match self.bring_up(job, tree, candidate, live) {
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Ok(true) => return Ok(true),
                // That one is removed; another one may serve.
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, %commit, "a replaced tree cannot be used again"),
            }
        }
        Ok(false)
    }

    /// Returns the time until the next grace period ends.
    fn next_replaced(&self, trees: &OwnedFd, live: Oid, keep: &[Oid]) -> Result<Option<Duration>, Error> {
        let mut next: Option<Duration> = None;
        for commit in self.trees()? {
            let text = commit.to_string();
            let name = text.as_bytes();
            let stat = folder::look(trees, name).map_err(|errno| self.failed("look at", name, errno))?;
            let Some(stat) = stat.filter(group::is_ours) else { continue };
            if commit != live && !keep.contains(&commit) {
                let left = self.ages().owed(name, &stat, self.grace());
                next = next.into_iter().chain(left).min();
            }
        }
        Ok(next)
    }

    /// Turns a tree that no reader knows into a standby tree. Returns false if that is impossible; the tree is removed
    /// then.
    fn bring_up(&self, job: &Job<'_>, tree: NewTree<'_>, mut from: Candidate, live: Oid) -> Result<bool, Error> {
        match self.work_on(job, &tree, &mut from, live) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(Error::Cancelled) => {
                let Candidate { commit, entries, shape, baseline, .. } = from;
                self.put_back(tree.park(commit, entries, shape, baseline));
                return Err(Error::Cancelled);
            }
            Err(error) => return Err(error),
        }
        let Candidate { commit, entries, shape, baseline: Some(baseline), checked: Some(checked), watch } = from else {
            return Ok(false);
        };
        let equal = (commit != live).then_some(live);
        let top = folder::open(&tree.folder, b".").map_err(|errno| self.failed("open", &tree.name, errno))?;
        let (name, mark) = tree.become_spare(commit, job.cancel)?;
        let baseline = baseline.with(vec![(Vec::new(), mark)]);
        if let Some(watch) = &watch {
            watch.settle(&baseline, &top);
        }
        let state = State::Ready(Ready { baseline, checked, looked_at: None, watch });
        self.put_back(Standby { name, commit, entries, state, shape, equal });
        Ok(true)
    }

    /// Restores a tree to its commit if that was not done, then updates it to the live one. `from` always contains the
    /// known state of the tree, also if this is cancelled.
    fn work_on(&self, job: &Job<'_>, tree: &NewTree<'_>, from: &mut Candidate, live: Oid) -> Result<bool, Error> {
        tree.close_to_others()?;
        let old = job.objects.root(from.commit).ok();
        let plan = plan_between(job, old, live)?;
        if from.checked.is_none() || plan.is_none() {
            let root = if let Some(old) = old.filter(|_| plan.is_some()) {
                old
            } else {
                // Entries that are equal in the store may differ on the disk, or its commit is gone: everything is
                // compared.
                from.baseline = None;
                job.objects.root(live)?
            };
            self.check(job, tree, from, root)?;
            if plan.is_none() {
                from.commit = live;
            }
        }
        let Some(plan) = plan else { return Ok(true) };
        if plan.changes() == 0 {
            return Ok(true);
        }
        let Some(baseline) = from.baseline.clone() else { return Ok(false) };
        let entries = from.entries + plan.more;
        let model = self.model(job.trees, live, from.shape);
        let how = Work { baseline: &baseline, durability: self.durability(), model, marks: Marking::All };
        let root = job.objects.root(live)?;
        match plan.carry_out(job.view, &tree.folder, root, how, job.cancel)? {
            Brought::Done(written, marks) => {
                self.tree_grew(&tree.folder, written.size());
                (from.commit, from.entries) = (live, entries);
                match marks {
                    Some(marks) => from.baseline = Some(baseline.with(marks)),
                    // There are too many marks to list.
                    None => self.check(job, tree, from, root)?,
                }
                Ok(true)
            }
            Brought::Doubtful(_) => Ok(false),
        }
    }

    fn check(&self, job: &Job<'_>, tree: &NewTree<'_>, from: &mut Candidate, root: Oid) -> Result<(), Error> {
        // Before the walk, so that later changes by others are noticed.
        let since = self.now(job.trees)?;
        let mut watch = Watch::begin(&tree.folder);
        let baseline = from.baseline.as_ref();
        let restored = restore(job.view, root, &tree.folder, baseline, (watch.as_mut(), &self.listings), job.cancel)?;
        let changed = restored.removed + restored.rewritten > 0;
        if changed {
            tracing::debug!(
                removed = restored.removed,
                rewritten = restored.rewritten,
                "a tree was changed by others and was cleaned before it is used again"
            );
        }
        if changed && self.durability() == Durability::Full {
            folder::flush(&tree.folder, u64::MAX).map_err(|errno| self.failed("flush", &tree.name, errno))?;
        }
        from.baseline = Some(Baseline::at(since).with(restored.marks));
        (from.entries, from.checked) = (restored.entries, Some(Instant::now()));
        from.watch = watch.map(Arc::new);
        Ok(())
    }
}

/// Returns the plan from one commit's tree to that of the live one; `None` if everything has to be compared instead.
fn plan_between(job: &Job<'_>, from: Option<Oid>, live: Oid) -> Result<Option<Plan>, Error> {
    let Some(from) = from else { return Ok(None) };
    let most = usize::try_from(MOST_STEPS).unwrap_or(usize::MAX);
    plan(job.view, from, job.objects.root(live)?, most, job.cancel)
}
