//! Decides which commit a sync is for, and in which order its steps run.

use git2::Oid;
use tokio::time::Instant;

use crate::api::{Phase, TriggerKind};
use crate::error::{ErrorKind, SyncError};
use crate::git::{SpeculativeFetch, Want};
use crate::sync::disk::VolumeState;
use crate::sync::open_volume::open_volume;

use super::fetch::Wanted;
use super::report::{Done, RunEnd};
use super::resolve::Resolved;
use super::sync_run::SyncRun;

impl SyncRun<'_> {
    pub(crate) async fn run(&mut self) -> Result<RunEnd, SyncError> {
        self.report.phase = Phase::Publish;
        let VolumeState { live, git_is_lost } =
            open_volume(self.context, self.state, self.maintenance, self.deadline).await?;
        self.report.decisions = self.context.decisions.current();
        if self.report.decisions.paused_until.is_some() && !self.context.decisions.pin_is_due() {
            return Ok(Done::Interrupted.into());
        }
        // After the check for a pause: an interrupted request comes back and would not be new then.
        let news = self.note_announcements();
        // A poll that finds nothing changes no state. A retry is treated like a poll, because otherwise the state would
        // flicker with each retry while a failure lasts.
        if self.report.request.trigger.kind != TriggerKind::Poll && !self.report.request.retry {
            self.enter(Phase::Look);
        }
        if self.repair(live).await? {
            // The repair has a record of its own. The next sync handles the remote's commit.
            return Ok(RunEnd { done: Done::Published, repeat: true });
        }
        // Boxed, because the futures of both are large and only one of them runs.
        match self.context.decisions.commit_to_hold(&self.report.decisions) {
            Some(commit) => Box::pin(self.hold(commit, news, git_is_lost)).await,
            None => Box::pin(self.follow(news, git_is_lost)).await,
        }
    }

    /// Notes the announcements of the request. Returns the newest one if it is new: only that is worth a speculative fetch.
    fn note_announcements(&mut self) -> Option<Oid> {
        let mut news = None;
        for announced in &self.report.request.announced {
            // A commit that the history knows was published before: the delivery is a replay, or a rollback.
            let is_old = !self.context.history.commits_with_prefix(&announced.after.to_string()).is_empty();
            let received = self.report.request.received_of(Some(announced.after));
            let is_new = self.state.tracker.note(*announced, received, is_old);
            news = is_new.then_some(announced.after);
        }
        news
    }

    /// Publishes a commit that is pinned. The remote's newest commit is fetched as well, but not published.
    async fn hold(&mut self, pinned: Oid, news: Option<Oid>, git_is_lost: bool) -> Result<RunEnd, SyncError> {
        if self.live() != Some(pinned) {
            self.report.new = Some(pinned);
            if self.is_still_rejected(pinned) {
                return Ok(Done::StillRejected.into());
            }
            // Before the remote is contacted, so that a rollback works while it is down.
            return Ok(self.publish_wanted(Want::Commit(pinned).into()).await?.into());
        }
        let Resolved { head, speculative, listed_at } = self.list_refs(news).await?;
        self.report.new = Some(pinned);
        self.report.withheld = Some(head.commit).filter(|head| *head != pinned);
        let (is_due, tries) =
            (self.context.engine.needs_depth_adjustment(), self.context.engine.failed_depth_adjustments());
        if is_due {
            self.adjust_depth(Want::Seen(head.clone())).await;
        }
        // With the remote's commit in the store, unpinning is quick and works while the remote is down.
        self.fetch(Wanted { want: Want::Seen(head), speculative }).await?;
        if self.context.tree.lacks_submodules() {
            return self.replace_submodules(Want::Commit(pinned).into(), listed_at).await;
        }
        self.restore_git(git_is_lost, Want::Commit(pinned).into()).await?;
        if is_due {
            self.adjust_depth(Want::Commit(pinned)).await;
            self.context.engine.clear_depth_failures(tries);
        }
        Ok(self.end(Done::Unchanged, false, listed_at))
    }

    /// Publishes the commit that the remote has under the ref.
    async fn follow(&mut self, news: Option<Oid>, git_is_lost: bool) -> Result<RunEnd, SyncError> {
        let head_before = self.state.head_at_last_success;
        let Some(Resolved { head, speculative, listed_at }) = self.list_refs_until_announced(news).await? else {
            return Ok(Done::Interrupted.into());
        };
        self.report.new = Some(head.commit);
        let wanted = Wanted { want: Want::Seen(head.clone()), speculative };
        if self.live() == Some(head.commit) {
            if self.context.tree.lacks_submodules() {
                return self.replace_submodules(wanted, listed_at).await;
            }
            self.restore_git(git_is_lost, wanted).await?;
            if self.context.engine.needs_depth_adjustment() {
                let tries = self.context.engine.failed_depth_adjustments();
                self.adjust_depth(Want::Seen(head)).await;
                self.context.engine.clear_depth_failures(tries);
            }
            return Ok(self.end(Done::Unchanged, false, listed_at));
        }
        if self.is_still_rejected(head.commit) {
            return Ok(self.end(Done::StillRejected, false, listed_at));
        }
        if head_before.is_some_and(|before| before != head.commit) {
            self.note_missed_webhook(&head);
        }
        // The remote may have been asked because of an earlier push.
        self.join_deliveries(head.commit);
        let done = self.publish_wanted(wanted).await?;
        if let Some(commit) = self.report.new {
            // Others may have arrived during the fetch.
            self.join_deliveries(commit);
        }
        let now = Instant::now();
        let repeat = self.report.new.is_some_and(|shown| self.state.tracker.still_to_come(shown, now).is_some());
        Ok(self.end(done, repeat, listed_at))
    }

    /// Publishes the live commit again with the submodules that are configured now.
    ///
    /// The old tree stays live, and the probes green, until the new one is complete. With a pre-publish hook this is not done,
    /// because the new tree would need a second name for the hook to run in it beside the readers.
    async fn replace_submodules(&mut self, wanted: Wanted, listed_at: Instant) -> Result<RunEnd, SyncError> {
        let stored = self.fetch(wanted).await?;
        if self.live() != Some(stored.commit) {
            // The ref moved on meanwhile. The next sync publishes that commit, after the hook like every push.
            return Ok(RunEnd { done: Done::Unchanged, repeat: true });
        }
        let complete = self.fetch_objects(stored.commit).await?;
        let tree = self.build(complete).await?.without_hook();
        let done = self.publish(tree).await?;
        Ok(self.end(done, false, listed_at))
    }

    /// The end of a sync that listed the refs at `listed_at`.
    fn end(&self, done: Done, repeat: bool, listed_at: Instant) -> RunEnd {
        if !repeat && done != Done::Interrupted {
            self.expire_announcement(listed_at);
        }
        RunEnd { done, repeat }
    }

    /// Fetches, builds and publishes; with a new object store if the one we have turns out to be damaged.
    async fn publish_wanted(&mut self, wanted: Wanted) -> Result<Done, SyncError> {
        // The result of the speculative fetch was removed with the damaged store.
        let again = Wanted { want: wanted.want.clone(), speculative: SpeculativeFetch::Nothing };
        match self.fetch_build_publish(wanted).await {
            Err(error) if error.kind == ErrorKind::StoreDamaged => {
                self.report.log.warn(format!("the object store is damaged, a new one is fetched: {}", error.message()));
                let engine = &self.context.engine;
                self.context.with_git(Phase::Fetch, self.deadline, engine.discard_store()).await?;
                self.fetch_build_publish(again).await
            }
            outcome => outcome,
        }
    }

    async fn fetch_build_publish(&mut self, wanted: Wanted) -> Result<Done, SyncError> {
        let is_head = matches!(wanted.want, Want::Seen(_));
        let stored = self.fetch(wanted).await?;
        if is_head {
            // The ref may have moved on between the listing and the fetch.
            self.note_head(stored.commit);
        }
        self.report.new = Some(stored.commit);
        let complete = self.fetch_objects(stored.commit).await?;
        let built = self.build(complete).await?;
        match self.run_pre_publish_hook(built).await? {
            Some(tree) => self.publish(tree).await,
            None => Ok(Done::Interrupted),
        }
    }

    /// Takes over the delivery of what was found at the remote, if it came since this request was taken.
    fn join_deliveries(&mut self, commit: Oid) {
        let request = &mut self.report.request;
        self.context.queue.join(commit, request);
        for announced in &request.announced {
            self.state.tracker.note(*announced, request.received_of(Some(announced.after)), false);
        }
        self.state.tracker.saw(commit);
    }
}
