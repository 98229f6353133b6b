//! Counts failures in a row: when they end the process, and which of them are recorded.
//!
//! It must not know what failed, or how long the next wait is.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::ErrorInfo;
use crate::error::{Phase, SyncError};
use crate::sync::backoff;

/// The count for `--max-failures`. Its users assume one attempt per period, so an outage must not end the process sooner
/// because pushsync tries more often.
#[derive(Default)]
pub(super) struct Limit {
    pub failures: u32,
    counted: Option<Instant>,
}

impl Limit {
    /// Counts a failure, unless it is an attempt between two polls. A commit that the pre-publish hook refuses is only
    /// tried when it is due, so it always counts.
    pub(crate) fn count(&mut self, error: &SyncError, period: Duration, now: Instant) {
        let between = |counted| now.saturating_duration_since(counted) < backoff::shortest(period);
        if error.phase != Phase::Gate && self.counted.is_some_and(between) {
            return;
        }
        // Never wraps: years of failures must not count as none.
        self.failures = self.failures.saturating_add(1);
        self.counted = Some(now);
    }
}

/// Returns true if a failure is recorded: of the same failure, repeated by polls, the 1st, 2nd, 4th, 8th … A remote that is
/// down for a day must not flush a day of history.
pub(super) fn worth_a_record(failures: u32, error: &SyncError, last: Option<&ErrorInfo>) -> bool {
    let same = last.is_some_and(|last| last.kind == error.kind.as_str() && last.phase == error.phase);
    !same || failures.is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Retry};

    fn failure(phase: Phase, kind: ErrorKind) -> SyncError {
        SyncError { phase, kind, retry: Retry::Soon, hint: None, source: Box::new(std::io::Error::other("x")) }
    }

    #[test]
    fn the_same_failure_is_recorded_ever_more_rarely_and_a_new_one_at_once() {
        let error = |kind| failure(Phase::Look, kind);
        let last = Some(error(ErrorKind::Network).to_api());
        let recorded: Vec<u32> =
            (1..=64).filter(|n| worth_a_record(*n, &error(ErrorKind::Network), last.as_ref())).collect();
        assert_eq!(recorded, [1, 2, 4, 8, 16, 32, 64]);
        assert!(worth_a_record(7, &error(ErrorKind::Auth), last.as_ref()));
        assert!(worth_a_record(7, &error(ErrorKind::Network), None));
    }

    #[test]
    fn an_outage_counts_once_for_each_period_however_often_it_is_tried() {
        let period = Duration::from_secs(30);
        let error = |phase| failure(phase, ErrorKind::Network);
        for dice in [0.0, 0.5, 1.0] {
            let (mut limit, mut now, started) = (Limit::default(), Instant::now(), Instant::now());
            for failures in 1.. {
                limit.count(&error(Phase::Look), period, now);
                if limit.failures == 5 {
                    break;
                }
                now += backoff::delay(failures, Retry::Soon, period, dice);
            }
            let outlived = now - started;
            assert!(outlived >= period * 4 * 9 / 10 && outlived <= period * 5, "{dice}: {outlived:?}");
        }
        let (mut limit, now) = (Limit::default(), Instant::now());
        for _ in 0..3 {
            limit.count(&error(Phase::Gate), period, now);
        }
        assert_eq!(limit.failures, 3);
    }
}
