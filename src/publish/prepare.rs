//! The next spare: made while nobody waits, from what there is already if it can be.
//!
//! Everything here may be given up between two files, and is when a push wants to build: what is unfinished goes, what is
//! ready stays. It must not touch what readers see.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use git2::Oid;

use super::bring::{Brought, plan};
use super::build::NewTree;
use super::clone::Model;
use super::folder::{self, Stamp};
use super::objects::Objects;
use super::room::{self, Room, Size};
use super::shape::Shape;
use super::spare::{Job, LOOKED_AT_FIRST, MOST_STEPS, Spare, Trust, discard};
use super::volume::Volume;
use super::{Durability, Error, Live, Prepared, Verdict, git_file, verify, walk, write};
use crate::worker::Cancel;

/// What is to be believed of a tree before it is vouched for.
#[derive(Clone, Copy)]
enum Believe {
    All,
    Since(Stamp),
    Nothing,
}

impl Volume {
    /// Compares the live tree with its commit, as far as that was left for later: a tree that was published from a spare,
    /// or one that an earlier process left. To be called when nobody waits for the volume, and cancelled when somebody does.
    ///
    /// # Errors
    /// Among others `no_submodules`: it was published when other ones were wanted, or none.
    pub fn look_again(&self, store: &Path, cancel: &Cancel) -> Result<Verdict, Error> {
        self.warm.close();
        let Live::Tree(live) = self.live()? else { return Ok(Verdict::Whole) };
        let trees = &self.trees_folder()?;
        let objects = &Objects::open(store, &self.shape())?;
        self.look_after(&Job { objects, view: &objects.view()?, trees, cancel }, live)
    }

    /// Leaves the comparison of a tree that an earlier process published to [`Volume::look_again`].
    pub fn believe_for_now(&self, commit: Oid) {
        let shape = self.shape().fingerprint();
        self.spares().trees.insert(commit, Trust { since: None, entries: 0, complete: false, shape });
    }

