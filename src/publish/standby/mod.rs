//! Standby trees: complete trees that no reader knows, so that the cost of a push follows its change.
//!
//! A replaced tree whose grace period is over is checked, cleaned and used again (`prepare`, `restore`); a fresh one is
//! written only if there is none. A push updates one to its commit (`update`). `check` compares
//! trees before and after a push, `state` says which ones there are.
//!
//! The name marks the state. A rename gives the name `.spare-<commit>-…` after everything in the tree is on the disk, and
//! takes it away before the first change; a tree that is being changed is called `.tmp-…`, and the next start removes it.
//! After a kill in between, a tree has one of the two names, and no standby tree mixes two commits.
//!
//! ARCHITECTURE.md lists what is checked when, and which changes are not detected. It must not know when a push is due.

pub(crate) mod accept;
pub(crate) mod check;
mod demand;
pub(crate) mod job;
mod listings;
pub(crate) mod prepare;
mod restore;
pub(crate) mod state;
pub(crate) mod update;
mod watch;
