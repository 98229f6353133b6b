//! How the trees of commits become files: one answer for all trees of a volume.
//!
//! It must not read objects or trees: what it decides follows from options, and from the sparse-checkout file, alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, RawMode};

use super::Error;
use super::objects::EntryKind;
use super::path::printable;
use crate::sparse::Sparse;
use crate::submodules::Submodules;

/// What is written of a commit, and how. A tree that was written with another shape differs from its commit, and is
/// rebuilt.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// `--group-write`: the group may write what the owner may write.
    pub group_write: bool,
    /// `--submodules`: which of them are there with their files; the others are empty folders.
    pub submodules: Submodules,
    /// `--sparse-checkout-file`: read when the volume is opened and before each build.
    pub sparse_file: Option<PathBuf>,
    /// `--worktree-git`: a `.git` file, so that git works inside the tree.
    pub worktree_git: bool,
    /// `--lfs`: the objects of Git LFS in the place of their pointers.
    pub lfs: bool,
    /// True if files are taken as they are stored, without what `.gitattributes` say.
    pub raw: bool,
    /// What the file said when it was read last.
    pub sparse: Option<Arc<Sparse>>,
}

impl Shape {
    /// Makes what this process creates from now on readable by all, as trees are whatever the umask: the folders that lead
    /// to the link, the touch file, and the store for git in a published tree. With `--group-write` the group may write it,
    /// too, or a process of another user in it could not go on. To be called once, at the start, since it counts for the
    /// whole process and for the hooks that it runs.
    pub fn set_umask(&self) {
        rustix::process::umask(if self.group_write { Mode::WOTH } else { Mode::WGRP | Mode::WOTH });
    }

    /// The permission bits of a file or folder. They do not depend on the umask.
    pub(super) fn mode(&self, kind: EntryKind) -> RawMode {
        let mode = match kind {
            EntryKind::File | EntryKind::Link => 0o644,
            EntryKind::Executable | EntryKind::Folder | EntryKind::Submodule => 0o755,
        };
        if self.group_write { mode | 0o020 } else { mode }
    }

    /// Reads the sparse-checkout file. `None`: it says what it said before.
    pub(super) fn read_again(&self) -> Result<Option<Self>, Error> {
        let Some(file) = &self.sparse_file else { return Ok(None) };
        let text = std::fs::read(file)
            .map_err(|source| Error::Patterns { path: printable(file.as_os_str().as_encoded_bytes()), source })?;
        if self.sparse.as_ref().is_some_and(|sparse| sparse.text() == text) {
            return Ok(None);
        }
        Ok(Some(Self { sparse: Some(Arc::new(Sparse::parse(&text))), ..self.clone() }))
    }

    /// The same for two shapes that make the same tree of a commit.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.group_write, self.raw, self.lfs, self.sparse.as_ref().map(|sparse| sparse.text())).hash(&mut hasher);
        hasher.finish()
    }
}
