//! Opens the volume and takes over what an earlier process left on it: the history, the decisions and the published tree.
//!
//! It must not know what a sync does next.

use std::sync::Arc;

use git2::Oid;
use tokio::time::Instant;

use crate::api::Outcome;
use crate::error::{Phase, SyncError};
use crate::publish::{Live, Verdict, Volume};
use crate::worker::Cancel;

use super::context::Context;
use super::disk::VolumeState;
use super::maintenance::Maintenance;
use super::state::SyncState;

/// Opens the volume on the first call that succeeds. Returns its state; for an open volume that is one system call, because
/// each sync asks for it.
pub(crate) async fn open_volume(
    context: &Arc<Context>,
    state: &mut SyncState,
    maintenance: &Maintenance,
    deadline: Instant,
) -> Result<VolumeState, SyncError> {
    if context.disk.volume().is_some() {
        let read = |volume: &Volume, _: &Cancel| volume.holds_lock().then(|| VolumeState::of(volume)).transpose();
        if let Some(found) = context.disk.run(Phase::Publish, deadline, read).await? {
            adopt(context, state, deadline).await?;
            return Ok(found);
        }
        tracing::warn!("the volume was emptied or replaced; opening it again");
        context.disk.close();
        context.history.detach();
    }
    let volume = Arc::new(context.disk.open(deadline).await?);
    let state_folder = volume.state_folder();
    context.recorder.attach(&state_folder).await;
    let is_decided = context.decisions.load(&state_folder, deadline).await;
    if context.hooks.run_in_trees() {
        volume.verify_before_use();
    }
    volume.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    // After its decisions were read: commands are refused until then, or the file would replace what they decide.
    context.disk.set_volume(volume.clone());
    if !is_decided && let Some(inherited) = state.inherited.take() {
        context.decisions.inherit(inherited, deadline).await;
    }
    state.adoption_is_due = true;
    context.tree.was_replaced();
    clear_leftovers(context, maintenance, &volume, deadline).await;
    adopt(context, state, deadline).await?;
    context.disk.run(Phase::Publish, deadline, |volume, _| VolumeState::of(volume)).await
}

/// Removes unfinished files of an earlier process: at once with `--one-time`, otherwise in the background.
async fn clear_leftovers(context: &Context, maintenance: &Maintenance, volume: &Volume, deadline: Instant) {
    if !volume.has_leftovers() {
        return;
    }
    if !context.options.one_time {
        return maintenance.remove_soon();
    }
    let empty = |volume: &Volume, cancel: &Cancel| volume.remove_marked(|| !cancel.is_cancelled());
    if let Err(error) = context.disk.run(Phase::Publish, deadline, empty).await {
        tracing::warn!(%error, "what an earlier process left unfinished could not be removed");
    }
}

/// Takes over what an earlier process published, once: tried again if the disk was too slow for it.
async fn adopt(context: &Context, state: &mut SyncState, deadline: Instant) -> Result<(), SyncError> {
    if let Some(volume) = context.disk.volume().filter(|_| state.adoption_is_due) {
        verify_or_distrust(context, volume, deadline).await?;
        state.adoption_is_due = false;
    }
    Ok(())
}

async fn verify_or_distrust(context: &Context, volume: Arc<Volume>, deadline: Instant) -> Result<(), SyncError> {
    let disk = &context.disk;
    let Live::Tree(commit) = disk.run(Phase::Publish, deadline, |volume, _| volume.live()).await? else {
        return Ok(());
    };
    let survived = disk.run(Phase::Publish, deadline, move |volume, _| Ok(volume.survived(commit))).await?;
    // With --one-time the tree is compared before the process ends; otherwise in the background, while readers use it.
    if survived && !context.options.one_time {
        volume.verify_later(commit);
        tracing::info!(commit = %commit, "the published tree stays; its content is compared in the background");
        report_adopted(context, commit).await;
        return Ok(());
    }
    // Set before the comparison, because that may be given up at the deadline.
    context.tree.distrust();
    let verify = move |volume: &Volume, cancel: &Cancel| volume.verify(&volume.store(), commit, cancel);
    match disk.run(Phase::Publish, deadline, verify).await {
        Ok(Verdict::Whole) => {
            context.tree.was_verified();
            tracing::info!(commit = %commit, "the published tree is whole; it stays");
            report_adopted(context, commit).await;
        }
        Ok(Verdict::Differs(difference)) => {
            tracing::warn!(commit = %commit, difference, "the published tree is not its commit; it will be rebuilt");
        }
        Err(error) => tracing::warn!(commit = %commit, %error, "the published tree cannot be checked yet"),
    }
    Ok(())
}

/// Reports a commit that an earlier process published as live: to the probes, in the metrics and in the state.
async fn report_adopted(context: &Context, commit: Oid) {
    let text = commit.to_string();
    let is_its_publish =
        |record: &crate::api::Record| record.outcome == Outcome::Published && record.new.as_deref() == Some(&*text);
    let record = context.history.page(None, usize::MAX).into_iter().find(is_its_publish);
    let published = context.describe(commit, record.map(|record| record.finished_at)).await;
    context.metrics.published(&published.commit);
    context.status.set_health(|health| (health.started, health.ready) = (true, true));
    context.status.change(|snapshot| snapshot.published = Some(published));
}
