//! The [`Volume`]: the front of the area. It holds the parts, and passes to each function those that it needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Oid;
use parking_lot::Mutex;

use crate::lfs::Lacking;
use crate::publish::build;
use crate::publish::checkout::Built;
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::removal::mark::{Keep, Removal, mark_trees};
use crate::publish::standby::accept;
use crate::publish::standby::check;
use crate::publish::standby::job::Parts;
use crate::publish::standby::prepare::{Effort, Prepared, may_rotate, prepare};
use crate::publish::standby::state::StandbyTrees;
use crate::publish::tree::changes::{self, Changes};
use crate::publish::tree::lfs_objects::LfsObjects;
use crate::publish::tree::remarks::Remarks;
use crate::publish::verify::Verdict;
use crate::publish::volume::git_file;
use crate::publish::volume::layout::VolumeOptions;
use crate::publish::volume::lock::Lock;
use crate::publish::volume::published::PublishedTrees;
use crate::publish::volume::usage::Usage;
use crate::publish::volume::worktrees::{Live, Worktrees};
use crate::sparse::Sparse;
use crate::worker::Cancel;

/// The one owner of `ROOT`, for as long as it lives (flock on `.pushsync/lock`).
#[derive(Debug)]
pub struct Volume {
    trees: Worktrees,
    published: PublishedTrees,
    standby: StandbyTrees,
    usage: Usage,
    removal: Removal,
    lfs: LfsObjects,
    /// The remarks that were logged already.
    said: Mutex<BTreeSet<String>>,
    leftovers: bool,
    /// Warnings for the operator about features that the file system lacks.
    warnings: Vec<String>,
    lock: Lock,
}

impl Volume {
    /// Makes `ROOT` and `.pushsync`, takes the lock, and removes temporary links and the names of unfinished folders that a
    /// crash left.
    ///
    /// # Errors
    /// `locked` if another process has `ROOT`, `bad_link`, or errors of the file system: `read_only`, `permission`, ….
    pub fn open(options: VolumeOptions) -> Result<Self, Error> {
        let (trees, lock, warnings) = Worktrees::open(&options)?;
        trees.refresh_options()?;
        let standby = StandbyTrees::new(options.standby_trees);
        // Before the leftovers are counted, because superfluous standby trees become leftovers.
        let folder = trees.trees_folder()?;
        standby.find(&trees, &folder, &trees.names(&folder)?);
        let leftovers = trees.clear_leftovers()?;
        trees.expect_removal(leftovers);
        git_file::clear_leftovers(&trees.layout.store());
        Ok(Self {
            published: PublishedTrees::new(trees.layout.state_folder()),
            trees,
            standby,
            usage: Usage::default(),
            removal: Removal::default(),
            lfs: LfsObjects::default(),
            said: Mutex::default(),
            leftovers,
            warnings,
            lock,
        })
    }

