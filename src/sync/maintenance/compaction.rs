//! Keeping the object store small: after a publish, and when replaced trees went.
//!
//! Decides when the store is compacted and which commits stay; `git` carries it out. It runs in the background.

use std::sync::Arc;

use git2::Oid;
use tokio::time::Instant;

use crate::error::Phase;
use crate::git::{Compaction, Effort};

use crate::sync::tools::Tools;

impl Tools {
    /// After a publish: checks in the background whether the store should be compacted, and whether it lacks objects that
    /// a filter left out which is no longer configured.
    pub fn compact_soon(self: &Arc<Self>) {
        let tools = self.clone();
        tokio::spawn(async move {
            match tools.engine.complete_partial_clone().await {
                Ok(true) => tracing::info!("what --filter had left out was fetched: the object store is whole"),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "the object store still lacks what --filter had left out"),
            }
            tools.compact(Effort::Worthwhile).await;
        });
    }

    /// The same for a process that ends now.
    pub async fn compact_at_end(&self, changed: bool) {
        // This process does no more, so objects that another --ref or --depth left over are removed now.
        let effort = if changed && self.options.compaction != Compaction::Off { Effort::Full } else { self.effort() };
        self.compact(effort).await;
    }

    /// After the removal of replaced trees: their commits are no longer needed.
    pub async fn compact_after_sweep(&self) {
        self.compact(self.effort()).await;
    }

    fn effort(&self) -> Effort {
        if self.options.compaction == Compaction::Always { Effort::Full } else { Effort::Worthwhile }
    }

    /// Failures are logged at debug level only, because the store is as it was.
    async fn compact(&self, effort: Effort) {
        if self.options.compaction == Compaction::Off {
            return;
        }
        let deadline = Instant::now() + self.options.timeout;
        let kept = self.on_disk(Phase::Publish, deadline, |volume, _| volume.commits_in_use()).await;
        let mut keep: Vec<Oid> = match kept {
            Ok(kept) => kept,
            Err(error) => {
                tracing::debug!(%error, "the store is not compacted: the trees on the volume cannot be listed");
                return;
            }
        };
        keep.extend(self.decisions().pinned);
        match self.engine.compact(effort, keep).await {
            Ok(Some(done)) => {
                tracing::debug!(
                    packs_before = done.packs_before,
                    packs_after = done.packs_after,
                    bytes_before = done.bytes_before,
                    bytes_after = done.bytes_after,
                    ms = crate::sync::run::millis(done.took),
                    garbage_dropped = done.full,
                    "the object store was compacted"
                );
                self.metrics.volume_bytes("store", done.store_bytes);
            }
            Ok(None) => {}
            Err(error) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(%error, reason, "the object store stays as it is");
            }
        }
    }
}
