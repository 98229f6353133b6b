//! A spare tree: complete, durable, unseen by readers, so that the next push only pays for what it changes.
//!
//! Its name is its mark. `.spare-<commit>-…` is given by a rename after everything in it is on the disk, and taken away
//! by a rename before the first touch; what is being worked on is called `.tmp-…` and goes at the next start. A process
//! that died in between leaves one or the other, never a spare that is half of two commits.
//!
//! What others do to it meanwhile shows in the times of the last change (ctime), which the kernel sets and no program can:
//! ARCHITECTURE.md says what is looked at when, and what is not caught. It must not know when a push is due.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use git2::Oid;

use super::bring::{Brought, Plan, plan};
use super::build::NewTree;
use super::folder::{self, Stamp};
use super::git_file::Depth;
use super::link::commit_named;
use super::objects::{MAX_ENTRIES, Objects, View};
use super::room::Size;
use super::shape::Shape;
use super::sweep::{DOOMED, UNFINISHED};
use super::volume::{Volume, touch, unique};
use super::{Built, Error, Verdict, git_file, share, verify};
use crate::worker::Cancel;

/// What the name of a spare begins with; the commit and something unique follow.
pub(super) const SPARE: &str = ".spare-";

/// A spare of at most so many entries is looked at as a whole before it is used, while the push is still being fetched:
/// that takes some three milliseconds. Of a larger one only the folders that the push touches, and the rest right after
/// the publish.
pub(super) const LOOKED_AT_FIRST: u64 = 1_000;

/// For how long such a look counts. A push that takes longer to come is slow anyway.
const LOOK_COUNTS: Duration = Duration::from_secs(1);

/// A plan of more steps takes too much memory; half of them would be half of a tree anyway.
pub(super) const MOST_STEPS: u64 = 150_000;

/// A tree that is ready to become another commit's.
#[derive(Debug)]
pub(super) struct Spare {
    pub name: Vec<u8>,
    pub commit: Oid,
    /// At least as many as there are: it saves the count of every push.
    pub entries: u64,
    /// What was not changed after this is as we wrote it. `None`: an earlier process left it, and it has not been looked at.
    pub since: Option<Stamp>,
    /// The shape that it was written with (`Shape::fingerprint`).
    pub shape: u64,
    /// When it was last looked at as a whole.
    pub looked_at: Option<Instant>,
}

impl Spare {
    /// One that nobody has looked at so far.
    pub(super) fn unseen(name: Vec<u8>, commit: Oid, entries: u64) -> Self {
        Self { name, commit, entries, since: None, shape: 0, looked_at: None }
    }

    /// True if it has to be looked at as a whole now.
    fn is_small(&self) -> bool {
        let counts = self.looked_at.is_some_and(|at| at.elapsed() < LOOK_COUNTS);
        self.entries <= LOOKED_AT_FIRST && !counts
    }
}

/// What this process knows of a published tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust {
    /// `None`: an earlier process left it, and nothing of it has been looked at.
    pub since: Option<Stamp>,
    pub entries: u64,
    /// True if the whole tree was compared with its commit, or written, at that time.
    pub complete: bool,
    /// The shape that it was written with.
    pub shape: u64,
}

#[derive(Debug, Default)]
pub(super) struct Spares {
    pub ready: Vec<Spare>,
    pub trees: HashMap<Oid, Trust>,
    /// About what the live tree takes; `None` if it has to be measured.
    pub size: Option<Size>,
}

/// How an attempt to use a spare ended, if not in an error that ends the build.
pub(super) enum Used {
    Built(Built),
    /// A fresh tree has to be built; if a spare was there, this is why it was not used.
    No(Option<String>),
}

/// Why a spare is not used for a push.
enum Unfit {
    /// It is of no use to any push.
    Spoilt(String),
    /// The commit differs too much from its own.
    Far,
}

