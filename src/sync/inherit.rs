//! The pin and the pause that a starting replica takes over from the others.
//!
//! They count only on a volume without decisions; a replica's own decision is never replaced. It must not know how the
//! others are asked.

use std::sync::PoisonError;

use git2::Oid;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::text::one_line;

use super::state::{Decisions, LONGEST_LABEL};
use super::tools::Tools;

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
    fn decisions(&self, now: Timestamp) -> Decisions {
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

impl Tools {
    /// Keeps the other replicas' decisions until the volume is open.
    pub fn offer(&self, inherited: Option<Inherited>) {
        *self.inherited.lock().unwrap_or_else(PoisonError::into_inner) = inherited;
    }

    /// The volume is open, and nothing was ever decided on it: the decisions of the others are taken over, once.
    pub async fn inherit(&self, deadline: Instant) {
        let Some(inherited) = self.inherited.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let decisions = inherited.decisions(self.clock.now());
        if decisions == Decisions::default() {
            return;
        }
        let replicas = inherited.replicas;
        if let Some(commit) = &decisions.pinned {
            tracing::info!(replicas, by = decisions.pinned_by, "pinned at {commit}, as the other replicas are");
        }
        if let Some(until) = &decisions.paused_until {
            tracing::info!(replicas, by = decisions.paused_by, "paused until {until}, as the other replicas are");
        }
        // A replica that has published nothing could not serve before the end of the pause.
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) =
            inherited.published.filter(|_| decisions.paused_until.is_some() && decisions.pinned.is_none());
        self.decide(decisions.clone());
        if let Err(error) = self.store_decisions_by(decisions, deadline).await {
            // In force all the same. The next start asks again.
            tracing::warn!(%error, "the decisions of the other replicas cannot be written to the volume");
        }
    }

    /// The commit that is to be published whatever the remote has: the pin, or, while a pause that was taken over lasts
    /// and nothing is published, what the other replicas publish.
    pub fn held(&self, decisions: &Decisions) -> Option<Oid> {
        if decisions.pinned.is_some() || decisions.paused_until.is_none() {
            return decisions.pinned;
        }
        let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.filter(|_| self.board.read(|snapshot| snapshot.published.is_none()))
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
