//! Fetches the LFS objects that a tree needs, between the fetch and the build. Without `--lfs` it does nothing.
//!
//! `publish` knows the objects of a tree, `git` downloads them; neither knows the other. For a push, only the changed files
//! are checked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use git2::Oid;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Phase, SyncError};
use crate::git::Fetched;
use crate::publish::Volume;
use crate::sync::error;
use crate::sync::tools::Tools;
use crate::text::counted;
use crate::worker::Cancel;

use super::SyncRun;

/// More rounds than the largest tree that can be published needs.
const MAX_ROUNDS: usize = 600;

impl SyncRun<'_> {
    /// Downloads the objects that the tree of a commit needs and the volume lacks.
    pub(super) async fn fetch_objects(&mut self, commit: Oid) -> Result<(), SyncError> {
        let tools = self.tools;
        if tools.engine.options().lfs.is_none() {
            return Ok(());
        }
        self.phase = Phase::Fetch;
        // From here on no sweep removes objects of this tree.
        *tools.candidate.lock() = Some(commit);
        let started = Instant::now();
        let downloaded = self.download_objects(commit).await;
        self.add_fetch_time(started);
        let (objects, bytes) = downloaded?;
        if objects > 0 {
            self.log.info(format!("fetched {}, {bytes} bytes", counted(objects, "LFS object")));
            let fetched = self.fetched.get_or_insert(Fetched { commit, bytes: 0, objects: 0 });
            fetched.bytes += bytes;
            fetched.objects += objects;
        }
        Ok(())
    }

    async fn download_objects(&mut self, commit: Oid) -> Result<(u64, u64), SyncError> {
        let tools = self.tools;
        let (mut objects, mut bytes) = (0, 0);
        for _ in 0..MAX_ROUNDS {
            let lacking = move |volume: &Volume, cancel: &Cancel| volume.lacking(&volume.store(), commit, cancel);
            let lacking = tools.on_disk(Phase::Fetch, self.deadline, lacking).await?;
            if lacking.is_empty() {
                return Ok((objects, bytes));
            }
            // Otherwise objects of pushes that were never published would accumulate.
            tools.remove_unneeded_objects(self.deadline).await;
            tools.objects_due.store(true, Ordering::Relaxed);
            let full_ref = tools.status.followed().full_ref;
            let fetch = || tools.engine.fetch_objects(commit, lacking.clone(), full_ref.clone());
            let downloaded = self.download_with_room(fetch).await?;
            objects += downloaded.objects;
            bytes += downloaded.bytes;
        }
        Err(error::internal(Phase::Fetch, "the objects that are lacking have no end"))
    }
}

impl Tools {
    /// Returns false before the first successful ls-refs of the process: partial downloads of an earlier process may be of
    /// the wanted commit.
    fn knows_what_is_wanted(&self) -> bool {
        let is_known = |commit: &Mutex<Option<Oid>>| commit.lock().is_some();
        self.engine.options().lfs.is_none() || is_known(&self.candidate) || is_known(&self.head_at_last_success)
    }

    /// Removes objects that no tree needs, if there may be any: all of them once `--lfs` is gone.
    pub(in crate::sync) async fn remove_unneeded_objects(self: &Arc<Self>, deadline: Instant) {
        if !self.knows_what_is_wanted() || !self.objects_due.swap(false, Ordering::Relaxed) {
            return;
        }
        let keeper = self.clone();
        let dropped = self.on_disk(Phase::Publish, deadline, move |volume, cancel| {
            // Read on the disk's thread: a sync sets its wanted commit before it looks for missing objects there.
            let mut keep = volume.commits_in_use()?;
            keep.extend(keeper.kept());
            keep.sort();
            keep.dedup();
            Ok((volume.drop_objects(&volume.store(), &keep, cancel)?, keep.len()))
        });
        match dropped.await {
            Ok(((gone, left), commits)) => {
                // There are trees of several commits: objects that only the older ones need become unused when they are
                // removed.
                self.objects_due.fetch_or(commits > 1, Ordering::Relaxed);
                tracing::debug!(gone, left, "LFS objects that no tree needs were removed");
                if self.engine.options().lfs.is_some() {
                    self.metrics.volume_bytes("lfs", left);
                }
            }
            Err(error) => {
                self.objects_due.store(true, Ordering::Relaxed);
                tracing::debug!(%error, "LFS objects that no tree needs could not be removed");
            }
        }
    }
}
