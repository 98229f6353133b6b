//! The store and the history that git needs in the published tree (`--worktree-git`, `--depth`).
//!
//! Both may be missing although the remote has nothing new: the store may be lost, or an earlier process had another depth.

use tokio::time::Instant;

use crate::error::{Phase, SyncError};
use crate::git::{Fetched, Want};
use crate::publish::Volume;
use crate::text::counted;
use crate::worker::Cancel;

use super::fetch::Wanted;
use super::sync_run::SyncRun;

impl SyncRun<'_> {
    /// With `--worktree-git`, git works in the published tree again as soon as the store can be filled again.
    pub(super) async fn restore_git(&mut self, git_is_lost: bool, live: Wanted) -> Result<(), SyncError> {
        if !git_is_lost {
            return Ok(());
        }
        let commit = self.fetch(live).await?.commit;
        // The ref moved on during the fetch; the next sync publishes that commit with its git files.
        if self.live() != Some(commit) {
            return Ok(());
        }
        // A whole tree is not written again; only its git files are.
        let build = move |volume: &Volume, cancel: &Cancel| volume.build(&volume.store(), commit, cancel);
        self.context.disk.run(Phase::Build, self.deadline, build).await?;
        tracing::info!(commit = %commit, "git works in the published tree again");
        Ok(())
    }

    /// Gives the history of the published commit the configured depth. An error here does not fail the sync.
    pub(super) async fn adjust_depth(&mut self, live: Want) {
        let started = Instant::now();
        let Some(more) = self.context.engine.adjust_depth(live, self.deadline).await else { return };
        self.report.add_fetch_time(started);
        let Fetched { commit, bytes, objects } = more;
        let objects_and_bytes = format!("{}, {bytes} bytes", counted(objects, "object"));
        self.report.log.info(format!("fetched more of the history for --depth: {objects_and_bytes}"));
        self.report.add_fetched(commit, objects, bytes);
    }
}