/// What a job works with.
pub(super) struct Job<'a> {
    pub objects: &'a Objects,
    pub view: &'a View<'a>,
    pub trees: &'a OwnedFd,
    pub cancel: &'a Cancel,
}

impl Volume {
    /// Brings a spare to the commit and gives it its place.
    ///
    /// # Errors
    /// `cancelled`, or what a fresh tree would not help against.
    pub(super) fn build_from_spare(
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
        let Some((spare, since)) = self.take_spare(shape) else { return Ok(Used::No(None)) };
        let from = spare.commit;
        let plan = match self.examine(&job, &spare, since, root) {
            Ok(Ok(plan)) => plan,
            Ok(Err(Unfit::Spoilt(why))) => {
                discard(trees, &spare.name);
                return Ok(Used::No(Some(why)));
            }
            Ok(Err(Unfit::Far)) => {
                // It stays for the next push, if the space is not wanted; removing it now would only take time.
                self.put_back(spare);
                return Ok(Used::No(Some("too much differs".to_owned())));
            }
            Err(error) => {
                self.put_back(spare);
                return match error {
                    Error::Cancelled => Err(error),
                    // A fresh build says what is wrong with the commit, if it is the commit.
                    other => Ok(Used::No(Some(other.to_string()))),
                };
            }
        };
        let entries = spare.entries + plan.more;
        let Some(mut tree) = NewTree::of_spare(self, trees, &spare.name) else {
            return Ok(Used::No(Some("it is gone".to_owned())));
        };
        let written = match plan.carry_out(view, &tree.folder, since, self.durability(), cancel) {
            Ok(Brought::Done(written)) => written,
            Ok(Brought::Doubtful(path)) => return Ok(Used::No(Some(changed_by_others(&path)))),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => return Ok(Used::No(Some(error.to_string()))),
        };
        if view.shape().worktree_git
            && let Err(error) = git_file::write(&tree.folder, commit, Depth::Plain, view.shape())
        {
            return Ok(Used::No(Some(error.to_string())));
        }
        // Its folder may be as old as the commits that left it alone, and a sweep goes by that until it is published.
        touch(trees, &tree.name);
        tree.take_the_place_of(commit, cancel)?;
        {
            let mut spares = self.spares();
            spares.trees.insert(commit, Trust { since: Some(since), entries, complete: false, shape });
            if let Some(size) = &mut spares.size {
                size.grow(written.size());
            }
        }
        let remarks = written.remarks.words(view.shape().lfs);
        let (files, bytes) = (written.files, written.bytes);
        Ok(Used::Built(Built { commit, files, bytes, spare: Some(from), note: None, remarks }))
    }

    /// The plan, if the spare is to be trusted and it is worth it. Touches nothing.
    fn examine(&self, job: &Job<'_>, spare: &Spare, since: Stamp, root: Oid) -> Result<Result<Plan, Unfit>, Error> {
        let spoilt = |why: String| Ok(Err(Unfit::Spoilt(why)));
        let old = match job.objects.root(spare.commit) {
            Ok(old) => old,
            Err(error) => return spoilt(error.to_string()),
        };
        // A changed file is removed and made, an unchanged one of a fresh tree only made.
        let most = (spare.entries / 2 + 128).min(MOST_STEPS);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let Some(plan) = plan(job.view, old, root, most, job.cancel)? else {
            return Ok(Err(Unfit::Far));
        };
        if spare.entries + plan.more > MAX_ENTRIES {
            return spoilt("its entries have to be counted".to_owned());
        }
        let top = match folder::open(job.trees, &spare.name) {
            Ok(top) => top,
            Err(errno) => return spoilt(errno.to_string()),
        };
        let stat = rustix::fs::fstat(&top).map_err(|errno| self.failed("look at", &spare.name, errno))?;
        if spare.is_small() || Stamp::of(&stat) > since {
            match verify::compare(job.view, old, top, None, Some(since), job.cancel)? {
                Verdict::Whole => {}
                Verdict::Differs(difference) => return spoilt(changed_by_others(difference.as_bytes())),
            }
        }
        Ok(Ok(plan))
    }

