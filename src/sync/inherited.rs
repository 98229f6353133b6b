//! The decisions of the other replicas, as a starting replica received them. Pure: it must not know how the others are
//! asked, or when they count.

use git2::Oid;
use jiff::Timestamp;

use crate::text::one_line;

use super::decisions::{Decisions, LONGEST_LABEL};

/// The decisions that the other replicas agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    pub pinned: Option<Oid>,
    /// The person who pinned them. A label.
    pub pinned_by: Option<String>,
    pub paused_until: Option<Timestamp>,
    pub paused_by: Option<String>,
    /// The commit that they publish while they are paused.
    pub published: Option<Oid>,
    /// How many of them answered.
    pub replicas: usize,
}

impl Inherited {
    pub(super) fn decisions(&self, now: Timestamp) -> Decisions {
        let label = |text: &Option<String>| {
            text.as_ref().map(|text| one_line(text, LONGEST_LABEL)).filter(|text| !text.is_empty())
        };
        let paused_until = self.paused_until.filter(|until| *until > now);
        Decisions {
            paused_until,
            paused_by: label(&self.paused_by).filter(|_| paused_until.is_some()),
            pinned: self.pinned,
            pinned_by: label(&self.pinned_by).filter(|_| self.pinned.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_over_and_labels_without_a_decision_are_not_taken_over() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let later = Timestamp::from_second(1_700_000_060).unwrap();
        let inherited = Inherited {
            pinned_by: Some("ada".to_owned()),
            paused_until: Some(now),
            paused_by: Some("eve".to_owned()),
            ..Inherited::default()
        };
        assert_eq!(inherited.decisions(now), Decisions::default());
        let inherited = Inherited { paused_until: Some(later), paused_by: Some("a\nb".repeat(100)), ..inherited };
        let decisions = inherited.decisions(now);
        assert_eq!(decisions.paused_until, Some(later));
        let by = decisions.paused_by.unwrap();
        assert!(!by.contains('\n') && by.chars().count() <= LONGEST_LABEL + 3, "{by}");
    }
}
