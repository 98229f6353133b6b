//! Prepares the next standby trees in the background, preferably from existing trees.
//!
//! All of this can be cancelled between two files, for a push: unfinished trees are continued later, finished ones stay. It
//! must not touch published trees.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Oid;

use crate::publish::checkout::incremental::{Applied, ApplyOptions, Marking, apply};
use crate::publish::checkout::new_tree::NewTree;
use crate::publish::checkout::reference::ReferenceTree;
use crate::publish::checkout::writers;
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::baseline::Baseline;
use crate::publish::folder::group;
use crate::publish::folder::space::{self, Room};
use crate::publish::standby::check::now_after;
use crate::publish::standby::job::{Job, Parts};
use crate::publish::standby::restore::restore;
use crate::publish::standby::state::{MOST_VERIFIED_BEFORE_USE, Ready, StandbyState, StandbyTree};
use crate::publish::standby::watch::Watch;
use crate::publish::tree::survey;
use crate::publish::tree::view::Objects;
use crate::publish::volume::durability::Durability;
use crate::publish::volume::worktrees::Live;
use crate::worker::Cancel;

/// A replaced tree whose grace period ends within this time is awaited, instead of writing a fresh one. At a steady pace of
/// pushes the grace period of an earlier tree often ends just after the last standby tree was used.
const SOON: Duration = Duration::from_millis(200);

/// The outcome of preparing standby trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// No standby trees are wanted, or no tree is published.
    Nothing,
    /// This number is ready.
    Ready(usize),
    /// The volume is too full for the wanted number.
    NoRoom,
    /// None is ready, but the grace period of a replaced tree ends in this time, so a fresh tree is not worth it.
    Soon(Duration),
}

/// The permitted work for standby trees.
pub(crate) struct Effort {
    /// True if a fresh one may be written.
    pub fresh: bool,
    /// This number is enough; `None`: as many as there should be.
    pub enough: Option<usize>,
}

/// A tree on its way to become a standby tree.
struct Candidate {
    commit: Oid,
    entries: u64,
    fingerprint: u64,
    baseline: Option<Baseline>,
    /// When all of it was checked; `None` if that has to be done now.
    checked: Option<Instant>,
    /// The watch since then.
    watch: Option<Arc<Watch>>,
}

/// Makes standby trees, as far as `effort` permits. `keep` are trees that no link names and that must stay.
///
/// # Errors
/// As for a build. The published trees are not touched.
pub(crate) fn prepare(
    parts: Parts<'_>,
    store: &Path,
    keep: &[Oid],
    effort: Effort,
    cancel: &Cancel,
) -> Result<Prepared, Error> {
    let Live::Tree(live) = parts.volume.live()? else { return Ok(Prepared::Nothing) };
    if parts.standby.limit() == 0 {
        return Ok(Prepared::Nothing);
    }
    let trees = &parts.volume.trees_folder()?;
    let options = &parts.volume.options();
    let objects = &Objects::open(store, options)?;
    let view = &objects.view()?;
    let job = Job { parts, objects, view, trees, cancel };
    // Trees are removed without notice to this map, also by users of the volume.
    forget_removed(parts, trees);
    if room(&job, live)?.is_tight() {
        parts.standby.set_no_room(true);
        parts.standby.drop_all(parts.volume, trees);
        return Ok(Prepared::NoRoom);
    }
    parts.standby.set_no_room(false);
    let wanted = parts.standby.wanted();
    let enough = effort.enough.map_or(wanted, |enough| enough.min(wanted));
    let has_enough = || effort.enough.is_some() && parts.standby.ready() >= enough;
    while !has_enough() {
        let Some(standby) = parts.standby.take_unready(live, options.fingerprint()) else { break };
        renew(&job, standby, live)?;
    }
    parts.standby.drop_more_than(wanted, parts.volume, trees);
    while parts.standby.ready() < enough {
        if !rotate_one(&job, live, keep)? {
            break;
        }
    }
    if effort.fresh && parts.standby.ready() == 0 {
        let is_large = parts.published.lock().get(&live).is_some_and(|known| known.entries > MOST_VERIFIED_BEFORE_USE);
        if is_large && let Some(left) = next_replaced(parts, trees, live, keep)?.filter(|left| *left <= SOON) {
            return Ok(Prepared::Soon(left));
        }
        if !room(&job, live)?.is_ample() {
            parts.standby.set_no_room(true);
            return Ok(Prepared::NoRoom);
        }
        write_fresh(store, &job, live)?;
    }
    Ok(Prepared::Ready(parts.standby.ready()))
}

