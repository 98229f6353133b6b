//! Reports how a sync ended: to the status, the metrics and, later, the record of what peers answered.
//!
//! It must not know when the next sync is due.

use git2::Oid;

use crate::api::{ErrorInfo, Outcome, PeerResult, Published, Record, TriggerKind};
use crate::sync::queue::PeerResults;
use crate::sync::record;
use crate::sync::run::SyncRun;

use super::SyncLoop;

impl SyncLoop {
    /// Adds the results of slow peers to a record once they are known. The record itself contains the results that are
    /// there, and neither it nor the next sync waits for the others.
    pub(super) fn amend_later(&self, id: String, mut told: Vec<PeerResults>, known: Vec<PeerResult>) {
        if told.is_empty() {
            return;
        }
        let tools = self.tools.clone();
        tokio::spawn(async move {
            for results in &mut told {
                while results.changed().await.is_ok() {}
            }
            let peers = record::peers(&told);
            if peers == known {
                return;
            }
            tools.amend(&id, peers);
        });
    }

    pub(super) async fn report(&mut self, record: Record, published: bool, polled: bool) {
        self.tools.metrics.record(&record);
        let commit = record.new.as_ref().filter(|_| published).and_then(|commit| commit.parse().ok());
        let mut now_live: Option<Published> = None;
        if let Some(commit) = commit {
            now_live = Some(self.tools.describe(commit, Some(record.finished_at)).await);
            self.tools.metrics.published(&commit.to_string());
            self.sweep_later();
        }
        let next_at = self.wall_clock(self.next_poll);
        let polled_at = polled.then(|| self.tools.clock.now());
        let failures = self.failures;
        self.tools.status.finished(record, |snapshot| {
            snapshot.failures_in_row = failures;
            snapshot.poll.next_at = next_at;
            snapshot.poll.last_at = polled_at.or(snapshot.poll.last_at);
            snapshot.published = now_live.or(snapshot.published.take());
        });
    }

    /// True if the newest record says the same of a webhook. A replayed delivery must not flush the history, so of
    /// deliveries that find nothing new only the first is kept. A user whose request was merged with a delivery waits for
    /// the record that was promised, so that one is always kept.
    pub(super) fn is_recorded_already(&self, run: &SyncRun<'_>) -> bool {
        let text = |commit: Option<Oid>| commit.map(|commit| commit.to_string());
        let (new, withheld) = (text(run.new), text(run.withheld));
        run.request.trigger.kind == TriggerKind::Webhook
            && run.request.trigger.action.is_none()
            && run.chased == 0
            && self.tools.history.page(None, 1).first().is_some_and(|last| {
                last.outcome == Outcome::Unchanged
                    && last.trigger.kind == TriggerKind::Webhook
                    && (&last.new, &last.withheld) == (&new, &withheld)
            })
    }

    /// A poll that leaves no record.
    pub(super) fn report_poll(&self, failures: u32, error: Option<ErrorInfo>) {
        let next_at = self.wall_clock(self.next_poll);
        let now = self.tools.clock.now();
        self.tools.status.change(|snapshot| {
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
