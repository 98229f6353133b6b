//! Restores the link and its tree if either was removed or damaged. Needs no network.

use git2::Oid;

use crate::error::SyncError;
use crate::publish::Live;

use super::report::Done;
use super::sync_run::SyncRun;

impl SyncRun<'_> {
    /// Reads from `live` what is published, and repairs it. Returns true if it had to.
    pub(super) async fn repair(&mut self, live: Live) -> Result<bool, SyncError> {
        let gone = match live {
            Live::Tree(commit) => {
                self.report.old = Some(commit);
                if !self.context.tree.is_unverified() {
                    return Ok(false);
                }
                Some(commit)
            }
            Live::Dangling(commit) => Some(commit),
            // Restores only a commit that this process has verified: the link may have belonged to another repository.
            Live::Nothing | Live::Foreign => {
                self.context.status.read(|snapshot| snapshot.published.as_ref()?.commit.parse().ok())
            }
        };
        let Some(commit) = gone else { return Ok(false) };
        self.context.status.set_health(|health| health.ready = false);
        self.report
            .log
            .warn(format!("what is published is gone, or is not what it should be now: putting {commit} back"));
        self.report.new = Some(commit);
        match self.build_again(commit).await {
            Ok(Done::Published) => {
                self.state.repairs += 1;
                self.report.old = Some(commit);
                Ok(true)
            }
            // A person's decision arrived meanwhile; the rest of this sync carries it out.
            Ok(_) => Ok(false),
            // The remote's commit may be publishable all the same; if it is not, that error is reported.
            Err(error) => {
                self.report.log.warn(format!("it cannot be put back from what is here: {}", error.message()));
                Ok(false)
            }
        }
    }

    async fn build_again(&mut self, commit: Oid) -> Result<Done, SyncError> {
        self.fetch_files(commit).await?;
        let complete = self.fetch_objects(commit).await?;
        let built = self.build(complete).await?;
        if built.is_new {
            self.run_pre_publish_hook_again(commit).await;
        }
        // The commit passed the hook before, so its refusal is only reported.
        self.publish(built.without_hook()).await
    }
}
