//! The store and the history that git needs in the published tree (`--worktree-git`, `--depth`).
//!
//! Both may be missing although the remote has nothing new: the store may be lost, or an earlier process had another depth.

use tokio::time::Instant;

use crate::error::{Phase, SyncError};
use crate::git::{Fetched, Want};
use crate::publish::Volume;
use crate::text::counted;
use crate::worker::Cancel;

use super::SyncRun;

impl SyncRun<'_> {
    /// With `--worktree-git`, git works in the published tree again as soon as the store can be filled again.
    pub(super) async fn restore_git(&mut self, live: Want) -> Result<(), SyncError> {
        if !self.git_is_lost {
            return Ok(());
        }
        let commit = self.fetch(live).await?;
        if self.live() != Some(commit) {
            return Ok(());
        }
        let build = move |volume: &Volume, cancel: &Cancel| volume.build(&volume.store(), commit, cancel);
        self.tools.on_disk(Phase::Build, self.deadline, build).await?;
        tracing::info!(commit = %commit, "git works in the published tree again");
        Ok(())
    }

    /// Gives the history of the published commit the configured depth. An error here does not fail the sync.
    pub(super) async fn adjust_depth_of(&mut self, live: Want) {
        let started = Instant::now();
        let Some(more) = self.tools.engine.adjust_depth(live, self.deadline).await else { return };
        self.add_fetch_time(started);
        let Fetched { commit, bytes, objects } = more;
        let objects_and_bytes = format!("{}, {bytes} bytes", counted(objects, "object"));
        self.log.info(format!("fetched more of the history for --depth: {objects_and_bytes}"));
        let fetched = self.fetched.get_or_insert(Fetched { commit, bytes: 0, objects: 0 });
        fetched.bytes += bytes;
        fetched.objects += objects;
    }
}
