//! Ties the parts of the area together.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::git::{Call, Engine, RemoteOptions};
use crate::history::History;
use crate::metrics::Metrics;
use crate::publish::VolumeOptions;

use super::context::Context;
use super::handle::Handle;
use super::options::Options;
use super::queue::Queue;
use super::status::StatusStore;
use super::sync_loop::SyncLoop;

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
    let context = Context::new(engine, status, queue, history, metrics, clock, options, volume);
    (handle, SyncLoop::new(Arc::new(context), commands, grace))
}
