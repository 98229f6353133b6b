//! One sync: read the link, list the remote's refs, fetch, build, publish. In this order; readers see nothing before the
//! last step.

mod fetch;
mod gate;
mod lfs;
mod renew;
mod resolve;
mod room;
mod worktree;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use git2::Oid;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{Outcome, Phase, Phases, Running, TriggerKind};
use crate::error::SyncError;
use crate::git::{Fetched, SpeculativeFetch, Want};
use crate::publish::{Live, Volume};
use crate::text::counted;
use crate::worker::Cancel;

use super::sync_log::SyncLog;
use crate::sync::decisions::Decisions;
use crate::sync::error::STORE_DAMAGED;
use crate::sync::queue::Request;
use crate::sync::tools::{Tools, VolumeState};

/// The findings and results of a sync so far. Its record is made of them, also when it fails half way.
pub struct SyncRun<'a> {
    tools: &'a Arc<Tools>,
    pub request: Request,
    pub id: Option<String>,
    pub started_at: Timestamp,
    pub started: Instant,
    deadline: Instant,
    pub phase: Phase,
    pub phases: Phases,
    /// The commit that the link named before, and the one that it should name.
    pub old: Option<Oid>,
    pub new: Option<Oid>,
    pub fetched: Option<Fetched>,
    pub chased: u32,
    pub missed_webhook: bool,
    /// Why the delivery of a commit that a poll found was ignored.
    pub ignored_webhook: Option<String>,
    /// The remote's commit, if a pin keeps it from being published.
    pub withheld: Option<Oid>,
    /// When a pause or pin ended last. The time that a request waited for this does not count as latency.
    pub released_at: Option<Instant>,
    /// When the last look began.
    listed_at: Option<Instant>,
    /// True if there is more to do at once: an announced commit is still to come, or only a repair was made.
    pub repeat: bool,
    /// The newest announcement, until it was requested speculatively: once, and only if it is news.
    news: Option<Oid>,
    /// The commit that was fetched while the refs were still being listed.
    early: SpeculativeFetch,
    /// True if git cannot work in the published tree, because the store was lost. The tree itself is whole.
    git_is_lost: bool,
    pub decisions: Decisions,
    /// When the link named the commit.
    pub published_at: Option<Instant>,
    pub log: SyncLog,
}

/// How a sync ended, if nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Published,
    Unchanged,
    /// The pre-publish hook refused this commit recently and no new request names it, so nothing was done.
    StillRejected,
    /// A person's decision or a newer request interrupted the sync. The request goes back into the queue.
    Interrupted,
}

impl Done {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Published => Outcome::Published,
            Self::Unchanged | Self::Interrupted | Self::StillRejected => Outcome::Unchanged,
        }
    }
}

impl<'a> SyncRun<'a> {
    pub fn new(tools: &'a Arc<Tools>, request: Request) -> Self {
        let started = Instant::now();
        let released_at = *tools.released_at.lock();
        let queued = released_at.filter(|at| *at > request.queued).unwrap_or(request.queued);
        Self {
            tools,
            id: request.id.clone(),
            started_at: tools.clock.now(),
            started,
            deadline: started + tools.options.timeout,
            phase: Phase::Queue,
            phases: Phases { queue_ms: Some(millis(started.saturating_duration_since(queued))), ..Phases::default() },
            request,
            old: None,
            new: None,
            fetched: None,
            chased: 0,
            missed_webhook: false,
            ignored_webhook: None,
            withheld: None,
            released_at,
            listed_at: None,
            repeat: false,
            news: None,
            early: SpeculativeFetch::Nothing,
            git_is_lost: false,
            decisions: Decisions::default(),
            published_at: None,
            log: SyncLog::new(tools.clock.clone()),
        }
    }

    pub async fn run(&mut self) -> Result<Done, SyncError> {
        self.phase = Phase::Publish;
        let VolumeState { live, git_is_lost } = self.tools.open_volume(self.deadline).await?;
        self.git_is_lost = git_is_lost;
        self.decisions = self.tools.decisions();
        if self.decisions.paused_until.is_some() && !self.tools.pin_is_due() {
            return Ok(Done::Interrupted);
        }
        for announced in &self.request.announced {
            let known = !self.tools.history.commits_with_prefix(&announced.after.to_string()).is_empty();
            let received = self.request.received_of(Some(announced.after));
            let is_news = self.tracker().note(*announced, received, known);
            self.news = is_news.then_some(announced.after);
        }
        // A poll that finds nothing changes no state. A retry is treated like a poll, because otherwise the state would
        // flicker with each retry while a failure lasts.
        if self.request.trigger.kind != TriggerKind::Poll && !self.request.retry {
            self.enter(Phase::Look);
        }
        if self.repair(live).await? {
            // The repair has a record of its own. The next sync handles the remote's commit.
            self.repeat = true;
            return Ok(Done::Published);
        }
        let done = match self.tools.held(&self.decisions) {
            Some(commit) => Box::pin(self.hold(commit)).await,
            None => Box::pin(self.follow()).await,
        }?;
        if let (Some(listed_at), false) = (self.listed_at, self.repeat || done == Done::Interrupted) {
            self.expire_announcement(listed_at);
        }
        Ok(done)
    }

