//! The only writer of the volume: decides when to sync, and brings one commit after the other from the remote to the readers.
//!
//! `server` and the poll send requests through a [`Handle`]; `git`, `publish`, `history` and `hooks` do the work. It must
//! not know HTTP.

mod announcement_tracker;
mod backoff;
mod command;
mod decisions;
mod error;
mod handle;
mod inherit;
mod inherited;
mod lookup;
mod maintenance;
mod notice_files;
mod notify;
mod queue;
mod record;
mod recorder;
mod rejected;
mod run;
mod status;
mod sync_log;
mod sync_loop;
mod tools;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::git::{Call, Compaction, Engine, RemoteOptions};
use crate::history::History;
use crate::hooks;
use crate::metrics::Metrics;
use crate::notices;
use crate::publish::VolumeOptions;

pub use handle::{Command, CommandRequest, Commands, Handle, Subscription};
pub use inherited::Inherited;
pub use queue::{Announced, PeerResults, Queue, Request};
pub use status::{Delivery, Followed, Health, StatusStore};
pub use sync_loop::{Ending, SyncLoop};

/// When to sync, how long to try, and when to give up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pause between polls.
    pub period: Duration,
    /// The same before the first success, if it differs.
    pub init_period: Option<Duration>,
    /// The longest that one sync may take.
    pub timeout: Duration,
    /// Publish once and exit.
    pub one_time: bool,
    /// End the process after this many failures in a row (0 as 1); negative = never.
    pub max_failures: i64,
    /// The same before the first success, if it differs.
    pub init_max_failures: Option<i64>,
    /// The number of a signal that requests a sync.
    pub sync_on_signal: Option<i32>,
    /// The syncs a second that webhooks may cause, sustained; 0 = no limit.
    pub hook_rate: f64,
    /// True if a webhook secret is configured.
    pub webhooks: bool,
    /// True if other replicas are named, so that a pin is taken over by a replica that starts.
    pub peers: bool,
    /// How many records the history keeps.
    pub history_limit: usize,
    /// When the object store is compacted.
    pub compaction: Compaction,
    /// The ref as configured, for the snapshot.
    pub reference: String,
    /// The remote, redacted, for the snapshot.
    pub repo: String,
    /// The replica's name (its host name).
    pub replica: String,
    /// The hooks: they are notified of a publish, and the pre-publish hook may refuse one.
    pub hooks: hooks::HookOptions,
    /// The touch file and the error file.
    pub notices: notices::NoticeOptions,
}

/// The engine for a volume, whose calls for passwords are counted.
#[must_use]
pub fn engine(mut remote: RemoteOptions, root: &Path, metrics: &Arc<Metrics>) -> Engine {
    let metrics = Arc::clone(metrics);
    remote.credentials.observer = Some(Arc::new(move |call, worked| {
        let status = if worked { "success" } else { "error" };
        match call {
            Call::Askpass => metrics.askpass_call(status),
            Call::AppToken => metrics.github_app_token(status),
        }
    }));
    let engine = Engine::new(remote, root.join(".pushsync/repo.git"));
    engine.prepare_client();
    engine
}

/// Ties the parts together. Nothing is touched until the loop runs.
#[must_use]
pub fn prepare(
    options: Options,
    engine: Engine,
    volume: VolumeOptions,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> (Handle, SyncLoop) {
    let status = Arc::new(StatusStore::new(&options, clock.clone()));
    let queue = Arc::new(Queue::new(options.hook_rate));
    let history = Arc::new(History::new(options.history_limit));
    let (handle, commands) =
        Handle::new(status.clone(), queue.clone(), history.clone(), metrics.clone(), clock.clone());
    let handle = handle.with_engine(engine.clone());
    let grace = volume.grace;
    let tools = tools::Tools::new(engine, status, queue, history, metrics, clock, options, volume);
    (handle, SyncLoop::new(Arc::new(tools), commands, grace))
}
