//! `ROOT` and pushsync's own entries in it: `.pushsync`, `.worktrees` and the link. Everything else on the volume is not
//! touched.
//!
//! The volume may be a mount point of another owner, contain `lost+found` and files of others, and be changed by other
//! processes at any time. Folders are therefore opened for each operation, by descriptor, without following links.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use git2::Oid;
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{AtFlags, FileType, RawMode, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use crate::publish::folder::group;
use crate::publish::folder::space::Size;
use crate::publish::standby::{Listings, Standbys};
use crate::publish::tree::opened::Warm;
use crate::publish::tree::options::Shape;
use crate::publish::tree::view::{EntryKind, Objects};
use crate::publish::verify;
use crate::publish::verify::Look;
use crate::publish::volume::durability::{Durability, Flushed};
use crate::publish::volume::git_file;
use crate::publish::volume::grace::{Ages, DOOMED, UNFINISHED};
use crate::publish::volume::link::{Place, Standing, Target, commit_named, shown};
use crate::publish::volume::lock::Lock;
use crate::publish::volume::place::open_target;
use crate::publish::{Error, Live, Verdict, folder};
use crate::sparse::Sparse;
use crate::worker::Cancel;

pub(crate) const STATE: &[u8] = b".pushsync";
const TREES: &[u8] = b".worktrees";

/// The options of a volume.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// `--root`: made if it does not exist.
    pub root: PathBuf,
    /// `--link`: absolute, or relative to the root.
    pub link: PathBuf,
    /// How long a replaced tree is kept for readers that are still in it.
    pub grace: Duration,
    /// How many trees are kept ready for the next push; 0 = none.
    pub spares: usize,
    pub shape: Shape,
    pub durability: Durability,
}

/// The one owner of `ROOT`, for as long as it lives (flock on `.pushsync/lock`).
#[derive(Debug)]
pub struct Volume {
    /// The resolved path.
    root: PathBuf,
    grace: Duration,
    /// It changes with the sparse-checkout file, but never during a build.
    shape: Mutex<Arc<Shape>>,
    /// The remarks that were logged already.
    said: Mutex<BTreeSet<String>>,
    pub(crate) link: Place,
    /// Also serializes all renames of entries of `.worktrees` and of the link, because an abandoned job may still run.
    ages: Mutex<Ages>,
    spare_limit: usize,
    spares: Mutex<Standbys>,
    /// The names in folders of trees, so that a check need not list unchanged folders.
    pub(crate) listings: Listings,
    durability: Durability,
    flushed: Mutex<Flushed>,
    pub(crate) warm: Warm,
    /// The measured sizes of trees by the inode of their folder, plus later writes.
    pub(crate) sizes: Mutex<HashMap<u64, Size>>,
    leftovers: bool,
    /// Warnings for the operator about features that the file system lacks.
    warnings: Vec<String>,
    /// The tree that is one folder deeper than others, if the link names one.
    pub(crate) beside: Mutex<Option<Target>>,
    /// Entries whose removal failed and was reported.
    pub(crate) stuck: Mutex<BTreeSet<Vec<u8>>>,
    /// True if entries were renamed for removal since the last one.
    pub(crate) removal_waits: AtomicBool,
    /// A commit, and the shape, that lacked no LFS object.
    pub(crate) whole: Mutex<Option<(Oid, u64)>>,
    lock: Lock,
}

