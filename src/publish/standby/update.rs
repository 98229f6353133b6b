//! Uses a standby tree for a push: updates it to the pushed commit and puts it in place.
//!
//! Any failure ends in a fresh build, as if there had been no standby tree. It must not know how standby trees are made.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use git2::Oid;

use crate::publish::checkout::Built;
use crate::publish::checkout::incremental::{Applied, ApplyOptions, Marking, apply};
use crate::publish::checkout::new_tree::NewTree;
use crate::publish::checkout::plan::{Plan, plan};
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::Stamp;
use crate::publish::path::printable;
use crate::publish::standby::job::{Job, MOST_STEPS, Parts};
use crate::publish::standby::restore::is_exact;
use crate::publish::standby::state::{Ready, StandbyState, StandbyTree};
use crate::publish::tree::view::{MAX_ENTRIES, Objects};
use crate::publish::verify::{self, Verdict, VerifyOptions};
use crate::publish::volume::git_file::{self, Depth};
use crate::publish::volume::layout::touch;
use crate::publish::volume::published::{HandedOver, PublishedTree};
use crate::worker::Cancel;

/// How long such a check counts. A push that takes longer to arrive is slow anyway.
const VERIFIED_FOR: Duration = Duration::from_secs(1);

/// A published tree that was watched as a standby tree is compared with its commit after this time without a push. With
/// more frequent pushes the check before its next use comes first.
const VERIFY_AFTER: Duration = Duration::from_secs(120);

/// The outcome of an attempt to use a standby tree, except for an error that ends the build.
pub(crate) enum Used {
    Built(Built),
    /// A fresh tree has to be built. If there was a standby tree, this is the reason why it was not used.
    No(Option<String>),
}

/// The reason why a standby tree is not used for a push.
enum Unfit {
    /// No push can use it before it was checked again.
    Spoilt(String),
    /// The pushed commit differs too much from its own.
    Far,
}

/// Updates a standby tree to the commit and puts it in place.
///
/// # Errors
/// `cancelled`, or errors that a fresh tree would not avoid.
pub(crate) fn build(
    parts: Parts<'_>,
    objects: &Objects,
    trees: &OwnedFd,
    commit: Oid,
    cancel: &Cancel,
) -> Result<Used, Error> {
    let view = &objects.view()?;
    let job = Job { parts, objects, view, trees, cancel };
    let root = objects.root(commit)?;
    let fingerprint = view.options().fingerprint();
    let Some((standby, ready)) = parts.standby.take_next(fingerprint) else { return Ok(Used::No(None)) };
    let from = standby.commit;
    let plan = match examine(&job, &standby, &ready, root) {
        Ok(Ok(plan)) => plan,
        Ok(Err(Unfit::Spoilt(why))) => {
            // It is checked and cleaned before another push may use it.
            let state = StandbyState::Unverified(Some(ready.baseline));
            parts.standby.put_back(StandbyTree { state, ..standby });
            return Ok(Used::No(Some(why)));
        }
        Ok(Err(Unfit::Far)) => {
            // It stays for the next push, unless its space is needed; removing it now would only take time.
            parts.standby.put_back(standby);
            return Ok(Used::No(Some("too much differs".to_owned())));
        }
        Err(error) => {
            parts.standby.put_back(standby);
            return match error {
                Error::Cancelled => Err(error),
                // A fresh build reports what is wrong with the commit, if it is the commit.
                other => Ok(Used::No(Some(other.to_string()))),
            };
        }
    };
    let entries = standby.entries + plan.more;
    // Read before this program changes anything itself.
    let was_quiet = ready.is_quiet();
    let Some(mut tree) = NewTree::of_standby(parts.volume, trees, &standby.name) else {
        return Ok(Used::No(Some("it is gone".to_owned())));
    };
    let how = ApplyOptions {
        baseline: &ready.baseline,
        durability: parts.volume.durability,
        reference: None,
        marks: Marking::Written,
    };
    let (written, marks) = match apply(plan, view, &tree.folder, root, how, cancel) {
        Ok(Applied::Done(written, marks)) => (written, marks),
        stopped @ (Ok(Applied::ChangedByOthers(_)) | Err(Error::Cancelled)) => {
            parts.standby.put_back(StandbyTree::parked(
                tree.park(),
                from,
                standby.entries,
                fingerprint,
                Some(ready.baseline),
            ));
            return match stopped {
                Ok(Applied::ChangedByOthers(path)) => Ok(Used::No(Some(changed_by_others(&path)))),
                _ => Err(Error::Cancelled),
            };
        }
        Err(error) => return Ok(Used::No(Some(error.to_string()))),
    };
    if view.options().worktree_git
        && let Err(error) = git_file::write(&tree.folder, commit, Depth::Plain, view.options())
    {
        return Ok(Used::No(Some(error.to_string())));
    }
    // Its folder may be as old as its last change, and a sweep uses that age until the tree is published.
    touch(trees, &tree.name);
    tree.take_the_place_of(parts.published, commit, cancel)?;
    parts.usage.tree_grew(&tree.folder, written.size());
    parts.usage.live_tree_grew(written.size());
    // Changes by other processes to an unwatched tree are found after the publish and not before, because walking
    // through a large tree takes longer than the rest of the push.
    let handed_over = marks.filter(|_| was_quiet).and_then(|marks| {
        let at = Stamp::of(&rustix::fs::fstat(&tree.folder).ok()?);
        Some(HandedOver { at, written: ready.baseline.with(marks) })
    });
    let verify_due = Some(Instant::now() + if handed_over.is_some() { VERIFY_AFTER } else { Duration::ZERO });
    // Readers with write access may change a new file in the same tick of the clock, so none of the new files counts as
    // unchanged.
    let baseline = Some(ready.baseline);
    let known = PublishedTree { baseline, entries, verify_due, handed_over, fingerprint, hook_changes: None };
    parts.published.insert(commit, known);
    let remarks = written.remarks.words(view.options().lfs);
    let (files, bytes) = (written.files, written.bytes);
    Ok(Used::Built(Built { commit, files, bytes, standby: Some(from), note: None, remarks }))
}

