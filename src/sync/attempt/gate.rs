//! The gate, as one step of an attempt: what was built and is not visible yet is shown to a program that may refuse it.
//!
//! A refused commit is left alone until somebody asks, until the ref moves on, or until its backoff is over. A repair does
//! not pass here: what it puts back was published before.

use git2::Oid;
use tokio::time::Instant;

use crate::api::{Phase, TriggerKind};
use crate::error::SyncError;
use crate::hooks::Publication;
use crate::publish::Verdict;

use super::{Attempt, Done, millis};
use crate::sync::failure;

impl Attempt<'_> {
    /// True if the gate refused this commit not long ago and nobody asks for it anew.
    pub(super) fn is_refused_still(&self, commit: Oid) -> bool {
        let polled = matches!(self.request.trigger.kind, TriggerKind::Poll | TriggerKind::Startup);
        (polled || self.request.retry) && self.tools.refusal.stands(commit, Instant::now())
    }

    /// Has the gate look at a built tree. `Some`: a person decided otherwise meanwhile.
    pub(super) async fn pass_gate(&mut self, commit: Oid) -> Result<Option<Done>, SyncError> {
        if self.tools.hooks.gate_backoff().is_none() {
            return Ok(None);
        }
        let tree = self.tools.volume().map(|volume| volume.tree(commit));
        let tree = tree.ok_or_else(|| failure::internal(Phase::Gate, "the volume is not open"))?;
        self.enter(Phase::Gate);
        let started = Instant::now();
        let passed = self.ask_gate(Publication { hash: commit.to_string(), tree }).await;
        self.phases.gate_ms = Some(millis(started.elapsed()));
        // The gate has a time-out of its own.
        self.deadline = Instant::now() + self.tools.options.timeout;
        match passed {
            None => return Ok(Some(Done::GaveWay)),
            Some(Ok(())) => self.story.info("the gate let it pass".to_owned()),
            Some(Err(error)) => {
                for line in error.said() {
                    self.story.info(format!("the gate said: {line}"));
                }
                return Err(failure::gate(error));
            }
        }
        self.check_after_gate(commit).await?;
        Ok(None)
    }

    /// `None`: a person decided otherwise, and the program was ended.
    async fn ask_gate(&self, built: Publication) -> Option<Result<(), crate::hooks::Error>> {
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

    /// The gate ran in the tree: readers get what the commit holds, not what the program left in it.
    async fn check_after_gate(&mut self, commit: Oid) -> Result<(), SyncError> {
        let look = move |volume: &crate::publish::Volume, cancel: &crate::worker::Cancel| {
            volume.check_built(&volume.store(), commit, cancel)
        };
        let verdict = self.tools.on_disk(Phase::Build, self.deadline, look).await?;
        if let Verdict::Differs(difference) = verdict {
            self.story.warn(format!("the gate changed the tree, which is written anew: {difference}"));
            self.build(commit).await?;
        }
        Ok(())
    }
}
