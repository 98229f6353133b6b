//! From a commit in the object store to a tree that readers see: build beside, check, swap one link.
//!
//! It knows nothing of remotes, of http or of history. All of it is blocking file work, called on a worker thread. Read
//! in this order: `volume` (what there is on the disk), `build` (a commit's tree put in its place), with `objects`,
//! `walk`, `write` and `quick` under it, then `verify`, `link`, `sweep`, `trash`, `standby` (trees for the next pushes) with
//! `bring`, and `changes`.
//!
//! What holds at every instruction, also across `kill -9`: the link names nothing or one complete tree; an entry of
//! `.worktrees` whose name is a commit was complete when it got that name; no path of more than one name, and no link,
//! of a pushed tree is ever followed.

mod volume;

mod accepted;
mod bring;
mod build;
mod changes;
mod clone;
mod diff;
mod durable;
mod entry;
mod link;
mod place;
mod removal;
mod room;
mod standby;
mod sweep;
mod trash;
mod verify;
mod walk;
mod write;

mod convert;
mod encode;
mod error;
mod folder;
mod git_file;
mod levels;
mod lock;
mod mounts;
mod objects;
mod observe;
mod packed;
mod path;
mod pointers;
mod quick;
mod remarks;
mod shape;
mod share;
mod warm;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub use durable::Durability;
pub use error::Error;
pub use lock::has_owner;
pub use mounts::warn_of_no_volume;
pub use observe::{Observed, observe};
pub use path::tidy;
pub use shape::Shape;
pub use volume::{Volume, VolumeOptions};

use std::time::Duration;

use git2::Oid;

/// What the link names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// There is no link.
    Nothing,
    /// A tree of ours, which exists. Its content has not been compared with the commit.
    Tree(Oid),
    /// A link to a tree of ours that is gone.
    Dangling(Oid),
    /// Something that is not ours: a link elsewhere or spelt otherwise, a file, a directory.
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
    /// Files and links written; 0 if the tree was there already.
    pub files: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// The commit of the spare that it was made from; `None` if the tree is fresh or was there.
    pub spare: Option<Oid>,
    /// Why a spare that was there was not used.
    pub note: Option<String>,
    /// What a person should know of the files: Git LFS pointers, filters that are not run.
    pub remarks: Vec<String>,
}

/// What became of the spares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// None are wanted, or nothing is published.
    Nothing,
    /// So many are ready.
    Ready(usize),
    /// The volume is too full for as many as there should be.
    NoRoom,
    /// None is ready, but the grace of a replaced tree ends in so long: not worth a fresh one.
    Soon(Duration),
}

/// How many files differ between two commits, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: u64,
    /// Content or mode. A file that became a folder, or the other way round, counts as deleted and added.
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
