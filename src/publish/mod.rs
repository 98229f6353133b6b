//! From a commit in the object store to a tree that readers see: build beside, check, swap one link.
//!
//! It knows nothing of remotes, of http or of history. All of it is blocking file work, called on a worker thread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::Oid;

use crate::error::Retry;
use crate::worker::Cancel;

/// Where trees go.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// `--root`: made if it does not exist.
    pub root: PathBuf,
    /// `--link`: absolute, or relative to the root.
    pub link: PathBuf,
    /// How long a replaced tree is kept for readers that are still in it.
    pub grace: Duration,
}

/// A file operation that failed, or a tree that cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("not built yet")]
pub struct Error;

impl Error {
    /// The stable word for machines, such as `disk_full`, `read_only`, `permission`, `hostile_path`, `locked`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        "internal"
    }

    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Soon
    }

    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        None
    }

    /// True if an object was missing or unreadable in the store, so that only a new fetch helps.
    #[must_use]
    pub fn store_is_damaged(&self) -> bool {
        false
    }
}

/// What the link names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// There is no link.
    Nothing,
    /// A tree of ours, which exists. Its content has not been compared with the commit.
    Tree(Oid),
    /// A link to a tree of ours that is gone.
    Dangling(Oid),
    /// Something that is not ours: a link elsewhere, a file, a directory.
    Foreign,
}

/// How a tree compares with its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Whole,
    /// The first difference found, in words.
    Differs(String),
}

/// A complete tree under `.worktrees/<commit>` that the link does not name yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub commit: Oid,
    /// Files and links written.
    pub files: u64,
    pub bytes: u64,
}

/// How many files differ between two commits, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: u64,
    pub modified: u64,
    pub deleted: u64,
    /// At most 500, in tree order; paths as text with control characters replaced.
    pub first: Vec<(String, Kind)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// The one owner of `ROOT`, for as long as it lives (flock on `.pushsync/lock`).
#[derive(Debug)]
pub struct Volume {
    options: VolumeOptions,
}

impl Volume {
    /// Makes `ROOT` and `.pushsync`, takes the lock, clears temporary folders and links that a crash left.
    pub fn open(_options: VolumeOptions) -> Result<Self, Error> {
        Err(Error)
    }

    /// `ROOT/.pushsync/repo.git`
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.state_folder().join("repo.git")
    }

    /// `ROOT/.pushsync`
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.options.root.join(".pushsync")
    }

    /// Reads the link, nothing else: cheap enough for every look.
    pub fn live(&self) -> Result<Live, Error> {
        Err(Error)
    }

    /// Compares `.worktrees/<commit>` with the commit: every name, mode, link target and the content of every file.
    pub fn verify(&self, _store: &Path, _commit: Oid, _cancel: &Cancel) -> Result<Verdict, Error> {
        Err(Error)
    }

    /// Writes the commit's tree into a temporary folder and renames it to `.worktrees/<commit>`. A tree of that name which
    /// `verify` calls whole is used as it is; one that differs is replaced.
    pub fn build(&self, _store: &Path, _commit: Oid, _cancel: &Cancel) -> Result<Built, Error> {
        Err(Error)
    }

    /// Makes the link name a built tree, durably. Everything before this call is invisible to readers.
    pub fn publish(&self, _commit: Oid) -> Result<(), Error> {
        Err(Error)
    }

    /// Removes trees whose grace is over and leftovers. Never touches the tree that the link names, nor `keep`.
    pub fn sweep(&self, _keep: &[Oid]) -> Result<(), Error> {
        Err(Error)
    }

    /// Bytes used on the volume: `(store, trees)`. Not cheap; called after a publish only.
    pub fn usage(&self) -> Result<(u64, u64), Error> {
        Err(Error)
    }
}

/// Compares two commits by walking only the subtrees that differ. `old` = `None`, or not in the store: everything is added.
pub fn changes(_store: &Path, _old: Option<Oid>, _new: Oid) -> Result<Changes, Error> {
    Err(Error)
}
