//! The volume: pushsync's entries in `ROOT`, the lock, the link, grace periods, and what survives a loss of power.
//!
//! It must not know how trees are written or compared.

pub(crate) mod durability;
pub(crate) mod git_file;
pub(crate) mod grace;
pub(crate) mod hook_changes;
pub(crate) mod layout;
pub(crate) mod link;
pub(crate) mod lock;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod observe;
pub(crate) mod published;
pub(crate) mod target;
pub(crate) mod usage;
pub(crate) mod worktrees;
