//! Work on a volume that may be full: the used space is measured before it, and room is made if it fails.
//!
//! The least needed data is removed first: standby trees; expired trees, and objects that no tree needs; at a
//! `--volume-limit` also old trees in their grace period. It must not know how each of them is removed.

use git2::Oid;
use tokio::time::timeout_at;

use crate::error::{Phase, SyncError};
use crate::git::{self, Compaction, Effort, Fetched, Want};
use crate::publish::Volume;
use crate::worker::Cancel;

use super::sync_run::SyncRun;

/// Less than this is no reason to download a pack again.
const LEAST_FREED: u64 = 64 << 10;

/// The steps by which room is made, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoomStep {
    Standbys,
    Garbage,
    OldTrees,
    /// The objects that only those trees needed.
    TheirObjects,
}

impl SyncRun<'_> {
    /// Fetches a commit.
    pub(super) async fn fetch_with_room(&self, want: Want, from: Option<Oid>) -> Result<Fetched, SyncError> {
        let context = self.context;
        if context.disk.volume().is_some_and(|volume| volume.is_limited()) {
            context.disk.run(Phase::Fetch, self.deadline, Volume::expect_writes).await?;
        }
        self.download_with_room(|| context.engine.fetch_forward(want.clone(), from)).await
    }

    /// Downloads to the volume by the engine.
    pub(super) async fn download_with_room<T, F>(&self, bring: impl Fn() -> F) -> Result<T, SyncError>
    where
        F: Future<Output = Result<T, git::Error>>,
    {
        self.with_room(|| self.context.with_git(Phase::Fetch, self.deadline, bring())).await
    }

    /// Runs work that needs room on the volume. If there is none, room is made and the work is repeated.
    pub(super) async fn with_room<T, F>(&self, work: impl Fn() -> F) -> Result<T, SyncError>
    where
        F: Future<Output = Result<T, SyncError>>,
    {
        let mut done = work().await;
        for step in [RoomStep::Standbys, RoomStep::Garbage, RoomStep::OldTrees, RoomStep::TheirObjects] {
            // Other errors would be the same with more room.
            if !done.as_ref().is_err_and(is_full) {
                return done;
            }
            // Boxed, because it is rare and its future is large.
            match Box::pin(self.make_room(step)).await {
                Ok(true) => {}
                // Nothing went, so the work would fail again.
                Ok(false) => continue,
                Err(error) => {
                    tracing::debug!(%error, ?step, "no room could be made");
                    continue;
                }
            }
            tracing::info!("the volume is full: removed {}; trying again", removed(step));
            done = work().await;
        }
        done
    }

    /// Makes room. Returns true if anything was removed.
    async fn make_room(&self, step: RoomStep) -> Result<bool, SyncError> {
        let context = self.context;
        match step {
            RoomStep::Standbys => context.disk.run(Phase::Fetch, self.deadline, Volume::make_room).await,
            RoomStep::Garbage => {
                let kept = context.protected_commits();
                let mark = move |volume: &Volume, cancel: &Cancel| {
                    volume.mark_expired(|commit| kept.contains(&commit))?;
                    volume.make_room(cancel)
                };
                let trees = context.disk.run(Phase::Fetch, self.deadline, mark).await?;
                Ok(self.remove_garbage().await? || trees)
            }
            // Readers may still use these trees, so only a limit that the operator set is worth it.
            RoomStep::OldTrees => {
                if !context.disk.volume().is_some_and(|volume| volume.is_limited()) {
                    return Ok(false);
                }
                let kept = context.protected_commits();
                let mark = move |volume: &Volume, cancel: &Cancel| {
                    volume.mark_in_grace(|commit| kept.contains(&commit))?;
                    volume.make_room(cancel)
                };
                context.disk.run(Phase::Fetch, self.deadline, mark).await
            }
            RoomStep::TheirObjects => self.remove_garbage().await,
        }
    }

    /// Removes the objects that neither a tree on the volume nor the wanted commit needs. Returns true if that is worth another
    /// try.
    async fn remove_garbage(&self) -> Result<bool, SyncError> {
        let context = self.context;
        if context.options.compaction == Compaction::Off {
            return Ok(false);
        }
        let mut keep = context.disk.run(Phase::Fetch, self.deadline, |volume, _| volume.commits_in_use()).await?;
        keep.extend(context.protected_commits().into_iter().chain(self.report.new).chain(self.report.old));
        context.with_git(Phase::Fetch, self.deadline, context.engine.keep_only(keep.clone(), self.report.old)).await?;
        let compacted = timeout_at(self.deadline, context.engine.compact(Effort::Urgent, keep)).await;
        let freed = match compacted {
            Ok(Ok(Some(done))) => done.bytes_before.saturating_sub(done.bytes_after),
            Ok(Ok(None)) | Err(_) => 0,
            Ok(Err(error)) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(%error, reason, "the object store could not be made smaller");
                0
            }
        };
        context.disk.run(Phase::Fetch, self.deadline, Volume::expect_writes).await?;
        tracing::debug!(freed, "dropped objects that no tree needs");
        Ok(freed >= LEAST_FREED)
    }
}

fn is_full(error: &SyncError) -> bool {
    error.kind.is_want_of_space()
}

fn removed(step: RoomStep) -> &'static str {
    match step {
        RoomStep::Standbys => "the standby trees",
        RoomStep::Garbage => "old trees, and objects that no tree needs",
        RoomStep::TheirObjects => "objects that only those trees need",
        RoomStep::OldTrees => "old trees before the end of --stale-worktree-timeout",
    }
}