/// Returns true if an expired tree should stay until it can become a standby tree. To be called only for as many as are
/// missing.
#[must_use]
pub(crate) fn may_rotate(parts: Parts<'_>, commit: Oid) -> bool {
    // Without a live tree there is no commit to update it to.
    if parts.standby.lacking() == 0 || !matches!(parts.volume.live(), Ok(Live::Tree(_))) {
        return false;
    }
    // With `--group-write` it may belong to another user, and is then never reused.
    let name = commit.to_string();
    let found = parts.volume.trees_folder().and_then(|trees| {
        folder::stat(&trees, name.as_bytes()).map_err(|errno| parts.volume.failed("look at", name.as_bytes(), errno))
    });
    found.is_ok_and(|stat| stat.is_some_and(|stat| group::is_ours(&stat)))
}

/// Drops the state of trees that were removed.
fn forget_removed(parts: Parts<'_>, trees: &OwnedFd) {
    let known: Vec<Oid> = parts.published.lock().keys().copied().collect();
    let gone: Vec<Oid> =
        known.into_iter().filter(|commit| !parts.volume.has_tree(trees, *commit).unwrap_or(true)).collect();
    parts.published.lock().retain(|commit, _| !gone.contains(commit));
}

fn write_fresh(store: &Path, job: &Job<'_>, live: Oid) -> Result<(), Error> {
    let parts = job.parts;
    let (root, fingerprint) = (job.objects.root(live)?, job.view.options().fingerprint());
    let entries = survey::survey(job.view, root, job.cancel)?;
    let tree = NewTree::make(parts.volume, job.trees)?;
    let reference = reference(parts, job.trees, live, fingerprint);
    writers::write_tree(store, job.objects, root, &tree.folder, reference, job.cancel)?;
    if parts.volume.durability == Durability::Full {
        folder::flush(&tree.folder, entries).map_err(|errno| parts.volume.failed("flush", &tree.name, errno))?;
    }
    let top = folder::open(&tree.folder, b".").map_err(|errno| parts.volume.failed("open", &tree.name, errno))?;
    let (name, _) = tree.become_standby(live, job.cancel)?;
    let since = now_after(parts.volume, job.trees, &top).inspect_err(|_| parts.volume.discard(job.trees, &name))?;
    let (baseline, checked) = (Baseline::at(since), Instant::now());
    let state = StandbyState::Ready(Ready { baseline, checked, verified_at: None, watch: None });
    parts.standby.put_back(StandbyTree { name, commit: live, entries, state, fingerprint, equal: None });
    Ok(())
}

/// Returns the live tree as a model for times and content, as far as it is known to equal its commit.
fn reference(parts: Parts<'_>, trees: &OwnedFd, live: Oid, fingerprint: u64) -> Option<ReferenceTree> {
    let known = parts.published.lock().get(&live).filter(|known| known.fingerprint == fingerprint)?.clone();
    let baseline = known.baseline?;
    let top = parts.volume.open_tree(trees, live).ok()?;
    let times = known.handed_over.map_or_else(|| baseline.clone(), |handed| handed.written);
    Some(ReferenceTree::new(top, baseline, times))
}

fn room(job: &Job<'_>, live: Oid) -> Result<Room, Error> {
    let parts = job.parts;
    let name = live.to_string();
    let failed = |errno| parts.volume.failed("measure", name.as_bytes(), errno);
    let known = parts.usage.live_tree();
    let tree = if let Some(tree) = known {
        tree
    } else {
        let top = parts.volume.open_tree(job.trees, live)?;
        let tree = space::measure(&top, b".", &|| !job.cancel.is_cancelled()).map_err(failed)?;
        let tree = tree.ok_or(Error::Cancelled)?;
        parts.usage.set_live_tree(tree);
        tree
    };
    parts.usage.measure_for_limit(parts.volume, &|| !job.cancel.is_cancelled())?;
    Room::of(job.trees, tree).map(|room| room.within(parts.volume.options().allowance.left())).map_err(failed)
}

