//! The state of adjusting the history in the store to `--depth`: whether that is done, and when to try again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::backoff::doubled;
use crate::git::error::Error;

/// The longest pause between two attempts to fetch more history. Pauses double, beginning with none and one second.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The state for one remote.
#[derive(Debug, Default)]
pub(crate) struct HistoryDepth {
    /// True once the history was compared with the configured depth.
    adjusted: AtomicBool,
    /// The attempts to fetch more history that failed since the last success.
    failures: Mutex<Option<Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    last: Instant,
    count: u32,
}

impl HistoryDepth {
    /// Returns a state in which nothing has to be adjusted.
    pub(crate) fn already_adjusted() -> Self {
        Self { adjusted: AtomicBool::new(true), failures: Mutex::default() }
    }

    /// Returns true once the history was compared with the configured depth.
    pub(crate) fn is_adjusted(&self) -> bool {
        self.adjusted.load(Ordering::Relaxed)
    }

    /// Notes that the history is being adjusted. Returns true if it was before.
    pub(crate) fn set_adjusted(&self) -> bool {
        self.adjusted.swap(true, Ordering::Relaxed)
    }

    /// Counts a failed attempt to fetch more history, and logs it. The commit is usable all the same.
    pub(crate) fn record_failure(&self, reason: Option<&Error>) {
        let mut failures = self.lock();
        let count = failures.map_or(0, |failures| failures.count) + 1;
        *failures = Some(Failures { last: Instant::now(), count });
        let reason = reason.map(ToString::to_string);
        tracing::warn!(reason, "the history could not be fetched as deep as --depth asks for; it will be tried again");
    }

    /// Returns true if the history should be adjusted now: it was not compared yet, or the pause after a failure is over.
    pub(crate) fn needs_adjustment(&self) -> bool {
        match *self.lock() {
            Some(failures) => failures.last.elapsed() >= pause(failures.count),
            None => !self.is_adjusted(),
        }
    }

    /// Returns the number of attempts that failed in a row; `None` if the last one succeeded.
    pub(crate) fn failed_attempts(&self) -> Option<u32> {
        self.lock().map(|failures| failures.count)
    }

    /// Forgets the failures, unless an attempt has failed since there were `attempts` of them.
    pub(crate) fn clear_failures(&self, attempts: Option<u32>) {
        let mut failures = self.lock();
        // Of two histories one may be adjusted while the attempt for the other fails. That failure still counts.
        if failures.map(|failures| failures.count) == attempts {
            *failures = None;
        }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Option<Failures>> {
        self.failures.lock()
    }
}

fn pause(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    // One second less than doubling gives: after the first failure there is no pause.
    doubled(FIRST, failures.saturating_sub(1), LONGEST_PAUSE + FIRST).saturating_sub(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_failed_attempts_grow_up_to_a_limit() {
        let pauses: Vec<u64> = [1, 2, 3, 4, 9, 10, 40].map(|failures| pause(failures).as_secs()).to_vec();
        assert_eq!(pauses, [0, 1, 3, 7, 255, 300, 300]);
    }

    #[test]
    fn the_pause_after_a_failure_counts_even_if_the_depth_was_never_compared() {
        let depth = HistoryDepth::default();
        assert!(depth.needs_adjustment(), "an earlier process filled the store");
        for _ in 0..2 {
            depth.record_failure(None);
        }
        assert!(!depth.needs_adjustment(), "the second pause has a second");
        // One of two histories was adjusted, and the other attempt failed meanwhile.
        let before = depth.failed_attempts();
        depth.record_failure(None);
        depth.clear_failures(before);
        assert_eq!(depth.failed_attempts(), Some(3), "the next pause is longer, not the first again");
        depth.clear_failures(Some(3));
        assert!(depth.needs_adjustment() && depth.failed_attempts().is_none());
        assert!(!depth.set_adjusted());
        assert!(!depth.needs_adjustment());
    }
}
