//! Prepares for the next push: checks the published tree again, makes a standby tree, and flushes to the disk.

use std::sync::Arc;

use tokio::time::Instant;

use crate::api::TriggerKind;
use crate::error::{ErrorKind, Phase};
use crate::publish::{Live, Prepared, Verdict, Volume};
use crate::sync::error;
use crate::sync::queue::Request;
use crate::worker::{Cancel, Raised};

use super::{BackgroundWork, Message};

impl BackgroundWork {
    pub(super) async fn prepare(self) {
        let context = &self.context;
        let Some(volume) = context.disk.volume() else { return };
        let deadline = Instant::now() + context.options.timeout;
        if !self.check_again(&volume, deadline).await {
            return;
        }
        self.make_standby_tree(volume.clone(), deadline).await;
        if volume.removal_waits() {
            self.remove_in(std::time::Duration::ZERO);
        }
        // Last but for the flush, because it needs the store, which the standby trees are made from.
        context.engine.prepare_for_push().await;
        if let Err(error) = self.flush(deadline).await {
            tracing::warn!(%error, "what is published could not be written through to the disk yet");
        }
    }

    /// Compares the published tree with its commit once more, if that is due. Returns false if it is not as it should be.
    async fn check_again(&self, volume: &Arc<Volume>, deadline: Instant) -> bool {
        let context = &self.context;
        let again = volume.clone();
        let compare = move |cancel: &Cancel| {
            if again.verify_is_due() { again.verify_live(&again.store(), cancel) } else { Ok(Verdict::Whole) }
        };
        let compared = context.disk.rotation.run(deadline, compare).await;
        match error::publish(Phase::Publish, compared) {
            Ok(Verdict::Whole) => return true,
            Ok(Verdict::Differs(_)) if context.hooks.run_in_trees() => {
                // A hook may run in it now, or has just ended.
                // On the volume's thread, because reading the link of a disk that hangs never returns.
                let volume = volume.clone();
                let live = context.disk.rotation.run(deadline, move |_| volume.live()).await;
                if let Ok(Live::Tree(live)) = error::publish(Phase::Publish, live) {
                    context.hook_changes.accept_or_log(live).await;
                }
                return true;
            }
            Ok(Verdict::Differs(difference)) => {
                tracing::warn!(difference, "another process changed the published tree; it will be rebuilt");
                context.tree.distrust();
                context.queue.push(Request::new(TriggerKind::Poll, context.clock.now()));
            }
            Err(error) if error.kind == ErrorKind::NoSubmodules => self.request_other_submodules(),
            Err(error) => tracing::debug!(%error, "the published tree could not be compared"),
        }
        false
    }

    /// Handles a published tree that has other submodules than those that are configured now.
    fn request_other_submodules(&self) {
        let context = &self.context;
        if context.hooks.gate_backoff().is_some() {
            // The hook has not run for them, and cannot run beside the readers, because the commit has no second name.
            tracing::warn!(
                "the submodules to publish have changed: they are published with the next push, which the pre-publish hook sees"
            );
        } else if context.tree.lacks_submodules_now() {
            tracing::info!("the submodules to publish have changed: they are fetched for the published commit");
            context.queue.push(Request::new(TriggerKind::Poll, context.clock.now()));
        }
    }

    /// Makes standby trees. A push waits for the first one, which therefore has the priority of a push; the others have a
    /// low one.
    async fn make_standby_tree(&self, volume: Arc<Volume>, deadline: Instant) {
        let (disk, keep) = (&self.context.disk, self.context.protected_commits());
        let mut prepared = Ok(Prepared::Nothing);
        // Without one, the next push would write a whole tree.
        let is_urgent = !volume.has_standby();
        if is_urgent {
            let writing = Raised::raise(&self.writing);
            let (first, keep) = (volume.clone(), keep.clone());
            let made =
                disk.standby_trees.run(deadline, move |cancel| first.prepare_one(&first.store(), &keep, cancel)).await;
            prepared = error::publish(Phase::Publish, made);
            drop(writing);
        }
        if prepared.is_ok() && (!is_urgent || volume.has_upkeep()) {
            let rotated =
                disk.rotation.run(deadline, move |cancel| volume.rotate(&volume.store(), &keep, cancel)).await;
            prepared = error::publish(Phase::Publish, rotated);
        }
        match prepared {
            Ok(prepared) => self.send(Message::Prepared(prepared)),
            Err(error) => tracing::debug!(%error, "no standby tree could be made"),
        }
    }
}
