//! The parts that all hooks' runs share: the commit that they are called for, and the processes and tasks that end with
//! the process. It knows no kind of hook.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

use super::error::HookError;
use super::processes::Processes;

/// A built or published commit, as hooks receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The commit.
    pub hash: String,
    /// Its tree, absolute.
    pub tree: PathBuf,
    /// How often a published tree was put back by this process: in a new tree of the same commit the hooks run again.
    pub put_back: u64,
}

/// The parts that every run shares.
#[derive(Clone, Debug, Default)]
pub(super) struct HookRuns {
    pub processes: Arc<Processes>,
    /// Cancelled on shutdown: no hook starts any more, running ones are stopped.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

/// Counts a run. A run that was stopped because its result is no longer needed counts as neither success nor error.
pub(super) fn count(metrics: &Metrics, name: &str, failed: Option<&HookError>) {
    match failed {
        None => metrics.hook_run(name, "success"),
        Some(HookError::Stopped) => {}
        Some(_) => metrics.hook_run(name, "error"),
    }
}
