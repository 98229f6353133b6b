//! Changes that a hook makes to tracked files of a published tree: they count as published, and are no damage.
//!
//! It must not know why a hook ran.

use std::sync::{Arc, Once};
use std::time::Duration;

use git2::Oid;
use tokio::time::Instant;

use crate::error::{Phase, SyncError};
use crate::worker::{Cancel, Worker};

use super::disk::Disk;
use super::error;

pub(crate) struct HookChanges {
    disk: Arc<Disk>,
    timeout: Duration,
    /// Compares trees after hooks ran in them, at a low priority.
    comparison: Worker,
    /// Done once the log has said that hooks change tracked files.
    reported: Once,
}

impl HookChanges {
    pub(crate) fn new(disk: Arc<Disk>, timeout: Duration) -> Self {
        Self { disk, timeout, comparison: Worker::quiet("accept"), reported: Once::new() }
    }

    /// Accepts the changes in the tree of a commit, in the background.
    pub(crate) async fn accept_or_log(&self, commit: Oid) {
        // A tree that cannot be compared now is compared before its next use.
        if let Err(error) = self.accept(commit).await {
            tracing::debug!(%error, %commit, "the tree could not be compared after a hook ran in it");
        }
    }

    /// Accepts the changes that a hook made to tracked files in the tree of a commit: they count as published from now on.
    ///
    /// # Errors
    /// If the tree cannot be read.
    pub(crate) async fn accept(&self, commit: Oid) -> Result<(), SyncError> {
        let deadline = Instant::now() + self.timeout;
        let Some(volume) = self.disk.volume() else { return Ok(()) };
        let accept = move |cancel: &Cancel| volume.accept_changes(&volume.store(), commit, cancel);
        let found = error::publish(Phase::Publish, self.comparison.run(deadline, accept).await)?;
        let Some((paths, first)) = found else { return Ok(()) };
        let mut is_first = false;
        self.reported.call_once(|| is_first = true);
        if is_first {
            tracing::info!(
                %commit,
                paths,
                first,
                "a hook changed tracked files of the tree; what it made of them counts as published"
            );
        } else {
            tracing::debug!(%commit, paths, first, "a hook changed tracked files");
        }
        Ok(())
    }

    pub(super) fn rest(&self) {
        self.comparison.rest();
    }
}
