//! Publishes a commit of the object store: builds its tree beside the live one, checks it, and swaps the link.
//!
//! It must not know remotes, HTTP or the history. All of it is blocking file work, called on a worker thread. Read in this
//! order: `front` (what callers see), `volume` (the entries on the disk and the link), `tree` (a commit as it is to be on the
//! disk), `checkout` (writing it), `verify`, `standby` (trees for the next pushes), `removal`. ARCHITECTURE.md has the layers.
//!
//! These properties hold at every instruction, also across `kill -9`: the link names nothing or one complete tree; an entry
//! of `.worktrees` whose name is a commit was complete when it got that name; no path of more than one name, and no link,
//! of a pushed tree is ever followed.

mod build;
mod checkout;
mod error;
mod folder;
mod front;
mod path;
mod removal;
mod standby;
mod tree;
mod verify;
mod volume;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub use checkout::Built;
pub use error::Error;
pub use front::Volume;
pub use path::tidy;
pub use standby::prepare::Prepared;
pub use tree::changes::{ChangeKind, Changes};
pub use tree::options::CheckoutOptions;
pub use verify::Verdict;
pub use volume::durability::Durability;
pub use volume::layout::VolumeOptions;
pub use volume::lock::has_owner;
pub use volume::mounts::warn_of_no_volume;
pub use volume::observe::{Observed, observe};
pub use volume::worktrees::Live;
