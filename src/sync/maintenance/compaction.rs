//! Keeps the object store small: after a publish, and after the removal of replaced trees.
//!
//! Decides when the store is compacted and which commits stay; `git` carries it out. It runs in the background.

use std::sync::Arc;

use git2::Oid;
use tokio::time::Instant;

use crate::clock::millis;
use crate::error::Phase;
use crate::git::{Compaction, Effort};
use crate::sync::context::Context;

/// After a publish: checks whether the store should be compacted, and whether it lacks objects that a filter left out which is
/// no longer configured.
pub(super) async fn compact_after_publish(context: Arc<Context>) {
    match context.engine.complete_partial_clone().await {
        Ok(true) => tracing::info!("what --filter had left out was fetched: the object store is whole"),
        Ok(false) => {}
        Err(error) => tracing::debug!(%error, "the object store still lacks what --filter had left out"),
    }
    compact(&context, Effort::Worthwhile).await;
}

/// The same for a process that ends now.
pub(crate) async fn compact_at_end(context: &Context, changed: bool) {
    // This process does no more, so objects that another --ref or --depth left over are removed now.
    let effort = if changed && context.options.compaction != Compaction::Off { Effort::Full } else { effort(context) };
    compact(context, effort).await;
}

/// After the removal of replaced trees: their commits are no longer needed.
pub(super) async fn compact_after_removal(context: &Context) {
    compact(context, effort(context)).await;
}

fn effort(context: &Context) -> Effort {
    if context.options.compaction == Compaction::Always { Effort::Full } else { Effort::Worthwhile }
}

/// Failures are logged at debug level only, because the store is as it was.
async fn compact(context: &Context, effort: Effort) {
    if context.options.compaction == Compaction::Off {
        return;
    }
    let deadline = Instant::now() + context.options.timeout;
    let mut keep: Vec<Oid> = match context.disk.run(Phase::Publish, deadline, |volume, _| volume.commits_in_use()).await
    {
        Ok(kept) => kept,
        Err(error) => {
            tracing::debug!(%error, "the store is not compacted: the trees on the volume cannot be listed");
            return;
        }
    };
    // A pin may name a commit without a tree: it was decided and is not published yet.
    keep.extend(context.decisions.current().pinned);
    match context.engine.compact(effort, keep).await {
        Ok(Some(done)) => {
            tracing::debug!(
                packs_before = done.packs_before,
                packs_after = done.packs_after,
                bytes_before = done.bytes_before,
                bytes_after = done.bytes_after,
                ms = millis(done.took),
                garbage_dropped = done.full,
                "the object store was compacted"
            );
            context.metrics.volume_bytes("store", done.store_bytes);
        }
        Ok(None) => {}
        Err(error) => {
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            tracing::debug!(%error, reason, "the object store stays as it is");
        }
    }
}
