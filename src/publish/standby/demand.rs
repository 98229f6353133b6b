//! Decides how many standby trees there should be: the permitted number while pushes arrive, and one after ten minutes
//! without.
//!
//! Two standby trees that take turns suffice if pushes are further apart than a replaced tree's grace period: one is ready
//! at any time, also right after a push. It must not know what a tree is.

use std::time::{Duration, Instant};

/// After this time without a push, one standby tree is kept.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// The standby trees that are kept while there are no pushes.
const KEPT_IDLE: usize = 1;

/// The times of publishes.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    last: Option<Instant>,
}

impl Demand {
    /// Notes that another commit than before was published.
    pub(crate) fn note_push(&mut self) {
        self.last = Some(Instant::now());
    }

    /// Returns how many standby trees there should be now, at most `limit`.
    pub(crate) fn wanted(&self, limit: usize, now: Instant) -> usize {
        let pushed = self.last.is_some_and(|last| now.saturating_duration_since(last) < IDLE);
        if pushed { limit } else { limit.min(KEPT_IDLE) }
    }

    /// Returns the time until fewer trees are wanted, if there is no push; `None` if that does not change.
    pub(crate) fn changes_in(&self, limit: usize, now: Instant) -> Option<Duration> {
        let last = self.last.filter(|_| limit > KEPT_IDLE)?;
        let left = IDLE.saturating_sub(now.saturating_duration_since(last));
        (left > Duration::ZERO).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_minutes_without_a_push_one_tree_is_enough() {
        let start = Instant::now();
        let mut demand = Demand::default();
        assert_eq!(demand.wanted(2, start), 1, "nothing was pushed so far");
        assert_eq!(demand.changes_in(2, start), None);
        demand.note_push();
        let now = Instant::now();
        assert_eq!((demand.wanted(2, now), demand.wanted(1, now), demand.wanted(0, now)), (2, 1, 0));
        let later = now + Duration::from_secs(9 * 60);
        assert_eq!(demand.wanted(2, later), 2);
        let left = demand.changes_in(2, later).unwrap();
        assert!(left <= Duration::from_secs(60), "{left:?}");
        let idle = now + Duration::from_secs(10 * 60 + 1);
        assert_eq!((demand.wanted(2, idle), demand.wanted(0, idle)), (1, 0));
        assert_eq!(demand.changes_in(2, idle), None, "and it stays so");
        assert_eq!(demand.changes_in(1, later), None);
    }
}
