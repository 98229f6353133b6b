//! How far apart the replicas of a fleet look at the remote, so that a large one does not strike it at once.
//!
//! It knows numbers of replicas and times, nothing else.

use std::time::Duration;

/// Fewer replicas than this need no spreading: the remote of a small site sees more than that from one browser.
const SMALL: u32 = 10;
/// Looks a second that one push may cause at the remote, on average, while that keeps everybody within [`LONGEST`].
const LOOKS_PER_SECOND: u32 = 50;
/// No replica waits longer than this, however large the fleet is: somebody is about to reload the page.
const LONGEST: Duration = Duration::from_secs(5);

/// The time over which a fleet of that size spreads its looks: none for a small one.
#[must_use]
pub fn window(replicas: u32) -> Duration {
    if replicas < SMALL {
        return Duration::ZERO;
    }
    (Duration::from_secs(1) * replicas / LOOKS_PER_SECOND).min(LONGEST)
}

/// One replica's share of the window, chosen uniformly.
#[must_use]
pub fn delay(replicas: u32) -> Duration {
    window(replicas).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_does_not_wait_and_a_large_one_not_for_long() {
        let cases = [(0, 0), (1, 0), (9, 0), (10, 200), (100, 2000), (250, 5000), (1000, 5000), (u32::MAX, 5000)];
        for (replicas, millis) in cases {
            assert_eq!(window(replicas), Duration::from_millis(millis), "{replicas}");
        }
        assert!((0..1000).all(|_| delay(100) <= Duration::from_secs(2) && delay(9).is_zero()));
    }
}