    fn parts(&self) -> Parts<'_> {
        Parts { volume: &self.trees, published: &self.published, standby: &self.standby, usage: &self.usage }
    }

    /// Returns true while this is the volume that was opened: its lock has not been removed, and no other volume is mounted
    /// over it.
    #[must_use]
    pub fn holds_lock(&self) -> bool {
        folder::open_path(&self.state_folder()).is_ok_and(|state| self.lock.guards(state))
    }

    /// Returns warnings for the operator about features that the file system lacks.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns true if there is a limit for the written data.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.limit().is_some()
    }

    /// The most bytes that the volume may take, if there is a limit (`--volume-limit`, or memory).
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.trees.options().allowance.limit()
    }

    /// `ROOT/.pushsync/repo.git`
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.trees.layout.store()
    }

    /// `ROOT/.pushsync`
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.trees.layout.state_folder()
    }

    /// Returns `ROOT/.worktrees/<commit>`, whether it exists or not, or `.worktrees/<unique>/<commit>` for a tree that is
    /// one folder deeper. Does not access the disk.
    #[must_use]
    pub fn tree(&self, commit: Oid) -> PathBuf {
        self.trees.path(commit)
    }

    /// Reads the link and nothing else, so that each sync can call it.
    pub fn live(&self) -> Result<Live, Error> {
        self.trees.live()
    }

    /// Returns the commits whose trees are on the disk, by their names; [`Volume::verify`] checks their content.
    pub fn trees(&self) -> Result<Vec<Oid>, Error> {
        self.trees.commits()
    }

    /// Returns the commits of all trees, including standby trees: readers may use them, and the next tree may be made from
    /// them.
    pub fn commits_in_use(&self) -> Result<Vec<Oid>, Error> {
        let mut commits = self.trees()?;
        commits.extend(self.standby.commits());
        if let Live::Tree(live) = self.live()? {
            commits.push(live);
        }
        Ok(commits)
    }

    /// Reads the patterns for the next build from the sparse-checkout file. `None` if everything is wanted.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn sparse(&self) -> Result<Option<Arc<Sparse>>, Error> {
        let options = self.trees.options();
        let again = options.read_again()?;
        Ok(again.as_ref().unwrap_or(&options).sparse.clone())
    }

    /// Compares `.worktrees/<commit>` with the commit: every name, mode, link target and the content of every file.
    pub fn verify(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Verdict, Error> {
        build::compare(&self.trees, &self.published, store, commit, true, cancel)
    }

    /// Builds the commit's complete tree under a temporary name and renames it to `.worktrees/<commit>`: from a standby
    /// tree if a usable one exists, else fresh. An existing tree of that name is kept if `verify` finds no difference;
    /// otherwise it is replaced, in one step if the link names it.
    ///
    /// # Errors
    /// `hostile_path` and `name_too_long` before anything is written; `disk_full` and similar; `store_damaged`;
    /// `cancelled`. The published tree is unchanged in each case.
    pub fn build(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Built, Error> {
        self.trees.refresh_options()?;
        if self.has_lost_git(commit) && self.trees.has_tree(&self.trees.trees_folder()?, commit)? {
            // The store may be new although the tree is not. Errors of either are reported below.
            let entry = self.trees.target(commit)?.path();
            let _ = git_file::prepare(store, commit, &entry, &self.trees.options());
        }
        let built = build::build(self.parts(), &self.removal, store, commit, cancel);
        if let Err(Error::Object { .. }) = built {
            // The missing object is looked up and fetched again.
            self.lfs.forget_whole();
        }
        let mut built = built?;
        built.remarks.retain(|remark| !Remarks::is_lasting(remark) || self.is_new(remark));
        let options = self.trees.options();
        if options.worktree_git && (built.files > 0 || built.standby.is_some() || !git_file::is_led_to(store, commit)) {
            git_file::prepare(store, commit, &self.trees.target(commit)?.path(), &options)?;
        }
        Ok(built)
    }

    /// Returns true if the remark was not made before. The number of remarks is limited, so that a hostile repository
    /// cannot fill the memory.
    fn is_new(&self, remark: &str) -> bool {
        let mut said = self.said.lock();
        said.len() < 100 && said.insert(remark.to_owned())
    }

    /// Returns true if `--worktree-git` is given and the store no longer has the folder that the `.git` file in the
    /// commit's tree names.
    pub fn has_lost_git(&self, commit: Oid) -> bool {
        build::has_lost_git(&self.trees.options(), &self.store(), commit)
    }

    /// Makes the link name a built tree, durably. Everything before this call is invisible to readers.
    ///
    /// # Errors
    /// `not_built` if the tree is missing, `foreign_link` if a file or a folder with content is in the place of the link.
    pub fn publish(&self, commit: Oid) -> Result<(), Error> {
        if self.trees.publish(commit)? {
            self.standby.note_push();
            self.published.note_push(commit);
        }
        Ok(())
    }

    /// Accepts the current differences of tracked files in a published tree, or one that is about to be published, as
    /// changes by hooks: they count as published. Returns the number of paths and the first of them, if that is new.
    ///
    /// # Errors
    /// If the tree or the store cannot be read, or the list cannot be kept.
    pub fn accept_changes(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Option<(usize, String)>, Error> {
        accept::accept_changes(&self.trees, &self.published, store, commit, cancel)
    }

    /// Compares two commits by walking only the subtrees that differ. If `old` is `None`, or not completely in the store,
    /// all files count as added.
    ///
    /// # Errors
    /// If an object of `new` is missing or damaged, or if its tree is hostile.
    pub fn changes(&self, store: &Path, old: Option<Oid>, new: Oid) -> Result<Changes, Error> {
        changes::between(store, self.trees.options().submodules, old, new)
    }

    /// Lists the LFS objects that the tree of a commit needs and the volume lacks, each once. If as many are returned as
    /// fit, there may be more. Subtrees that the commit shares with one without missing objects are skipped.
    ///
    /// # Errors
    /// If an object of the commit is missing or damaged in the store, or if its tree is hostile.
    pub fn lacking(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Vec<Lacking>, Error> {
        self.trees.refresh_options()?;
        self.lfs.lacking(store, &self.trees.options(), commit, cancel)
    }

    /// Removes the LFS objects that none of these commits needs, including partial ones. Returns their number, and the
    /// bytes of those that stay. A commit that is not in the store needs none.
    ///
    /// # Errors
    /// Errors of the file system. Some objects may have been removed then.
    pub fn drop_objects(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<(usize, u64), Error> {
        self.lfs.drop_objects(store, &self.trees.options(), keep, cancel)
    }

    /// Returns true if the tree that the link names can be trusted without a comparison of its content: it was flushed, or
    /// the machine has not been down since. Other processes may have changed it all the same.
    #[must_use]
    pub fn survived(&self, commit: Oid) -> bool {
        self.trees.flushed.survived(commit)
    }

    /// Flushes the tree that the link names, and the link, and writes the note. Waits for the disk.
    ///
    /// # Errors
    /// Errors of the file system. The next call tries again.
    pub fn write_through(&self) -> Result<(), Error> {
        self.trees.write_through()
    }

    /// Prepares for a push that is being fetched: opens the store, and checks the standby tree as a whole if that is
    /// required. If it differs, the build finds and reports it.
    ///
    /// # Errors
    /// If the objects or the volume cannot be read. Nothing is changed then.
    pub fn expect_push(&self, store: &Path, cancel: &Cancel) -> Result<(), Error> {
        check::expect_push(self.parts(), store, cancel)
    }

    /// Returns true if the store was opened for an expected push.
    #[must_use]
    pub fn expects_push(&self) -> bool {
        self.standby.store_cache.is_open()
    }

    /// Ends the preparation: the expected push did not arrive, or is over. Closes files, so it may wait for the disk.
    pub fn expect_nothing(&self) {
        self.standby.store_cache.close();
    }

    /// Measures the volume before a push is fetched.
    ///
    /// # Errors
    /// If the volume cannot be read.
    pub fn expect_writes(&self, cancel: &Cancel) -> Result<(), Error> {
        self.usage.measure_for_limit(&self.trees, &|| !cancel.is_cancelled())
    }

    /// Makes room for a push: drops the standby trees, and removes renamed entries. Returns true if any space was freed, so
    /// that the push may be tried again. Trees in their grace period stay, because readers may use them.
    ///
    /// # Errors
    /// If the volume cannot be read.
    pub fn make_room(&self, cancel: &Cancel) -> Result<bool, Error> {
        build::make_room(self.parts(), &self.removal, cancel)
    }

    /// Returns true if the next push need not wait for a standby tree.
    #[must_use]
    pub fn has_standby(&self) -> bool {
        self.standby.ready() > 0
    }

    /// Lets every standby tree be checked as a whole before its use. Needed if hooks run in published trees, because
    /// differences that are found there later count as made by them.
    pub fn verify_before_use(&self) {
        self.standby.set_verify_before_use();
    }

    /// Returns true if there is work on the standby trees or the published tree: a standby tree is missing, there are too
    /// many, or the published tree has to be compared with its commit.
    #[must_use]
    pub fn has_upkeep(&self) -> bool {
        self.standby.lacking() > 0 || self.standby.has_too_many() || self.published.verify_is_due(Instant::now())
    }

    /// Returns the time until there is work on the standby trees or the published tree, without a push.
    #[must_use]
    pub fn next_upkeep(&self) -> Option<Duration> {
        let now = Instant::now();
        let verify = self.published.next_verify(now);
        verify.into_iter().chain(self.standby.demand_changes_in(now)).min()
    }

    /// Compares the live tree with its commit, if that is still due: for a tree that was published from a standby tree, or
    /// one of an earlier process. To be called while no sync needs the volume, and cancelled when one does.
    ///
    /// # Errors
    /// Among others `no_submodules`: it was published with other submodules than those that are configured now.
    pub fn verify_live(&self, store: &Path, cancel: &Cancel) -> Result<Verdict, Error> {
        check::verify_live(self.parts(), store, cancel)
    }

    /// Returns true if [`Volume::verify_live`] should be called now.
    #[must_use]
    pub fn verify_is_due(&self) -> bool {
        let Ok(Live::Tree(live)) = self.live() else { return false };
        let due = self.published.get(live).and_then(|known| known.verify_due);
        due.is_some_and(|due| due <= Instant::now())
    }

    /// Trusts a tree of an earlier process for now, and leaves its comparison to [`Volume::verify_live`].
    pub fn verify_later(&self, commit: Oid) {
        self.published.verify_later(commit, &self.trees.options());
    }

    /// Makes as many standby trees as there should be; at least one, even if it has to be written. To be called while no
    /// sync needs the volume. `keep` are trees that no link names and that must stay.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn prepare(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        prepare(self.parts(), store, keep, Effort { fresh: true, enough: None }, cancel)
    }

    /// The same for the one standby tree that the next push needs.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn prepare_one(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        prepare(self.parts(), store, keep, Effort { fresh: true, enough: Some(1) }, cancel)
    }

    /// The same for as many as there should be, but only from trees that are there.
    ///
    /// # Errors
    /// As for a build. The published trees are not touched.
    pub fn rotate(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<Prepared, Error> {
        prepare(self.parts(), store, keep, Effort { fresh: false, enough: None }, cancel)
    }

    /// Returns true if an expired tree should stay until it can become a standby tree. To be called only for as many as are
    /// missing.
    #[must_use]
    pub fn may_rotate(&self, commit: Oid) -> bool {
        may_rotate(self.parts(), commit)
    }

    /// Renames the trees whose grace period is over, and leftovers, and removes their content. Never touches the tree that
    /// the link names, nor those that `is_kept`. `go_on` is called before each removal. Returns the number of removed
    /// entries.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are removed all the same.
    pub fn sweep(&self, is_kept: impl Fn(Oid) -> bool, go_on: impl Fn() -> bool) -> Result<usize, Error> {
        let marked = self.mark_expired(is_kept);
        // Content is removed also if some names could not be taken.
        let removed = self.remove_marked(go_on)?;
        marked.map(|_| removed)
    }

    /// The first half of a sweep, whose time does not depend on the size of trees. `is_kept` is called while no other job
    /// can give the tree its name, or take it. Returns the time until there is more to do.
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn mark_expired(&self, is_kept: impl Fn(Oid) -> bool) -> Result<Option<Duration>, Error> {
        self.mark(&Keep { is_kept: &is_kept, may_rotate: &|_| false, in_grace: true })
    }

    /// Renames old trees, also in their grace period, because a push does not fit beside them. Trees that `is_kept`, and
    /// the live tree, stay. To be followed by [`Volume::make_room`].
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn mark_in_grace(&self, is_kept: impl Fn(Oid) -> bool) -> Result<(), Error> {
        self.mark(&Keep { is_kept: &is_kept, may_rotate: &|_| false, in_grace: false }).map(drop)
    }

    /// The same, but keeps as many trees that may become standby trees as are lacking. Returns the time until there is more
    /// to do.
    ///
    /// # Errors
    /// The first thing whose name could not be taken.
    pub fn mark_superfluous(&self, is_kept: impl Fn(Oid) -> bool) -> Result<Option<Duration>, Error> {
        let lacking = std::cell::Cell::new(self.standby.lacking());
        let may_rotate = |commit| {
            // Each tree that stays fills one of the missing places.
            let stays = lacking.get() > 0 && self.may_rotate(commit);
            lacking.set(lacking.get().saturating_sub(usize::from(stays)));
            stays
        };
        self.mark(&Keep { is_kept: &is_kept, may_rotate: &may_rotate, in_grace: true })
    }

    fn mark(&self, keep: &Keep<'_>) -> Result<Option<Duration>, Error> {
        // An open store would keep the space of packs that are removed meanwhile.
        self.standby.store_cache.close();
        mark_trees(&self.trees, keep)
    }

    /// The second half: removes the renamed entries. `go_on` is called before each removal; if it stops the removal, the
    /// next call continues. Returns the number of removed entries.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others are removed all the same.
    pub fn remove_marked(&self, go_on: impl Fn() -> bool) -> Result<usize, Error> {
        match self.removal.remove_marked(&self.trees, go_on)? {
            (_, Some(failed)) => Err(failed),
            (removed, None) => Ok(removed),
        }
    }

    /// Returns true if the last removal had to leave entries behind.
    #[must_use]
    pub fn is_removal_stuck(&self) -> bool {
        self.removal.is_stuck()
    }

    /// Returns true if there are entries that a sweep has to remove.
    #[must_use]
    pub fn has_leftovers(&self) -> bool {
        self.leftovers
    }

    /// Returns true if entries were renamed for removal since the last one.
    #[must_use]
    pub fn removal_waits(&self) -> bool {
        self.trees.removal_waits()
    }

    /// Returns the bytes used on the volume: `(store, trees)`. A tree is measured once and then increased by what is
    /// written into it, so the cost is a `stat` of each file of each fresh tree. `go_on` is called at each.
    ///
    /// # Errors
    /// `cancelled` if it was stopped, or if an entry could not be read.
    pub fn usage(&self, go_on: impl Fn() -> bool) -> Result<(u64, u64), Error> {
        self.usage.measure(&self.trees, go_on)
    }
}
