//! The pre-publish hook as one step of a sync: a program that runs in the built tree and may refuse it.
//!
//! A refused commit is tried again when a person asks, when the ref moves, or when its backoff is over. A repair does not
//! pass here, because it restores a commit that was published before.

use git2::Oid;
use tokio::time::Instant;

use crate::api::{Phase, TriggerKind};
use crate::error::SyncError;
use crate::hooks::Publication;

use super::{Done, SyncRun, millis};
use crate::sync::error;

impl SyncRun<'_> {
    /// True if the hook refused this commit recently and no new request asks for it.
    pub(super) fn is_still_rejected(&self, commit: Oid) -> bool {
        let polled = matches!(self.request.trigger.kind, TriggerKind::Poll | TriggerKind::Startup);
        (polled || self.request.retry) && self.tools.rejected.stands(commit, Instant::now())
    }

    /// Runs the hook in a built tree. `Some`: a person's decision interrupted it.
    pub(super) async fn run_pre_publish_hook(&mut self, commit: Oid) -> Result<Option<Done>, SyncError> {
        if self.tools.hooks.gate_backoff().is_none() {
            return Ok(None);
        }
        let tree = self.tools.volume().map(|volume| volume.tree(commit));
        let tree = tree.ok_or_else(|| error::internal(Phase::Gate, "the volume is not open"))?;
        self.enter(Phase::Gate);
        let started = Instant::now();
        let passed = self.wait_for_hook(Publication { hash: commit.to_string(), tree, put_back: 0 }).await;
        self.phases.gate_ms = Some(millis(started.elapsed()));
        // The hook has a time limit of its own.
        self.deadline = Instant::now() + self.tools.options.timeout;
        match passed {
            None => return Ok(Some(Done::Interrupted)),
            Some(Ok(())) => self.log.info("the pre-publish hook accepted it".to_owned()),
            Some(Err(error)) => {
                for line in error.printed() {
                    self.log.info(format!("the pre-publish hook printed: {line}"));
                }
                return Err(error::gate(error));
            }
        }
        // The hook's changes to tracked files count as published, and files that it added stay.
        if let Err(error) = self.tools.try_to_accept(commit).await {
            self.log
                .warn(format!("the pre-publish hook removed the tree, which is written again: {}", error.message()));
            self.build(commit).await?;
        }
        Ok(None)
    }

    /// `None`: a person decided otherwise, and the program was ended.
    async fn wait_for_hook(&self, built: Publication) -> Option<Result<(), crate::hooks::HookError>> {
        let passing = self.tools.hooks.gate(&built);
        tokio::pin!(passing);
        loop {
            let nudged = self.tools.queue.nudged();
            if self.overtaken() {
                return None;
            }
            tokio::select! {
                passed = &mut passing => return Some(passed),
                () = nudged => {}
            }
        }
    }

    /// Runs the pre-publish hook in a tree that is put back: what it adds belongs to the tree. The commit passed before, so a
    /// refusal is only reported.
    pub(super) async fn run_pre_publish_hook_again(&mut self, commit: Oid) {
        let Some(tree) = self.tools.volume().map(|volume| volume.tree(commit)) else { return };
        if self.tools.hooks.gate_backoff().is_none() {
            return;
        }
        match self.wait_for_hook(Publication { hash: commit.to_string(), tree, put_back: 0 }).await {
            None | Some(Ok(())) => {}
            Some(Err(error)) => {
                self.log.warn(format!("the pre-publish hook failed in the tree that is put back: {error}"));
            }
        }
        self.deadline = Instant::now() + self.tools.options.timeout;
        self.tools.accept_changes(commit).await;
    }
}
