//! When a webhook is faster than the ref: GitHub may announce a commit before its git side serves it.
//!
//! The rule must chase a real announcement and must not let a replayed old delivery cause more than one look.

use std::collections::VecDeque;
use std::time::Duration;

use git2::Oid;

use super::queue::Announced;

/// How long after the ring an announced commit is looked for.
pub const LONGEST: Duration = Duration::from_secs(30);
/// The first pause between two looks; it doubles up to [`SLOWEST`].
pub const FIRST: Duration = Duration::from_millis(250);
pub const SLOWEST: Duration = Duration::from_secs(2);

/// How many announced commits are remembered.
const REMEMBERED: usize = 256;

/// Commits that webhooks announced to this process, newest last.
#[derive(Debug, Default)]
pub struct Heard(VecDeque<Oid>);

impl Heard {
    /// Notes an announcement; true if it is the first time.
    pub fn note(&mut self, commit: Oid) -> bool {
        if self.contains(commit) {
            return false;
        }
        self.0.push_back(commit);
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
        true
    }

    #[must_use]
    pub fn contains(&self, commit: Oid) -> bool {
        self.0.contains(&commit)
    }
}

/// True if one of the announcements is still to come: the remote shows `seen`, the announced commit was never ours, and
/// the push started from `seen` or from a commit that we never had (we are behind by more than one push).
///
/// A push that started from a commit we had, other than `seen`, is over: the ref has moved on since.
pub fn outran(announced: &[Announced], seen: Oid, known: impl Fn(Oid) -> bool) -> bool {
    announced.iter().any(|push| {
        push.after != seen && !known(push.after) && push.before.is_none_or(|before| before == seen || !known(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(byte: u8) -> Oid {
        Oid::from_bytes(&[byte; 20]).unwrap()
    }

    fn push(before: u8, after: u8) -> Announced {
        Announced { before: Some(oid(before)), after: oid(after) }
    }

    #[test]
    fn only_an_announcement_that_is_still_to_come_is_chased() {
        // The replica published 1, then 2.
        let known = |commit: Oid| commit == oid(1) || commit == oid(2);
        let cases = [
            ("the ref is not there yet", vec![push(2, 3)], 2, true),
            ("it is there", vec![push(2, 3)], 3, false),
            ("a replayed old delivery", vec![push(1, 2)], 2, false),
            ("the ref moved on past it", vec![push(2, 3)], 4, false),
            ("two pushes, the second not there yet", vec![push(2, 3), push(3, 4)], 3, true),
            ("two pushes, the first one's webhook is late", vec![push(3, 4)], 2, true),
            ("two pushes, both there", vec![push(2, 3), push(3, 4)], 4, false),
            ("a new ref", vec![Announced { before: None, after: oid(9) }], 2, true),
            ("nothing announced", vec![], 2, false),
        ];
        for (name, announced, seen, expected) in cases {
            let known = |commit| known(commit) || commit == oid(seen);
            assert_eq!(outran(&announced, oid(seen), known), expected, "{name}");
        }
    }

    #[test]
    fn what_was_heard_is_remembered_within_bounds() {
        let mut heard = Heard::default();
        assert!(heard.note(oid(1)));
        assert!(!heard.note(oid(1)));
        for number in 0..=255 {
            heard.note(Oid::from_bytes(&[number; 20]).unwrap());
        }
        assert_eq!(heard.0.len(), REMEMBERED);
    }
}
