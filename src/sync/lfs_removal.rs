//! Removes LFS objects that no tree needs. It must not know how they are downloaded.

use std::sync::Arc;

use tokio::time::Instant;

use crate::error::Phase;

use super::context::Context;
use super::lfs_objects::Unneeded;

/// Removes objects that no tree needs, if there may be any: all of them once `--lfs` is gone.
pub(crate) async fn remove_unneeded_objects(context: &Arc<Context>, deadline: Instant) {
    let is_known = context.engine.options().lfs.is_none() || context.protected.are_known();
    if !is_known || context.lfs_objects.take() == Unneeded::None {
        return;
    }
    let keeper = context.clone();
    let removed = context.disk.run(Phase::Publish, deadline, move |volume, cancel| {
        // Read on the disk's thread: a sync sets its wanted commit before it looks for missing objects there.
        let mut keep = volume.commits_in_use()?;
        keep.extend(keeper.protected_commits());
        keep.sort();
        keep.dedup();
        Ok((volume.drop_objects(&volume.store(), &keep, cancel)?, keep.len()))
    });
    match removed.await {
        Ok(((gone, left), commits)) => {
            if commits > 1 {
                // Objects that only the older trees need become unused when those are removed.
                context.lfs_objects.changed();
            }
            tracing::debug!(gone, left, "LFS objects that no tree needs were removed");
            if context.engine.options().lfs.is_some() {
                context.metrics.volume_bytes("lfs", left);
            }
        }
        Err(error) => {
            context.lfs_objects.changed();
            tracing::debug!(%error, "LFS objects that no tree needs could not be removed");
        }
    }
}
