//! Wall-clock time, real or manual.
//!
//! Delays use `tokio::time`, which tests can pause. This module only returns the current time, for records and ages.
//! It knows nothing of the rest of the crate.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Returns whole milliseconds, for records and log lines; `u64::MAX` for half a billion years and more.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A source of the current time that can be shared, and in tests set manually.
#[derive(Clone, Debug, Default)]
pub struct Clock(TimeSource);

#[derive(Clone, Debug, Default)]
enum TimeSource {
    #[default]
    Real,
    Manual(Arc<Mutex<Timestamp>>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn real() -> Self {
        Self(TimeSource::Real)
    }

    /// Returns a clock that stays at `start` until [`Clock::advance`] changes it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(TimeSource::Manual(Arc::new(Mutex::new(start))))
    }

    /// Returns the current time. It can jump backwards like any system clock, so compute durations with
    /// [`Clock::millis_since`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            TimeSource::Real => Timestamp::now(),
            TimeSource::Manual(time) => *time.lock(),
        }
    }

    /// Returns the milliseconds from `start` to now; 0 if the clock went backwards in between.
    #[must_use]
    pub fn millis_since(&self, start: Timestamp) -> u64 {
        let elapsed = self.now().duration_since(start);
        u64::try_from(elapsed.as_millis()).unwrap_or(0)
    }

    /// Moves a manual clock forwards or backwards. Has no effect on the real one.
    pub fn advance(&self, by: SignedDuration) {
        if let TimeSource::Manual(time) = &self.0 {
            let mut time = time.lock();
            *time = time.saturating_add(by).unwrap_or(*time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_advanced_and_reports_no_negative_age() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let start = clock.now();
        assert_eq!(clock.millis_since(start), 0);
        clock.advance(SignedDuration::from_millis(1500));
        assert_eq!(clock.millis_since(start), 1500);
        clock.advance(SignedDuration::from_secs(-60));
        assert_eq!(clock.millis_since(start), 0);
    }
}
