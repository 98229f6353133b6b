//! Compaction: many packs become one, and unreachable objects are left out of it.
//!
//! libgit2 has no `gc`. A compaction has three steps: `plan` chooses the packs, `write` writes one new pack in a temporary
//! folder, `install` replaces the old packs with it. The first and the last step are short and run on the git thread, as
//! does everything that moves a ref. The long step runs on a thread of its own, so that no push waits for it.

pub(crate) mod install;
mod pack_files;
pub(crate) mod plan;
mod selection;
pub(crate) mod temporary;
pub(crate) mod write;

/// When the store is compacted (`--git-gc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compaction {
    /// Never.
    Off,
    /// When the gain is worth the cost.
    #[default]
    Auto,
    /// Fully each time replaced trees were removed, and after a publish when the gain is worth the cost.
    Always,
}
