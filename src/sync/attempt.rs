//! One attempt: what is there, look, fetch, build, publish. In this order, and nothing visible before the last step.

mod gate;
mod objects;
mod renew;
mod worktree;

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use git2::Oid;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::api::{Outcome, Phase, Phases, Running, TriggerKind};
use crate::error::SyncError;
use crate::git::{Ahead, Early, Fetched, Look, Want};
use crate::publish::{Live, Volume};
use crate::worker::Cancel;

use super::board::Followed;
use super::chase::{self, Heard};
use super::failure::STORE_DAMAGED;
use super::queue::{Request, is_expected, is_fast_forward};
use super::state::Decisions;
use super::story::Story;
use super::tools::{Standing, Tools};

/// What an attempt has found out and done so far. The record is made of it, also when it fails half way.
pub struct Attempt<'a> {
    tools: &'a Arc<Tools>,
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
    /// True if there is more to do at once: an announced commit is still to come, or only a repair was made.
    pub go_on: bool,
    /// The newest announcement, until it was asked for ahead of a look: once, and only if it is news.
    news: Option<Oid>,
    /// What was fetched beside the look that found it.
    early: Early,
    /// True if git cannot work in the published tree, because the store was lost. The tree itself is whole.
    git_is_lost: bool,
    decisions: Decisions,
    pub published_after_ms: Option<u64>,
    pub story: Story,
}

/// How an attempt ended, if nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Published,
    Unchanged,
    /// The gate refused this commit not long ago, and nobody asked for it anew: nothing was done.
    RefusedStill,
    /// A person's decision or a newer request came in between: the request goes back into the queue.
    GaveWay,
}

impl Done {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Published => Outcome::Published,
            Self::Unchanged | Self::GaveWay | Self::RefusedStill => Outcome::Unchanged,
        }
    }
}

impl<'a> Attempt<'a> {
    pub fn new(tools: &'a Arc<Tools>, request: Request) -> Self {
        let started = Instant::now();
        Self {
            tools,
            id: request.id.clone(),
            started_at: tools.clock.now(),
            started,
            deadline: started + tools.options.timeout,
            phase: Phase::Queue,
            phases: Phases {
                queue_ms: Some(millis(started.saturating_duration_since(request.queued))),
                ..Phases::default()
            },
            request,
            old: None,
            new: None,
            fetched: None,
            chased: 0,
            missed_webhook: false,
            go_on: false,
            news: None,
            early: Early::Nothing,
            git_is_lost: false,
            decisions: Decisions::default(),
            published_after_ms: None,
            story: Story::new(tools.clock.clone()),
        }
    }

    pub async fn run(&mut self) -> Result<Done, SyncError> {
        self.phase = Phase::Publish;
        let Standing { live, git_is_lost } = self.tools.open_volume(self.deadline).await?;
        self.git_is_lost = git_is_lost;
        self.decisions = self.tools.decisions();
        if self.decisions.paused_until.is_some() {
            return Ok(Done::GaveWay);
        }
        for announced in &self.request.announced {
            let is_news = self.heard().note(*announced, self.request.received);
            self.news = is_news.then_some(announced.after);
        }
        // A poll that finds nothing is no news, and a retry is a poll that keeps its trigger: while a failure stands, the
        // state would flicker with each of them.
        if self.request.trigger.kind != TriggerKind::Poll && !self.request.retry {
            self.enter(Phase::Look);
        }
        if self.put_back(live).await? {
            // A record of its own; what the remote has is the next attempt's business.
            self.go_on = true;
            return Ok(Done::Published);
        }
        match self.decisions.pinned {
            Some(commit) => self.stay_at(commit).await,
            None => self.follow().await,
        }
    }

