//! One sync: read the link, resolve the ref, fetch, build, run the pre-publish hook, publish. In this order; readers see
//! nothing before the last step.
//!
//! Each step takes the result of the one before it as a value: a tree cannot be published that no step has built.

mod build;
mod fetch;
mod gate;
mod lfs;
mod order;
mod publish;
mod repair;
mod report;
mod resolve;
mod room;
mod sync_run;
mod worktree;

pub(crate) use report::{Done, RunEnd, RunReport};
pub(crate) use sync_run::SyncRun;
