//! Reports the result of a sync to others: the touch file and the hooks after a publish, the error file while syncs fail.
//!
//! None of this can make a sync fail. Only `--one-time` waits for it, at its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use git2::Oid;
use tokio::time::Instant;

use crate::error::{Phase, SyncError};
use crate::hooks::Publication;
use crate::worker::Cancel;

use super::error;
use super::tools::Tools;

impl Tools {
    /// A commit was published, or found published at the start.
    pub fn announce(&self, commit: Oid) {
        self.notices.published();
        // With --one-time the hooks run once, at the end.
        if let (false, Some(publication)) = (self.options.one_time, self.publication(commit)) {
            self.hooks.tell(publication);
        }
    }

    /// Runs each hook once for the published commit and waits. True if all of them succeeded.
    pub async fn run_hooks_once(&self) -> bool {
        let live = self.status.read(|snapshot| snapshot.published.as_ref()?.commit.parse().ok());
        let Some((commit, publication)) = live.and_then(|commit| Some((commit, self.publication(commit)?))) else {
            return true;
        };
        let heard = self.hooks.tell_once(&publication).await;
        if self.hooks.run_in_trees() {
            self.accept_changes(commit).await;
        }
        heard
    }

    fn publication(&self, commit: Oid) -> Option<Publication> {
        let tree = self.volume()?.tree(commit);
        let repairs = self.repairs.load(Ordering::Relaxed);
        Some(Publication { hash: commit.to_string(), tree, put_back: repairs })
    }

    /// After each hook's run, accepts its changes to tracked files as part of the published tree. Runs until the process
    /// ends.
    pub fn follow_hooks(self: &Arc<Self>) {
        let Some(mut runs) = self.hooks.take_runs() else { return };
        let tools = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(run) = runs.recv().await {
                let Some(tools) = tools.upgrade() else { return };
                if let Ok(commit) = run.hash.parse() {
                    tools.accept_changes(commit).await;
                }
            }
        });
    }

    /// The same in the background. A tree that cannot be compared is found by the next look at it.
    pub async fn accept_changes(&self, commit: Oid) {
        if let Err(error) = self.try_to_accept(commit).await {
            tracing::debug!(%error, %commit, "the tree could not be compared after a hook ran in it");
        }
    }

    /// Accepts the changes that a hook made to tracked files in the tree of a commit: they count as published from now on.
    ///
    /// # Errors
    /// If the tree cannot be read.
    pub async fn try_to_accept(&self, commit: Oid) -> Result<(), SyncError> {
        let deadline = Instant::now() + self.options.timeout;
        let Some(volume) = self.volume() else { return Ok(()) };
        let accept = move |cancel: &Cancel| volume.accept_changes(&volume.store(), commit, cancel);
        let found = error::publish(Phase::Publish, self.accepting.run(deadline, accept).await)?;
        let Some((paths, first)) = found else { return Ok(()) };
        if self.hook_changes_reported.swap(true, Ordering::Relaxed) {
            tracing::debug!(%commit, paths, first, "a hook changed tracked files");
        } else {
            tracing::info!(
                %commit,
                paths,
                first,
                "a hook changed tracked files of the tree; what it made of them counts as published"
            );
        }
        Ok(())
    }

    /// Writes the error file after a failed sync, and removes it after a successful one.
    pub fn report_in_file(&self, failure: Option<(&SyncError, u32)>) {
        self.notices.failure(failure);
    }

    /// Waits until records and files are written, or the deadline is over.
    pub(super) async fn last_writes(&self, deadline: Instant) {
        self.notices.done(deadline).await;
        if self.volume().is_some() {
            self.history.written(deadline).await;
        }
    }
}
