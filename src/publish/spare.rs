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
use std::path::Path;

use git2::{Odb, Oid};

use super::bring::{Brought, Plan, plan};
use super::build::NewTree;
use super::folder::{self, Stamp};
use super::link::commit_named;
use super::objects::{MAX_ENTRIES, Objects};
use super::room::Room;
use super::sweep::{DOOMED, UNFINISHED};
use super::volume::{Volume, unique};
use super::{Built, Error, Live, Prepared, Verdict, verify, walk, write};
use crate::worker::Cancel;

/// What the name of a spare begins with; the commit and something unique follow.
pub(super) const SPARE: &str = ".spare-";

/// A spare of at most so many entries is looked at as a whole before it is used: that takes about a millisecond for each
/// thousand. Of a larger one only the folders that the push touches, and the rest right after the publish.
const LOOKED_AT_FIRST: u64 = 2_000;

/// A plan of more steps is not worth it: a fresh tree is written by several threads.
const MOST_STEPS: u64 = 50_000;

/// A tree that is ready to become another commit's.
#[derive(Debug)]
pub(super) struct Spare {
    pub name: Vec<u8>,
    pub commit: Oid,
    /// At least as many as there are: it saves the count of every push.
    entries: u64,
    /// What was not changed after this is as we wrote it. `None`: an earlier process left it, and it has not been looked at.
    since: Option<Stamp>,
}

/// What this process knows of a published tree.
#[derive(Clone, Copy, Debug)]
struct Trust {
    since: Stamp,
    entries: u64,
    /// True if the whole tree was compared with its commit, or written, at that time.
    complete: bool,
}