    /// Sees to it that there are as many spares of the live tree as there should be. To be called when nobody waits for
    /// the volume.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn prepare(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        let Live::Tree(live) = self.live()? else { return Ok(Prepared::Nothing) };
        if self.spare_limit() == 0 {
            return Ok(Prepared::Nothing);
        }
        let trees = &self.trees_folder()?;
        let shape = &self.shape();
        let objects = &Objects::open(store, shape)?;
        let view = &objects.view()?;
        let job = Job { objects, view, trees, cancel };
        if self.room(&job, live)?.is_tight() {
            self.drop_spares(trees);
            return Ok(Prepared::NoRoom);
        }
        while let Some(spare) = self.take_unready(live, shape.fingerprint()) {
            self.renew(&job, spare, live)?;
        }
        // One that was given up while it was being looked at came back after another had been made.
        self.drop_more_than(self.spare_limit(), trees);
        while self.lacks_spares() {
            if self.recycle(&job, live, keep)? {
                continue;
            }
            if !self.room(&job, live)?.is_ample() {
                return Ok(Prepared::NoRoom);
            }
            let root = objects.root(live)?;
            let entries = walk::survey(view, root, cancel)?;
            let tree = NewTree::make(self, trees)?;
            let model = self.model(trees, live, shape.fingerprint());
            write::write_tree(store, objects, root, &tree.folder, model, cancel)?;
            if self.durability() == Durability::Full {
                folder::flush(&tree.folder, entries).map_err(|errno| self.failed("flush", &tree.name, errno))?;
            }
            let name = tree.become_spare(live, cancel)?;
            let spare = Spare::unseen(name, live, entries);
            let Some(spare) = self.vouch(&job, spare, Believe::All)? else { break };
            self.put_back(spare);
        }
        Ok(Prepared::Ready(self.spares().ready.len()))
    }

    /// Opens the store, and looks at the spare that a push is about to want, if it has to be looked at as a whole. To be
    /// called while the push is still on its way. What is wrong with the spare is for the build to find, and to tell.
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
        let Some((spare, since)) = self.take_spare(shape.fingerprint()) else { return Ok(()) };
        let looked = self.look_at(store, shape, &spare, since, cancel);
        let (seen, outcome) = match looked {
            Ok(seen) => (seen, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.put_back(match seen {
            Some((now, at)) => Spare { since: Some(now), looked_at: Some(at), ..spare },
            None => spare,
        });
        outcome
    }

    /// True if the store was opened for a push that is expected.
    #[must_use]
    pub fn expects_push(&self) -> bool {
        self.warm.is_open()
    }

    /// The push that was expected did not come, or is over. Closes files, so it may wait for the disk.
    pub fn expect_nothing(&self) {
        self.warm.close();
    }

    /// The commit of the spare that the next push would use, if that is too large to be looked at as a whole.
    fn large_spare(&self, shape: u64) -> Option<Oid> {
        let spares = self.spares();
        let next = spares.ready.iter().find(|spare| spare.since.is_some() && spare.shape == shape)?;
        (next.entries > LOOKED_AT_FIRST).then_some(next.commit)
    }

    /// Answers since when a spare is known to be whole; `None` if it is not.
    fn look_at(
        &self,
        store: &Path,
        shape: &Arc<Shape>,
        spare: &Spare,
        since: Stamp,
        cancel: &Cancel,
    ) -> Result<Option<(Stamp, Instant)>, Error> {
        let objects = Objects::open(store, shape)?;
        let root = objects.root(spare.commit)?;
        let trees = &self.trees_folder()?;
        let (now, at) = (self.now(trees)?, Instant::now());
        let top = folder::open(trees, &spare.name).map_err(|errno| self.failed("open", &spare.name, errno))?;
        let verdict = verify::compare(&objects.view()?, root, top, None, Some(since), cancel)?;
        self.warm.keep(store, shape, objects);
        Ok((verdict == Verdict::Whole).then_some((now, at)))
    }

    /// The live tree, if it is known to hold what its commit holds.
    fn model(&self, trees: &OwnedFd, live: Oid, shape: u64) -> Option<Model> {
        let known = self.spares().trees.get(&live).copied();
        let trust = known.filter(|trust| trust.complete && trust.shape == shape)?;
        let top = self.open_tree(trees, live).ok()?;
        Some(Model::new(top, trust.since?))
    }

    fn room(&self, job: &Job<'_>, live: Oid) -> Result<Room, Error> {
        let name = live.to_string();
        let failed = |errno| self.failed("measure", name.as_bytes(), errno);
        let known = self.spares().size.and_then(Size::at_most);
        let tree = if let Some(tree) = known {
            tree
        } else {
            let top = self.open_tree(job.trees, live)?;
            let tree = room::measure(&top, b".", &|| !job.cancel.is_cancelled()).map_err(failed)?;
            let tree = tree.ok_or(Error::Cancelled)?;
            self.spares().size = Some(Size::of(tree));
            tree
        };
        self.measure_for_limit(&|| !job.cancel.is_cancelled())?;
        Room::of(job.trees, tree).map(|room| room.within(self.shape().allowance.left())).map_err(failed)
    }

    /// Compares a tree that was published from a spare with its commit, as far as that was left for later.
    fn look_after(&self, job: &Job<'_>, live: Oid) -> Result<Verdict, Error> {
        let known = self.spares().trees.get(&live).copied();
        let shape = job.view.shape();
        // A tree of another shape is replaced by the next push, not repaired.
        let Some(trust) = known.filter(|trust| !trust.complete && trust.shape == shape.fingerprint()) else {
            return Ok(Verdict::Whole);
        };
        let since = self.now(job.trees)?;
        let top = self.open_tree(job.trees, live)?;
        if shape.worktree_git && !git_file::is_led_to(&self.store(), live) {
            return Ok(Verdict::Differs("what its .git file leads to is gone".to_owned()));
        }
        let git_file = shape.worktree_git.then_some(live);
        let root = job.objects.root(live)?;
        let verdict = verify::compare(job.view, root, top, git_file, trust.since, job.cancel)?;
        if verdict == Verdict::Whole {
            let entries = match trust.entries {
                0 => walk::survey(job.view, job.objects.root(live)?, job.cancel)?,
                known => known,
            };
            self.spares().trees.insert(live, Trust { since: Some(since), entries, complete: true, shape: trust.shape });
        }
        Ok(verdict)
    }

    /// Takes up a spare of an earlier process, or brings one to the live commit that no push wanted.
    fn renew(&self, job: &Job<'_>, mut spare: Spare, live: Oid) -> Result<(), Error> {
        if spare.since.is_none() || spare.shape != job.view.shape().fingerprint() {
            let Ok(root) = job.objects.root(spare.commit) else {
                discard(job.trees, &spare.name);
                return Ok(());
            };
            spare.entries = match walk::survey(job.view, root, job.cancel) {
                Ok(entries) => entries,
                Err(error) => {
                    self.put_back(spare);
                    return Err(error);
                }
            };
            let Some(vouched) = self.vouch(job, spare, Believe::Nothing)? else { return Ok(()) };
            spare = vouched;
            if spare.commit == live {
                self.put_back(spare);
                return Ok(());
            }
        }
        let Some(since) = spare.since else { return Ok(()) };
        let Some(tree) = NewTree::of_spare(self, job.trees, &spare.name) else { return Ok(()) };
        self.bring_up(job, tree, spare.commit, live, since, spare.entries).map(drop)
    }

    /// Makes a spare of a published tree whose readers have had their grace.
    fn recycle(&self, job: &Job<'_>, live: Oid, keep: &[Oid]) -> Result<bool, Error> {
        // The file system is asked without the lock, which async code takes as well: a hanging disk must not stop it.
        let remembered: Vec<Oid> = self.spares().trees.keys().copied().collect();
        let is_gone = |commit: &Oid| !self.has_tree(job.trees, *commit).unwrap_or(true);
        let swept: Vec<Oid> = remembered.into_iter().filter(is_gone).collect();
        let mut known: Vec<_> = {
            let mut spares = self.spares();
            spares.trees.retain(|commit, _| !swept.contains(commit));
            let shape = job.view.shape().fingerprint();
            let usable = |trust: &Trust| trust.complete && trust.shape == shape;
            spares.trees.iter().filter(|(_, trust)| usable(trust)).map(|(commit, trust)| (*commit, *trust)).collect()
        };
        // The oldest first: its readers are the likeliest to be gone.
        known.sort_by_key(|(_, trust)| trust.since);
        for (commit, trust) in known {
            if commit == live || keep.contains(&commit) {
                continue;
            }
            let Some(since) = trust.since else { continue };
            if let Some(tree) = NewTree::of_replaced(self, job.trees, commit, job.cancel)? {
                self.spares().trees.remove(&commit);
                return self.bring_up(job, tree, commit, live, since, trust.entries);
            }
        }
        Ok(false)
    }

    /// Brings a tree that nobody reads from one commit to the live one. If it cannot be done it goes.
    fn bring_up(
        &self,
        job: &Job<'_>,
        tree: NewTree<'_>,
        from: Oid,
        live: Oid,
        since: Stamp,
        entries: u64,
    ) -> Result<bool, Error> {
        let Ok(old) = job.objects.root(from) else { return Ok(false) };
        let most = usize::try_from(MOST_STEPS).unwrap_or(usize::MAX);
        let Some(plan) = plan(job.view, old, job.objects.root(live)?, most, job.cancel)? else { return Ok(false) };
        let entries = entries + plan.more;
        let Brought::Done(_) = plan.carry_out(job.view, &tree.folder, since, self.durability(), job.cancel)? else {
            return Ok(false);
        };
        // The last push did not wait for the tree as a whole, and nobody waits now.
        let name = tree.become_spare(live, job.cancel)?;
        let spare = Spare::unseen(name, live, entries);
        let vouched = self.vouch(job, spare, Believe::Since(since))?;
        let Some(spare) = vouched else { return Ok(false) };
        self.put_back(spare);
        Ok(true)
    }

    /// Looks at a spare as far as it is not believed, and answers it ready. One that differs goes. Its moment is taken before
    /// the look: what others do from now on is later.
    fn vouch(&self, job: &Job<'_>, mut spare: Spare, believe: Believe) -> Result<Option<Spare>, Error> {
        let since = self.now(job.trees).inspect_err(|_| discard(job.trees, &spare.name))?;
        let trusted = match believe {
            Believe::All => None,
            Believe::Since(stamp) => Some(Some(stamp)),
            Believe::Nothing => Some(None),
        };
        if let Some(trusted) = trusted {
            let compared = (|| {
                let root = job.objects.root(spare.commit)?;
                let top =
                    folder::open(job.trees, &spare.name).map_err(|errno| self.failed("open", &spare.name, errno))?;
                verify::compare(job.view, root, top, None, trusted, job.cancel)
            })();
            match compared {
                Ok(Verdict::Whole) => {}
                Err(Error::Cancelled) => {
                    // It is as good as before; the next one to prepare looks at it.
                    self.put_back(spare);
                    return Err(Error::Cancelled);
                }
                Ok(Verdict::Differs(_)) | Err(_) => {
                    discard(job.trees, &spare.name);
                    return Ok(None);
                }
            }
        }
        spare.since = Some(since);
        spare.shape = job.view.shape().fingerprint();
        Ok(Some(spare))
    }
}