impl Volume {
    /// Makes `ROOT` and `.pushsync`, takes the lock, and removes temporary links and the names of unfinished folders that a
    /// crash left.
    ///
    /// # Errors
    /// `locked` if another process has `ROOT`, `bad_link`, or errors of the file system: `read_only`, `permission`, ….
    pub fn open(options: VolumeOptions) -> Result<Self, Error> {
        let root = make_root(&options.root)?;
        let link = Place::new(&root, &options.link, root.join(".worktrees"))?;
        let top = open_root(&root)?;
        let mode = options.shape.mode(EntryKind::Folder);
        let state = own_folder(&top, &root, STATE, mode)?;
        let lock = Lock::take(&state, root.join(".pushsync").as_os_str().as_bytes())?;
        let trees = own_folder(&top, &root, TREES, mode)?;
        if options.shape.group_write {
            // The trees themselves are compared with their required modes.
            let shared = group::with_group(&state).and_then(|()| group::alone_with_group(&trees));
            shared.map_err(|errno| Error::io("share with the group", STATE, errno))?;
        }
        let mut shape = options.shape;
        shape.fixed_modes = !folder::keeps_modes(&state, b"modes.new")
            .map_err(|errno| Error::io("probe the modes of", STATE, errno).with_cause_from(&state))?;
        if !shape.fixed_modes {
            show_to_all(&trees, mode).map_err(|errno| Error::io("set the mode of", TREES, errno))?;
        }
        let fixed = shape.fixed_modes.then(|| {
            "this volume does not keep permission bits: files have the modes that it gives them, which are not compared"
                .to_owned()
        });
        // A volume in memory counts against the container's limit, and the kernel kills a container that exceeds it.
        if folder::is_in_memory(&state) {
            shape.allowance.is_in_memory();
        }
        let warnings = lock.warning().into_iter().chain(fixed).collect();
        let flushed = Flushed::load(&root.join(".pushsync"));
        let mut volume = Self {
            root,
            grace: options.grace,
            shape: Mutex::new(Arc::new(shape)),
            said: Mutex::default(),
            link,
            ages: Mutex::default(),
            spare_limit: options.spares,
            spares: Mutex::default(),
            listings: Listings::default(),
            durability: options.durability,
            flushed,
            warm: Warm::default(),
            sizes: Mutex::default(),
            leftovers: false,
            warnings,
            beside: Mutex::default(),
            stuck: Mutex::default(),
            removal_waits: AtomicBool::new(false),
            whole: Mutex::default(),
            lock,
        };
        volume.read_shape_again()?;
        volume.leftovers = volume.clear_leftovers()?;
        volume.removal_waits.store(volume.leftovers, Ordering::Relaxed);
        Ok(volume)
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
        self.shape().allowance.limit()
    }

