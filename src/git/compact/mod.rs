//! How the store stays small: many packs become one, and what nobody can come back to is left out of it.
//!
//! libgit2 has no `gc`. A compaction has three parts. `plan` looks which packs are worth it, `write` makes one new pack of
//! them beside the store, `install` puts it in their place. The first and the last are short and run on the git thread,
//! where everything that moves a ref runs, too; the long one in the middle has a thread of its own, so that no push
//! waits for it. It must not know of remotes, nor why a commit is to be kept.

mod install;
mod plan;
mod store_files;
mod workshop;
mod write;

use std::time::Duration;

pub(super) use install::{install, restore_leftovers};
use plan::Plan;
pub(super) use plan::plan;
pub(super) use workshop::Workshop;
pub(super) use write::write;

/// When the store is compacted (`--git-gc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compaction {
    /// Never.
    Off,
    /// When there is enough to gain for what it costs.
    #[default]
    Auto,
    /// All of it, whenever replaced trees were removed; after a publish, when there is enough to gain.
    Always,
}

/// How far one compaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As far as it is worth it.
    Worthwhile,
    /// Everything becomes one pack, and what is not kept is dropped.
    Full,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub packs_before: usize,
    pub packs_after: usize,
    /// Bytes of the packs.
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// What the whole store takes on the volume now.
    pub store_bytes: u64,
    /// True if what is not kept was dropped.
    pub full: bool,
    pub took: Duration,
}

/// Folders in the store in which a new pack is made.
pub(super) const WORKSHOP: &str = "pushsync-compact-";
/// What is added to the name of an index whose pack is out of use, but not removed yet.
pub(super) const ASIDE: &str = ".aside";
