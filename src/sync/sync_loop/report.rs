//! Reports how a sync ended: to the status, the metrics and, later, the record of what peers answered.
//!
//! It must not know when the next sync is due.

use git2::Oid;

use crate::api::{ErrorInfo, Outcome, PeerResult, Published, Record, TriggerKind};
use crate::sync::queue::PeerResults;
use crate::sync::record;
use crate::sync::run::RunReport;

use super::SyncLoop;

impl SyncLoop {
    /// Adds the results of slow peers to a record once they are known. The record itself contains the results that are
    /// there, and neither it nor the next sync waits for the others.
    pub(super) fn amend_later(&self, id: String, mut peer_results: Vec<PeerResults>, known: Vec<PeerResult>) {
        if peer_results.is_empty() {
            return;
        }
        let recorder = self.context.recorder.clone();
        tokio::spawn(async move {
            for results in &mut peer_results {
                // Ends when the sender is dropped: every peer has answered or timed out.
                while results.changed().await.is_ok() {}
            }
            let peers = record::peers(&peer_results);
            if peers == known {
                return;
            }
            recorder.amend(&id, peers);
        });
    }

    pub(super) async fn report(&mut self, record: Record, published: bool, polled: bool) {
        self.context.metrics.record(&record);
        let commit = record.new.as_ref().filter(|_| published).and_then(|commit| commit.parse().ok());
        let mut now_live: Option<Published> = None;
        if let Some(commit) = commit {
            // Read from the store after the swap, because readers must not wait for it.
            now_live = Some(self.context.describe(commit, Some(record.finished_at)).await);
            self.context.metrics.published(&commit.to_string());
            self.maintenance.remove_after_grace();
        }
        let next_at = self.wall_clock(self.next_poll);
        let polled_at = polled.then(|| self.context.clock.now());
        let failures = self.failures;
        self.context.status.finished(record, |snapshot| {
            snapshot.failures_in_row = failures;
            snapshot.poll.next_at = next_at;
            snapshot.poll.last_at = polled_at.or(snapshot.poll.last_at);
            snapshot.published = now_live.or(snapshot.published.take());
        });
    }

    /// True if the newest record says the same of a webhook. A replayed delivery must not flush the history, so of
    /// deliveries that find nothing new only the first is kept. A user whose request was merged with a delivery waits for
    /// the record that was promised, so that one is always kept.
    pub(super) fn is_recorded_already(&self, run: &RunReport) -> bool {
        let text = |commit: Option<Oid>| commit.map(|commit| commit.to_string());
        let (new, withheld) = (text(run.new), text(run.withheld));
        run.request.trigger.kind == TriggerKind::Webhook
            && run.request.trigger.action.is_none()
            && run.chased == 0
            && self.context.history.page(None, 1).first().is_some_and(|last| {
                last.outcome == Outcome::Unchanged
                    && last.trigger.kind == TriggerKind::Webhook
                    && (&last.new, &last.withheld) == (&new, &withheld)
            })
    }

    /// A poll that leaves no record.
    pub(super) fn report_poll(&self, failures: u32, error: Option<ErrorInfo>) {
        let next_at = self.wall_clock(self.next_poll);
        let now = self.context.clock.now();
        self.context.status.change(|snapshot| {
            snapshot.running = None;
            snapshot.poll.last_at = Some(now);
            snapshot.poll.next_at = next_at;
            snapshot.failures_in_row = failures;
            if error.is_none() {
                snapshot.poll.unchanged += 1;
            }
            snapshot.last_error = error;
        });
    }
}