/// Returns the plan, if the tree can be trusted and the plan is cheaper than a fresh tree. Changes nothing.
fn examine(job: &Job<'_>, standby: &StandbyTree, ready: &Ready, root: Oid) -> Result<Result<Plan, Unfit>, Error> {
    let parts = job.parts;
    let spoilt = |why: String| Ok(Err(Unfit::Spoilt(why)));
    let old = match job.objects.root(standby.commit) {
        Ok(old) => old,
        Err(error) => return spoilt(error.to_string()),
    };
    // A changed file is removed and written, while in a fresh tree each file is only written. So half of the entries
    // cost about as much as a fresh tree.
    let most = (standby.entries / 2 + 128).min(MOST_STEPS);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let Some(plan) = plan(job.view, old, root, most, job.cancel)? else {
        return Ok(Err(Unfit::Far));
    };
    if standby.entries + plan.more > MAX_ENTRIES {
        return spoilt("its entries have to be counted".to_owned());
    }
    let top = match folder::open(job.trees, &standby.name) {
        Ok(top) => top,
        Err(errno) => return spoilt(errno.to_string()),
    };
    let stat = rustix::fs::fstat(&top).map_err(|errno| parts.volume.failed("look at", &standby.name, errno))?;
    let is_fresh = ready.verified_at.is_some_and(|at| at.elapsed() < VERIFIED_FOR);
    let is_due = (standby.entries <= parts.standby.verified_before_use() || ready.is_disturbed()) && !is_fresh;
    if (is_due || !ready.baseline.holds(b"", b"", &stat))
        && !is_exact(job.view, old, &top, Some(&ready.baseline), job.cancel)?
    {
        let wanted = VerifyOptions { baseline: Some(&ready.baseline), ..VerifyOptions::default() };
        match verify::compare(job.view, old, top, wanted, job.cancel)? {
            Verdict::Whole => {}
            Verdict::Differs(difference) => return spoilt(changed_by_others(difference.as_bytes())),
        }
    }
    Ok(Ok(plan))
}

fn changed_by_others(path: &[u8]) -> String {
    format!("another process changed it: {}", printable(path))
}
