//! The space that the store and the trees take on the volume.
//!
//! A tree is measured once and then increased by what is written into it. It must not know why the space is of interest.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use parking_lot::Mutex;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::space::{Size, measure};
use crate::publish::volume::names::{STANDBY, commit_named};
use crate::publish::volume::worktrees::Worktrees;

/// The measured sizes of trees.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// By the inode of the tree's folder.
    trees: Mutex<HashMap<u64, Size>>,
    /// The approximate size of the live tree; `None` if it has to be measured.
    live: Mutex<Option<Size>>,
}

impl Usage {
    /// Returns the bytes used on the volume: `(store, trees)`. The cost is a `stat` of each file of each fresh tree. `go_on`
    /// is called at each.
    ///
    /// # Errors
    /// `cancelled` if it was stopped, or if an entry could not be read.
    pub(crate) fn measure(&self, volume: &Worktrees, go_on: impl Fn() -> bool) -> Result<(u64, u64), Error> {
        let store = volume.layout.store();
        let shown = store.as_os_str().as_bytes();
        let store = match folder::open_path(&store) {
            Ok(store) => measured(&store, b".", &go_on, |errno| Error::io("measure", shown, errno))?,
            // Nothing was fetched yet.
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(Error::io("open", shown, errno)),
        };
        let trees = volume.trees_folder()?;
        let sizes = || self.trees.lock();
        let (mut all, mut there) = (0, HashSet::new());
        for name in volume.names(&trees)? {
            let found = folder::stat(&trees, &name).map_err(|errno| volume.failed("look at", &name, errno))?;
            let Some(stat) = found.filter(|stat| folder::kind(stat) == FileType::Directory) else { continue };
            let known = sizes().get(&stat.st_ino).copied().and_then(Size::at_most);
            let size = match known {
                Some((bytes, _)) => bytes,
                None => measured(&trees, &name, &go_on, |errno| volume.failed("measure", &name, errno))?,
            };
            all += size;
            if commit_named(Some(OsStrExt::from_bytes(&name))).is_some() || name.starts_with(STANDBY.as_bytes()) {
                if known.is_none() {
                    // Inodes are not counted here, because only bytes have a limit.
                    sizes().insert(stat.st_ino, Size::of((size, 1)));
                }
                there.insert(stat.st_ino);
            }
        }
        // Inodes of removed trees are given to other folders.
        sizes().retain(|tree, _| there.contains(tree));
        Ok((store, all))
    }

    /// Measures the used space again, if there is a limit for it. Trees whose size is known are not measured again.
    pub(crate) fn measure_for_limit(&self, volume: &Worktrees, go_on: &impl Fn() -> bool) -> Result<(), Error> {
        let options = volume.options();
        if options.allowance.limit().is_none() {
            return Ok(());
        }
        let folder = volume.layout.state_folder();
        let shown = folder.as_os_str().as_bytes();
        let state = folder::open_path(&folder).map_err(|errno| Error::io("open", shown, errno))?;
        let state = measured(&state, b".", go_on, |errno| Error::io("measure", shown, errno))?;
        // `.pushsync` contains the store, so only the trees are added.
        let (_, trees) = self.measure(volume, go_on)?;
        options.allowance.measured(state.saturating_add(trees));
        Ok(())
    }

    /// Adds what was written into a tree to its size.
    pub(crate) fn tree_grew(&self, folder: &OwnedFd, written: (u64, u64)) {
        let Ok(stat) = rustix::fs::fstat(folder) else { return };
        if let Some(size) = self.trees.lock().get_mut(&stat.st_ino) {
            size.grow(written);
        }
    }

    /// Adds what was written to the size of the live tree, which was made from the previous one.
    pub(crate) fn live_tree_grew(&self, written: (u64, u64)) {
        if let Some(size) = &mut *self.live.lock() {
            size.grow(written);
        }
    }

    /// Returns at least the size of the live tree in bytes and inodes; `None` if it has to be measured.
    pub(crate) fn live_tree(&self) -> Option<(u64, u64)> {
        (*self.live.lock()).and_then(Size::at_most)
    }

    pub(crate) fn set_live_tree(&self, tree: (u64, u64)) {
        *self.live.lock() = Some(Size::of(tree));
    }
}

/// Measures an entry; 0 for one that vanishes meanwhile.
fn measured(
    parent: &OwnedFd,
    name: &[u8],
    go_on: &impl Fn() -> bool,
    failed: impl Fn(Errno) -> Error,
) -> Result<u64, Error> {
    match measure(parent, name, go_on) {
        Ok(size) => size.map(|(bytes, _)| bytes).ok_or(Error::Cancelled),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(failed(errno)),
    }
}
