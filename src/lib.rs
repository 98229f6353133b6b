//! `pushsync` keeps a git repository checked out in a directory that another container reads.
//!
//! A signed webhook triggers a sync at once, a poll is the fallback, and a dashboard shows the history. Read the
//! modules in this order; ARCHITECTURE.md follows one push through them.

pub(crate) mod allowance;
pub mod api;
pub(crate) mod attributes;
pub(crate) mod backoff;
pub mod clock;
pub(crate) mod commit;
pub mod error;
pub(crate) mod flush;
pub(crate) mod hash;
pub(crate) mod lfs;
pub mod log;
pub(crate) mod names;
pub mod notices;
pub(crate) mod pack_index;
pub(crate) mod pattern;
pub(crate) mod proxy;
pub mod remote_url;
pub(crate) mod replace;
pub mod secret;
pub(crate) mod secret_file;
pub mod signature;
pub mod sparse;
pub mod submodules;
pub(crate) mod text;
pub mod worker;

pub mod sync;

pub mod git;
pub mod history;
pub mod hooks;
pub mod metrics;
pub mod publish;

pub mod peers;
pub mod server;
pub mod signals;

pub mod config;
pub mod init;
pub mod ping;

pub mod dashboard;

pub mod cli;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
