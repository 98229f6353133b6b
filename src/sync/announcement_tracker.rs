//! When a webhook is faster than the ref: GitHub may announce a commit before its git side serves it.
//!
//! The rule must wait for a real announcement, and must not let a replayed old delivery cause more than one listing.

use std::collections::VecDeque;
use std::time::Duration;

use git2::Oid;
use tokio::time::Instant;

use super::queue::Announced;

/// How long after its webhook an announced commit is waited for.
const LONGEST: Duration = Duration::from_secs(30);
/// The same for an announcement that does not start at the commit which the remote shows: the delivery of the push before
/// it was lost, or the branch was created again. It may also be a replay, so the wait is shorter.
const UNCONNECTED: Duration = Duration::from_secs(5);
/// The first pause between two listings; it doubles up to [`SLOWEST`].
pub(crate) const FIRST: Duration = Duration::from_millis(250);
pub(crate) const SLOWEST: Duration = Duration::from_secs(2);

/// How many announcements are remembered.
const REMEMBERED: usize = 256;

/// The webhooks' announcements to this process, oldest first.
#[derive(Debug, Default)]
pub(crate) struct AnnouncementTracker(VecDeque<TrackedPush>);

#[derive(Clone, Copy, Debug)]
struct TrackedPush {
    announced: Announced,
    at: Instant,
    /// The remote showed it, so there is nothing to wait for any more.
    seen: bool,
    /// An earlier listing showed it already, perhaps of a process before this one: the delivery is a replay, or a rollback.
    old: bool,
}

impl AnnouncementTracker {
    /// Notes an announcement and returns whether it is new. A repeated one is a redelivery or a replay: it is neither
    /// waited for again nor fetched speculatively.
    ///
    /// `old` is true if the history knows the commit.
    pub(crate) fn note(&mut self, announced: Announced, at: Instant, old: bool) -> bool {
        let same =
            |push: &TrackedPush| (push.announced.before, push.announced.after) == (announced.before, announced.after);
        if self.0.iter().any(same) {
            return false;
        }
        self.0.push_back(TrackedPush { announced, at, seen: false, old });
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
        true
    }

    /// Notes what the remote shows.
    pub(crate) fn saw(&mut self, commit: Oid) {
        for push in &mut self.0 {
            push.seen |= push.announced.after == commit;
        }
    }

    /// True if a webhook announced this commit.
    #[must_use]
    pub(crate) fn contains(&self, commit: Oid) -> bool {
        self.0.iter().any(|push| push.announced.after == commit)
    }

    /// Until when to wait for the ref to move on from `shown`: half a minute if a recent push said that it moved exactly from
    /// there, some seconds if it said that it moved from anywhere else to a commit that is new.
    #[must_use]
    pub(crate) fn still_to_come(&self, shown: Oid, now: Instant) -> Option<Instant> {
        let expected = self.0.iter().filter(|push| !push.seen && push.announced.after != shown);
        let until = expected.filter_map(|push| {
            if push.announced.before == Some(shown) {
                return Some(push.at + LONGEST);
            }
            // A commit that a later push replaced will not be shown any more.
            let is_over = push.old || self.0.iter().any(|later| later.announced.before == Some(push.announced.after));
            (!is_over).then(|| push.at + UNCONNECTED)
        });
        until.filter(|until| *until > now).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(byte: u8) -> Oid {
        Oid::from_bytes(&[byte; 20]).unwrap()
    }

    fn push(before: u8, after: u8) -> Announced {
        Announced { before: Some(oid(before)), after: oid(after), forced: false }
    }

    /// A name, what was announced, what the remote showed, and for how long it is waited.
    type Case<'a> = (&'a str, &'a [Announced], &'a [u8], Option<Duration>);

