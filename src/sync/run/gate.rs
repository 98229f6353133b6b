//! The pre-publish hook as one step of a sync: a program that runs in the built tree and may refuse it.
//!
//! A refused commit is tried again when a person asks, when the ref moves, or when its backoff is over. A repair does not
//! pass here, because it restores a commit that was published before.

use git2::Oid;
use tokio::time::Instant;

use crate::api::{Phase, TriggerKind};
use crate::clock::millis;
use crate::error::SyncError;
use crate::hooks::Publication;
use crate::sync::error;

use super::build::BuiltTree;
use super::lfs::CompleteCommit;
use super::publish::AcceptedTree;
use super::sync_run::SyncRun;

impl SyncRun<'_> {
    /// True if the hook refused this commit recently and no new request asks for it.
    pub(super) fn is_still_rejected(&self, commit: Oid) -> bool {
        let request = &self.report.request;
        let is_polled = matches!(request.trigger.kind, TriggerKind::Poll | TriggerKind::Startup);
        (is_polled || request.retry) && self.state.rejected.stands(commit, Instant::now())
    }

    /// Runs the hook in a built tree. `None`: a person's decision interrupted it.
    pub(super) async fn run_pre_publish_hook(&mut self, built: BuiltTree) -> Result<Option<AcceptedTree>, SyncError> {
        let commit = built.commit;
        if self.context.hooks.gate_backoff().is_none() {
            return Ok(Some(AcceptedTree { commit }));
        }
        let tree = self.context.disk.volume().map(|volume| volume.tree(commit));
        let tree = tree.ok_or_else(|| error::internal(Phase::Gate, "the volume is not open"))?;
        self.enter(Phase::Gate);
        let started = Instant::now();
        let judged = self.wait_for_hook(Publication { hash: commit.to_string(), tree, put_back: 0 }).await;
        self.report.phases.gate_ms = Some(millis(started.elapsed()));
        // The hook has a time limit of its own, so its time does not count against that of the sync.
        self.deadline = Instant::now() + self.context.options.timeout;
        match judged {
            None => return Ok(None),
            Some(Ok(())) => self.report.log.info("the pre-publish hook accepted it".to_owned()),
            Some(Err(error)) => {
                for line in error.printed() {
                    self.report.log.info(format!("the pre-publish hook printed: {line}"));
                }
                return Err(error::gate(error));
            }
        }
        // The hook's changes to tracked files count as published, and files that it added stay.
        if let Err(error) = self.context.hook_changes.accept(commit).await {
            self.report
                .log
                .warn(format!("the pre-publish hook removed the tree, which is written again: {}", error.message()));
            self.build(CompleteCommit { commit }).await?;
        }
        Ok(Some(AcceptedTree { commit }))
    }

    /// `None`: a person decided otherwise, and the program was ended.
    async fn wait_for_hook(&self, built: Publication) -> Option<Result<(), crate::hooks::HookError>> {
        let judging = self.context.hooks.gate(&built);
        tokio::pin!(judging);
        loop {
            // Before the decisions are read, so that none between the two is missed.
            let nudged = self.context.queue.nudged();
            if self.is_overtaken() {
                return None;
            }
            tokio::select! {
                judged = &mut judging => return Some(judged),
                () = nudged => {}
            }
        }
    }

    /// Runs the pre-publish hook in a tree that is repaired: what it adds belongs to the tree. The commit passed before, so a
    /// refusal is only reported.
    pub(super) async fn run_pre_publish_hook_again(&mut self, commit: Oid) {
        let Some(tree) = self.context.disk.volume().map(|volume| volume.tree(commit)) else { return };
        if self.context.hooks.gate_backoff().is_none() {
            return;
        }
        match self.wait_for_hook(Publication { hash: commit.to_string(), tree, put_back: 0 }).await {
            None | Some(Ok(())) => {}
            Some(Err(error)) => {
                self.report.log.warn(format!("the pre-publish hook failed in the tree that is put back: {error}"));
            }
        }
        self.deadline = Instant::now() + self.context.options.timeout;
        self.context.hook_changes.accept_or_log(commit).await;
    }
}