    /// `ROOT/.pushsync/repo.git`
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.state_folder().join("repo.git")
    }

    /// `ROOT/.pushsync`
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.root.join(".pushsync")
    }

    /// Returns `ROOT/.worktrees/<commit>`, whether it exists or not, or `.worktrees/<unique>/<commit>` for a tree that is
    /// one folder deeper. Does not access the disk.
    #[must_use]
    pub fn tree(&self, commit: Oid) -> PathBuf {
        self.root.join(".worktrees").join(self.known_target(commit).path())
    }

    /// Reads the link and nothing else, so that each sync can call it.
    pub fn live(&self) -> Result<Live, Error> {
        let target = match self.link.read()? {
            Standing::Nothing => return Ok(Live::Nothing),
            Standing::Foreign => return Ok(Live::Foreign),
            Standing::Ours(target) => target,
        };
        self.note_target(&target);
        let is_there = self.has_target(&self.trees_folder()?, &target)?;
        Ok(if is_there { Live::Tree(target.commit) } else { Live::Dangling(target.commit) })
    }

    /// Returns the commits whose trees are on the disk, by their names; [`Volume::verify`] checks their content.
    pub fn trees(&self) -> Result<Vec<Oid>, Error> {
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

    /// Returns the commits of all trees, including standby trees: readers may use them, and the next tree may be made from
    /// them.
    pub fn commits_in_use(&self) -> Result<Vec<Oid>, Error> {
        let mut commits = self.trees()?;
        commits.extend(self.spares().trees.iter().map(|standby| standby.commit));
        if let Live::Tree(live) = self.live()? {
            commits.push(live);
        }
        Ok(commits)
    }

    /// Compares `.worktrees/<commit>` with the commit: every name, mode, link target and the content of every file.
    pub fn verify(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Verdict, Error> {
        self.compare(store, commit, true, cancel)
    }

    /// Returns true if the tree of a commit may be published unchanged. In the live one, names that the commit does not
    /// have were added by hooks and apps, and stay; a tree that becomes live again has to equal its commit.
    pub(crate) fn is_usable(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<bool, Error> {
        let is_live = self.is_live(commit.to_string().as_bytes())?;
        Ok(self.compare(store, commit, is_live, cancel)? == Verdict::Whole)
    }

    fn compare(&self, store: &Path, commit: Oid, extras: bool, cancel: &Cancel) -> Result<Verdict, Error> {
        let shape = self.shape();
        let objects = Objects::open(store, &shape)?;
        let root = objects.root(commit)?;
        if shape.worktree_git && !git_file::is_led_to(store, commit) {
            return Ok(Verdict::Differs("what its .git file leads to is gone".to_owned()));
        }
        let target = self.target(commit)?;
        let name = target.path();
        match open_target(&self.trees_folder()?, &target) {
            Ok(top) => {
                let stat = rustix::fs::fstat(&top).map_err(|errno| self.failed("look at", name.as_bytes(), errno))?;
                if !shape.accepts(EntryKind::Folder, stat.st_mode) {
                    return Ok(Verdict::Differs("the top folder has another mode".to_owned()));
                }
                let git_file = shape.worktree_git.then_some(commit);
                let accepted = self.accepted(commit).filter(|_| extras);
                let look = Look { git_file, extras, accepted: accepted.as_deref(), ..Look::default() };
                verify::compare(&objects.view()?, root, top, look, cancel)
            }
            Err(errno) => match errno {
                rustix::io::Errno::NOENT => Ok(Verdict::Differs("there is no such tree".to_owned())),
                // A file or a link is in its place (open(2), `O_DIRECTORY` and `O_NOFOLLOW`).
                rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
                    Ok(Verdict::Differs("it is not a folder".to_owned()))
                }
                errno => Err(self.failed("open the tree", name.as_bytes(), errno)),
            },
        }
    }

    /// Makes the link name a built tree, durably. Everything before this call is invisible to readers.
    ///
    /// # Errors
    /// `not_built` if the tree is missing, `foreign_link` if a file or a folder with content is in the place of the link.
    pub fn publish(&self, commit: Oid) -> Result<(), Error> {
        let trees = self.trees_folder()?;
        let mut ages = self.ages();
        let target = self.target(commit)?;
        if !self.has_target(&trees, &target)? {
            return Err(Error::NotBuilt { path: self.shown_tree(target.path().as_bytes()) });
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
        ages.forget(&name);
        if let Some(before) = before {
            ages.replaced(before, self.grace);
            drop(ages);
            self.note_push(commit);
        }
        Ok(())
    }

    /// Renames unfinished entries of an earlier process. A sweep removes their content, which may be large, and may belong
    /// to another user. Returns true if there are any.
    fn clear_leftovers(&self) -> Result<bool, Error> {
        self.link.clear();
        let trees = self.trees_folder()?;
        let names = self.names(&trees)?;
        self.find_spares(&trees, &names);
        for name in names.iter().filter(|name| commit_named(Some(OsStr::from_bytes(name))).is_some()) {
            // Determines which trees have expired, before the first of them is reused.
            if let Ok(Some(stat)) = folder::look(&trees, name)
                && !self.is_live(name)?
            {
                self.ages().owed(name, &stat, self.grace);
            }
        }
        for name in names.iter().filter(|name| name.starts_with(UNFINISHED.as_bytes())) {
            // If the rename fails, each sweep tries again.
            let _ = rustix::fs::renameat(&trees, &**name, &trees, &*unique(DOOMED));
        }
        self.take_replaced_name(&trees)?;
        self.clear_replacements();
        git_file::clear_leftovers(&self.store());
        Ok(self.names(&trees)?.iter().any(|name| name.starts_with(DOOMED.as_bytes())))
    }

    /// Returns true if there are entries that a sweep has to remove.
    #[must_use]
    pub fn has_leftovers(&self) -> bool {
        self.leftovers
    }

    /// Returns true if entries were renamed for removal since the last one.
    #[must_use]
    pub fn removal_waits(&self) -> bool {
        self.removal_waits.load(Ordering::Relaxed)
    }

    /// Removes files `NAME.new` in `.pushsync`, which a killed process had written to replace `NAME`. Errors are ignored,
    /// because the next write of such a file removes it as well.
    fn clear_replacements(&self) {
        let Ok(state) = folder::open_path(&self.state_folder()) else { return };
        for name in folder::names(&state).unwrap_or_default() {
            let is_file = || matches!(folder::look(&state, &name), Ok(Some(stat)) if folder::kind(&stat) == FileType::RegularFile);
            if name.ends_with(b".new") && is_file() {
                let _ = rustix::fs::unlinkat(&state, &*name, AtFlags::empty());
            }
        }
    }

    /// Returns true if readers of the link reach this entry, by its text (as pushsync writes it) or by its actual target.
    pub(crate) fn is_live(&self, name: &[u8]) -> Result<bool, Error> {
        let by_text = match self.link.read()? {
            Standing::Ours(target) => target.entry().as_bytes() == name,
            _ => false,
        };
        Ok(by_text || self.link.leads_to().is_some_and(|entry| entry.as_bytes() == name))
    }

    /// Opens the folder of the trees each time, and creates it again if the volume was emptied.
    pub(crate) fn trees_folder(&self) -> Result<OwnedFd, Error> {
        own_folder(&open_root(&self.root)?, &self.root, TREES, self.shape().mode(EntryKind::Folder))
    }

    pub(crate) fn ages(&self) -> MutexGuard<'_, Ages> {
        self.ages.lock()
    }

    pub(crate) fn spares(&self) -> MutexGuard<'_, Standbys> {
        self.spares.lock()
    }

    pub(crate) fn spare_limit(&self) -> usize {
        self.spare_limit
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    pub(crate) fn flushed(&self) -> &Mutex<Flushed> {
        &self.flushed
    }

    pub(crate) fn shape(&self) -> Arc<Shape> {
        Arc::clone(&self.shape.lock())
    }

    /// Returns true if the remark was not made before. The number of remarks is limited, so that a hostile repository
    /// cannot fill the memory.
    pub(crate) fn is_new(&self, remark: &str) -> bool {
        let mut said = self.said.lock();
        said.len() < 100 && said.insert(remark.to_owned())
    }

    /// Reads the patterns for the next build from the sparse-checkout file. `None` if everything is wanted.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn sparse(&self) -> Result<Option<Arc<Sparse>>, Error> {
        let shape = self.shape();
        let again = shape.read_again()?;
        Ok(again.as_ref().unwrap_or(&shape).sparse.clone())
    }

    /// Applies the current sparse-checkout file. Trees of the previous shape do not count as trees of the new one.
    pub(crate) fn read_shape_again(&self) -> Result<(), Error> {
        if let Some(shape) = self.shape().read_again()? {
            *self.shape.lock() = Arc::new(shape);
        }
        Ok(())
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    pub(crate) fn shown_tree(&self, name: &[u8]) -> String {
        shown(&self.root.join(".worktrees").join(OsStr::from_bytes(name)))
    }

    pub(crate) fn failed(&self, doing: &'static str, name: &[u8], errno: rustix::io::Errno) -> Error {
        Error::Io { doing, path: self.shown_tree(name), source: errno.into() }
    }

    pub(crate) fn names(&self, trees: &OwnedFd) -> Result<Vec<Vec<u8>>, Error> {
        folder::names(trees).map_err(|errno| self.failed("list", b"", errno))
    }
}

/// Returns an unused name for `.worktrees`.
pub(crate) fn unique(prefix: &str) -> Vec<u8> {
    format!("{prefix}{:x}-{:016x}", std::process::id(), fastrand::u64(..)).into_bytes()
}

/// Opens the folder for readers of other users. If the mode of our folder was narrowed (a restored backup, another umask),
/// it is widened again; a folder of another owner is not changed.
fn show_to_all(trees: &OwnedFd, mode: RawMode) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(trees)?;
    if group::is_ours(&stat) && stat.st_mode & mode != mode {
        folder::set_mode(trees, (stat.st_mode & 0o777) | mode)?;
    }
    Ok(())
}

