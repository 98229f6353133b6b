//! A fetch on a volume that may be full: what the volume takes is counted before it, and room is made once if it fails.
//!
//! It must not know how room is made.

use git2::Oid;

use crate::error::{Phase, SyncError};
use crate::git::{self, Fetched, Want};
use crate::publish::Volume;

use super::Attempt;

impl Attempt<'_> {
    /// Fetches. If the volume turns out to be full, the standby trees go and the fetch is tried once more.
    pub(super) async fn fetch_with_room(&self, want: Want, from: Option<Oid>) -> Result<Fetched, SyncError> {
        let tools = self.tools;
        if tools.volume().is_some_and(|volume| volume.is_limited()) {
            tools.on_disk(Phase::Fetch, self.deadline, Volume::expect_writes).await?;
        }
        self.with_room(|| tools.engine.fetch_forward(want.clone(), from)).await
    }

    /// The same for anything that is brought onto the volume.
    pub(super) async fn with_room<T, F>(&self, bring: impl Fn() -> F) -> Result<T, SyncError>
    where
        F: Future<Output = Result<T, git::Error>>,
    {
        let tools = self.tools;
        match tools.ask_git(Phase::Fetch, self.deadline, bring()).await {
            Err(error) if matches!(error.kind, "disk_full" | "no_inodes" | "quota") => {
                let made = tools.on_disk(Phase::Fetch, self.deadline, Volume::make_room).await;
                if !made.unwrap_or(false) {
                    return Err(error);
                }
                tracing::info!("the volume is full: the standby trees were dropped, and the fetch is tried again");
                tools.ask_git(Phase::Fetch, self.deadline, bring()).await
            }
            fetched => fetched,
        }
    }
}