    /// True if there are fewer spares than there should be.
    #[must_use]
    pub fn lacks_spares(&self) -> bool {
        self.spares().ready.len() < self.spare_limit()
    }

    /// True if the next push need not wait for a spare.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.spares().ready.iter().any(|spare| spare.since.is_some())
    }

    /// Notes that a tree was written by this process just now.
    pub(super) fn note_written(&self, trees: &OwnedFd, commit: Oid, entries: u64, shape: &Shape) {
        if let Ok(since) = self.now(trees) {
            let shape = shape.fingerprint();
            self.spares().trees.insert(commit, Trust { since: Some(since), entries, complete: true, shape });
        }
    }

    pub(super) fn take_spare(&self, shape: u64) -> Option<(Spare, Stamp)> {
        let mut spares = self.spares();
        let at = spares.ready.iter().position(|spare| spare.since.is_some() && spare.shape == shape)?;
        let spare = spares.ready.remove(at);
        let since = spare.since?;
        Some((spare, since))
    }

    /// Takes out one that has to be worked on.
    pub(super) fn take_unready(&self, live: Oid, shape: u64) -> Option<Spare> {
        let mut spares = self.spares();
        let unready = |spare: &Spare| spare.since.is_none() || spare.commit != live || spare.shape != shape;
        let at = spares.ready.iter().position(unready)?;
        Some(spares.ready.remove(at))
    }

    pub(super) fn put_back(&self, spare: Spare) {
        self.spares().ready.push(spare);
    }

    /// Removes all spares. True if there were any.
    pub(super) fn drop_spares(&self, trees: &OwnedFd) -> bool {
        self.drop_more_than(0, trees)
    }

    /// Removes the spares above a number. True if there were any.
    pub(super) fn drop_more_than(&self, kept: usize, trees: &OwnedFd) -> bool {
        let dropped: Vec<_> = {
            let mut spares = self.spares();
            let kept = kept.min(spares.ready.len());
            spares.ready.drain(kept..).collect()
        };
        for spare in &dropped {
            discard(trees, &spare.name);
        }
        !dropped.is_empty()
    }

    /// Finds the spares that an earlier process left. They are looked at before they are used; more than wanted go.
    pub(super) fn find_spares(&self, trees: &OwnedFd, names: &[Vec<u8>]) {
        for name in names {
            let Some(rest) = name.strip_prefix(SPARE.as_bytes()) else { continue };
            let commit =
                rest.get(..40).and_then(|hash| commit_named(Some(std::os::unix::ffi::OsStrExt::from_bytes(hash))));
            // With `--group-write` it may be another user's, whose modes are not ours to change.
            let ours = folder::look(trees, name).is_ok_and(|stat| stat.is_some_and(|stat| share::is_ours(&stat)));
            let wanted = ours && self.spares().ready.len() < self.spare_limit();
            match commit {
                Some(commit) if wanted => {
                    self.put_back(Spare::unseen(name.clone(), commit, 0));
                }
                _ => discard(trees, name),
            }
        }
    }

    pub(super) fn now(&self, trees: &OwnedFd) -> Result<Stamp, Error> {
        let name = unique(UNFINISHED);
        Stamp::now(trees, &name).map_err(|errno| self.failed("create", &name, errno).with_cause_from(trees))
    }
}

fn changed_by_others(path: &[u8]) -> String {
    format!("somebody changed it: {}", super::path::printable(path))
}

/// Takes its name from a spare, then removes it. What cannot be removed now is a leftover for the next sweep.
pub(super) fn discard(trees: &OwnedFd, name: &[u8]) {
    let doomed = unique(DOOMED);
    if rustix::fs::renameat(trees, name, trees, &*doomed).is_ok() {
        let _ = folder::remove_all(trees, &doomed);
    }
}
