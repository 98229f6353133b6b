//! The fetch: the commit, the objects that a filter left out of it, and its submodules.
//!
//! It must not know when a fetch is due.

use git2::Oid;
use tokio::time::Instant;

use crate::api::Phase;
use crate::error::SyncError;
use crate::git::{Fetched, SpeculativeFetch, Want};
use crate::sync::queue::is_fast_forward;
use crate::text::counted;

use super::SyncRun;

impl SyncRun<'_> {
    pub(super) async fn fetch(&mut self, want: Want) -> Result<Oid, SyncError> {
        if self.live() != self.new {
            self.enter(Phase::Fetch);
        }
        let mut when = "";
        let fetched = match std::mem::replace(&mut self.early, SpeculativeFetch::Nothing) {
            SpeculativeFetch::Fetched(fetched) if matches!(&want, Want::Seen(head) if head.commit == fetched.commit) => {
                when = ", while refs were listed";
                fetched
            }
            early => {
                let started = Instant::now();
                let from = self.fast_forward_from(&want).filter(|_| early != SpeculativeFetch::TooLarge);
                let fetched = self.fetch_with_room(want, from).await;
                self.add_fetch_time(started);
                fetched?
            }
        };
        let commit = fetched.commit;
        if fetched.objects > 0 {
            self.log.info(format!("fetched {}, {} bytes{when}", counted(fetched.objects, "object"), fetched.bytes));
        }
        self.fetched = Some(fetched);
        self.fetch_files(commit).await?;
        self.fetch_submodules(commit).await?;
        Ok(commit)
    }

    /// Fetches the objects that a filter left out and the tree needs. In a complete store this does nothing, at no cost.
    pub(super) async fn fetch_files(&mut self, commit: Oid) -> Result<(), SyncError> {
        let tools = self.tools;
        if !tools.with_git(Phase::Fetch, self.deadline, tools.engine.may_lack_files(commit)).await? {
            return Ok(());
        }
        let started = Instant::now();
        let files = async {
            let sparse = tools.on_disk(Phase::Fetch, self.deadline, |volume, _| volume.sparse()).await?;
            self.download_with_room(|| tools.engine.fetch_files(commit, sparse.clone())).await
        };
        let files = files.await;
        self.add_fetch_time(started);
        let files = files?;
        if files.objects > 0 {
            let their = if files.objects == 1 { "its hash" } else { "their hashes" };
            self.log.info(format!("fetched {} by {their}, {} bytes", counted(files.objects, "file"), files.bytes));
        }
        let fetched = self.fetched.get_or_insert(Fetched { commit, bytes: 0, objects: 0 });
        fetched.bytes += files.bytes;
        fetched.objects += files.objects;
        Ok(())
    }

    /// Fetches the objects that the commit's submodules need; for most pushes there are none.
    async fn fetch_submodules(&mut self, commit: Oid) -> Result<(), SyncError> {
        let started = Instant::now();
        let fetch = || self.tools.engine.fetch_submodules(commit, self.old.into_iter().collect());
        let modules = self.download_with_room(fetch).await;
        self.add_fetch_time(started);
        let modules = modules?;
        for (path, commit) in &modules.fetched {
            self.log.info(format!("fetched the submodule `{path}` at {commit}"));
        }
        modules.notes.into_iter().for_each(|note| self.log.warn(note));
        if let Some(fetched) = &mut self.fetched {
            fetched.bytes += modules.bytes;
            fetched.objects += modules.objects;
        }
        Ok(())
    }

    /// The commit in the store, if the webhooks say that the wanted one descends from it. It is only a hint.
    fn fast_forward_from(&self, want: &Want) -> Option<Oid> {
        let Want::Seen(head) = want else { return None };
        self.old.filter(|old| is_fast_forward(&self.request.announced, *old, head.commit))
    }
}
