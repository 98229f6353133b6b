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

use super::SyncRun;

/// Less than this is no reason to download a pack again.
const LEAST_FREED: u64 = 64 << 10;

/// The steps by which room is made, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Standbys,
    Garbage,
    OldTrees,
    /// The objects that only those trees needed.
    TheirObjects,
}

impl SyncRun<'_> {
    /// Fetches a commit.
    pub(super) async fn fetch_with_room(&self, want: Want, from: Option<Oid>) -> Result<Fetched, SyncError> {
        let tools = self.tools;
        if tools.volume().is_some_and(|volume| volume.is_limited()) {
            tools.on_disk(Phase::Fetch, self.deadline, Volume::expect_writes).await?;
        }
        self.download_with_room(|| tools.engine.fetch_forward(want.clone(), from)).await
    }

    /// Downloads to the volume by the engine.
    pub(super) async fn download_with_room<T, F>(&self, bring: impl Fn() -> F) -> Result<T, SyncError>
    where
        F: Future<Output = Result<T, git::Error>>,
    {
        self.with_room(|| self.tools.with_git(Phase::Fetch, self.deadline, bring())).await
    }

    /// Runs work that needs room on the volume. If there is none, room is made and the work is repeated.
    pub(super) async fn with_room<T, F>(&self, work: impl Fn() -> F) -> Result<T, SyncError>
    where
        F: Future<Output = Result<T, SyncError>>,
    {
        let mut done = work().await;
        for step in [Step::Standbys, Step::Garbage, Step::OldTrees, Step::TheirObjects] {
            if !done.as_ref().is_err_and(is_full) {
                return done;
            }
            match Box::pin(self.make_room(step)).await {
                Ok(true) => {}
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
    async fn make_room(&self, step: Step) -> Result<bool, SyncError> {
        let tools = self.tools;
        match step {
            Step::Standbys => tools.on_disk(Phase::Fetch, self.deadline, Volume::make_room).await,
            Step::Garbage => {
                let kept = tools.kept();
                let doom = move |volume: &Volume, cancel: &Cancel| {
                    volume.mark_expired(|commit| kept.contains(&commit))?;
                    volume.make_room(cancel)
                };
                let trees = tools.on_disk(Phase::Fetch, self.deadline, doom).await?;
                Ok(self.remove_garbage().await? || trees)
            }
            Step::OldTrees => {
                if !tools.volume().is_some_and(|volume| volume.is_limited()) {
                    return Ok(false);
                }
                let kept = tools.kept();
                let doom = move |volume: &Volume, cancel: &Cancel| {
                    volume.mark_in_grace(|commit| kept.contains(&commit))?;
                    volume.make_room(cancel)
                };
                tools.on_disk(Phase::Fetch, self.deadline, doom).await
            }
            Step::TheirObjects => self.remove_garbage().await,
        }
    }

    /// Removes the objects that neither a tree on the volume nor the wanted commit needs. Returns true if that is worth another
    /// try.
    async fn remove_garbage(&self) -> Result<bool, SyncError> {
        let tools = self.tools;
        if tools.options.compaction == Compaction::Off {
            return Ok(false);
        }
        let mut keep = tools.on_disk(Phase::Fetch, self.deadline, |volume, _| volume.commits_in_use()).await?;
        keep.extend(tools.kept().into_iter().chain(self.new).chain(self.old));
        tools.with_git(Phase::Fetch, self.deadline, tools.engine.keep_only(keep.clone(), self.old)).await?;
        let compacted = timeout_at(self.deadline, tools.engine.compact(Effort::Urgent, keep)).await;
        let freed = match compacted {
            Ok(Ok(Some(done))) => done.bytes_before.saturating_sub(done.bytes_after),
            Ok(Ok(None)) | Err(_) => 0,
            Ok(Err(error)) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(%error, reason, "the object store could not be made smaller");
                0
            }
        };
        tools.on_disk(Phase::Fetch, self.deadline, Volume::expect_writes).await?;
        tracing::debug!(freed, "dropped objects that no tree needs");
        Ok(freed >= LEAST_FREED)
    }
}

fn is_full(error: &SyncError) -> bool {
    matches!(error.kind, "disk_full" | "no_inodes" | "quota")
}

fn removed(step: Step) -> &'static str {
    match step {
        Step::Standbys => "the standby trees",
        Step::Garbage => "old trees, and objects that no tree needs",
        Step::TheirObjects => "objects that only those trees need",
        Step::OldTrees => "old trees before the end of --stale-worktree-timeout",
    }
}