    /// Restores the link and its tree if either was removed or damaged. Needs no network.
    async fn repair(&mut self, live: Live) -> Result<bool, SyncError> {
        let gone = match live {
            Live::Tree(commit) => {
                self.old = Some(commit);
                if !self.tools.suspect.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                Some(commit)
            }
            Live::Dangling(commit) => Some(commit),
            // Restores only a commit that this process has verified: the link may have belonged to another repository.
            Live::Nothing | Live::Foreign => {
                self.tools.status.read(|snapshot| snapshot.published.as_ref()?.commit.parse().ok())
            }
        };
        let Some(commit) = gone else { return Ok(false) };
        self.tools.status.set_health(|health| health.ready = false);
        self.log.warn(format!("what is published is gone, or is not what it should be now: putting {commit} back"));
        self.new = Some(commit);
        let repair = async {
            self.fetch_files(commit).await?;
            self.fetch_objects(commit).await?;
            if self.build(commit).await? {
                self.run_pre_publish_hook_again(commit).await;
            }
            let done = self.publish(commit).await;
            if matches!(done, Ok(Done::Published)) {
                self.tools.repairs.fetch_add(1, Ordering::Relaxed);
            }
            done
        };
        let repair = repair.await;
        match repair {
            Ok(Done::Published) => {
                self.old = Some(commit);
                Ok(true)
            }
            // A person's decision arrived meanwhile; the rest of this sync carries it out.
            Ok(_) => Ok(false),
            // The remote's commit may be publishable all the same; if it is not, that error is reported.
            Err(error) => {
                self.log.warn(format!("it cannot be put back from what is here: {}", error.message()));
                Ok(false)
            }
        }
    }

    /// Publishes the pinned commit. The remote's newest commit is fetched as well, but not published.
    async fn hold(&mut self, pinned: Oid) -> Result<Done, SyncError> {
        if self.live() != Some(pinned) {
            self.new = Some(pinned);
            if self.is_still_rejected(pinned) {
                return Ok(Done::StillRejected);
            }
            return self.bring(Want::Commit(pinned)).await;
        }
        let head = self.list_refs().await?;
        self.new = Some(pinned);
        self.withheld = Some(head.commit).filter(|head| *head != pinned);
        let (misfit, tries) =
            (self.tools.engine.needs_depth_adjustment(), self.tools.engine.failed_depth_adjustments());
        if misfit {
            self.adjust_depth_of(Want::Seen(head.clone())).await;
        }
        // With the remote's commit in the store, unpinning is quick and works while the remote is down.
        self.fetch(Want::Seen(head)).await?;
        if self.tools.outdated.load(Ordering::Relaxed) {
            return self.renew(Want::Commit(pinned)).await;
        }
        self.restore_git(Want::Commit(pinned)).await?;
        if misfit {
            self.adjust_depth_of(Want::Commit(pinned)).await;
            self.tools.engine.clear_depth_failures(tries);
        }
        Ok(Done::Unchanged)
    }

    async fn follow(&mut self) -> Result<Done, SyncError> {
        let head_before = *self.tools.head_at_last_success.lock();
        let head = self.list_refs_until_announced().await?;
        let Some(head) = head else { return Ok(Done::Interrupted) };
        self.new = Some(head.commit);
        if self.live() == Some(head.commit) {
            if self.tools.outdated.load(Ordering::Relaxed) {
                return self.renew(Want::Seen(head)).await;
            }
            self.restore_git(Want::Seen(head.clone())).await?;
            if self.tools.engine.needs_depth_adjustment() {
                let tries = self.tools.engine.failed_depth_adjustments();
                self.adjust_depth_of(Want::Seen(head)).await;
                self.tools.engine.clear_depth_failures(tries);
            }
            return Ok(Done::Unchanged);
        }
        if self.is_still_rejected(head.commit) {
            return Ok(Done::StillRejected);
        }
        if head_before.is_some_and(|before| before != head.commit) {
            self.note_missed_webhook(&head);
        }
        // The remote may have been asked because of an earlier push.
        self.join_deliveries(head.commit);
        let done = self.bring(Want::Seen(head)).await?;
        if let Some(commit) = self.new {
            self.join_deliveries(commit);
        }
        self.repeat = self.new.is_some_and(|shown| self.tracker().still_to_come(shown, Instant::now()).is_some());
        Ok(done)
    }

