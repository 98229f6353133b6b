//! The next spare: made while nobody waits, from what there is already if it can be.
//!
//! Everything here may be given up between two files, and is when a push wants to build: what is unfinished goes, what is
//! ready stays. It must not touch what readers see.

use std::path::Path;

use git2::Oid;

use super::bring::{Brought, plan};
use super::build::NewTree;
use super::folder::{self, Stamp};
use super::objects::Objects;
use super::room::Room;
use super::spare::{Job, MOST_STEPS, Spare, Trust, discard};
use super::volume::Volume;
use super::{Error, Live, Prepared, Verdict, verify, walk, write};
use crate::worker::Cancel;

/// What is to be believed of a tree before it is vouched for.
#[derive(Clone, Copy)]
enum Believe {
    All,
    Since(Stamp),
    Nothing,
}

impl Volume {
    /// Sees to it that there are as many spares of the live tree as there should be. To be called when nobody waits for
    /// the volume, and cancelled when somebody does.
    ///
    /// First it looks at what the last push left out: whether the published tree, if it was a spare, is all that its
    /// commit holds.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn prepare(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        let Live::Tree(live) = self.live()? else { return Ok(Prepared::Nothing) };
        if self.spare_limit() == 0 {
            return Ok(Prepared::Nothing);
        }
        let trees = &self.trees_folder()?;
        let objects = &Objects::open(store)?;
        let odb = &objects.odb()?;
        let job = Job { objects, odb, trees, cancel };
        if let Verdict::Differs(difference) = self.look_after(&job, live)? {
            return Ok(Prepared::LiveDiffers(difference));
        }
        if self.room(&job, live)?.is_tight() {
            self.drop_spares(trees);
            return Ok(Prepared::NoRoom);
        }
        while let Some(spare) = self.take_unready(live) {
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
            let entries = walk::survey(odb, root, cancel)?;
            let tree = NewTree::make(self, trees)?;
            write::write_tree(store, root, &tree.folder, cancel)?;
            folder::flush(&tree.folder, entries).map_err(|errno| self.failed("flush", &tree.name, errno))?;
            let name = tree.become_spare(live, cancel)?;
            let spare = Spare { name, commit: live, entries, since: None };
            let Some(spare) = self.vouch(&job, spare, Believe::All)? else { break };
            self.put_back(spare);
        }
        Ok(Prepared::Ready(self.spares().ready.len()))
    }

    fn room(&self, job: &Job<'_>, live: Oid) -> Result<Room, Error> {
        let name = live.to_string();
        let measured = Room::measure(job.trees, name.as_bytes(), job.cancel);
        measured.map_err(|errno| self.failed("measure", name.as_bytes(), errno))?.ok_or(Error::Cancelled)
    }

    /// Compares a tree that was published from a spare with its commit, as far as that was left for later.
    fn look_after(&self, job: &Job<'_>, live: Oid) -> Result<Verdict, Error> {
        let known = self.spares().trees.get(&live).copied();
        let Some(trust) = known.filter(|trust| !trust.complete) else { return Ok(Verdict::Whole) };
        let name = live.to_string();
        let since = self.now(job.trees)?;
        let top = folder::open(job.trees, name.as_bytes())
            .map_err(|errno| self.failed("open the tree", name.as_bytes(), errno))?;
        let verdict = verify::compare(job.odb, job.objects.root(live)?, top, Some(trust.since), job.cancel)?;
        if verdict == Verdict::Whole {
            self.spares().trees.insert(live, Trust { since, complete: true, ..trust });
        }
        Ok(verdict)
    }

    /// Takes up a spare of an earlier process, or brings one to the live commit that no push wanted.
    fn renew(&self, job: &Job<'_>, mut spare: Spare, live: Oid) -> Result<(), Error> {
        if spare.since.is_none() {
            let Ok(root) = job.objects.root(spare.commit) else {
                discard(job.trees, &spare.name);
                return Ok(());
            };
            spare.entries = match walk::survey(job.odb, root, job.cancel) {
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
        let known: Vec<_> = {
            let mut spares = self.spares();
            // What was swept is not known any more.
            spares.trees.retain(|commit, _| self.has_tree(job.trees, *commit).unwrap_or(true));
            spares.trees.iter().filter(|(_, trust)| trust.complete).map(|(commit, trust)| (*commit, *trust)).collect()
        };
        for (commit, trust) in known {
            if commit == live || keep.contains(&commit) {
                continue;
            }
            if let Some(tree) = NewTree::of_replaced(self, job.trees, commit, job.cancel)? {
                self.spares().trees.remove(&commit);
                return self.bring_up(job, tree, commit, live, trust.since, trust.entries);
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
        let Some(plan) = plan(job.odb, old, job.objects.root(live)?, most, job.cancel)? else { return Ok(false) };
        let entries = entries + plan.more;
        let Brought::Done(_) = plan.carry_out(job.odb, &tree.folder, since, job.cancel)? else { return Ok(false) };
        // The last push did not wait for the tree as a whole, and nobody waits now.
        let name = tree.become_spare(live, job.cancel)?;
        let vouched = self.vouch(job, Spare { name, commit: live, entries, since: None }, Believe::Since(since))?;
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
                verify::compare(job.odb, root, top, trusted, job.cancel)
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
        Ok(Some(spare))
    }
}
