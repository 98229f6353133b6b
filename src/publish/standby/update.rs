//! Uses a standby tree for a push: updates it to the pushed commit and puts it in place.
//!
//! Any failure ends in a fresh build, as if there had been no standby tree. It must not know how standby trees are made.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Oid;

use crate::publish::checkout::build::NewTree;
use crate::publish::checkout::incremental::{Brought, Marking, Plan, Work, plan};
use crate::publish::folder;
use crate::publish::folder::Stamp;
use crate::publish::folder::baseline::Baseline;
use crate::publish::standby::restore::is_exact;
use crate::publish::standby::{
    HandedOver, Job, Known, LOOK_COUNTS, LOOK_LATER, LOOKED_AT_FIRST, MOST_STEPS, Ready, Standby, State,
};
use crate::publish::tree::options::Shape;
use crate::publish::tree::view::{MAX_ENTRIES, Objects};
use crate::publish::verify;
use crate::publish::verify::Look;
use crate::publish::volume::git_file;
use crate::publish::volume::git_file::Depth;
use crate::publish::volume::layout::{Volume, touch};
use crate::publish::{Built, Error, Verdict};
use crate::worker::Cancel;

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

impl Volume {
    /// Prepares for a push that is being fetched: opens the store, and checks the standby tree as a whole if that is
    /// required. If it differs, the build finds and reports it.
    ///
    /// # Errors
    /// If the objects or the volume cannot be read. Nothing is changed then.
    pub fn expect_push(&self, store: &Path, cancel: &Cancel) -> Result<(), Error> {
        let shape = &self.shape();
        if let Some(commit) = self.large_spare(shape.fingerprint()) {
            let objects = Objects::open(store, shape)?;
            objects.root(commit)?;
            self.warm.keep(store, shape, objects);
            return Ok(());
        }
        let Some((standby, ready)) = self.take_next(shape.fingerprint()) else { return Ok(()) };
        let looked = self.look_at(store, shape, &standby, &ready, cancel);
        let (seen, outcome) = match looked {
            Ok(seen) => (seen, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.put_back(match seen {
            Some(ready) => Standby { state: State::Ready(ready), ..standby },
            None => standby,
        });
        outcome
    }

    /// Returns true if the store was opened for an expected push.
    #[must_use]
    pub fn expects_push(&self) -> bool {
        self.warm.is_open()
    }

    /// Ends the preparation: the expected push did not arrive, or is over. Closes files, so it may wait for the disk.
    pub fn expect_nothing(&self) {
        self.warm.close();
    }

    /// Lets every standby tree be checked as a whole before its use. Needed if hooks run in published trees, because
    /// differences that are found there later count as made by them.
    pub fn look_before_use(&self) {
        self.spares().look_before_use = true;
    }

    /// Returns up to how many entries a standby tree is checked as a whole before its use.
    fn looked_at_first(&self) -> u64 {
        if self.spares().look_before_use { u64::MAX } else { LOOKED_AT_FIRST }
    }

    /// Returns the commit of the next standby tree, if it is too large to be checked as a whole, and no change was reported
    /// in it.
    fn large_spare(&self, shape: u64) -> Option<Oid> {
        let most = self.looked_at_first();
        let spares = self.spares();
        let next = &spares.trees[spares.next(shape)?];
        let is_disturbed = next.ready().is_some_and(Ready::is_disturbed);
        (next.entries > most && !is_disturbed).then_some(next.commit)
    }

    /// Checks a standby tree as a whole and returns its new state; `None` if it differs.
    fn look_at(
        &self,
        store: &Path,
        shape: &Arc<Shape>,
        standby: &Standby,
        ready: &Ready,
        cancel: &Cancel,
    ) -> Result<Option<Ready>, Error> {
        let objects = Objects::open(store, shape)?;
        let root = objects.root(standby.commit)?;
        let trees = &self.trees_folder()?;
        let (now, at) = (self.now(trees)?, Instant::now());
        let top = folder::open(trees, &standby.name).map_err(|errno| self.failed("open", &standby.name, errno))?;
        let whole = is_exact(&objects.view()?, root, &top, Some(&ready.baseline), cancel)?;
        self.warm.keep(store, shape, objects);
        Ok(whole.then(|| Ready {
            baseline: Baseline::at(now),
            checked: at,
            looked_at: Some(at),
            watch: ready.watch.clone(),
        }))
    }

    /// Updates a standby tree to the commit and puts it in place.
    ///
    /// # Errors
    /// `cancelled`, or errors that a fresh tree would not avoid.
    pub(crate) fn build_from_spare(
        &self,
        objects: &Objects,
        trees: &OwnedFd,
        commit: Oid,
        cancel: &Cancel,
    ) -> Result<Used, Error> {
        let view = &objects.view()?;
        let job = Job { objects, view, trees, cancel };
        let root = objects.root(commit)?;
        let shape = view.shape().fingerprint();
        let Some((standby, ready)) = self.take_next(shape) else { return Ok(Used::No(None)) };
        let from = standby.commit;
        let plan = match self.examine(&job, &standby, &ready, root) {
            Ok(Ok(plan)) => plan,
            Ok(Err(Unfit::Spoilt(why))) => {
                // It is checked and cleaned before another push may use it.
                let state = State::Unverified(Some(ready.baseline));
                self.put_back(Standby { state, ..standby });
                return Ok(Used::No(Some(why)));
            }
            Ok(Err(Unfit::Far)) => {
                // It stays for the next push, unless its space is needed; removing it now would only take time.
                self.put_back(standby);
                return Ok(Used::No(Some("too much differs".to_owned())));
            }
            Err(error) => {
                self.put_back(standby);
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
        let Some(mut tree) = NewTree::of_spare(self, trees, &standby.name) else {
            return Ok(Used::No(Some("it is gone".to_owned())));
        };
        let how =
            Work { baseline: &ready.baseline, durability: self.durability(), model: None, marks: Marking::Written };
        let (written, marks) = match plan.carry_out(view, &tree.folder, root, how, cancel) {
            Ok(Brought::Done(written, marks)) => (written, marks),
            Ok(Brought::Doubtful(path)) => {
                self.put_back(tree.park(from, standby.entries, shape, Some(ready.baseline)));
                return Ok(Used::No(Some(changed_by_others(&path))));
            }
            Err(Error::Cancelled) => {
                self.put_back(tree.park(from, standby.entries, shape, Some(ready.baseline)));
                return Err(Error::Cancelled);
            }
            Err(error) => return Ok(Used::No(Some(error.to_string()))),
        };
        if view.shape().worktree_git
            && let Err(error) = git_file::write(&tree.folder, commit, Depth::Plain, view.shape())
        {
            return Ok(Used::No(Some(error.to_string())));
        }
        // Its folder may be as old as its last change, and a sweep uses that age until the tree is published.
        touch(trees, &tree.name);
        tree.take_the_place_of(commit, cancel)?;
        self.tree_grew(&tree.folder, written.size());
        self.live_tree_grew(written.size());
        // Changes by other processes to an unwatched tree are found after the publish and not before, because walking
        // through a large tree takes longer than the rest of the push.
        let handed_over = marks.filter(|_| was_quiet).and_then(|marks| {
            let at = Stamp::of(&rustix::fs::fstat(&tree.folder).ok()?);
            Some(HandedOver { at, written: ready.baseline.with(marks) })
        });
        let look_due = Some(Instant::now() + if handed_over.is_some() { LOOK_LATER } else { Duration::ZERO });
        // Readers with write access may change a new file in the same tick of the clock, so none of the new files counts as
        // unchanged.
        let baseline = Some(ready.baseline);
        let known = Known { baseline, entries, look_due, handed_over, shape, accepted: None };
        self.spares().known.insert(commit, known);
        let remarks = written.remarks.words(view.shape().lfs);
        let (files, bytes) = (written.files, written.bytes);
        Ok(Used::Built(Built { commit, files, bytes, spare: Some(from), note: None, remarks }))
    }

    /// Returns the plan, if the tree can be trusted and the plan is cheaper than a fresh tree. Changes nothing.
    fn examine(
        &self,
        job: &Job<'_>,
        standby: &Standby,
        ready: &Ready,
        root: Oid,
    ) -> Result<Result<Plan, Unfit>, Error> {
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
        let stat = rustix::fs::fstat(&top).map_err(|errno| self.failed("look at", &standby.name, errno))?;
        let looked = ready.looked_at.is_some_and(|at| at.elapsed() < LOOK_COUNTS);
        let is_due = (standby.entries <= self.looked_at_first() || ready.is_disturbed()) && !looked;
        if (is_due || !ready.baseline.holds(b"", b"", &stat))
            && !is_exact(job.view, old, &top, Some(&ready.baseline), job.cancel)?
        {
            let look = Look { baseline: Some(&ready.baseline), ..Look::default() };
            match verify::compare(job.view, old, top, look, job.cancel)? {
                Verdict::Whole => {}
                Verdict::Differs(difference) => return spoilt(changed_by_others(difference.as_bytes())),
            }
        }
        Ok(Ok(plan))
    }
}

fn changed_by_others(path: &[u8]) -> String {
    format!("another process changed it: {}", crate::publish::path::printable(path))
}