/// Stores the time at which an entry was replaced, for the next process. Errors are ignored: the grace period is shorter
/// then.
pub(crate) fn touch(trees: &OwnedFd, name: &[u8]) {
    // Both times are set to now: any user with write permission may do that, but only the owner may set one of them
    // (utimensat(2)).
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let _ = rustix::fs::utimensat(trees, name, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Resolves the root, and creates it if needed with mode 0775, so that a shared group may write; an existing one is not
/// changed.
fn make_root(path: &Path) -> Result<PathBuf, Error> {
    let failed = |doing| move |source| Error::Io { doing, path: shown(path), source };
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).map_err(failed("make the folder above"))?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => {
            // The umask has narrowed the mode of the new folder.
            let shared = std::fs::Permissions::from_mode(0o775);
            std::fs::set_permissions(path, shared).map_err(failed("set the mode of"))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // A mount point on a read-only file system cannot be created and need not be.
        Err(_) if path.is_dir() => {}
        Err(error) => return Err(failed("make the folder")(error)),
    }
    path.canonicalize().map_err(failed("find"))
}

fn open_root(root: &Path) -> Result<OwnedFd, Error> {
    folder::open_path(root).map_err(|errno| Error::io("open the folder", root.as_os_str().as_bytes(), errno))
}

/// Opens a folder of ours and creates it if it is missing; its name is flushed before anything is put into it.
fn own_folder(top: &OwnedFd, root: &Path, name: &[u8], mode: RawMode) -> Result<OwnedFd, Error> {
    let path = || [root.as_os_str().as_bytes(), b"/", name].concat();
    let missing = folder::look(top, name).map_err(|errno| Error::io("look at", path(), errno))?.is_none();
    let opened = folder::make_if_missing(top, name, mode).map_err(|errno| {
        Error::io(if missing { "make the folder" } else { "open the folder" }, path(), errno).with_cause_from(top)
    })?;
    if missing {
        folder::flush_names(top).map_err(|errno| Error::io("flush", root.as_os_str().as_bytes(), errno))?;
    }
    Ok(opened)
}
