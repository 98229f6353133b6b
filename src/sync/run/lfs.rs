//! Fetches the LFS objects that a tree needs, between the fetch and the build. Without `--lfs` it does nothing.
//!
//! `publish` knows the objects of a tree, `git` downloads them; neither knows the other. For a push, only the changed files
//! are checked.

use git2::Oid;
use tokio::time::Instant;

use crate::error::{Phase, SyncError};
use crate::publish::Volume;
use crate::sync::error;
use crate::sync::lfs_removal::remove_unneeded_objects;
use crate::text::counted;
use crate::worker::Cancel;

use super::sync_run::SyncRun;

/// More rounds than the largest tree that can be published needs.
const MAX_ROUNDS: usize = 600;

/// A commit of which everything is on the volume that its tree needs.
#[derive(Debug)]
pub(super) struct CompleteCommit {
    pub commit: Oid,
}

impl SyncRun<'_> {
    /// Downloads the objects that the tree of a commit needs and the volume lacks.
    pub(super) async fn fetch_objects(&mut self, commit: Oid) -> Result<CompleteCommit, SyncError> {
        if self.context.engine.options().lfs.is_none() {
            return Ok(CompleteCommit { commit });
        }
        self.report.phase = Phase::Fetch;
        // From here on no removal touches objects of this tree.
        self.context.protected.set_candidate(commit);
        let started = Instant::now();
        let downloaded = self.download_objects(commit).await;
        self.report.add_fetch_time(started);
        let (objects, bytes) = downloaded?;
        if objects > 0 {
            self.report.log.info(format!("fetched {}, {bytes} bytes", counted(objects, "LFS object")));
            self.report.add_fetched(commit, objects, bytes);
        }
        Ok(CompleteCommit { commit })
    }

    async fn download_objects(&mut self, commit: Oid) -> Result<(u64, u64), SyncError> {
        let context = self.context;
        let (mut objects, mut bytes) = (0, 0);
        // `lacking` names a limited number of objects, so that a large tree needs little memory.
        for _ in 0..MAX_ROUNDS {
            let lacking = move |volume: &Volume, cancel: &Cancel| volume.lacking(&volume.store(), commit, cancel);
            let lacking = context.disk.run(Phase::Fetch, self.deadline, lacking).await?;
            if lacking.is_empty() {
                return Ok((objects, bytes));
            }
            // Otherwise objects of pushes that were never published would accumulate.
            remove_unneeded_objects(context, self.deadline).await;
            context.lfs_objects.changed();
            let full_ref = context.status.followed().full_ref;
            let fetch = || context.engine.fetch_objects(commit, lacking.clone(), full_ref.clone());
            let downloaded = self.download_with_room(fetch).await?;
            objects += downloaded.objects;
            bytes += downloaded.bytes;
        }
        Err(error::internal(Phase::Fetch, "the objects that are lacking have no end"))
    }
}
