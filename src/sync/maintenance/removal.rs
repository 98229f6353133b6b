//! Removes old trees and unused objects, and measures what is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Phase, SyncError};
use crate::git;
use crate::publish::Volume;
use crate::sync::context::Context;
use crate::sync::error;
use crate::sync::lfs_removal::remove_unneeded_objects;
use crate::worker::Cancel;

use super::courtesy::Courtesy;
use super::{Activity, BackgroundWork, Message, compaction};

/// The longest time of a removal. The next one removes the rest.
const LONGEST_REMOVAL: Duration = Duration::from_secs(60 * 60);

/// A cancelled thread has ended by then.
const LONGEST_END: Duration = Duration::from_millis(50);

/// The pause before a removal that found the published tree unverified is tried again.
const AGAIN_IN_DOUBT: Duration = Duration::from_secs(60);

impl BackgroundWork {
    pub(super) async fn remove(mut self) {
        let context = self.context.clone();
        let deadline = Instant::now() + context.options.timeout;
        if context.disk.volume().is_some_and(|volume| volume.removal_waits()) {
            // Trees that were renamed before need neither the preparation nor the flush, which take long on a busy disk.
            let work = self.clone();
            tokio::spawn(async move {
                if !work.remove_and_measure().await {
                    work.send(Message::RemovalFailed);
                }
            });
        }
        // Until no preparation is running, or a push has stopped it.
        let _ = timeout_at(deadline, self.preparations.wait_for(|running| *running == 0)).await;
        if context.disk.volume().is_some_and(|volume| volume.has_upkeep()) {
            // An expired tree may become a standby tree instead of being removed.
            let (done, ended) = oneshot::channel();
            self.send(Message::TreesExpired(done));
            let _ = ended.await;
        }
        // The flush may take long here; the one on the build's thread finds nothing left to write then. Going on after a
        // failure would flush there, and the next push would wait for it.
        if let Err(error) = self.flush(Instant::now() + context.options.timeout).await {
            tracing::debug!(%error, "what is published could not be written through before the removal");
            self.send(Message::RemovalFailed);
            return;
        }
        if context.tree.is_unverified() {
            // While the published tree is unverified, no tree is removed, and none is noted as being on the disk.
            tracing::debug!("no old tree is removed while the published tree is not verified");
            return self.remove_in(AGAIN_IN_DOUBT);
        }
        let deadline = Instant::now() + context.options.timeout;
        // Read for each tree, because a sync may name another candidate meanwhile.
        let keeper = context.clone();
        let mark = move |volume: &Volume, _: &Cancel| {
            volume.mark_superfluous(|commit| keeper.protected_commits().contains(&commit))
        };
        let marked = context.disk.run(Phase::Publish, deadline, mark).await;
        tracing::debug!("looked for trees whose grace is over");
        let is_marked = marked.is_ok();
        match marked {
            Ok(left) => {
                let upkeep = context.disk.volume().and_then(|volume| volume.next_upkeep());
                left.into_iter().chain(upkeep).min().inspect(|left| self.remove_in(*left));
            }
            Err(error) => {
                tracing::warn!(%error, "old trees could not be removed");
                self.send(Message::RemovalFailed);
            }
        }
        remove_unneeded_objects(&context, deadline).await;
        tracing::debug!("looked for objects that no tree needs");
        let is_removed = self.remove_and_measure().await;
        if is_marked {
            self.send(if is_removed { Message::RemovalDone } else { Message::RemovalFailed });
        }
        // It may take long; its result is logged at its end.
        compaction::compact_after_removal(&context).await;
        self.rest().await;
    }

    /// Waits until the published tree is on the disk.
    pub(super) async fn flush(&self, deadline: Instant) -> Result<(), SyncError> {
        if self.context.tree.is_unverified() {
            // An unverified tree must not be noted as being on the disk.
            return Ok(());
        }
        self.context.disk.flush(deadline).await
    }

    /// Ends idle threads and gives memory back: nothing is left to do until the next request or poll.
    async fn rest(&self) {
        if *self.activity.borrow() == Activity::Syncing {
            return;
        }
        let context = &self.context;
        context.disk.rest();
        context.hook_changes.rest();
        context.decisions.rest();
        context.engine.rest();
        context.history.rest();
        // The memory of a thread can be given back once the thread has ended.
        sleep(LONGEST_END).await;
        let deadline = Instant::now() + context.options.timeout;
        let _ = context.disk.removal.run(deadline, |_| git::give_back_memory()).await;
    }

    /// The part of a removal that takes long for large trees. One waiting call is enough for all. Returns false if
    /// entries are left that have to be removed.
    async fn remove_and_measure(&self) -> bool {
        let context = &self.context;
        let Some(volume) = context.disk.volume() else { return true };
        let Ok(waiting) = self.removal_waits.clone().try_lock_owned() else { return true };
        let (disk, activity) = (context.disk.clone(), self.activity.clone());
        let removed = context.disk.removal.run(Instant::now() + LONGEST_REMOVAL, move |cancel| {
            // It waits no more: what is marked from now on is for the next call.
            drop(waiting);
            let courtesy = Courtesy::default();
            let is_ours = || disk.volume().is_some_and(|now| Arc::ptr_eq(&now, &volume));
            let go_on = || {
                courtesy.rest();
                courtesy.wait_while(|| *activity.borrow() == Activity::Syncing);
                is_ours() && !cancel.is_cancelled()
            };
            let emptied = volume.remove_marked(go_on);
            if let Err(error) = &emptied {
                tracing::warn!(%error, "old trees could not be removed");
            }
            Ok((emptied.is_ok() && !volume.is_removal_stuck(), volume.usage(go_on)))
        });
        let (is_removed, usage) = match error::publish(Phase::Publish, removed.await) {
            Ok((is_removed, usage)) => (is_removed, error::publish(Phase::Publish, Ok(usage))),
            Err(error) => (false, Err(error)),
        };
        match usage {
            Ok((store, trees)) => {
                context.metrics.volume_bytes("store", store);
                context.metrics.volume_bytes("trees", trees);
                context.metrics.volume_limit(context.disk.volume().and_then(|volume| volume.limit()));
            }
            Err(error) => tracing::debug!(%error, "what is on the volume could not be measured"),
        }
        is_removed
    }
}

/// The removal of a process that ends now. Returns the number of removed trees.
pub(crate) async fn remove_at_end(context: &Arc<Context>) -> usize {
    if context.disk.volume().is_none() || context.tree.is_unverified() {
        return 0;
    }
    let deadline = Instant::now() + context.options.timeout;
    let kept = context.protected_commits();
    let sweep = move |volume: &Volume, cancel: &Cancel| {
        volume.sweep(|commit| kept.contains(&commit), || !cancel.is_cancelled())
    };
    let removed = context.disk.run(Phase::Publish, deadline, sweep).await;
    remove_unneeded_objects(context, deadline).await;
    removed.unwrap_or_else(|error| {
        tracing::warn!(%error, "old trees could not be removed");
        0
    })
}