#[derive(Debug, Default)]
pub(super) struct Spares {
    ready: Vec<Spare>,
    trees: HashMap<Oid, Trust>,
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

/// What is to be believed of a tree before it is vouched for.
#[derive(Clone, Copy)]
enum Believe {
    All,
    Since(Stamp),
    Nothing,
}

/// What a job works with.
struct Job<'a> {
    objects: &'a Objects,
    odb: &'a Odb<'a>,
    trees: &'a OwnedFd,
    cancel: &'a Cancel,
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
        let Some((spare, since)) = self.take_spare() else { return Ok(Used::No(None)) };
        let odb = &objects.odb()?;
        let job = Job { objects, odb, trees, cancel };
        let from = spare.commit;
        let root = objects.root(commit)?;
        let plan = match self.examine(&job, &spare, since, root) {
            Ok(Ok(plan)) => plan,
            Ok(Err(Unfit::Spoilt(why))) => {
                self.discard(trees, &spare.name);
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
        let written = match plan.carry_out(odb, &tree.folder, since, cancel) {
            Ok(Brought::Done(written)) => written,
            Ok(Brought::Doubtful(path)) => return Ok(Used::No(Some(changed_by_others(&path)))),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => return Ok(Used::No(Some(error.to_string()))),
        };
        tree.take_the_place_of(commit, cancel)?;
        self.spares().trees.insert(commit, Trust { since, entries, complete: false });
        Ok(Used::Built(Built { commit, files: written.files, bytes: written.bytes, spare: Some(from), note: None }))
    }

    /// The plan, if the spare is to be trusted and it is worth it. Touches nothing.
    fn examine(&self, job: &Job<'_>, spare: &Spare, since: Stamp, root: Oid) -> Result<Result<Plan, Unfit>, Error> {
        let spoilt = |why: String| Ok(Err(Unfit::Spoilt(why)));
        let old = match job.objects.root(spare.commit) {
            Ok(old) => old,
            Err(error) => return spoilt(error.to_string()),
        };
        // A changed file is two steps, so this is about half of the tree.
        let most = (spare.entries + 128).min(MOST_STEPS);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let Some(plan) = plan(job.odb, old, root, most, job.cancel)? else {
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
        if spare.entries <= LOOKED_AT_FIRST || Stamp::of(&stat) > since {
            match verify::compare(job.odb, old, top, Some(since), job.cancel)? {
                Verdict::Whole => {}
                Verdict::Differs(difference) => return spoilt(changed_by_others(difference.as_bytes())),
            }
        }
        Ok(Ok(plan))
    }

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
        let room = Room::measure(trees, live.to_string().as_bytes(), cancel)
            .map_err(|errno| self.failed("measure", live.to_string().as_bytes(), errno))?;
        let Some(room) = room else { return Err(Error::Cancelled) };
        if room.is_tight() {
            self.drop_spares(trees);
            return Ok(Prepared::NoRoom);
        }
        for spare in self.unready(live) {
            self.renew(&job, spare, live)?;
        }
        while self.spares().ready.len() < self.spare_limit() {
            if self.recycle(&job, live, keep)? {
                continue;
            }
            if !room.is_ample() {
                return Ok(Prepared::NoRoom);
            }
            let root = objects.root(live)?;
            let entries = walk::survey(odb, root, cancel)?;
            let tree = NewTree::make(self, trees)?;
            write::write_tree(store, root, &tree.folder, cancel)?;
            folder::flush(&tree.folder, entries).map_err(|errno| self.failed("flush", &tree.name, errno))?;
            let name = tree.become_spare(live, cancel)?;
            self.vouch(&job, Spare { name, commit: live, entries, since: None }, Believe::All)?;
            // One at a time: the next one is measured anew.
            break;
        }
        Ok(Prepared::Ready(self.spares().ready.len()))
    }

    /// True if there are fewer spares than there should be.
    #[must_use]
    pub fn lacks_spares(&self) -> bool {
        self.spares().ready.len() < self.spare_limit()
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
                self.discard(job.trees, &spare.name);
                return Ok(());
            };
            spare.entries = walk::survey(job.odb, root, job.cancel)?;
            let name = spare.name.clone();
            let commit = spare.commit;
            self.vouch(job, spare, Believe::Nothing)?;
            let taken = |spares: &mut Spares| {
                let at = spares.ready.iter().position(|spare| spare.name == name)?;
                Some(spares.ready.remove(at))
            };
            if commit == live {
                return Ok(());
            }
            let Some(vouched) = taken(&mut self.spares()) else { return Ok(()) };
            spare = vouched;
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
            if let Some(tree) = NewTree::of_replaced(self, job.trees, commit)? {
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
        self.vouch(job, Spare { name, commit: live, entries, since: None }, Believe::Since(since))
    }

    /// Looks at a spare as far as it is not believed, and makes it ready. One that differs goes. Its moment is taken before
    /// the look: what others do from now on is later.
    fn vouch(&self, job: &Job<'_>, mut spare: Spare, believe: Believe) -> Result<bool, Error> {
        let since = self.now(job.trees)?;
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
                    self.discard(job.trees, &spare.name);
                    return Ok(false);
                }
            }
        }
        spare.since = Some(since);
        self.put_back(spare);
        Ok(true)
    }

    /// Notes that a tree was written by this process just now.
    pub(super) fn note_written(&self, trees: &OwnedFd, commit: Oid, entries: u64) {
        if let Ok(since) = self.now(trees) {
            self.spares().trees.insert(commit, Trust { since, entries, complete: true });
        }
    }

    fn take_spare(&self) -> Option<(Spare, Stamp)> {
        let mut spares = self.spares();
        let at = spares.ready.iter().position(|spare| spare.since.is_some())?;
        let spare = spares.ready.remove(at);
        let since = spare.since?;
        Some((spare, since))
    }

    /// Takes out those that have to be worked on.
    fn unready(&self, live: Oid) -> Vec<Spare> {
        let mut spares = self.spares();
        let wanting = |spare: &mut Spare| spare.since.is_none() || spare.commit != live;
        spares.ready.extract_if(.., wanting).collect()
    }

    fn put_back(&self, spare: Spare) {
        self.spares().ready.push(spare);
    }

    /// Removes all spares. True if there were any.
    pub(super) fn drop_spares(&self, trees: &OwnedFd) -> bool {
        let dropped = std::mem::take(&mut self.spares().ready);
        for spare in &dropped {
            self.discard(trees, &spare.name);
        }
        !dropped.is_empty()
    }

    /// Takes its name from a spare, then removes it. What cannot be removed now is a leftover for the next sweep.
    pub(super) fn discard(&self, trees: &OwnedFd, name: &[u8]) {
        let doomed = unique(DOOMED);
        if rustix::fs::renameat(trees, name, trees, &*doomed).is_ok() {
            let _ = folder::remove_all(trees, &doomed);
        }
    }

    /// Finds the spares that an earlier process left. They are looked at before they are used; more than wanted go.
    pub(super) fn find_spares(&self, trees: &OwnedFd, names: &[Vec<u8>]) {
        for name in names {
            let Some(rest) = name.strip_prefix(SPARE.as_bytes()) else { continue };
            let commit =
                rest.get(..40).and_then(|hash| commit_named(Some(std::os::unix::ffi::OsStrExt::from_bytes(hash))));
            let wanted = self.spares().ready.len() < self.spare_limit();
            match commit {
                Some(commit) if wanted => {
                    self.put_back(Spare { name: name.clone(), commit, entries: 0, since: None });
                }
                _ => self.discard(trees, name),
            }
        }
    }

    fn now(&self, trees: &OwnedFd) -> Result<Stamp, Error> {
        let name = unique(UNFINISHED);
        Stamp::now(trees, &name).map_err(|errno| self.failed("create", &name, errno).with_cause_from(trees))
    }
}

fn changed_by_others(path: &[u8]) -> String {
    format!("somebody changed it: {}", super::path::printable(path))
}