    /// Sees to it that the link names what it named last, whatever became of it. Needs no network.
    async fn put_back(&mut self, live: Live) -> Result<bool, SyncError> {
        let gone = match live {
            Live::Tree(commit) => {
                self.old = Some(commit);
                if !self.tools.suspect.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                Some(commit)
            }
            Live::Dangling(commit) => Some(commit),
            // Only what this process vouched for: a link of another name or repository may have been here before.
            Live::Nothing | Live::Foreign => {
                self.tools.board.read(|snapshot| snapshot.published.as_ref()?.commit.parse().ok())
            }
        };
        let Some(commit) = gone else { return Ok(false) };
        self.tools.board.set_health(|health| health.ready = false);
        self.story.warn(format!("what is published is gone, or is not what it should be now: putting {commit} back"));
        self.new = Some(commit);
        // No gate: it passed when it was published first.
        let put_back = async {
            self.fetch_files(commit).await?;
            self.fetch_objects(commit).await?;
            self.build(commit).await?;
            self.publish(commit).await
        };
        let put_back = put_back.await;
        match put_back {
            Ok(Done::Published) => {
                self.old = Some(commit);
                Ok(true)
            }
            // Somebody decided something meanwhile, which is the rest of this attempt's business.
            Ok(_) => Ok(false),
            // What the remote has may be publishable all the same; if not, that error will be told.
            Err(error) => {
                self.story.warn(format!("it cannot be put back from what is here: {}", error.message()));
                Ok(false)
            }
        }
    }

    /// A person chose a commit: publish that, and only keep up with what the remote has.
    async fn stay_at(&mut self, pinned: Oid) -> Result<Done, SyncError> {
        if self.live() != Some(pinned) {
            self.new = Some(pinned);
            if self.is_refused_still(pinned) {
                return Ok(Done::RefusedStill);
            }
            return self.bring(Want::Commit(pinned)).await;
        }
        let look = self.look().await?;
        self.new = Some(pinned);
        let (misfit, tries) = (self.tools.engine.may_misfit(), self.tools.engine.short_tries());
        if misfit {
            self.fit_depth(Want::Seen(look.clone())).await;
        }
        // So that unpinning is quick, and works while the remote is down.
        self.fetch(Want::Seen(look)).await?;
        if self.tools.outdated.load(Ordering::Relaxed) {
            return self.renew(Want::Commit(pinned)).await;
        }
        self.restore_git(Want::Commit(pinned)).await?;
        if misfit {
            self.fit_depth(Want::Commit(pinned)).await;
            self.tools.engine.all_fit(tries);
        }
        Ok(Done::Unchanged)
    }

    async fn follow(&mut self) -> Result<Done, SyncError> {
        let head_before = *self.tools.settled_head.lock().unwrap_or_else(PoisonError::into_inner);
        let look = self.look_until_announced().await?;
        let Some(look) = look else { return Ok(Done::GaveWay) };
        self.new = Some(look.commit);
        if self.live() == Some(look.commit) {
            if self.tools.outdated.load(Ordering::Relaxed) {
                return self.renew(Want::Seen(look)).await;
            }
            self.restore_git(Want::Seen(look.clone())).await?;
            if self.tools.engine.may_misfit() {
                let tries = self.tools.engine.short_tries();
                self.fit_depth(Want::Seen(look)).await;
                self.tools.engine.all_fit(tries);
            }
            return Ok(Done::Unchanged);
        }
        if self.is_refused_still(look.commit) {
            return Ok(Done::RefusedStill);
        }
        self.missed_webhook = self.tools.board.read(|snapshot| snapshot.webhook.enabled)
            && self.request.trigger.kind == TriggerKind::Poll
            && head_before.is_some_and(|head| head != look.commit)
            && !self.heard().contains(look.commit);
        let done = self.bring(Want::Seen(look)).await?;
        self.go_on = self.new.is_some_and(|shown| self.heard().still_to_come(shown, Instant::now()).is_some());
        Ok(done)
    }

    /// What the link names now, unless it is not to be trusted.
    fn live(&self) -> Option<Oid> {
        self.old.filter(|_| !self.tools.suspect.load(Ordering::Relaxed))
    }

    async fn look(&mut self) -> Result<Look, SyncError> {
        let started = Instant::now();
        self.phase = Phase::Look;
        let ahead = self.ahead();
        let engine = &self.tools.engine;
        let looked = async {
            match ahead {
                Some(ahead) => engine.look_ahead(ahead, self.tools.expect_push(self.deadline)).await,
                None => Ok((engine.look().await?, Early::Nothing)),
            }
        };
        let looked = self.tools.ask_git(Phase::Look, self.deadline, looked).await;
        self.add_fetch_time(started);
        let (look, early) = looked?;
        self.early = early;
        let followed = Followed { full_ref: look.full_ref.clone(), hash: look.full_ref.is_none() };
        self.tools.board.set_followed(followed);
        self.saw(look.commit);
        Ok(look)
    }

