//! The commit that the pre-publish hook refused last, and when it is tried again.
//!
//! Kept in memory only: a new process runs the hook again. It must not know why the commit was refused.

use std::time::Duration;

use git2::Oid;
use tokio::time::Instant;

use crate::api::ErrorInfo;
use crate::backoff::doubled;

#[derive(Debug, Default)]
pub(crate) struct RejectedCommit(Option<Rejection>);

#[derive(Clone, Debug)]
struct Rejection {
    commit: Oid,
    times: u32,
    again_at: Instant,
    error: ErrorInfo,
}

impl RejectedCommit {
    /// Notes a refusal. Returns the number of refusals of this commit in a row.
    ///
    /// The commit is tried again after `backoff`, then after twice as long each time, up to `longest` or the backoff itself
    /// if that is longer.
    pub(crate) fn note(&mut self, commit: Oid, error: ErrorInfo, backoff: Duration, longest: Duration) -> u32 {
        let times = self.0.as_ref().filter(|last| last.commit == commit).map_or(0, |last| last.times);
        let wait = doubled(backoff, times, longest.max(backoff));
        let times = times.saturating_add(1);
        self.0 = Some(Rejection { commit, times, again_at: Instant::now() + wait, error });
        times
    }

    /// True while this commit is not to be tried.
    pub(crate) fn stands(&self, commit: Oid, now: Instant) -> bool {
        self.0.as_ref().is_some_and(|refused| refused.commit == commit && now < refused.again_at)
    }

    /// The commit, if one is refused: its tree is kept for the next try.
    pub(crate) fn commit(&self) -> Option<Oid> {
        self.0.as_ref().map(|refused| refused.commit)
    }

    /// When it is tried again, and why it was refused.
    pub(crate) fn next(&self) -> Option<(Instant, ErrorInfo)> {
        self.0.as_ref().map(|refused| (refused.again_at, refused.error.clone()))
    }

    /// Forgets the refusal, because another commit is wanted or this one passed. Returns true if there was one.
    pub(crate) fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Phase;

    #[tokio::test(start_paused = true)]
    async fn the_wait_doubles_up_to_the_period_and_another_commit_starts_again() {
        let second = Duration::from_secs(1);
        let (one, other) = (Oid::from_bytes(&[1; 20]).unwrap(), Oid::from_bytes(&[2; 20]).unwrap());
        let error = || ErrorInfo { phase: Phase::Gate, kind: String::new(), message: String::new(), hint: None };
        let mut rejected = RejectedCommit::default();
        assert!(!rejected.stands(one, Instant::now()));
        let mut waits = Vec::new();
        for _ in 0..6 {
            rejected.note(one, error(), 3 * second, 20 * second);
            let start = Instant::now();
            assert!(rejected.stands(one, start) && !rejected.stands(other, start));
            let (again_at, _) = rejected.next().unwrap();
            assert!(!rejected.stands(one, again_at));
            waits.push((again_at - start).as_secs());
        }
        assert_eq!(waits, [3, 6, 12, 20, 20, 20]);
        assert_eq!(rejected.note(other, error(), 60 * second, 20 * second), 1);
        assert_eq!((rejected.next().unwrap().0 - Instant::now()).as_secs(), 60, "a longer backoff holds");
        assert!(rejected.clear() && !rejected.clear() && !rejected.stands(other, Instant::now()));
    }
}
