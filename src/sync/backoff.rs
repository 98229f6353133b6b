//! How long to wait after a failure: soon at first, never longer than the poll period.

use std::time::Duration;

use crate::backoff::{doubled, spread};
use crate::error::Retry;

const FIRST: Duration = Duration::from_secs(1);
/// By how much a wait may be off to either side.
const SPREAD: f64 = 0.1;

/// The pause before the next attempt after `failures` (1 or more) in a row. `dice` in 0..1 spreads the replicas of a
/// fleet by a tenth to either side, so that they do not strike a recovering remote together.
///
/// A poll each period is promised, so a backoff only shortens the wait until the next one. The exception is a server that
/// says when it may be asked again (`Retry-After`): an earlier request would only prolong its refusal.
pub(crate) fn delay(failures: u32, retry: Retry, period: Duration, dice: f64) -> Duration {
    let dice = dice.clamp(0.0, 1.0);
    let within = |wait: Duration| spread(wait, SPREAD, dice).min(period);
    let soon = within(doubled(FIRST, failures.saturating_sub(1), period));
    match retry {
        Retry::NextPoll => within(period),
        Retry::Soon => soon,
        // The server accepts a later request than it said, but no earlier one.
        Retry::After(pause) => soon.max(pause.mul_f64(1.0 + SPREAD * dice)),
    }
}

/// The shortest wait for a poll that there may be.
pub(crate) fn shortest(period: Duration) -> Duration {
    period.mul_f64(1.0 - SPREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_server_that_says_when_is_asked_no_sooner() {
        for dice in [0.0, 0.5, 1.0] {
            let wait = |seconds| delay(1, Retry::After(Duration::from_secs(seconds)), MINUTE, dice);
            assert!(wait(300) >= Duration::from_secs(300) && wait(300) <= Duration::from_secs(330));
            assert!(wait(30) >= Duration::from_secs(30) && wait(30) <= Duration::from_secs(33));
            assert!(wait(0) <= Duration::from_millis(1100));
        }
    }

    #[test]
    fn it_doubles_from_a_second_and_is_capped_by_the_period() {
        let waits: Vec<_> = (1..=8).map(|n| delay(n, Retry::Soon, MINUTE, 0.5).as_secs_f64().round()).collect();
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        for failures in [0, 1, 7, 1000, u32::MAX] {
            for dice in [0.0, 0.5, 1.0, 7.0] {
                assert!(delay(failures, Retry::Soon, MINUTE, dice) <= MINUTE);
                assert!(delay(failures, Retry::NextPoll, MINUTE, dice) >= MINUTE.mul_f64(0.9));
            }
        }
        assert!(delay(9, Retry::Soon, Duration::from_millis(10), 1.0) <= Duration::from_millis(10));
    }

    #[test]
    fn replicas_are_spread() {
        assert_ne!(delay(3, Retry::Soon, MINUTE, 0.0), delay(3, Retry::Soon, MINUTE, 0.9));
    }
}
