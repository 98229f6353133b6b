//! Keeping the object store small: after a publish, and when replaced trees went.
//!
//! Decides when and what is kept; how it is done is `git`'s business. Nobody waits for it.

use std::sync::Arc;

use git2::Oid;
use tokio::time::Instant;

use crate::error::Phase;
use crate::git::{Compaction, Effort};

use super::tools::Tools;

impl Tools {
    /// Something was published: looks in the background whether the store is worth to be compacted, and whether it lacks
    /// what a filter left out that is not asked for any more.
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
        // There is no later: what another --ref or --depth left over goes now. Without a change there is mostly nothing.
        let effort = if changed && self.options.compaction != Compaction::Off { Effort::Full } else { self.effort() };
        self.compact(effort).await;
    }

    /// Replaced trees were removed: nobody goes back to their commits.
    pub async fn compact_after_sweep(&self) {
        self.compact(self.effort()).await;
    }

    fn effort(&self) -> Effort {
        if self.options.compaction == Compaction::Always { Effort::Full } else { Effort::Worthwhile }
    }

    /// Failures are no reason to tell anybody but who looks for them: the store is as it was.
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
                    ms = super::attempt::millis(done.took),
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
