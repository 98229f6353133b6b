//! `pushsync` keeps a git repository checked out in a directory that another container reads.
//!
//! A signed webhook makes it pull at once, a poll is the fallback, a dashboard shows what happened. Read the modules in
//! this order; ARCHITECTURE.md walks one push through them.

pub mod api;
pub mod clock;
pub mod error;
pub mod log;
pub mod remote_url;
pub mod secret;
pub mod secret_file;
pub mod signature;
pub mod text;
pub mod worker;

pub mod sync;

pub mod git;
pub mod history;
pub mod metrics;
pub mod publish;

pub mod peers;
pub mod server;
pub mod signals;

pub mod config;
pub mod ping;

pub mod dashboard;