    #[test]
    fn only_an_announcement_that_is_still_to_come_is_waited_for() {
        let now = Instant::now();
        let created = Announced { before: None, after: oid(5), forced: false };
        let (whole, some, none) = (Some(LONGEST), Some(UNCONNECTED), None);
        let cases: [Case<'_>; 13] = [
            ("the ref is not there yet", &[push(2, 3)], &[2], whole),
            ("it is there", &[push(2, 3)], &[3], none),
            ("a replayed old delivery", &[push(1, 2)], &[2], none),
            ("the ref moved on past it, or the push before it was not heard of", &[push(2, 3)], &[4], some),
            ("the ref moved on past it, as was announced", &[push(2, 3), push(3, 4)], &[4], none),
            ("two pushes, the second not there yet", &[push(2, 3), push(3, 4)], &[3], whole),
            ("two pushes, neither there yet", &[push(2, 3), push(3, 4)], &[2], whole),
            ("two pushes, the first one's webhook is late", &[push(3, 4), push(2, 3)], &[2], whole),
            ("two pushes, the first one's webhook was lost", &[push(3, 4)], &[2], some),
            ("a branch that was created again", &[created], &[2], some),
            ("a rollback to a commit we had", &[push(3, 2)], &[2, 3], whole),
            ("a push that was seen, and undone", &[push(2, 3)], &[3, 2], none),
            ("nothing announced", &[], &[2], none),
        ];
        for (name, announced, shown, expected) in cases {
            let mut tracker = AnnouncementTracker::default();
            for push in announced {
                tracker.note(*push, now, false);
            }
            // The remote showed this commit before the rollback was announced, so it is not the announced one.
            for commit in shown.iter().filter(|_| name != "a rollback to a commit we had") {
                tracker.saw(oid(*commit));
            }
            let last = oid(*shown.last().unwrap());
            assert_eq!(tracker.still_to_come(last, now).map(|until| until - now), expected, "{name}");
        }
    }

    #[test]
    fn a_replay_is_not_waited_for_again_and_nothing_is_waited_for_longer_than_half_a_minute() {
        let start = Instant::now();
        let mut tracker = AnnouncementTracker::default();
        tracker.note(push(1, 2), start, false);
        let late = start + LONGEST;
        assert_eq!(tracker.still_to_come(oid(1), late), None);
        tracker.note(push(1, 2), late, false);
        assert_eq!(tracker.still_to_come(oid(1), late), None);
        // From elsewhere, a commit that the history has is a replay; one that it has not is waited for some seconds.
        let mut tracker = AnnouncementTracker::default();
        tracker.note(push(1, 2), start, true);
        assert_eq!(tracker.still_to_come(oid(9), start), None);
        assert_eq!(tracker.still_to_come(oid(1), start), Some(start + LONGEST), "a rollback to it");
        tracker.note(push(3, 4), start, false);
        assert_eq!(tracker.still_to_come(oid(9), start), Some(start + UNCONNECTED));
        assert_eq!(tracker.still_to_come(oid(9), start + UNCONNECTED), None);
    }

    #[test]
    fn what_was_announced_is_remembered_within_bounds() {
        let mut tracker = AnnouncementTracker::default();
        for number in 0..=255 {
            tracker.note(push(number, 1), Instant::now(), false);
            tracker.note(push(number, 2), Instant::now(), false);
        }
        assert_eq!(tracker.0.len(), REMEMBERED);
    }

    proptest::proptest! {
        /// Compares with a list of all announcements: an awaited commit was announced once and has not been seen since,
        /// within half a minute if the push started at the commit that the remote shows, otherwise within some seconds if
        /// no later push was announced.
        #[test]
        fn what_is_waited_for_was_announced_and_not_seen_since(
            steps in proptest::collection::vec((0u8..3, 0u8..4, 0u8..4, 0u64..20_000), 0..40),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut tracker = AnnouncementTracker::default();
            let mut said: Vec<(u8, u8, Instant, bool)> = Vec::new();
            for (what, one, other, millis) in steps {
                match what {
                    0 => {
                        tracker.note(push(one, other), now, false);
                        if !said.iter().any(|(before, after, ..)| (*before, *after) == (one, other)) {
                            said.push((one, other, now, false));
                        }
                    }
                    1 => {
                        tracker.saw(oid(one));
                        said.iter_mut().filter(|said| said.1 == one).for_each(|said| said.3 = true);
                    }
                    _ => now += Duration::from_millis(millis),
                }
                for shown in 0..4 {
                    let expected = said
                        .iter()
                        .filter(|(_, after, _, seen)| *after != shown && !seen)
                        .filter_map(|(before, after, at, _)| {
                            let followed = said.iter().any(|(from, ..)| from == after);
                            let patience = if *before == shown { Some(LONGEST) } else { (!followed).then_some(UNCONNECTED) };
                            patience.map(|patience| *at + patience)
                        })
                        .filter(|until| *until > now)
                        .max();
                    proptest::prop_assert_eq!(tracker.still_to_come(oid(shown), now), expected);
                    proptest::prop_assert_eq!(tracker.contains(oid(shown)), said.iter().any(|said| said.1 == shown));
                }
            }
        }
    }
}
