//! The pin and the pause that a starting replica takes over from the others.
//!
//! They count only on a volume without decisions; a replica's own decision is never replaced. It must not know how the
//! others are asked.

use git2::Oid;
use tokio::time::Instant;

use super::decisions::Decisions;
use super::inherited::Inherited;
use super::tools::Tools;

impl Tools {
    /// Keeps the other replicas' decisions until the volume is open.
    pub fn offer(&self, inherited: Option<Inherited>) {
        *self.inherited.lock() = inherited;
    }

    /// The volume is open, and nothing was ever decided on it: the decisions of the others are taken over, once.
    pub async fn inherit(&self, deadline: Instant) {
        let Some(inherited) = self.inherited.lock().take() else { return };
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
        *self.first.lock() =
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
        let first = *self.first.lock();
        first.filter(|_| self.status.read(|snapshot| snapshot.published.is_none()))
    }
}
