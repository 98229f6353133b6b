//! Swaps the link to a tree. Readers see the commit from then on.

use git2::Oid;
use tokio::time::Instant;

use crate::clock::millis;
use crate::error::{Phase, SyncError};

use super::report::Done;
use super::sync_run::SyncRun;

/// A tree that may be published: the pre-publish hook accepted it, or need not judge it.
#[derive(Debug)]
pub(super) struct AcceptedTree {
    pub commit: Oid,
}

impl SyncRun<'_> {
    pub(super) async fn publish(&mut self, AcceptedTree { commit }: AcceptedTree) -> Result<Done, SyncError> {
        // The last moment at which a person's decision can keep the commit from being seen.
        if self.is_overtaken() {
            return Ok(Done::Interrupted);
        }
        self.enter(Phase::Publish);
        let started = Instant::now();
        let swap = self.context.disk.run(Phase::Publish, self.deadline, move |volume, _| volume.publish(commit));
        let swapped = swap.await;
        self.report.phases.publish_ms = Some(millis(started.elapsed()));
        swapped?;
        self.report.published_at = Some(Instant::now());
        self.context.tree.was_published();
        self.context.report_live(commit);
        Ok(Done::Published)
    }
}
