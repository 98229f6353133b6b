//! Builds the tree of a commit: from a standby tree, or as a fresh one.

use git2::Oid;
use tokio::time::Instant;

use crate::clock::millis;
use crate::error::{Phase, SyncError};
use crate::publish::Volume;
use crate::text::counted;
use crate::worker::Cancel;

use super::lfs::CompleteCommit;
use super::publish::AcceptedTree;
use super::sync_run::SyncRun;

/// A whole tree of a commit, which no reader knows unless it was published before.
#[derive(Debug)]
pub(super) struct BuiltTree {
    pub commit: Oid,
    /// False if a whole tree of the commit was there already.
    pub is_new: bool,
}

impl BuiltTree {
    /// For trees that the pre-publish hook need not judge: their commit was published before.
    pub(crate) fn without_hook(self) -> AcceptedTree {
        AcceptedTree { commit: self.commit }
    }
}

impl SyncRun<'_> {
    pub(super) async fn build(&mut self, CompleteCommit { commit }: CompleteCommit) -> Result<BuiltTree, SyncError> {
        self.enter(Phase::Build);
        // From here on no removal touches the tree, although no link names it yet.
        self.context.protected.set_candidate(commit);
        let started = Instant::now();
        let build = move |volume: &Volume, cancel: &Cancel| volume.build(&volume.store(), commit, cancel);
        self.maintenance.push_coming(self.deadline).await;
        let built = self.with_room(|| self.context.disk.run(Phase::Build, self.deadline, build)).await;
        // Also after a failure: a build that took long explains it.
        self.report.phases.build_ms = Some(millis(started.elapsed()));
        let built = built?;
        if let Some(why) = &built.note {
            self.report.log.info(format!("the spare was not used: {why}"));
        }
        for remark in &built.remarks {
            self.report.log.warn(remark.clone());
        }
        let made = match built.standby {
            Some(from) => format!("updated the standby tree from {from}"),
            None => "wrote a new tree".to_owned(),
        };
        self.report.log.info(format!("{made}: {}, {} bytes", counted(built.files, "file"), built.bytes));
        Ok(BuiltTree { commit, is_new: built.files > 0 || built.standby.is_some() })
    }
}
