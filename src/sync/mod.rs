//! The only writer of the volume: decides when to sync, and brings one commit after the other from the remote to the readers.
//!
//! `server` and the poll send requests through a [`Handle`]; `git`, `publish`, `history` and `hooks` do the work. It must
//! not know HTTP.

mod announcement_tracker;
mod backoff;
mod command;
mod context;
mod decision_store;
mod decisions;
mod disk;
mod error;
mod handle;
mod hook_changes;
mod inherited;
mod lfs_objects;
mod lfs_removal;
mod lookup;
mod maintenance;
mod notice_files;
mod notify;
mod open_volume;
mod options;
mod protected;
mod queue;
mod record;
mod recorder;
mod rejected;
mod run;
mod setup;
mod state;
mod status;
mod sync_log;
mod sync_loop;
mod tree_state;

pub use handle::{Command, CommandRequest, Commands, Handle, Subscription};
pub use inherited::Inherited;
pub use options::Options;
pub use queue::{Announced, PeerResults, Queue, Request};
pub use setup::{engine, prepare};
pub use status::{Delivery, Followed, Health, StatusStore};
pub use sync_loop::{Ending, SyncLoop};