    /// What the look is expected to find: news that leads on from what is published. A replay, or a push from anywhere else,
    /// is worth a look and no more.
    fn ahead(&mut self) -> Option<Ahead> {
        let (commit, old) = (self.news.take()?, self.live()?);
        let announced = &self.request.announced;
        let from = is_fast_forward(announced, old, commit).then_some(old);
        is_expected(announced, old, commit).then_some(Ahead { commit, from })
    }

    /// Notes what the remote has under our ref.
    fn saw(&self, commit: Oid) {
        self.heard().saw(commit);
        let (commit, seen_at) = (commit.to_string(), self.tools.clock.now());
        self.tools.board.change_quietly(|snapshot| {
            if snapshot.head.as_ref().is_none_or(|head| head.commit != commit) {
                snapshot.head = Some(crate::api::Head { commit, seen_at });
            }
        });
    }

    /// Looks again while a webhook has announced what the remote does not show yet, and there is nothing else to do.
    /// `None`: there is.
    async fn look_until_announced(&mut self) -> Result<Option<Look>, SyncError> {
        let mut look = self.look().await?;
        let mut pause = chase::FIRST;
        while self.live() == Some(look.commit) && self.still_to_come(&look) {
            let nudged = self.tools.queue.nudged();
            if self.tools.queue.has_pending() || self.overtaken() {
                return Ok(None);
            }
            if self.chased == 0 {
                self.enter(Phase::Look);
                let shown = look.commit;
                self.story.info(format!("the webhook was faster than the ref, which is at {shown}: looking again"));
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = nudged => continue,
            }
            pause = (pause * 2).min(chase::SLOWEST);
            self.chased += 1;
            // Waiting for the remote to catch up is not the slowness that the deadline is there for.
            self.deadline = Instant::now() + self.tools.options.timeout;
            look = self.look().await?;
        }
        if self.chased > 0 && self.live() == Some(look.commit) {
            self.story.warn("the announced commit did not become visible; the poll will find it".to_owned());
        }
        Ok(Some(look))
    }

