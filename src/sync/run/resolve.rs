//! Lists the remote's refs: once, or repeatedly while an announced commit is not shown yet.
//!
//! It must not know what is done with the commit that is found.

use git2::Oid;
use tokio::time::{Instant, sleep_until};

use crate::api::{Phase, TriggerKind};
use crate::backoff::Pauses;
use crate::error::SyncError;
use crate::git::{ExpectedCommit, RemoteHead, SpeculativeFetch};
use crate::sync::announcement_tracker::{FIRST, SLOWEST};
use crate::sync::queue::{is_expected, is_fast_forward};
use crate::sync::status::Followed;

use super::sync_run::SyncRun;

/// The commit that the remote has under the ref.
pub(super) struct Resolved {
    pub head: RemoteHead,
    /// The announced commit, requested while the refs were still being listed.
    pub speculative: SpeculativeFetch,
    /// When the listing began.
    pub listed_at: Instant,
}

impl SyncRun<'_> {
    /// Lists the refs once. `news` is the announcement that the listing is expected to show, if it is new.
    pub(super) async fn list_refs(&mut self, news: Option<Oid>) -> Result<Resolved, SyncError> {
        let listed_at = Instant::now();
        // Not `enter`: a poll shows no phase until it finds something.
        self.report.phase = Phase::Look;
        let context = self.context;
        let expected = self.expected(news);
        let listing = async {
            match expected {
                Some(expected) => {
                    let meanwhile = context.disk.expect_push(self.deadline);
                    Box::pin(context.engine.resolve_and_fetch(expected, meanwhile)).await
                }
                None => Ok((context.engine.ls_remote().await?, SpeculativeFetch::Nothing)),
            }
        };
        let listed = context.with_git(Phase::Look, self.deadline, listing).await;
        self.report.add_fetch_time(listed_at);
        let (head, speculative) = listed?;
        let followed = Followed { full_ref: head.full_ref.clone(), hash: head.full_ref.is_none() };
        context.status.set_followed(followed);
        context.status.set_moved_to(context.engine.redirected_to());
        self.note_head(head.commit);
        Ok(Resolved { head, speculative, listed_at })
    }

    /// The commit that the listing is expected to show: a new one that descends from the published commit. A replay, or a
    /// push from another commit, causes a listing and no speculative fetch.
    fn expected(&self, news: Option<Oid>) -> Option<ExpectedCommit> {
        let (commit, old) = (news?, self.live()?);
        let announced = &self.report.request.announced;
        let from = is_fast_forward(announced, old, commit).then_some(old);
        is_expected(announced, old, commit).then_some(ExpectedCommit { commit, from })
    }

    /// Notes what the remote has under our ref.
    pub(super) fn note_head(&mut self, commit: Oid) {
        self.state.tracker.saw(commit);
        self.context.status.saw(commit);
    }

    /// A poll found a new commit: says why no webhook led to it, if one should have.
    pub(super) fn note_missed_webhook(&mut self, head: &RemoteHead) {
        let status = &self.context.status;
        // Forges announce branches and tags only: not `refs/pull/…`, for instance.
        let announceable = |name: &String| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
        let was_due = status.read(|snapshot| snapshot.webhook.enabled)
            && self.report.request.trigger.kind == TriggerKind::Poll
            && head.full_ref.as_ref().is_some_and(announceable)
            && !self.state.tracker.contains(head.commit);
        if !was_due {
            return;
        }
        self.report.ignored_webhook = status.why_ignored(head.commit, head.full_ref.as_deref());
        match &self.report.ignored_webhook {
            Some(reason) => self.report.log.warn(format!("the webhook arrived and was ignored: {reason}")),
            None => self.report.missed_webhook = true,
        }
    }

    /// Nothing is waited for any more: what was announced before the last listing, and was not seen, is not what the remote
    /// has. A pin does not wait for the ref, so there it may still be to come.
    pub(super) fn expire_announcement(&self, listed_at: Instant) {
        let head = self.context.status.read(|snapshot| snapshot.head.as_ref()?.commit.parse().ok());
        let waits = head.is_some_and(|head| self.is_still_to_come(head));
        if !waits {
            self.context.status.expire_announcement(listed_at);
        }
    }

    /// Lists the refs again while a webhook has announced what the remote does not show yet, and there is nothing else to do.
    /// `None`: there is.
    pub(super) async fn list_refs_until_announced(&mut self, news: Option<Oid>) -> Result<Option<Resolved>, SyncError> {
        let mut resolved = self.list_refs(news).await?;
        let mut pauses = Pauses::new(FIRST, SLOWEST);
        let mut next = Instant::now() + pauses.take();
        while self.live() == Some(resolved.head.commit) && self.is_still_to_come(resolved.head.commit) {
            // Registered before the state is read, so that no change between the two is missed.
            let nudged = self.context.queue.nudged();
            // A request that still has to wait for its time or its token is no reason to stop waiting for this one.
            let due = self.context.queue.due();
            if due.is_some_and(|due| due <= Instant::now()) || self.is_overtaken() {
                return Ok(None);
            }
            if self.report.chased == 0 {
                self.enter(Phase::Look);
                let shown = resolved.head.commit;
                self.report
                    .log
                    .info(format!("the webhook was faster than the ref, which is at {shown}: looking again"));
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = sleep_until(due.unwrap_or(next)), if due.is_some_and(|due| due < next) => continue,
                () = nudged => continue,
            }
            self.report.chased += 1;
            // Waiting for the remote to catch up is not the slowness that the deadline is there for.
            self.deadline = Instant::now() + self.context.options.timeout;
            // The speculative fetch was tried with the first listing.
            resolved = self.list_refs(None).await?;
            next = Instant::now() + pauses.take();
        }
        if self.report.chased > 0 && self.live() == Some(resolved.head.commit) {
            self.report.log.warn("the announced commit did not become visible; the poll will find it".to_owned());
        }
        Ok(Some(resolved))
    }

    fn is_still_to_come(&self, shown: Oid) -> bool {
        self.state.tracker.still_to_come(shown, Instant::now()).is_some()
    }
}
