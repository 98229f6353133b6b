//! Publishes the same commit again with other submodules.
//!
//! The old tree stays live, and the probes green, until the new one is complete. With a pre-publish hook this is not done,
//! because the new tree would need a second name for the hook to run in it beside the readers.

use crate::error::SyncError;
use crate::git::Want;

use super::{Done, SyncRun};

impl SyncRun<'_> {
    /// Fetches the submodules that are wanted now, builds the tree again, and replaces the old one.
    pub(super) async fn renew(&mut self, want: Want) -> Result<Done, SyncError> {
        let commit = self.fetch(want).await?;
        if self.live() != Some(commit) {
            // The ref moved on meanwhile; what is there now passes the gate like every push.
            self.repeat = true;
            return Ok(Done::Unchanged);
        }
        self.fetch_objects(commit).await?;
        self.build(commit).await?;
        self.publish(commit).await
    }
}