/// Checks an unchecked standby tree, or updates an unused one to the live commit.
fn renew(job: &Job<'_>, standby: StandbyTree, live: Oid) -> Result<(), Error> {
    let parts = job.parts;
    let fingerprint = job.view.options().fingerprint();
    let ready =
        standby.ready().filter(|ready| standby.fingerprint == fingerprint && !ready.baseline.is_long()).cloned();
    if ready.is_some() {
        // A revert or an empty commit has the tree of an earlier commit, which then serves as it is.
        match is_equal(job, standby.commit, live) {
            Ok(true) => {
                parts.standby.put_back(StandbyTree { equal: Some(live), ..standby });
                return Ok(());
            }
            Err(Error::Cancelled) => {
                parts.standby.put_back(standby);
                return Err(Error::Cancelled);
            }
            Ok(false) | Err(_) => {}
        }
    }
    let Some(tree) = NewTree::of_standby(parts.volume, job.trees, &standby.name) else { return Ok(()) };
    let baseline = match &standby.state {
        StandbyState::Ready(ready) => Some(ready.baseline.clone()),
        StandbyState::Unverified(baseline) => baseline.clone(),
    };
    let baseline = baseline.filter(|_| standby.fingerprint == fingerprint);
    let (checked, watch) = ready.map_or((None, None), |ready| (Some(ready.checked), ready.watch));
    let StandbyTree { commit, entries, .. } = standby;
    update_to_live(job, tree, Candidate { commit, entries, fingerprint, baseline, checked, watch }, live).map(drop)
}

fn is_equal(job: &Job<'_>, from: Oid, live: Oid) -> Result<bool, Error> {
    let plan = job.plan(job.objects.root(from).ok(), live)?;
    Ok(plan.is_some_and(|plan| plan.changes() == 0))
}

