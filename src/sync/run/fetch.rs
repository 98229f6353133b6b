//! The fetch: the commit, the objects that a filter left out of it, and its submodules.
//!
//! It must not know when a fetch is due.

use git2::Oid;
use tokio::time::Instant;

use crate::api::Phase;
use crate::error::SyncError;
use crate::git::{SpeculativeFetch, Want};
use crate::sync::queue::is_fast_forward;
use crate::text::counted;

use super::sync_run::SyncRun;

/// The commit to fetch, and what was fetched of it while the refs were still being listed.
pub(super) struct Wanted {
    pub want: Want,
    pub speculative: SpeculativeFetch,
}

impl From<Want> for Wanted {
    fn from(want: Want) -> Self {
        Self { want, speculative: SpeculativeFetch::Nothing }
    }
}

/// A commit whose files and submodules are in the store.
#[derive(Debug)]
pub(super) struct StoredCommit {
    pub commit: Oid,
}

impl SyncRun<'_> {
    pub(super) async fn fetch(&mut self, Wanted { want, speculative }: Wanted) -> Result<StoredCommit, SyncError> {
        if self.live() != self.report.new {
            // Not if the wanted commit is live: a poll that finds nothing changes no state.
            self.enter(Phase::Fetch);
        }
        let mut when = "";
        let fetched = match speculative {
            SpeculativeFetch::Fetched(fetched) if matches!(&want, Want::Seen(head) if head.commit == fetched.commit) => {
                when = ", while refs were listed";
                fetched
            }
            other => {
                let started = Instant::now();
                // A pack that was too large for a fast-forward shows that the hint was wrong.
                let from = self.fast_forward_from(&want).filter(|_| other != SpeculativeFetch::TooLarge);
                let fetched = self.fetch_with_room(want, from).await;
                self.report.add_fetch_time(started);
                fetched?
            }
        };
        let commit = fetched.commit;
        if fetched.objects > 0 {
            self.report.log.info(format!(
                "fetched {}, {} bytes{when}",
                counted(fetched.objects, "object"),
                fetched.bytes
            ));
        }
        self.report.fetched = Some(fetched);
        self.fetch_files(commit).await?;
        self.fetch_submodules(commit).await?;
        Ok(StoredCommit { commit })
    }

    /// Fetches the objects that a filter left out and the tree needs. In a complete store this does nothing, at no cost.
    pub(super) async fn fetch_files(&mut self, commit: Oid) -> Result<(), SyncError> {
        let context = self.context;
        if !context.with_git(Phase::Fetch, self.deadline, context.engine.may_lack_files(commit)).await? {
            return Ok(());
        }
        let started = Instant::now();
        let files = async {
            let sparse = context.disk.run(Phase::Fetch, self.deadline, |volume, _| volume.sparse()).await?;
            self.download_with_room(|| context.engine.fetch_files(commit, sparse.clone())).await
        };
        // The time counts also if it fails, hence the block.
        let files = files.await;
        self.report.add_fetch_time(started);
        let files = files?;
        if files.objects > 0 {
            let their = if files.objects == 1 { "its hash" } else { "their hashes" };
            let files_and_bytes = format!("{} by {their}, {} bytes", counted(files.objects, "file"), files.bytes);
            self.report.log.info(format!("fetched {files_and_bytes}"));
        }
        self.report.add_fetched(commit, files.objects, files.bytes);
        Ok(())
    }

    /// Fetches the objects that the commit's submodules need; for most pushes there are none.
    async fn fetch_submodules(&mut self, commit: Oid) -> Result<(), SyncError> {
        let started = Instant::now();
        // The flattened tree of the live commit is kept, because a repair builds from it.
        let fetch = || self.context.engine.fetch_submodules(commit, self.report.old.into_iter().collect());
        let modules = self.download_with_room(fetch).await;
        self.report.add_fetch_time(started);
        let modules = modules?;
        for (path, commit) in &modules.fetched {
            self.report.log.info(format!("fetched the submodule `{path}` at {commit}"));
        }
        modules.notes.into_iter().for_each(|note| self.report.log.warn(note));
        self.report.add_fetched(commit, modules.objects, modules.bytes);
        Ok(())
    }

    /// The commit in the store, if the webhooks say that the wanted one descends from it. It is only a hint.
    fn fast_forward_from(&self, want: &Want) -> Option<Oid> {
        let Want::Seen(head) = want else { return None };
        self.report.old.filter(|old| is_fast_forward(&self.report.request.announced, *old, head.commit))
    }
}
