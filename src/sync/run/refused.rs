//! The loop's part in a refusal by the pre-publish hook: when the commit is tried again, and when its tree is removed.
//!
//! It must not know what the gate is.

use tokio::time::Instant;

use crate::error::{Phase, SyncError};

use super::SyncLoop;
use crate::sync::attempt::{Attempt, Done};
use crate::sync::behind::SWEEP_MARGIN;

impl SyncLoop {
    /// If the gate refused a commit: it is left alone for a while. Returns how often it was refused in a row.
    pub(super) fn note_refusal(&mut self, attempt: &Attempt<'_>, error: &SyncError) -> Option<u32> {
        let (commit, backoff) = (attempt.new?, self.tools.hooks.gate_backoff()?);
        if error.phase != Phase::Gate {
            return None;
        }
        if self.tools.refusal.commit().is_some_and(|before| before != commit) {
            self.sweep_later();
        }
        let times = self.tools.refusal.note(commit, error.to_api(), backoff, self.period());
        self.wait_for_refused();
        Some(times)
    }

    /// True if what ended well is only a repair, and what the remote has is refused as before.
    pub(super) fn is_refused_beside(&self, attempt: &Attempt<'_>, done: Done) -> bool {
        done == Done::Published && attempt.old == attempt.new && self.tools.refusal.commit().is_some()
    }

    /// Something else is published, or what the gate refused passed it. Its tree was kept for the next try.
    pub(super) fn forget_refused(&mut self) {
        if self.tools.refusal.clear() {
            self.sweep_later();
        }
    }

    /// A look found that the remote still has what the gate refused.
    pub(super) fn leave_refused(&mut self, attempt: &Attempt<'_>) {
        // The retry of a rung sync keeps its trigger until it is made.
        self.retry = attempt.request.retry.then(|| attempt.request.clone().again(true));
        self.tools.metrics.failed(attempt.started.elapsed());
        self.wait_for_refused();
        let why = self.tools.refusal.next().map(|(_, error)| error);
        self.tell_poll(self.failures, why);
    }

    /// The next look is the poll, or the refused commit's next try if that is sooner.
    fn wait_for_refused(&mut self) {
        let now = Instant::now();
        let again_at = self.tools.refusal.next().map_or(now, |(again_at, _)| again_at);
        self.next_poll = again_at.min(now + self.period());
    }

    pub(super) fn sweep_later(&mut self) {
        let due = Instant::now() + self.grace + SWEEP_MARGIN;
        self.next_sweep = Some(self.next_sweep.map_or(due, |next| next.min(due)));
    }
}
