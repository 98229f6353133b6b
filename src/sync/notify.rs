//! Reports the result of a sync to others: the touch file and the hooks after a publish, the error file while syncs fail.
//!
//! None of this can make a sync fail. Only `--one-time` waits for it, at its end.

use std::sync::Arc;

use git2::Oid;
use tokio::time::Instant;

use crate::error::SyncError;
use crate::hooks::{Hooks, Publication};
use crate::notices;

use super::disk::Disk;
use super::notice_files::NoticeFiles;

pub(crate) struct Notifier {
    hooks: Arc<Hooks>,
    disk: Arc<Disk>,
    files: NoticeFiles,
    one_time: bool,
}

impl Notifier {
    pub(crate) fn new(hooks: Arc<Hooks>, disk: Arc<Disk>, notices: &notices::NoticeOptions, one_time: bool) -> Self {
        Self { hooks, disk, files: NoticeFiles::new(notices), one_time }
    }

    /// A commit was published, or found published at the start. `repairs` is how often a published tree was repaired.
    pub(crate) fn published(&self, commit: Oid, repairs: u64) {
        self.files.published();
        // With --one-time the hooks run once, at the end.
        if let (false, Some(publication)) = (self.one_time, self.publication(commit, repairs)) {
            self.hooks.tell(publication);
        }
    }

    /// Runs each hook once for the published commit and waits. True if all of them succeeded.
    pub(crate) async fn run_hooks_once(&self, commit: Oid, repairs: u64) -> bool {
        match self.publication(commit, repairs) {
            Some(publication) => self.hooks.tell_once(&publication).await,
            None => true,
        }
    }

    fn publication(&self, commit: Oid, repairs: u64) -> Option<Publication> {
        let tree = self.disk.volume()?.tree(commit);
        Some(Publication { hash: commit.to_string(), tree, put_back: repairs })
    }

    /// Writes the error file after a failed sync, and removes it after a successful one.
    pub(crate) fn report_failure(&self, failure: Option<(&SyncError, u32)>) {
        self.files.failure(failure);
    }

    /// Waits until both files are written, or the deadline is over.
    pub(super) async fn written(&self, deadline: Instant) {
        self.files.done(deadline).await;
    }
}