/// Turns an expired tree into a standby tree. Returns false if there is none.
fn rotate_one(job: &Job<'_>, live: Oid, keep: &[Oid]) -> Result<bool, Error> {
    let parts = job.parts;
    let fingerprint = job.view.options().fingerprint();
    let mut replaced: Vec<(bool, _, Oid)> = Vec::new();
    for commit in parts.volume.commits()? {
        if commit != live && !keep.contains(&commit) {
            let since = parts.published.baseline(commit, fingerprint).map(|baseline| baseline.since());
            // A tree of an earlier process costs the most. The oldest comes first, because it is the least likely to
            // have readers.
            replaced.push((since.is_none(), since, commit));
        }
    }
    replaced.sort_unstable();
    for (_, _, commit) in replaced {
        let Some(tree) = NewTree::of_replaced(parts.volume, job.trees, commit, job.cancel)? else { continue };
        let known = parts.published.lock().remove(&commit);
        let known = known.filter(|known| known.fingerprint == fingerprint);
        let (entries, baseline) = known.map_or((0, None), |known| (known.entries, known.baseline));
        let candidate = Candidate { commit, entries, fingerprint, baseline, checked: None, watch: None };
        match update_to_live(job, tree, candidate, live) {
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
fn next_replaced(parts: Parts<'_>, trees: &OwnedFd, live: Oid, keep: &[Oid]) -> Result<Option<Duration>, Error> {
    let mut next: Option<Duration> = None;
    for commit in parts.volume.commits()? {
        let text = commit.to_string();
        let name = text.as_bytes();
        let stat = folder::stat(trees, name).map_err(|errno| parts.volume.failed("look at", name, errno))?;
        let Some(stat) = stat.filter(group::is_ours) else { continue };
        if commit != live && !keep.contains(&commit) {
            let left = parts.volume.grace_periods().remaining(name, &stat, parts.volume.grace);
            next = next.into_iter().chain(left).min();
        }
    }
    Ok(next)
}

/// Turns a tree that no reader knows into a standby tree. Returns false if that is impossible; the tree is removed
/// then.
fn update_to_live(job: &Job<'_>, tree: NewTree<'_>, mut from: Candidate, live: Oid) -> Result<bool, Error> {
    let parts = job.parts;
    match restore_and_update(job, &tree, &mut from, live) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(Error::Cancelled) => {
            let Candidate { commit, entries, fingerprint, baseline, .. } = from;
            parts.standby.put_back(StandbyTree::parked(tree.park(), commit, entries, fingerprint, baseline));
            return Err(Error::Cancelled);
        }
        Err(error) => return Err(error),
    }
    let Candidate { commit, entries, fingerprint, baseline: Some(baseline), checked: Some(checked), watch } = from
    else {
        return Ok(false);
    };
    let equal = (commit != live).then_some(live);
    let top = folder::open(&tree.folder, b".").map_err(|errno| parts.volume.failed("open", &tree.name, errno))?;
    let (name, mark) = tree.become_standby(commit, job.cancel)?;
    let baseline = baseline.with(vec![(Vec::new(), mark)]);
    if let Some(watch) = &watch {
        watch.settle(&baseline, &top);
    }
    let state = StandbyState::Ready(Ready { baseline, checked, verified_at: None, watch });
    parts.standby.put_back(StandbyTree { name, commit, entries, state, fingerprint, equal });
    Ok(true)
}

/// Restores a tree to its commit if that was not done, then updates it to the live one. `from` always contains the
/// known state of the tree, also if this is cancelled.
fn restore_and_update(job: &Job<'_>, tree: &NewTree<'_>, from: &mut Candidate, live: Oid) -> Result<bool, Error> {
    let parts = job.parts;
    tree.close_to_others()?;
    let old = job.objects.root(from.commit).ok();
    let plan = job.plan(old, live)?;
    if from.checked.is_none() || plan.is_none() {
        let root = if let Some(old) = old.filter(|_| plan.is_some()) {
            old
        } else {
            // Entries that are equal in the store may differ on the disk, or its commit is gone: everything is
            // compared.
            from.baseline = None;
            job.objects.root(live)?
        };
        check(job, tree, from, root)?;
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
    let reference = reference(parts, job.trees, live, from.fingerprint);
    let how = ApplyOptions { baseline: &baseline, durability: parts.volume.durability, reference, marks: Marking::All };
    let root = job.objects.root(live)?;
    match apply(plan, job.view, &tree.folder, root, how, job.cancel)? {
        Applied::Done(written, marks) => {
            parts.usage.tree_grew(&tree.folder, written.size());
            (from.commit, from.entries) = (live, entries);
            match marks {
                Some(marks) => from.baseline = Some(baseline.with(marks)),
                // There are too many marks to list.
                None => check(job, tree, from, root)?,
            }
            Ok(true)
        }
        Applied::ChangedByOthers(_) => Ok(false),
    }
}

fn check(job: &Job<'_>, tree: &NewTree<'_>, from: &mut Candidate, root: Oid) -> Result<(), Error> {
    let parts = job.parts;
    // Before the walk, so that later changes by others are noticed.
    let since = parts.volume.now(job.trees)?;
    let mut watch = Watch::begin(&tree.folder);
    let baseline = from.baseline.as_ref();
    let restored =
        restore(job.view, root, &tree.folder, baseline, (watch.as_mut(), &parts.standby.listings), job.cancel)?;
    let changed = restored.removed + restored.rewritten > 0;
    if changed {
        tracing::debug!(
            removed = restored.removed,
            rewritten = restored.rewritten,
            "a tree was changed by others and was cleaned before it is used again"
        );
    }
    if changed && parts.volume.durability == Durability::Full {
        folder::flush(&tree.folder, u64::MAX).map_err(|errno| parts.volume.failed("flush", &tree.name, errno))?;
    }
    from.baseline = Some(Baseline::at(since).with(restored.marks));
    (from.entries, from.checked) = (restored.entries, Some(Instant::now()));
    from.watch = watch.map(Arc::new);
    Ok(())
}
