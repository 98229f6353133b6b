//! One attempt: what is there, look, fetch, build, publish. In this order, and nothing visible before the last step.

use std::sync::atomic::Ordering;

use git2::Oid;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::api::{Outcome, Phase, Phases, Running, TriggerKind};
use crate::error::SyncError;
use crate::git::{Fetched, Look, Want};
use crate::publish::Live;

use super::board::Followed;
use super::chase;
use super::failure::STORE_DAMAGED;
use super::queue::{Announced, Request};
use super::story::Story;
use super::tools::Tools;

/// What an attempt has found out and done so far. The record is made of it, also when it fails half way.
pub struct Attempt<'a> {
    tools: &'a Tools,
    pub request: Request,
    pub id: Option<String>,
    pub started_at: Timestamp,
    pub started: Instant,
    deadline: Instant,
    pub phase: Phase,
    pub phases: Phases,
    /// What the link named, and what it should name.
    pub old: Option<Oid>,
    pub new: Option<Oid>,
    pub fetched: Option<Fetched>,
    pub chased: u32,
    pub missed_webhook: bool,
    /// Announcements that are still to come, although a newer commit was published.
    pub still_announced: Vec<Announced>,
    pub published_after_ms: Option<u64>,
    pub story: Story,
}

/// How an attempt ended, if nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Published,
    Unchanged,
    /// A pause is in force: nothing was asked of the remote.
    Held,
}

impl Done {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Published => Outcome::Published,
            Self::Unchanged | Self::Held => Outcome::Unchanged,
        }
    }
}

impl<'a> Attempt<'a> {
    pub fn new(tools: &'a Tools, request: Request) -> Self {
        let started = Instant::now();
        Self {
            tools,
            id: request.id.clone(),
            started_at: tools.clock.now(),
            started,
            deadline: started + tools.options.timeout,
            phase: Phase::Queue,
            phases: Phases {
                queue_ms: Some(millis(started.saturating_duration_since(request.received))),
                ..Phases::default()
            },
            request,
            old: None,
            new: None,
            fetched: None,
            chased: 0,
            missed_webhook: false,
            still_announced: Vec::new(),
            published_after_ms: None,
            story: Story::new(tools.clock.clone()),
        }
    }

    pub async fn run(&mut self) -> Result<Done, SyncError> {
        self.phase = Phase::Publish;
        self.tools.open_volume(self.deadline).await?;
        let decisions = self.tools.decisions();
        if decisions.paused_until.is_some() {
            return Ok(Done::Held);
        }
        if self.request.trigger.kind != TriggerKind::Poll {
            self.enter(Phase::Look);
        }
        let put_back = self.put_back().await?;
        let done = match decisions.pinned {
            Some(commit) => self.stay_at(commit).await?,
            None => self.follow().await?,
        };
        Ok(if put_back { Done::Published } else { done })
    }

