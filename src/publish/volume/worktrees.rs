//! The trees in `.worktrees`, the link that names one of them, and the grace periods of replaced ones.
//!
//! It must not know how trees are written or compared, nor standby trees.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use git2::Oid;
use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

use crate::flush;
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::{Stamp, group};
use crate::publish::tree::entry::EntryKind;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::volume::durability::{Durability, Flushed, flush_all};
use crate::publish::volume::grace::GracePeriods;
use crate::publish::volume::layout::{Layout, VolumeOptions, show_to_all, touch};
use crate::publish::volume::link::{LinkPath, LinkState};
use crate::publish::volume::lock::Lock;
use crate::publish::volume::names::{EXCHANGED, MARKED, STATE, TREES, UNFINISHED, commit_named, unique};
use crate::publish::volume::target::LinkTarget;

/// The state of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// There is no link.
    Nothing,
    /// An existing tree of ours. Its content has not been compared with the commit.
    Tree(Oid),
    /// A link to a tree of ours that is gone.
    Dangling(Oid),
    /// A link elsewhere or with another spelling, a file, or a directory.
    Foreign,
}

/// The trees of a volume, and how they are written.
#[derive(Debug)]
pub(crate) struct Worktrees {
    pub layout: Layout,
    pub link: LinkPath,
    pub grace: Duration,
    pub durability: Durability,
    pub flushed: Flushed,
    /// It changes with the sparse-checkout file, but never during a build.
    options: Mutex<Arc<CheckoutOptions>>,
    /// Also serializes all renames of entries of `.worktrees` and of the link, because an abandoned job may still run.
    grace_periods: Mutex<GracePeriods>,
    /// The tree that is one folder deeper than others, if the link names one.
    beside: Mutex<Option<LinkTarget>>,
    /// True if entries were renamed for removal since the last one.
    removal_waits: AtomicBool,
}

impl Worktrees {
    /// Makes `ROOT`, `.pushsync` and `.worktrees`, takes the lock, and probes the file system. Returns warnings for the
    /// operator, too.
    pub(crate) fn open(given: &VolumeOptions) -> Result<(Self, Lock, Vec<String>), Error> {
        let layout = Layout::make(&given.root)?;
        let link = LinkPath::new(layout.root(), &given.link, layout.trees())?;
        let mut options = given.checkout.clone();
        let mode = options.mode(EntryKind::Folder);
        let state = layout.open_state(mode)?;
        let lock = Lock::take(&state, layout.state_folder().as_os_str().as_bytes())?;
        let trees = layout.open_trees(mode)?;
        if options.group_write {
            // The trees themselves are compared with their required modes.
            let shared = group::with_group(&state).and_then(|()| group::alone_with_group(&trees));
            shared.map_err(|errno| Error::io("share with the group", STATE, errno))?;
        }
        options.fixed_modes = !folder::keeps_modes(&state, b"modes.new")
            .map_err(|errno| Error::io("probe the modes of", STATE, errno).with_cause_from(&state))?;
        if !options.fixed_modes {
            show_to_all(&trees, mode).map_err(|errno| Error::io("set the mode of", TREES, errno))?;
        }
        let fixed = options.fixed_modes.then(|| {
            "this volume does not keep permission bits: files have the modes that it gives them, which are not compared"
                .to_owned()
        });
        // A volume in memory counts against the container's limit, and the kernel kills a container that exceeds it.
        if folder::is_in_memory(&state) {
            options.allowance.is_in_memory();
        }
        let warnings = lock.warning().into_iter().chain(fixed).collect();
        let flushed = Flushed::load(&layout.state_folder());
        let trees = Self {
            layout,
            link,
            grace: given.grace,
            durability: given.durability,
            flushed,
            options: Mutex::new(Arc::new(options)),
            grace_periods: Mutex::default(),
            beside: Mutex::default(),
            removal_waits: AtomicBool::new(false),
        };
        Ok((trees, lock, warnings))
    }

    /// Opens the folder of the trees each time, and creates it again if the volume was emptied.
    pub(crate) fn trees_folder(&self) -> Result<OwnedFd, Error> {
        self.layout.open_trees(self.options().mode(EntryKind::Folder))
    }

