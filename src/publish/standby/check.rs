//! Checks standby trees before an expected push, and published trees after it.
//!
//! It must not change trees.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Oid;

use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::Stamp;
use crate::publish::folder::baseline::Baseline;
use crate::publish::standby::job::{Job, Parts};
use crate::publish::standby::restore::is_exact;
use crate::publish::standby::state::{Ready, StandbyState, StandbyTree};
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::tree::survey;
use crate::publish::tree::view::Objects;
use crate::publish::verify::{self, Verdict, VerifyOptions};
use crate::publish::volume::git_file;
use crate::publish::volume::published::PublishedTree;
use crate::publish::volume::worktrees::{Live, Worktrees};
use crate::worker::Cancel;

/// Longer than a tick of the kernel's clock.
const TICK: Duration = Duration::from_millis(10);

/// On an overloaded machine, or with a disk of another machine, the clock may stand still for longer than a tick.
const MOST_TICKS: usize = 20;

/// Prepares for a push that is being fetched: opens the store, and checks the standby tree as a whole if that is
/// required. If it differs, the build finds and reports it.
///
/// # Errors
/// If the objects or the volume cannot be read. Nothing is changed then.
pub(crate) fn expect_push(parts: Parts<'_>, store: &Path, cancel: &Cancel) -> Result<(), Error> {
    let options = &parts.volume.options();
    if let Some(commit) = parts.standby.next_if_large(options.fingerprint()) {
        // Too large to be checked in this time, so only the store is opened. Reading an object opens its packs.
        let objects = Objects::open(store, options)?;
        objects.root(commit)?;
        parts.standby.store_cache.keep(store, options, objects);
        return Ok(());
    }
    let Some((standby, ready)) = parts.standby.take_next(options.fingerprint()) else { return Ok(()) };
    let verified = verify_standby(parts, store, options, &standby, &ready, cancel);
    let (seen, outcome) = match verified {
        Ok(seen) => (seen, Ok(())),
        Err(error) => (None, Err(error)),
    };
    parts.standby.put_back(match seen {
        Some(ready) => StandbyTree { state: StandbyState::Ready(ready), ..standby },
        None => standby,
    });
    outcome
}

/// Checks a standby tree as a whole and returns its new state; `None` if it differs.
fn verify_standby(
    parts: Parts<'_>,
    store: &Path,
    options: &Arc<CheckoutOptions>,
    standby: &StandbyTree,
    ready: &Ready,
    cancel: &Cancel,
) -> Result<Option<Ready>, Error> {
    let objects = Objects::open(store, options)?;
    let root = objects.root(standby.commit)?;
    let trees = &parts.volume.trees_folder()?;
    // Taken before the walk, so that a change during it counts as a later one.
    let (now, at) = (parts.volume.now(trees)?, Instant::now());
    let top = folder::open(trees, &standby.name).map_err(|errno| parts.volume.failed("open", &standby.name, errno))?;
    let whole = is_exact(&objects.view()?, root, &top, Some(&ready.baseline), cancel)?;
    parts.standby.store_cache.keep(store, options, objects);
    Ok(whole.then(|| Ready {
        baseline: Baseline::at(now),
        checked: at,
        verified_at: Some(at),
        watch: ready.watch.clone(),
    }))
}

/// Compares the live tree with its commit, if that is still due: for a tree that was published from a standby tree, or
/// one of an earlier process. To be called while no sync needs the volume, and cancelled when one does.
///
/// # Errors
/// Among others `no_submodules`: it was published with other submodules than those that are configured now.
pub(crate) fn verify_live(parts: Parts<'_>, store: &Path, cancel: &Cancel) -> Result<Verdict, Error> {
    parts.standby.store_cache.close();
    let Live::Tree(live) = parts.volume.live()? else { return Ok(Verdict::Whole) };
    let trees = &parts.volume.trees_folder()?;
    let objects = &Objects::open(store, &parts.volume.options())?;
    verify_live_tree(&Job { parts, objects, view: &objects.view()?, trees, cancel }, live)
}

/// Compares a tree that was published from a standby tree with its commit, if that is still due.
fn verify_live_tree(job: &Job<'_>, live: Oid) -> Result<Verdict, Error> {
    let parts = job.parts;
    let known = parts.published.get(live);
    let options = job.view.options();
    // A tree of other options is replaced by the next push, not repaired.
    let Some(known) = known.filter(|known| known.verify_due.is_some() && known.fingerprint == options.fingerprint())
    else {
        return Ok(Verdict::Whole);
    };
    let top = parts.volume.open_tree(job.trees, live)?;
    let since = now_after(parts.volume, job.trees, &top)?;
    if options.worktree_git && !git_file::is_led_to(&parts.volume.layout.store(), live) {
        return Ok(Verdict::Differs("what its .git file leads to is gone".to_owned()));
    }
    let git_file = options.worktree_git.then_some(live);
    let root = job.objects.root(live)?;
    let hook_changes = parts.published.hook_changes(live);
    let (baseline, until) = (known.baseline.as_ref(), known.handed_over.as_ref().map(|handed| handed.at));
    let wanted = VerifyOptions { git_file, baseline, extras: true, hook_changes: hook_changes.as_deref(), until };
    let exact = hook_changes.is_none() && is_exact(job.view, root, &top, known.baseline.as_ref(), job.cancel)?;
    let verdict = if exact { Verdict::Whole } else { verify::compare(job.view, root, top, wanted, job.cancel)? };
    if verdict == Verdict::Whole {
        let entries = match known.entries {
            0 => survey::survey(job.view, root, job.cancel)?,
            known => known,
        };
        // Changes by hooks and apps are not part of the commit, so the check before the tree's next use has to find
        // them.
        let baseline = if exact { Some(Baseline::at(since)) } else { known.baseline };
        let known = PublishedTree { baseline, verify_due: None, handed_over: None, entries, hook_changes, ..known };
        parts.published.insert(live, known);
    }
    Ok(verdict)
}

/// Returns the current time, later than the rename that gave a tree its name if it can wait for that: a change in the
/// noted tick of the clock counts as later.
pub(crate) fn now_after(volume: &Worktrees, trees: &OwnedFd, top: &OwnedFd) -> Result<Stamp, Error> {
    let renamed = rustix::fs::fstat(top).map_err(|errno| volume.failed("look at", b"", errno))?;
    for _ in 0..MOST_TICKS {
        let now = volume.now(trees)?;
        if now > Stamp::of(&renamed) {
            return Ok(now);
        }
        std::thread::sleep(TICK);
    }
    volume.now(trees)
}