    /// Sees to it that the link names what it named last, whatever became of it. Needs no network.
    async fn put_back(&mut self) -> Result<bool, SyncError> {
        let live = self.tools.on_disk(Phase::Publish, self.deadline, |volume, _| volume.live()).await?;
        let gone = match live {
            Live::Tree(commit) => {
                self.old = Some(commit);
                if !self.tools.suspect.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                Some(commit)
            }
            Live::Dangling(commit) => Some(commit),
            Live::Nothing | Live::Foreign => self.last_published(),
        };
        let Some(commit) = gone else { return Ok(false) };
        self.tools.board.set_health(|health| health.ready = false);
        self.story.warn(format!("what is published is gone or changed: putting {commit} back"));
        self.new = Some(commit);
        match self.build_and_publish(commit).await {
            Ok(()) => {
                self.old = Some(commit);
                Ok(true)
            }
            // The remote has it still, or something newer.
            Err(error) if error.kind == STORE_DAMAGED => {
                self.story.warn(format!("the object store cannot give it back: {}", error.message()));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The commit that was published last, by this process or by one before it.
    fn last_published(&self) -> Option<Oid> {
        let on_board = self.tools.board.read(|snapshot| Some(snapshot.published.as_ref()?.commit.clone()));
        let commit = on_board.or_else(|| {
            let records = self.tools.history.page(None, usize::MAX);
            records.into_iter().find(|record| record.outcome == Outcome::Published)?.new
        })?;
        commit.parse().ok()
    }

    /// A person chose a commit: publish that, and only keep up with what the remote has.
    async fn stay_at(&mut self, pinned: Oid) -> Result<Done, SyncError> {
        if self.live() != Some(pinned) {
            self.new = Some(pinned);
            self.bring(Want::Commit(pinned)).await?;
            return Ok(Done::Published);
        }
        let look = self.look().await?;
        self.new = Some(pinned);
        // So that unpinning is quick, and works while the remote is down.
        self.fetch(Want::Seen(look)).await?;
        Ok(Done::Unchanged)
    }

    async fn follow(&mut self) -> Result<Done, SyncError> {
        let head_before = self.tools.board.read(|snapshot| Some(snapshot.head.as_ref()?.commit.clone()));
        let look = self.look_until_announced().await?;
        self.new = Some(look.commit);
        if self.live() == Some(look.commit) {
            return Ok(Done::Unchanged);
        }
        self.missed_webhook = self.tools.board.read(|snapshot| snapshot.webhook.enabled)
            && self.request.trigger.kind == TriggerKind::Poll
            && head_before.is_some_and(|head| head != look.commit.to_string())
            && !self.heard(look.commit);
        self.bring(Want::Seen(look)).await?;
        let known = |commit: Oid| self.knows(commit);
        if self.new.is_some_and(|seen| chase::outran(&self.request.announced, seen, known)) {
            self.still_announced.clone_from(&self.request.announced);
        }
        Ok(Done::Published)
    }

    /// What the link names now, unless it is not to be trusted.
    fn live(&self) -> Option<Oid> {
        self.old.filter(|_| !self.tools.suspect.load(Ordering::Relaxed))
    }

    async fn look(&mut self) -> Result<Look, SyncError> {
        let started = Instant::now();
        self.phase = Phase::Look;
        let look = self.tools.ask_git(Phase::Look, self.deadline, self.tools.engine.look()).await;
        self.add_fetch_time(started);
        let look = look?;
        let now = self.tools.clock.now();
        let commit = look.commit.to_string();
        self.tools.board.set_followed(Followed { full_ref: look.full_ref.clone(), hash: look.full_ref.is_none() });
        self.tools.board.change_quietly(|snapshot| {
            if snapshot.head.as_ref().is_none_or(|head| head.commit != commit) {
                snapshot.head = Some(crate::api::Head { commit, seen_at: now });
            }
        });
        Ok(look)
    }

    /// Looks again while a webhook has announced what the remote does not show yet, and there is nothing else to do.
    async fn look_until_announced(&mut self) -> Result<Look, SyncError> {
        let mut look = self.look().await?;
        let until = self.request.received + chase::LONGEST;
        let mut pause = chase::FIRST;
        while self.live() == Some(look.commit)
            && Instant::now() < until
            && chase::outran(&self.request.announced, look.commit, |commit| self.knows(commit))
        {
            if self.chased == 0 {
                self.story
                    .info(format!("the webhook was faster than the ref, which is at {}: looking again", look.commit));
            }
            sleep(pause).await;
            pause = (pause * 2).min(chase::SLOWEST);
            self.chased += 1;
            // Waiting for the remote to catch up is not the slowness that the deadline is there for.
            self.deadline = Instant::now() + self.tools.options.timeout;
            look = self.look().await?;
        }
        if self.chased > 0 && self.live() == Some(look.commit) {
            self.story.warn("the announced commit did not become visible; the poll will find it".to_owned());
        }
        Ok(look)
    }

    /// True if the commit has been ours or on its way before.
    fn knows(&self, commit: Oid) -> bool {
        self.tools.history.knows_commit(&commit.to_string()) || self.old == Some(commit)
    }

    fn heard(&self, commit: Oid) -> bool {
        self.tools.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(commit)
    }

    /// Fetches, builds and publishes; with a new object store if the one we have turns out to be damaged.
    async fn bring(&mut self, want: Want) -> Result<(), SyncError> {
        match self.fetch_build_publish(want.clone()).await {
            Err(error) if error.kind == STORE_DAMAGED => {
                self.story.warn(format!("the object store is damaged, a new one is fetched: {}", error.message()));
                self.tools.ask_git(Phase::Fetch, self.deadline, self.tools.engine.discard_store()).await?;
                self.fetch_build_publish(want).await
            }
            outcome => outcome,
        }
    }

    async fn fetch_build_publish(&mut self, want: Want) -> Result<(), SyncError> {
        let commit = self.fetch(want).await?;
        self.new = Some(commit);
        self.build_and_publish(commit).await
    }

    async fn fetch(&mut self, want: Want) -> Result<Oid, SyncError> {
        if self.live() != self.new {
            self.enter(Phase::Fetch);
        }
        let started = Instant::now();
        let fetched = self.tools.ask_git(Phase::Fetch, self.deadline, self.tools.engine.fetch(want)).await;
        self.add_fetch_time(started);
        let fetched = fetched?;
        let commit = fetched.commit;
        if fetched.objects > 0 {
            self.story.info(format!("fetched {} objects, {} bytes", fetched.objects, fetched.bytes));
        }
        self.fetched = Some(fetched);
        Ok(commit)
    }

    async fn build_and_publish(&mut self, commit: Oid) -> Result<(), SyncError> {
        self.enter(Phase::Build);
        let started = Instant::now();
        let build = move |volume: &crate::publish::Volume, cancel: &crate::worker::Cancel| {
            volume.build(&volume.store(), commit, cancel)
        };
        let built = self.tools.on_disk(Phase::Build, self.deadline, build).await;
        self.phases.build_ms = Some(millis(started.elapsed()));
        let built = built?;
        self.story.info(format!("built a tree of {} files, {} bytes", built.files, built.bytes));

        self.enter(Phase::Publish);
        let started = Instant::now();
        let swapped = self.tools.on_disk(Phase::Publish, self.deadline, move |volume, _| volume.publish(commit)).await;
        self.phases.publish_ms = Some(millis(started.elapsed()));
        swapped?;
        self.published_after_ms = Some(millis(self.request.received.elapsed()));
        self.tools.suspect.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Goes on to a phase and shows it. The first one shown gives the sync its id.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let id = self.id.get_or_insert_with(|| self.tools.history.next_id()).clone();
        self.tools.board.running(Running {
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
