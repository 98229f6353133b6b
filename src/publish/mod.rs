//! Publishes a commit of the object store: builds its tree beside the live one, checks it, and swaps the link.
//!
//! It must not know remotes, HTTP or the history. All of it is blocking file work, called on a worker thread. Read in this
//! order: `volume` (the entries on the disk and the link), `tree` (a commit as it is to be on the disk), `checkout` (writing
//! it), `verify`, `standby` (trees for the next pushes), `removal`.
//!
//! These properties hold at every instruction, also across `kill -9`: the link names nothing or one complete tree; an entry
//! of `.worktrees` whose name is a commit was complete when it got that name; no path of more than one name, and no link,
//! of a pushed tree is ever followed.

mod checkout;
mod error;
mod folder;
mod path;
mod removal;
mod standby;
mod tree;
mod verify;
mod volume;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub use error::Error;
pub use path::tidy;
pub use tree::options::Shape;
pub use volume::durability::Durability;
pub use volume::layout::{Volume, VolumeOptions};
pub use volume::lock::has_owner;
pub use volume::mounts::warn_of_no_volume;
pub use volume::observe::{Observed, observe};

use std::time::Duration;

use git2::Oid;

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

/// How a tree compares with its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Whole,
    /// The first difference that was found, as text.
    Differs(String),
}

/// A complete tree under `.worktrees/<commit>` that the link does not name yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub commit: Oid,
    /// The number of written files and links; 0 if the tree existed already.
    pub files: u64,
    /// The size of their content in bytes.
    pub bytes: u64,
    /// The commit of the standby tree that it was made from; `None` if the tree is fresh or existed already.
    pub spare: Option<Oid>,
    /// The reason why a standby tree was not used.
    pub note: Option<String>,
    /// Remarks for the operator on the files: Git LFS pointers, filters that are not run.
    pub remarks: Vec<String>,
}

/// The outcome of preparing standby trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// No standby trees are wanted, or no tree is published.
    Nothing,
    /// This number is ready.
    Ready(usize),
    /// The volume is too full for the wanted number.
    NoRoom,
    /// None is ready, but the grace period of a replaced tree ends in this time, so a fresh tree is not worth it.
    Soon(Duration),
}

/// The numbers of files that differ between two commits, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: u64,
    /// Files with another content or mode. A file that became a folder, or the other way round, counts as deleted and
    /// added.
    pub modified: u64,
    pub deleted: u64,
    /// At most 500, in tree order; paths as text with control characters escaped, at most 400 characters each.
    pub first: Vec<(String, Kind)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}
