//! The pauses between attempts: they double up to a limit, and a random part keeps clients from retrying together.
//!
//! Arithmetic only. When to retry, and how long the limits are, is decided by the callers. A leaf.

use std::time::Duration;

/// Returns `first` after it was doubled `times` times, at most `longest`.
#[must_use]
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    // Both operations saturate, so that any number of failures gives the longest pause.
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

/// Lengthens or shortens a pause by up to `share` of it. `dice` in 0..1 decides: 0 gives the shortest pause, 1 the longest.
#[must_use]
pub(crate) fn spread(pause: Duration, share: f64, dice: f64) -> Duration {
    pause.mul_f64(1.0 - share + 2.0 * share * dice)
}

/// The pauses between the attempts of one loop, each twice as long as the one before.
#[derive(Clone, Debug)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    taken: u32,
}

impl Pauses {
    /// Pauses that begin with `first` and grow up to `longest`.
    #[must_use]
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, taken: 0 }
    }

    /// Returns the pause before the next attempt, and doubles the one after it.
    pub(crate) fn take(&mut self) -> Duration {
        let pause = doubled(self.first, self.taken, self.longest);
        self.taken = self.taken.saturating_add(1);
        pause
    }

    /// Starts over with the first pause, because an attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_pause_doubles_up_to_its_limit_for_any_number_of_failures() {
        for (times, expected) in [(0, 3), (1, 6), (2, 12), (7, 384), (8, 600), (31, 600), (32, 600), (u32::MAX, 600)] {
            assert_eq!(doubled(seconds(3), times, seconds(600)), seconds(expected), "{times}");
        }
        assert_eq!(doubled(seconds(3), u32::MAX, Duration::MAX), seconds(3) * u32::MAX);
        assert_eq!(doubled(Duration::MAX, 5, Duration::MAX), Duration::MAX);
    }

    #[test]
    fn a_pause_is_spread_to_both_sides() {
        assert_eq!([0.0, 0.5, 1.0].map(|dice| spread(seconds(10), 0.2, dice).as_secs()), [8, 10, 12]);
    }

    #[test]
    fn the_pauses_of_a_loop_grow_until_it_starts_over() {
        let mut pauses = Pauses::new(seconds(1), seconds(5));
        assert_eq!([(); 5].map(|()| pauses.take().as_secs()), [1, 2, 4, 5, 5]);
        pauses.reset();
        assert_eq!(pauses.take(), seconds(1));
    }
}
