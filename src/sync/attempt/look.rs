//! Lists the remote's refs: once, or repeatedly while an announced commit is not shown yet.
//!
//! It must not know what is done with the commit that is found.

use git2::Oid;
use parking_lot::MutexGuard;
use tokio::time::{Instant, sleep_until};

use crate::api::{Phase, TriggerKind};
use crate::error::SyncError;
use crate::git::{ExpectedCommit, RemoteHead, SpeculativeFetch};
use crate::sync::board::Followed;
use crate::sync::chase::{self, Heard};
use crate::sync::queue::{is_expected, is_fast_forward};

use super::Attempt;

impl Attempt<'_> {
    pub(super) async fn look(&mut self) -> Result<RemoteHead, SyncError> {
        let started = Instant::now();
        self.looked_at = Some(started);
        self.phase = Phase::Look;
        let ahead = self.ahead();
        let engine = &self.tools.engine;
        let looked = async {
            match ahead {
                Some(ahead) => Box::pin(engine.resolve_and_fetch(ahead, self.tools.expect_push(self.deadline))).await,
                None => Ok((engine.ls_remote().await?, SpeculativeFetch::Nothing)),
            }
        };
        let looked = self.tools.ask_git(Phase::Look, self.deadline, looked).await;
        self.add_fetch_time(started);
        let (look, early) = looked?;
        self.early = early;
        let followed = Followed { full_ref: look.full_ref.clone(), hash: look.full_ref.is_none() };
        self.tools.board.set_followed(followed);
        self.tools.board.set_moved_to(self.tools.engine.redirected_to());
        self.saw(look.commit);
        Ok(look)
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
        self.heard().saw(commit);
        self.tools.board.saw(commit);
    }

    /// A poll found a new commit: says why no webhook led to it, if one should have.
    pub(super) fn judge_webhook(&mut self, look: &RemoteHead) {
        let webhooks = self.tools.board.read(|snapshot| snapshot.webhook.enabled);
        // Forges announce branches and tags only: not `refs/pull/…`, for instance.
        let announceable = |name: &String| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
        let due = webhooks
            && self.request.trigger.kind == TriggerKind::Poll
            && look.full_ref.as_ref().is_some_and(announceable)
            && !self.heard().contains(look.commit);
        if !due {
            return;
        }
        self.ignored_webhook = self.tools.board.why_ignored(look.commit, look.full_ref.as_deref());
        match &self.ignored_webhook {
            Some(reason) => self.story.warn(format!("the webhook arrived and was ignored: {reason}")),
            None => self.missed_webhook = true,
        }
    }

    /// Nothing is waited for any more: what was announced before the last look, and was not seen, is not what the remote
    /// has. A pin does not wait for the ref, so there it may still be to come.
    pub(super) fn settle_announced(&self, looked_at: Instant) {
        let head = self.tools.board.read(|snapshot| snapshot.head.as_ref()?.commit.parse().ok());
        let waits = head.is_some_and(|head| self.heard().still_to_come(head, Instant::now()).is_some());
        if !waits {
            self.tools.board.settle_announced(looked_at);
        }
    }

    /// Looks again while a webhook has announced what the remote does not show yet, and there is nothing else to do.
    /// `None`: there is.
    pub(super) async fn look_until_announced(&mut self) -> Result<Option<RemoteHead>, SyncError> {
        let mut look = self.look().await?;
        let mut pause = chase::FIRST;
        let mut next = Instant::now() + pause;
        while self.live() == Some(look.commit) && self.still_to_come(&look) {
            let nudged = self.tools.queue.nudged();
            // A request that still has to wait for its time or its token is no reason to stop waiting for this one.
            let due = self.tools.queue.due();
            if due.is_some_and(|due| due <= Instant::now()) || self.overtaken() {
                return Ok(None);
            }
            if self.chased == 0 {
                self.enter(Phase::Look);
                let shown = look.commit;
                self.story.info(format!("the webhook was faster than the ref, which is at {shown}: looking again"));
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = sleep_until(due.unwrap_or(next)), if due.is_some_and(|due| due < next) => continue,
                () = nudged => continue,
            }
            pause = (pause * 2).min(chase::SLOWEST);
            self.chased += 1;
            // Waiting for the remote to catch up is not the slowness that the deadline is there for.
            self.deadline = Instant::now() + self.tools.options.timeout;
            look = self.look().await?;
            next = Instant::now() + pause;
        }
        if self.chased > 0 && self.live() == Some(look.commit) {
            self.story.warn("the announced commit did not become visible; the poll will find it".to_owned());
        }
        Ok(Some(look))
    }

    fn still_to_come(&self, look: &RemoteHead) -> bool {
        self.heard().still_to_come(look.commit, Instant::now()).is_some()
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.tools.heard.lock()
    }
}
