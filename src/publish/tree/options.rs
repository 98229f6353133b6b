//! How the trees of commits are written to the disk, the same for all trees of a volume.
//!
//! It depends only on options and on the sparse-checkout file, and must not read objects or trees.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, RawMode};

use crate::allowance::Allowance;
use crate::publish::error::Error;
use crate::publish::path::printable;
use crate::publish::tree::view::EntryKind;
use crate::sparse::Sparse;
use crate::submodules::Submodules;

/// The parts of a commit that are written, and how. A tree that was written with others differs from its commit, and
/// is rebuilt.
#[derive(Clone, Debug, Default)]
pub struct CheckoutOptions {
    /// `--group-write`: the group gets the owner's write permission.
    pub group_write: bool,
    /// `--submodules`: which of them are published with their files; the others are empty folders.
    pub submodules: Submodules,
    /// `--sparse-checkout-file`: read when the volume is opened and before each build.
    pub sparse_file: Option<PathBuf>,
    /// `--worktree-git`: a `.git` file, so that git works inside the tree.
    pub worktree_git: bool,
    /// `--lfs`: LFS objects replace their pointers.
    pub lfs: bool,
    /// True if files are written as they are stored, without conversions by `.gitattributes`.
    pub raw: bool,
    /// True if the volume does not keep permission bits (SMB, exFAT), so that they are not compared. A probe detects this
    /// when the volume is opened, as git does for `core.fileMode`.
    pub fixed_modes: bool,
    /// The bytes that may still be written to the volume.
    pub allowance: Arc<Allowance>,
    /// The patterns of the sparse-checkout file when it was last read.
    pub sparse: Option<Arc<Sparse>>,
}

impl CheckoutOptions {
    /// Sets the umask so that all users can read what this process creates, like the trees: the folders that lead to the
    /// link, the touch file, and the store for git in a published tree. With `--group-write` the group can write it, too,
    /// because a process of another user in the group has to continue with it. To be called once, at the start, since it
    /// applies to the whole process and to its hooks.
    pub fn set_umask(&self) {
        rustix::process::umask(if self.group_write { Mode::WOTH } else { Mode::WGRP | Mode::WOTH });
    }

    /// Returns the permission bits of a file or folder. They do not depend on the umask.
    pub(crate) fn mode(&self, kind: EntryKind) -> RawMode {
        let mode = match kind {
            EntryKind::File | EntryKind::Link => 0o644,
            EntryKind::Executable | EntryKind::Folder | EntryKind::Submodule => 0o755,
        };
        if self.group_write { mode | 0o020 } else { mode }
    }

    /// Returns true if a file or folder may have these permission bits. Added bits for the group are no difference: the
    /// kubelet adds them to everything on a volume at each start of a pod with `fsGroup`.
    pub(crate) fn accepts(&self, kind: EntryKind, found: RawMode) -> bool {
        const GROUP: RawMode = 0o070;
        let wanted = self.mode(kind);
        // Equal apart from the bits of the group, and none of the wanted bits is missing.
        self.fixed_modes || (found & 0o777) | GROUP == wanted | GROUP && found & wanted == wanted
    }

    /// Reads the sparse-checkout file again. `None` if it has not changed.
    pub(crate) fn read_again(&self) -> Result<Option<Self>, Error> {
        let Some(file) = &self.sparse_file else { return Ok(None) };
        let text = std::fs::read(file)
            .map_err(|source| Error::Patterns { path: printable(file.as_os_str().as_encoded_bytes()), source })?;
        // Compared as text, because equal text needs no parsing and makes equal trees.
        if self.sparse.as_ref().is_some_and(|sparse| sparse.text() == text) {
            return Ok(None);
        }
        Ok(Some(Self { sparse: Some(Arc::new(Sparse::parse(&text))), ..self.clone() }))
    }

    /// Returns a number that is equal for options that make the same tree of a commit.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.group_write, self.raw, self.lfs, self.sparse.as_ref().map(|sparse| sparse.text())).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_bits_for_the_group_are_no_difference_and_all_others_are() {
        let plain = CheckoutOptions::default();
        for (kind, mode, fine) in [
            (EntryKind::File, 0o100_644, true),
            (EntryKind::File, 0o100_664, true),
            (EntryKind::File, 0o100_674, true),
            (EntryKind::Folder, 0o042_775, true),
            (EntryKind::Executable, 0o100_775, true),
            (EntryKind::File, 0o100_604, false),
            (EntryKind::File, 0o100_755, false),
            (EntryKind::File, 0o100_666, false),
            (EntryKind::Executable, 0o100_664, false),
            (EntryKind::Folder, 0o040_700, false),
        ] {
            assert_eq!(plain.accepts(kind, mode), fine, "{kind:?} {mode:o}");
        }
        let shared = CheckoutOptions { group_write: true, ..CheckoutOptions::default() };
        assert!(!shared.accepts(EntryKind::File, 0o644) && shared.accepts(EntryKind::File, 0o664));
        let fixed = CheckoutOptions { fixed_modes: true, ..CheckoutOptions::default() };
        assert!(fixed.accepts(EntryKind::File, 0o777));
    }
}
