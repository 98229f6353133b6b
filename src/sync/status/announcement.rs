//! The newest commit that was announced and is not published yet.
//!
//! It is shown only and does not change how the remote is queried. It must not know requests, syncs or records.

use std::collections::VecDeque;

use git2::Oid;
use tokio::time::Instant;

use crate::sync::queue::Announced;

/// How many announcements are remembered, to recognize a repeated delivery.
const REMEMBERED: usize = 256;

/// How many commits before the announced one are remembered, to distinguish a late delivery from a newer one.
const MOST_BEFORE: usize = 64;

/// The commits that this replica knows to be where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KnownCommits {
    /// The commit that the remote showed last.
    pub head: Option<Oid>,
    pub published: Option<Oid>,
}

/// The effect of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is the newest one now.
    Opened,
    /// The ref is back at a commit that is known here: nothing is to come any more.
    Closed,
    /// It repeats another one, or is older than it.
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct NewestAnnouncement {
    open: Option<Open>,
    /// The commits before and after each push announced so far, oldest first.
    pushes: VecDeque<(Option<Oid>, Oid)>,
}

#[derive(Debug)]
struct Open {
    commit: Oid,
    /// The commits that pushes moved the ref away from on its way to this one.
    before: Vec<Oid>,
    at: Instant,
}

impl NewestAnnouncement {
    /// Notes a webhook's or peer's word that the ref moved.
    pub(crate) fn note(&mut self, push: Announced, known: KnownCommits, now: Instant) -> Effect {
        let pair = (push.before, push.after);
        let repeated = self.pushes.contains(&pair);
        if !repeated {
            self.pushes.push_back(pair);
            if self.pushes.len() > REMEMBERED {
                self.pushes.pop_front();
            }
        }
        let position = self.open.as_ref().map(|open| open.commit).or(known.head);
        // A push that starts from the newest known position moved the ref on, wherever to.
        let leads_on = push.before.is_some() && push.before == position;
        if repeated && !leads_on {
            return Effect::Nothing;
        }
        if let (Some(open), false) = (&mut self.open, leads_on) {
            if open.commit == push.after {
                return Effect::Nothing;
            }
            // The delivery of an earlier push came later than that of the push which followed it.
            if open.before.contains(&push.after) {
                open.before.extend(push.before);
                return Effect::Nothing;
            }
        }
        if Some(push.after) == known.head || Some(push.after) == known.published {
            if leads_on && self.open.take().is_some() {
                return Effect::Closed;
            }
            return Effect::Nothing;
        }
        let mut before = self.open.take().filter(|_| leads_on).map(|open| open.before).unwrap_or_default();
        before.extend(push.before);
        let excess = before.len().saturating_sub(MOST_BEFORE);
        before.drain(..excess);
        self.open = Some(Open { commit: push.after, before, at: now });
        Effect::Opened
    }

    /// Notes what the remote shows, or what is published. Returns true if that is what was announced.
    pub(crate) fn saw(&mut self, commit: Oid) -> bool {
        self.open.take_if(|open| open.commit == commit).is_some()
    }

    /// A listing that began at `listed_at` showed something else, and nothing is waited for any more. Returns true if the
    /// announcement was older than the listing.
    pub(crate) fn expire(&mut self, listed_at: Instant) -> bool {
        self.open.take_if(|open| open.at <= listed_at).is_some()
    }

    /// True if a message announced this commit.
    #[must_use]
    pub(crate) fn contains(&self, commit: Oid) -> bool {
        self.pushes.iter().any(|(_, after)| *after == commit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn oid(byte: u8) -> Oid {
        Oid::from_bytes(&[byte; 20]).unwrap()
    }

    fn push(before: u8, after: u8) -> Announced {
        Announced { before: Some(oid(before)), after: oid(after), forced: false }
    }

    /// The commit that is open after these pushes, while the remote was last seen at 1, which is published.
    fn open_after(pushes: &[(u8, u8)]) -> Option<u8> {
        let known = KnownCommits { head: Some(oid(1)), published: Some(oid(1)) };
        let mut announcements = NewestAnnouncement::default();
        for (before, after) in pushes {
            announcements.note(push(*before, *after), known, Instant::now());
        }
        announcements.open.map(|open| open.commit.as_bytes()[0])
    }

    #[test]
    fn the_newest_push_is_shown_in_whatever_order_its_deliveries_arrive() {
        let shows = |name: &str, pushes: &[(u8, u8)], expected: Option<u8>| {
            assert_eq!(open_after(pushes), expected, "{name}");
        };
        shows("one push", &[(1, 2)], Some(2));
        shows("two pushes", &[(1, 2), (2, 3)], Some(3));
        shows("two pushes, the first one's delivery is late", &[(2, 3), (1, 2)], Some(3));
        shows("three pushes backwards", &[(3, 4), (2, 3), (1, 2)], Some(4));
        shows("three pushes, the first one's delivery is late", &[(2, 3), (3, 4), (1, 2)], Some(4));
        shows("the same delivery again", &[(1, 2), (1, 2)], Some(2));
        shows("an old delivery again", &[(1, 2), (2, 3), (1, 2)], Some(3));
        shows("a push and its undoing", &[(1, 2), (2, 1)], None);
        shows("a push, its undoing, and the push again", &[(1, 2), (2, 1), (1, 2)], Some(2));
        shows("a late delivery of what is published", &[(1, 2), (9, 1)], Some(2));
        shows("a push from where this replica has not been", &[(7, 8)], Some(8));
    }

    #[test]
    fn what_was_seen_is_not_to_come_any_more_and_a_later_listing_expires_the_rest() {
        let start = Instant::now();
        let mut announcements = NewestAnnouncement::default();
        announcements.note(push(1, 2), KnownCommits::default(), start);
        assert!(!announcements.saw(oid(1)) && announcements.saw(oid(2)) && !announcements.saw(oid(2)));
        announcements.note(push(2, 3), KnownCommits::default(), start);
        assert!(!announcements.expire(start - Duration::from_millis(1)), "announced after that listing");
        assert!(announcements.expire(start));
        assert!(announcements.contains(oid(3)) && !announcements.contains(oid(1)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut announcements = NewestAnnouncement::default();
        for number in 0..400_u16 {
            let at = |number: u16| Oid::from_bytes(&[number.to_be_bytes(); 10].concat()).unwrap();
            let push = Announced { before: Some(at(number)), after: at(number + 1), forced: false };
            announcements.note(push, KnownCommits::default(), Instant::now());
        }
        assert_eq!(announcements.pushes.len(), REMEMBERED);
        assert_eq!(announcements.open.unwrap().before.len(), MOST_BEFORE);
    }
}
