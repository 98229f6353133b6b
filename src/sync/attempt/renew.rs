//! The published commit once more, with other submodules.
//!
//! What stands is whole and stays, and the probes with it, until the new tree is. Where there is a gate this is not done:
//! there is no second name under which it could look at the tree beside its readers.

use std::sync::atomic::Ordering;

use crate::error::SyncError;
use crate::git::Want;
use crate::sync::failure::NO_EXCHANGE;

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
        match self.build(commit).await {
            Ok(()) => self.publish(commit).await,
            Err(error) if error.kind == NO_EXCHANGE => {
                self.tools.outdated.store(false, Ordering::Relaxed);
                self.story.warn(format!("other submodules come with the next push only: {}", error.message()));
                Ok(Done::Unchanged)
            }
            Err(error) => Err(error),
        }
    }
}
