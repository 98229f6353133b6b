//! Telling one hook in the background, again and again until it has heard of the newest publish.
//!
//! What was not heard before a newer one came is never told: a hook hears where things stand, not every step. It must not
//! hold anybody up.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::exec::Program;
use super::http::Caller;
use super::{Error, Publication, count};
use crate::metrics::Metrics;

/// The longest pause that grows by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A hook that hears of a publish after it.
#[derive(Debug)]
pub(super) enum Hook {
    Exec(Program),
    Webhook(Caller),
}

impl Hook {
    /// As git-sync's metrics call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exechook",
            Self::Webhook(_) => "webhook",
        }
    }

    pub(super) async fn run(&self, what: &Publication) -> Result<(), Error> {
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

/// Tells what is there now and everything that comes, until the process stops.
pub(super) async fn tell_until_heard(
    hook: &Hook,
    mut newest: watch::Receiver<Publication>,
    metrics: &Metrics,
    has_run: &UnboundedSender<Publication>,
    stop: &CancellationToken,
) {
    let mut heard: Option<Publication> = None;
    let mut failures: u32 = 0;
    let mut misfits: u32 = 0;
    loop {
        let what = newest.borrow_and_update().clone();
        let failed = if heard.as_ref() == Some(&what) {
            (failures, misfits) = (0, 0);
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
                    tracing::info!(hook = hook.name(), commit = what.hash, "the hook was told");
                    (heard, failures, misfits) = (Some(what), 0, 0);
                    false
                }
                Err(Error::Stopped) => return,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    misfits = if error.is_other_success() { misfits.saturating_add(1) } else { 0 };
                    say(hook, &what, failures, &error);
                    true
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = newest.changed() => if changed.is_err() { return },
            () = sleep(pause(hook.backoff(), misfits)), if failed => {}
        }
    }
}

/// The pause before the next call. An address that is down is called again after the configured backoff. One that answers
/// success by another status than is expected will hardly change its mind: for it the pause doubles.
fn pause(backoff: Duration, misfits: u32) -> Duration {
    let doubled = backoff.saturating_mul(1_u32.checked_shl(misfits.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(LONGEST_PAUSE.max(backoff))
}

/// A listener that is down for a day must not fill the log: the 1st, 2nd, 4th, 8th … failure in a row is a line of its own.
fn say(hook: &Hook, what: &Publication, failures: u32, error: &Error) {
    let (name, hint) = (hook.name(), error.hint().unwrap_or_default());
    if failures.is_power_of_two() {
        tracing::warn!(
            hook = name,
            commit = what.hash,
            failures_in_row = failures,
            hint,
            "the hook failed, and will be told again: {error}"
        );
    } else {
        tracing::debug!(hook = name, commit = what.hash, failures_in_row = failures, "the hook failed again: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unexpected_success_makes_the_pause_grow() {
        let seconds = Duration::from_secs;
        for (misfits, expected) in [(0, 3), (1, 3), (2, 6), (3, 12), (8, 384), (9, 600), (40, 600), (u32::MAX, 600)] {
            assert_eq!(pause(seconds(3), misfits), seconds(expected), "{misfits}");
        }
        assert_eq!(pause(seconds(3600), 5), seconds(3600), "never shorter than the configured one");
    }
}