    pub(crate) fn grace_periods(&self) -> MutexGuard<'_, GracePeriods> {
        self.grace_periods.lock()
    }

    pub(crate) fn options(&self) -> Arc<CheckoutOptions> {
        Arc::clone(&self.options.lock())
    }

    /// Applies the current sparse-checkout file. Trees of the previous options do not count as trees of the new ones.
    pub(crate) fn refresh_options(&self) -> Result<(), Error> {
        if let Some(options) = self.options().read_again()? {
            *self.options.lock() = Arc::new(options);
        }
        Ok(())
    }

    pub(crate) fn failed(&self, doing: &'static str, name: &[u8], errno: Errno) -> Error {
        self.layout.failed(doing, name, errno)
    }

    pub(crate) fn names(&self, trees: &OwnedFd) -> Result<Vec<Vec<u8>>, Error> {
        folder::names(trees).map_err(|errno| self.failed("list", b"", errno))
    }

    /// Returns `ROOT/.worktrees/<commit>`, whether it exists or not, or `.worktrees/<unique>/<commit>` for a tree that is
    /// one folder deeper. Does not access the disk.
    pub(crate) fn path(&self, commit: Oid) -> PathBuf {
        let beside = self.beside.lock().clone();
        let target = beside.filter(|target| target.commit == commit).unwrap_or_else(|| LinkTarget::plain(commit));
        self.layout.trees().join(target.path())
    }

    /// Remembers the link's target, for callers that must not access the disk.
    pub(crate) fn note_target(&self, target: &LinkTarget) {
        let beside = Some(target.clone()).filter(|target| target.beside.is_some());
        *self.beside.lock() = beside;
    }

    /// Reads the link and nothing else, so that each sync can call it.
    pub(crate) fn live(&self) -> Result<Live, Error> {
        let target = match self.link.read()? {
            LinkState::Nothing => return Ok(Live::Nothing),
            LinkState::Foreign => return Ok(Live::Foreign),
            LinkState::Ours(target) => target,
        };
        self.note_target(&target);
        let is_there = self.has_target(&self.trees_folder()?, &target)?;
        Ok(if is_there { Live::Tree(target.commit) } else { Live::Dangling(target.commit) })
    }

    /// Returns true if readers of the link reach this entry, by its text (as pushsync writes it) or by its actual target.
    pub(crate) fn is_live(&self, name: &[u8]) -> Result<bool, Error> {
        let by_text = match self.link.read()? {
            LinkState::Ours(target) => target.entry().as_bytes() == name,
            _ => false,
        };
        Ok(by_text || self.link.leads_to().is_some_and(|entry| entry.as_bytes() == name))
    }

    /// Returns the place of a commit's tree: the link's target if it names this commit, else its own name.
    pub(crate) fn target(&self, commit: Oid) -> Result<LinkTarget, Error> {
        Ok(match self.link.read()? {
            LinkState::Ours(target) if target.commit == commit => target,
            _ => LinkTarget::plain(commit),
        })
    }

    /// Opens the tree of a commit.
    pub(crate) fn open_tree(&self, trees: &OwnedFd, commit: Oid) -> Result<OwnedFd, Error> {
        let target = self.target(commit)?;
        target.open(trees).map_err(|errno| self.failed("open the tree", target.path().as_bytes(), errno))
    }

    pub(crate) fn has_tree(&self, trees: &OwnedFd, commit: Oid) -> Result<bool, Error> {
        let target = self.target(commit)?;
        self.has_target(trees, &target)
    }

    fn has_target(&self, trees: &OwnedFd, target: &LinkTarget) -> Result<bool, Error> {
        target.exists(trees).map_err(|errno| self.failed("look at", target.path().as_bytes(), errno))
    }

    /// Returns the commits whose trees are on the disk, by their names; their content is not checked.
    pub(crate) fn commits(&self) -> Result<Vec<Oid>, Error> {
        let trees = self.trees_folder()?;
        let mut commits = Vec::new();
        for name in self.names(&trees)? {
            if let Some(commit) = commit_named(Some(OsStrExt::from_bytes(&name)))
                && self.has_tree(&trees, commit)?
            {
                commits.push(commit);
            }
        }
        Ok(commits)
    }

    /// Makes the link name a built tree, durably. Returns true if another tree was live before.
    ///
    /// # Errors
    /// `not_built` if the tree is missing, `foreign_link` if a file or a folder with content is in the place of the link.
    pub(crate) fn publish(&self, commit: Oid) -> Result<bool, Error> {
        let trees = self.trees_folder()?;
        let mut grace_periods = self.grace_periods();
        let target = self.target(commit)?;
        if !self.has_target(&trees, &target)? {
            return Err(Error::NotBuilt { path: self.layout.shown_tree(target.path().as_bytes()) });
        }
        let name = target.entry().into_bytes();
        let before = self.link.leads_to().map(OsStringExt::into_vec).filter(|before| *before != name);
        if let Some(before) = &before {
            // Before the swap, so that readers keep their grace period after a crash right behind it.
            touch(&trees, before);
        }
        self.link.set(&target, self.durability)?;
        self.note_target(&target);
        // A tree that is live again must not expire.
        grace_periods.forget(&name);
        let Some(before) = before else { return Ok(false) };
        grace_periods.replaced(before, self.grace);
        Ok(true)
    }

    /// Flushes the tree that the link names, and the link, and writes the note. Waits for the disk.
    ///
    /// # Errors
    /// Errors of the file system. The next call tries again.
    pub(crate) fn write_through(&self) -> Result<(), Error> {
        let Live::Tree(live) = self.live()? else { return Ok(()) };
        let Some(pending) = self.flushed.begin(live) else { return Ok(()) };
        let trees = self.trees_folder()?;
        if self.durability == Durability::Normal {
            // One call flushes the tree, its name and the link, if that is on the same file system.
            match flush_all(&trees) {
                Ok(()) => {}
                // Without the note, the next start after a loss of power compares the tree.
                Err(errno) if errno == Errno::PERM || flush::is_unsupported(errno) => return Ok(()),
                Err(errno) => return Err(self.failed("flush", b"", errno)),
            }
            self.link.flush()?;
        }
        self.flushed.finish(pending, &self.layout.state_folder())
    }

    /// Renames unfinished entries of an earlier process. A sweep removes their content, which may be large, and may belong
    /// to another user. Returns true if there are any.
    pub(crate) fn clear_leftovers(&self) -> Result<bool, Error> {
        self.link.clear();
        let trees = self.trees_folder()?;
        let names = self.names(&trees)?;
        for name in names.iter().filter(|name| commit_named(Some(OsStr::from_bytes(name))).is_some()) {
            // Determines which trees have expired, before the first of them is reused.
            if let Ok(Some(stat)) = folder::stat(&trees, name)
                && !self.is_live(name)?
            {
                self.grace_periods().remaining(name, &stat, self.grace);
            }
        }
        for name in names.iter().filter(|name| name.starts_with(UNFINISHED.as_bytes())) {
            // If the rename fails, each sweep tries again.
            let _ = rustix::fs::renameat(&trees, &**name, &trees, &*unique(MARKED));
        }
        self.take_replaced_name(&trees)?;
        self.layout.clear_replacements();
        Ok(self.names(&trees)?.iter().any(|name| name.starts_with(MARKED.as_bytes())))
    }

    /// Renames the tree under the commit's own name if the link names a tree one folder deeper: it is the replaced one,
    /// which a process left that was killed between the two steps.
    fn take_replaced_name(&self, trees: &OwnedFd) -> Result<(), Error> {
        if let LinkState::Ours(target) = self.link.read()?
            && target.beside.is_some()
            && self.has_target(trees, &target)?
        {
            let own = target.commit.to_string();
            // If the rename fails, the next start tries again.
            let _ = rustix::fs::renameat(trees, own.as_bytes(), trees, &*unique(EXCHANGED));
        }
        Ok(())
    }

    /// Renames a tree that is not needed any more. The next removal deletes its content, so a push does not wait for that.
    pub(crate) fn discard(&self, trees: &OwnedFd, name: &[u8]) {
        if rustix::fs::renameat(trees, name, trees, &*unique(MARKED)).is_ok() {
            self.removal_waits.store(true, Ordering::Relaxed);
        }
        self.grace_periods().end_build(name);
    }

    /// Returns true if entries were renamed for removal since the last one.
    pub(crate) fn removal_waits(&self) -> bool {
        self.removal_waits.load(Ordering::Relaxed)
    }

    /// Entries that an earlier process renamed are removed by the first removal.
    pub(crate) fn expect_removal(&self, is_expected: bool) {
        self.removal_waits.store(is_expected, Ordering::Relaxed);
    }

    pub(crate) fn begin_removal(&self) {
        self.removal_waits.store(false, Ordering::Relaxed);
    }

    /// Returns the current time of the file system's clock.
    pub(crate) fn now(&self, trees: &OwnedFd) -> Result<Stamp, Error> {
        let name = unique(UNFINISHED);
        Stamp::now(trees, &name).map_err(|errno| self.failed("create", &name, errno).with_cause_from(trees))
    }
}