    fn still_to_come(&self, look: &Look) -> bool {
        self.heard().still_to_come(look.commit, Instant::now()).is_some()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.tools.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a person decided something since this attempt began.
    fn overtaken(&self) -> bool {
        self.tools.decisions() != self.decisions
    }

    /// Fetches, builds and publishes; with a new object store if the one we have turns out to be damaged.
    async fn bring(&mut self, want: Want) -> Result<Done, SyncError> {
        match self.fetch_build_publish(want.clone()).await {
            Err(error) if error.kind == STORE_DAMAGED => {
                self.story.warn(format!("the object store is damaged, a new one is fetched: {}", error.message()));
                self.tools.ask_git(Phase::Fetch, self.deadline, self.tools.engine.discard_store()).await?;
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
        match self.pass_gate(commit).await? {
            Some(done) => Ok(done),
            None => self.publish(commit).await,
        }
    }

    async fn fetch(&mut self, want: Want) -> Result<Oid, SyncError> {
        if self.live() != self.new {
            self.enter(Phase::Fetch);
        }
        let mut when = "";
        let fetched = match std::mem::replace(&mut self.early, Early::Nothing) {
            Early::Fetched(fetched) if matches!(&want, Want::Seen(look) if look.commit == fetched.commit) => {
                when = ", while the remote was looked at";
                fetched
            }
            early => {
                let started = Instant::now();
                let from = self.fast_forward_from(&want).filter(|_| early != Early::TooMuch);
                let fetch = self.tools.engine.fetch_forward(want, from);
                let fetched = self.tools.ask_git(Phase::Fetch, self.deadline, fetch).await;
                self.add_fetch_time(started);
                fetched?
            }
        };
        let commit = fetched.commit;
        if fetched.objects > 0 {
            self.story.info(format!("fetched {} objects, {} bytes{when}", fetched.objects, fetched.bytes));
        }
        self.fetched = Some(fetched);
        self.fetch_files(commit).await?;
        self.fetch_submodules(commit).await?;
        Ok(commit)
    }

    /// What a filter left out and the tree needs; nothing, at no cost, in a store that is whole.
    async fn fetch_files(&mut self, commit: Oid) -> Result<(), SyncError> {
        let tools = self.tools;
        if !tools.ask_git(Phase::Fetch, self.deadline, tools.engine.may_lack_files(commit)).await? {
            return Ok(());
        }
        let started = Instant::now();
        let files = async {
            let sparse = tools.on_disk(Phase::Fetch, self.deadline, |volume, _| volume.sparse()).await?;
            tools.ask_git(Phase::Fetch, self.deadline, tools.engine.fetch_files(commit, sparse)).await
        };
        let files = files.await;
        self.add_fetch_time(started);
        let files = files?;
        if files.objects > 0 {
            self.story.info(format!("fetched {} files by their hashes, {} bytes", files.objects, files.bytes));
        }
        let fetched = self.fetched.get_or_insert(Fetched { commit, bytes: 0, objects: 0 });
        fetched.bytes += files.bytes;
        fetched.objects += files.objects;
        Ok(())
    }

    /// What the commit's submodules need, which is nothing for most pushes.
    async fn fetch_submodules(&mut self, commit: Oid) -> Result<(), SyncError> {
        let started = Instant::now();
        let fetch = self.tools.engine.fetch_submodules(commit, self.old.into_iter().collect());
        let modules = self.tools.ask_git(Phase::Fetch, self.deadline, fetch).await;
        self.add_fetch_time(started);
        let modules = modules?;
        for (path, commit) in &modules.fetched {
            self.story.info(format!("fetched the submodule `{path}` at {commit}"));
        }
        modules.notes.into_iter().for_each(|note| self.story.warn(note));
        if let Some(fetched) = &mut self.fetched {
            fetched.bytes += modules.bytes;
            fetched.objects += modules.objects;
        }
        Ok(())
    }

    /// What we have, if the webhooks say that the wanted commit descends from it. A hint, no more.
    fn fast_forward_from(&self, want: &Want) -> Option<Oid> {
        let Want::Seen(look) = want else { return None };
        self.old.filter(|old| is_fast_forward(&self.request.announced, *old, look.commit))
    }

    async fn build(&mut self, commit: Oid) -> Result<(), SyncError> {
        self.enter(Phase::Build);
        *self.tools.candidate.lock().unwrap_or_else(PoisonError::into_inner) = Some(commit);
        let started = Instant::now();
        let build = move |volume: &Volume, cancel: &Cancel| volume.build(&volume.store(), commit, cancel);
        self.tools.make_way(self.deadline).await;
        let built = self.tools.on_disk(Phase::Build, self.deadline, build).await;
        self.phases.build_ms = Some(millis(started.elapsed()));
        let built = built?;
        if let Some(why) = &built.note {
            self.story.info(format!("the spare was not used: {why}"));
        }
        for remark in &built.remarks {
            self.story.warn(remark.clone());
        }
        let made = match built.spare {
            Some(from) => format!("brought the spare from {from}"),
            None => "built fresh".to_owned(),
        };
        self.story.info(format!("{made}: {} files, {} bytes", built.files, built.bytes));
        Ok(())
    }

    async fn publish(&mut self, commit: Oid) -> Result<Done, SyncError> {
        if self.overtaken() {
            return Ok(Done::GaveWay);
        }
        self.enter(Phase::Publish);
        let started = Instant::now();
        let swapped = self.tools.on_disk(Phase::Publish, self.deadline, move |volume, _| volume.publish(commit)).await;
        self.phases.publish_ms = Some(millis(started.elapsed()));
        swapped?;
        self.published_after_ms = Some(millis(self.request.received.elapsed()));
        self.tools.suspect.store(false, Ordering::Relaxed);
        self.tools.outdated.store(false, Ordering::Relaxed);
        self.tools.went_live(commit);
        Ok(Done::Published)
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