    /// Returns the commit that the link names now; `None` if its tree may differ from the commit.
    fn live(&self) -> Option<Oid> {
        self.old.filter(|_| !self.tools.suspect.load(Ordering::Relaxed))
    }

    /// True if a person made a decision since this sync began.
    fn overtaken(&self) -> bool {
        self.tools.decisions() != self.decisions
    }

    /// Fetches, builds and publishes; with a new object store if the one we have turns out to be damaged.
    async fn bring(&mut self, want: Want) -> Result<Done, SyncError> {
        match self.fetch_build_publish(want.clone()).await {
            Err(error) if error.kind == STORE_DAMAGED => {
                self.log.warn(format!("the object store is damaged, a new one is fetched: {}", error.message()));
                self.tools.with_git(Phase::Fetch, self.deadline, self.tools.engine.discard_store()).await?;
                self.fetch_build_publish(want).await
            }
            outcome => outcome,
        }
    }

    async fn fetch_build_publish(&mut self, want: Want) -> Result<Done, SyncError> {
        let seen = matches!(want, Want::Seen(_));
        let commit = self.fetch(want).await?;
        if seen {
            // The ref may have moved on between the look and the fetch.
            self.saw(commit);
        }
        self.new = Some(commit);
        self.fetch_objects(commit).await?;
        self.build(commit).await?;
        match self.run_pre_publish_hook(commit).await? {
            Some(done) => Ok(done),
            None => self.publish(commit).await,
        }
    }

    /// True if a tree was made, and false if a whole one stood there.
    async fn build(&mut self, commit: Oid) -> Result<bool, SyncError> {
        self.enter(Phase::Build);
        *self.tools.candidate.lock() = Some(commit);
        let started = Instant::now();
        let build = move |volume: &Volume, cancel: &Cancel| volume.build(&volume.store(), commit, cancel);
        self.tools.yield_to_push(self.deadline).await;
        let built = self.with_room(|| self.tools.on_disk(Phase::Build, self.deadline, build)).await;
        self.phases.build_ms = Some(millis(started.elapsed()));
        let built = built?;
        if let Some(why) = &built.note {
            self.log.info(format!("the spare was not used: {why}"));
        }
        for remark in &built.remarks {
            self.log.warn(remark.clone());
        }
        let made = match built.standby {
            Some(from) => format!("updated the standby tree from {from}"),
            None => "wrote a new tree".to_owned(),
        };
        self.log.info(format!("{made}: {}, {} bytes", counted(built.files, "file"), built.bytes));
        Ok(built.files > 0 || built.standby.is_some())
    }

    async fn publish(&mut self, commit: Oid) -> Result<Done, SyncError> {
        if self.overtaken() {
            return Ok(Done::Interrupted);
        }
        self.enter(Phase::Publish);
        let started = Instant::now();
        let swapped = self.tools.on_disk(Phase::Publish, self.deadline, move |volume, _| volume.publish(commit)).await;
        self.phases.publish_ms = Some(millis(started.elapsed()));
        swapped?;
        self.published_at = Some(Instant::now());
        self.tools.suspect.store(false, Ordering::Relaxed);
        self.tools.outdated.store(false, Ordering::Relaxed);
        self.tools.went_live(commit);
        Ok(Done::Published)
    }

    /// Takes over the delivery of what was found at the remote, if it came since this request was taken.
    fn join_deliveries(&mut self, commit: Oid) {
        self.tools.queue.join(commit, &mut self.request);
        let mut heard = self.tracker();
        for announced in &self.request.announced {
            heard.note(*announced, self.request.received_of(Some(announced.after)), false);
        }
        heard.saw(commit);
    }

    /// Enters a phase and shows it. The first phase shown gives the sync its id.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let id = self.id.get_or_insert_with(|| self.tools.history.next_id()).clone();
        self.tools.status.running(Running {
            id,
            trigger: self.request.trigger.kind,
            phase,
            started_at: self.started_at,
        });
    }

    fn add_fetch_time(&mut self, started: Instant) {
        let so_far = self.phases.fetch_ms.unwrap_or(0);
        self.phases.fetch_ms = Some(so_far + millis(started.elapsed()));
    }
}

pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
