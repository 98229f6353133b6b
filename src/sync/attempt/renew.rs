//! The published commit once more, with other submodules.
//!
//! What stands is whole and stays, and the probes with it, until the new tree is. Where there is a gate this is not done:
//! there is no second name under which it could look at the tree beside its readers.

use crate::error::SyncError;
use crate::git::Want;

use super::{Attempt, Done};

impl Attempt<'_> {
    /// Brings what is wanted now of the live commit, and puts that tree in the place of the one that stands.
    pub(super) async fn renew(&mut self, want: Want) -> Result<Done, SyncError> {
        let commit = self.fetch(want).await?;
        if self.live() != Some(commit) {
            // The ref moved on meanwhile; what is there now passes the gate like every push.
            self.go_on = true;
            return Ok(Done::Unchanged);
        }
        self.fetch_objects(commit).await?;
        self.build(commit).await?;
        self.publish(commit).await
    }
}
