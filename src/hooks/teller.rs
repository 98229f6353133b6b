//! Notifies one hook in the background and retries until it has received the newest publication.
//!
//! If a newer publication arrives before an older one was delivered, the older one is dropped: hooks receive the
//! current state, not every step. Notifying never delays a sync.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::HookError;
use super::exec::Program;
use super::http::Caller;
use super::run::{Publication, count};
use crate::backoff::doubled;
use crate::metrics::Metrics;

/// The longest pause that results from doubling.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A hook that runs after a publication.
#[derive(Debug)]
pub(super) enum Hook {
    Exec(Program),
    Webhook(Caller),
}

impl Hook {
    /// The name in git-sync's metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exechook",
            Self::Webhook(_) => "webhook",
        }
    }

    pub(super) async fn run(&self, what: &Publication) -> Result<(), HookError> {
        match self {
            Self::Exec(program) => program.run(what).await,
            Self::Webhook(caller) => caller.run(what).await,
        }
    }

    fn backoff(&self) -> Duration {
        match self {
            Self::Exec(program) => program.backoff(),
            Self::Webhook(caller) => caller.backoff(),
        }
    }
}

/// Delivers the current publication and all later ones, until the process stops.
pub(super) async fn notify_until_delivered(
    hook: &Hook,
    mut newest: watch::Receiver<Publication>,
    metrics: &Metrics,
    has_run: &UnboundedSender<Publication>,
    stop: &CancellationToken,
) {
    let mut delivered: Option<Publication> = None;
    let mut failures: u32 = 0;
    let mut unexpected: u32 = 0;
    loop {
        // Cloned, because a borrow locks the channel, and the run may take long.
        let what = newest.borrow_and_update().clone();
        let failed = if delivered.as_ref() == Some(&what) {
            (failures, unexpected) = (0, 0);
            false
        } else {
            let answer = hook.run(&what).await;
            count(metrics, hook.name(), answer.as_ref().err());
            if matches!(hook, Hook::Exec(_)) {
                // The receiver is gone when the process ends.
                let _ = has_run.send(what.clone());
            }
            match answer {
                Ok(()) => {
                    tracing::info!(hook = hook.name(), commit = what.hash, "the hook succeeded");
                    (delivered, failures, unexpected) = (Some(what), 0, 0);
                    false
                }
                Err(HookError::Stopped) => return,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    unexpected = if error.is_other_success() { unexpected.saturating_add(1) } else { 0 };
                    log_failure(hook, &what, failures, &error);
                    true
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = newest.changed() => if changed.is_err() { return },
            () = sleep(pause(hook.backoff(), unexpected)), if failed => {}
        }
    }
}

/// Returns the pause before the next call. A server that is down is called again after the configured backoff. If the
/// server answers success with an unexpected status, a retry is unlikely to help, so the pause doubles each time.
fn pause(backoff: Duration, unexpected: u32) -> Duration {
    doubled(backoff, unexpected.saturating_sub(1), LONGEST_PAUSE.max(backoff))
}

/// Logs the 1st, 2nd, 4th, 8th … failure in a row as a warning, so that a server that is down for a day does not fill
/// the log.
fn log_failure(hook: &Hook, what: &Publication, failures: u32, error: &HookError) {
    let (name, hint) = (hook.name(), error.hint().unwrap_or_default());
    if failures.is_power_of_two() {
        tracing::warn!(
            hook = name,
            commit = what.hash,
            failures_in_row = failures,
            hint,
            "the hook failed and will be retried: {error}"
        );
    } else {
        tracing::debug!(hook = name, commit = what.hash, failures_in_row = failures, "the hook failed again: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_only_after_an_unexpected_success() {
        let seconds = Duration::from_secs;
        for (unexpected, expected) in [(0, 3), (1, 3), (2, 6), (3, 12), (8, 384), (9, 600), (40, 600), (u32::MAX, 600)]
        {
            assert_eq!(pause(seconds(3), unexpected), seconds(expected), "{unexpected}");
        }
        assert_eq!(pause(seconds(3600), 5), seconds(3600), "never shorter than the configured one");
    }
}
