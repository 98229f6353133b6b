//! Spreads the syncs of a large fleet over time, so that its replicas do not all contact the remote at once.
//!
//! Pure functions of the number of replicas.

use std::time::Duration;

/// A fleet with fewer replicas is not spread; their requests are no load for a remote.
const SMALL: u32 = 10;
/// The average number of requests per second that one push may cause at the remote, as long as the window stays below
/// [`LONGEST`].
const LOOKS_PER_SECOND: u32 = 50;
/// The longest window, independent of the fleet's size: a push should be visible within seconds.
const LONGEST: Duration = Duration::from_secs(5);

/// Returns the time over which a fleet of that size spreads its syncs; zero for a small fleet.
#[must_use]
pub fn window(replicas: u32) -> Duration {
    if replicas < SMALL {
        return Duration::ZERO;
    }
    (Duration::from_secs(1) * replicas / LOOKS_PER_SECOND).min(LONGEST)
}

/// Returns one replica's delay, uniformly distributed over the window.
#[must_use]
pub(crate) fn delay(replicas: u32) -> Duration {
    window(replicas).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_fleets_have_no_delay_and_large_ones_a_bounded_one() {
        let cases = [(0, 0), (1, 0), (9, 0), (10, 200), (100, 2000), (250, 5000), (1000, 5000), (u32::MAX, 5000)];
        for (replicas, millis) in cases {
            assert_eq!(window(replicas), Duration::from_millis(millis), "{replicas}");
        }
        assert!((0..1000).all(|_| delay(100) <= Duration::from_secs(2) && delay(9).is_zero()));
    }
}
