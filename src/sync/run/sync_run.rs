//! One sync: what its steps share.

use std::sync::Arc;

use git2::Oid;
use tokio::time::Instant;

use crate::api::{Phase, Running};
use crate::sync::context::Context;
use crate::sync::maintenance::Maintenance;
use crate::sync::queue::Request;
use crate::sync::state::SyncState;

use super::report::RunReport;

pub(crate) struct SyncRun<'a> {
    pub(super) context: &'a Arc<Context>,
    pub(super) maintenance: &'a Maintenance,
    pub(super) state: &'a mut SyncState,
    pub(super) report: RunReport,
    pub(super) deadline: Instant,
}

impl<'a> SyncRun<'a> {
    pub(crate) fn new(
        context: &'a Arc<Context>,
        maintenance: &'a Maintenance,
        state: &'a mut SyncState,
        request: Request,
    ) -> Self {
        let report = RunReport::new(request, &context.clock, context.decisions.released_at());
        // The time in the queue does not count: a burst of pushes must not time out its last one.
        let deadline = report.started + context.options.timeout;
        Self { context, maintenance, state, report, deadline }
    }

    pub(crate) fn into_report(self) -> RunReport {
        self.report
    }

    /// Returns the commit that the link names now; `None` if its tree may differ from the commit.
    pub(super) fn live(&self) -> Option<Oid> {
        self.report.old.filter(|_| !self.context.tree.is_unverified())
    }

    /// True if a person made a decision since this sync began.
    pub(super) fn is_overtaken(&self) -> bool {
        self.context.decisions.current() != self.report.decisions
    }

    /// Enters a phase and shows it. The first phase shown gives the sync its id.
    pub(super) fn enter(&mut self, phase: Phase) {
        let report = &mut self.report;
        report.phase = phase;
        // Not before: a poll that finds nothing has no record, and must not use up an id.
        let id = report.id.get_or_insert_with(|| self.context.history.next_id()).clone();
        let (trigger, started_at) = (report.request.trigger.kind, report.started_at);
        self.context.status.running(Running { id, trigger, phase, started_at });
    }
}
