//! The loop's part in a refusal by the pre-publish hook: when the commit is tried again, and when its tree is removed.
//!
//! It must not know what the gate is.

use tokio::time::Instant;

use crate::error::{Phase, SyncError};

use super::SyncLoop;
use crate::sync::run::{Done, RunReport};

impl SyncLoop {
    /// If the gate refused a commit: it is left alone for a while. Returns how often it was refused in a row.
    pub(super) fn note_rejection(&mut self, run: &RunReport, error: &SyncError) -> Option<u32> {
        let (commit, backoff) = (run.new?, self.context.hooks.gate_backoff()?);
        if error.phase != Phase::Gate {
            return None;
        }
        if self.state.rejected.commit().is_some_and(|before| before != commit) {
            self.maintenance.remove_after_grace();
        }
        let times = self.state.rejected.note(commit, error.to_api(), backoff, self.period());
        // Its tree is kept, so that the next try need not write it again.
        self.context.protected.set_rejected(Some(commit));
        self.wait_for_rejected();
        Some(times)
    }

    /// True if what ended well is only a repair, and what the remote has is refused as before.
    pub(super) fn is_repair_beside_rejected(&self, run: &RunReport, done: Done) -> bool {
        done == Done::Published && run.old == run.new && self.state.rejected.commit().is_some()
    }

    /// Something else is published, or what the gate refused passed it. Its tree was kept for the next try.
    pub(super) fn forget_rejected(&mut self) {
        self.context.protected.set_rejected(None);
        if self.state.rejected.clear() {
            self.maintenance.remove_after_grace();
        }
    }

    /// A look found that the remote still has what the gate refused.
    pub(super) fn leave_rejected(&mut self, run: &RunReport) {
        // The retry of a rung sync keeps its trigger until it is made.
        self.retry = run.request.retry.then(|| run.request.clone().again(true));
        self.context.metrics.failed(run.started.elapsed());
        self.wait_for_rejected();
        let why = self.state.rejected.next().map(|(_, error)| error);
        self.report_poll(self.failures, why);
    }

    /// The next look is the poll, or the refused commit's next try if that is sooner.
    fn wait_for_rejected(&mut self) {
        let now = Instant::now();
        let again_at = self.state.rejected.next().map_or(now, |(again_at, _)| again_at);
        self.next_poll = again_at.min(now + self.period());
    }
}
