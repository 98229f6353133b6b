//! Lists the remote's refs: once, or repeatedly while an announced commit is not shown yet.
//!
//! It must not know what is done with the commit that is found.

use git2::Oid;
use parking_lot::MutexGuard;
use tokio::time::{Instant, sleep_until};

use crate::api::{Phase, TriggerKind};
use crate::error::SyncError;
use crate::git::{ExpectedCommit, RemoteHead, SpeculativeFetch};
use crate::sync::announcement_tracker::{self, AnnouncementTracker};
use crate::sync::queue::{is_expected, is_fast_forward};
use crate::sync::status::Followed;

use super::SyncRun;

impl SyncRun<'_> {
    pub(super) async fn list_refs(&mut self) -> Result<RemoteHead, SyncError> {
        let started = Instant::now();
        self.listed_at = Some(started);
        self.phase = Phase::Look;
        let ahead = self.ahead();
        let engine = &self.tools.engine;
        let looked = async {
            match ahead {
                Some(ahead) => Box::pin(engine.resolve_and_fetch(ahead, self.tools.expect_push(self.deadline))).await,
                None => Ok((engine.ls_remote().await?, SpeculativeFetch::Nothing)),
            }
        };
        let looked = self.tools.with_git(Phase::Look, self.deadline, looked).await;
        self.add_fetch_time(started);
        let (head, early) = looked?;
        self.early = early;
        let followed = Followed { full_ref: head.full_ref.clone(), hash: head.full_ref.is_none() };
        self.tools.status.set_followed(followed);
        self.tools.status.set_moved_to(self.tools.engine.redirected_to());
        self.saw(head.commit);
        Ok(head)
    }

    /// The commit that the listing is expected to show: a new one that descends from the published commit. A replay, or a
    /// push from another commit, causes a listing and no speculative fetch.
    fn ahead(&mut self) -> Option<ExpectedCommit> {
        let (commit, old) = (self.news.take()?, self.live()?);
        let announced = &self.request.announced;
        let from = is_fast_forward(announced, old, commit).then_some(old);
        is_expected(announced, old, commit).then_some(ExpectedCommit { commit, from })
    }

    /// Notes what the remote has under our ref.
    pub(super) fn saw(&self, commit: Oid) {
        self.tracker().saw(commit);
        self.tools.status.saw(commit);
    }

    /// A poll found a new commit: says why no webhook led to it, if one should have.
    pub(super) fn note_missed_webhook(&mut self, head: &RemoteHead) {
        let webhooks = self.tools.status.read(|snapshot| snapshot.webhook.enabled);
        // Forges announce branches and tags only: not `refs/pull/…`, for instance.
        let announceable = |name: &String| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
        let due = webhooks
            && self.request.trigger.kind == TriggerKind::Poll
            && head.full_ref.as_ref().is_some_and(announceable)
            && !self.tracker().contains(head.commit);
        if !due {
            return;
        }
        self.ignored_webhook = self.tools.status.why_ignored(head.commit, head.full_ref.as_deref());
        match &self.ignored_webhook {
            Some(reason) => self.log.warn(format!("the webhook arrived and was ignored: {reason}")),
            None => self.missed_webhook = true,
        }
    }

    /// Nothing is waited for any more: what was announced before the last listing, and was not seen, is not what the remote
    /// has. A pin does not wait for the ref, so there it may still be to come.
    pub(super) fn expire_announcement(&self, listed_at: Instant) {
        let head = self.tools.status.read(|snapshot| snapshot.head.as_ref()?.commit.parse().ok());
        let waits = head.is_some_and(|head| self.tracker().still_to_come(head, Instant::now()).is_some());
        if !waits {
            self.tools.status.expire_announcement(listed_at);
        }
    }

    /// Looks again while a webhook has announced what the remote does not show yet, and there is nothing else to do.
    /// `None`: there is.
    pub(super) async fn list_refs_until_announced(&mut self) -> Result<Option<RemoteHead>, SyncError> {
        let mut head = self.list_refs().await?;
        let mut pause = announcement_tracker::FIRST;
        let mut next = Instant::now() + pause;
        while self.live() == Some(head.commit) && self.still_to_come(&head) {
            let nudged = self.tools.queue.nudged();
            // A request that still has to wait for its time or its token is no reason to stop waiting for this one.
            let due = self.tools.queue.due();
            if due.is_some_and(|due| due <= Instant::now()) || self.overtaken() {
                return Ok(None);
            }
            if self.chased == 0 {
                self.enter(Phase::Look);
                let shown = head.commit;
                self.log.info(format!("the webhook was faster than the ref, which is at {shown}: looking again"));
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = sleep_until(due.unwrap_or(next)), if due.is_some_and(|due| due < next) => continue,
                () = nudged => continue,
            }
            pause = (pause * 2).min(announcement_tracker::SLOWEST);
            self.chased += 1;
            // Waiting for the remote to catch up is not the slowness that the deadline is there for.
            self.deadline = Instant::now() + self.tools.options.timeout;
            head = self.list_refs().await?;
            next = Instant::now() + pause;
        }
        if self.chased > 0 && self.live() == Some(head.commit) {
            self.log.warn("the announced commit did not become visible; the poll will find it".to_owned());
        }
        Ok(Some(head))
    }

    fn still_to_come(&self, head: &RemoteHead) -> bool {
        self.tracker().still_to_come(head.commit, Instant::now()).is_some()
    }

    pub(super) fn tracker(&self) -> MutexGuard<'_, AnnouncementTracker> {
        self.tools.tracker.lock()
    }
}
