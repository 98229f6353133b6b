//! The parts that every sync uses: the volume, the git engine, the threads for blocking work, the decisions in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::api::{Outcome, Published};
use crate::clock::Clock;
use crate::error::{Phase, SyncError};
use crate::git::{self, Engine};
use crate::history::History;
use crate::hooks::Hooks;
use crate::metrics::Metrics;
use crate::publish::{self, Live, Verdict, Volume, VolumeOptions};
use crate::worker::{Cancel, Lost, Worker};

use super::announcement_tracker::AnnouncementTracker;
use super::decisions::Decisions;
use super::error;
use super::inherited::Inherited;
use super::notice_files::NoticeFiles;
use super::rejected::RejectedCommit;
use super::status::StatusStore;
use super::{Options, queue::Queue};

/// The longest wait for a decision to be written. It has a few hundred bytes, so a disk that takes longer is stuck.
pub(super) const DECISION_DEADLINE: Duration = Duration::from_secs(10);

pub struct Tools {
    pub engine: Engine,
    pub status: Arc<StatusStore>,
    pub queue: Arc<Queue>,
    pub history: Arc<History>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub options: Options,
    pub decisions: Mutex<Decisions>,
    /// The other replicas' decisions as received at the start, until the volume is open.
    pub(super) inherited: Mutex<Option<Inherited>>,
    /// The commit that the others publish, during a pause that was taken over from them.
    pub(super) first: Mutex<Option<Oid>>,
    /// When a pause or pin ended last. The time that a push waited for this does not count as latency.
    pub released_at: Mutex<Option<Instant>>,
    pub tracker: Mutex<AnnouncementTracker>,
    /// The remote's commit at the last successful sync. A poll that finds a later one has found a missed webhook.
    pub head_at_last_success: Mutex<Option<Oid>>,
    /// Held while a command changes the decisions, so that commands are carried out one at a time.
    pub deciding: tokio::sync::Mutex<()>,
    /// True while the tree that the link names is known or feared to differ from its commit.
    pub suspect: AtomicBool,
    /// Set while the published tree lacks submodules that the configuration now asks for. The tree is complete otherwise
    /// and stays live until they have been fetched.
    pub outdated: AtomicBool,
    /// True while a tree that an earlier process published has not been verified.
    unadopted: AtomicBool,
    pub hooks: Hooks,
    pub rejected: RejectedCommit,
    /// The tree that was built and may become visible. No sweep removes it while the pre-publish hook runs in it.
    pub candidate: Mutex<Option<Oid>>,
    /// True if there may be objects of LFS on the volume that no tree needs.
    pub objects_due: AtomicBool,
    volume_options: VolumeOptions,
    volume: Mutex<Option<Arc<Volume>>>,
    /// Held while it is being opened, however long that takes.
    opening: Arc<tokio::sync::Mutex<Option<Volume>>>,
    /// Builds and swaps.
    pub(super) disk: Worker,
    /// Writes fresh standby trees, apart from builds: a push never waits behind it.
    pub(super) spare: Worker,
    /// Checks replaced trees and brings them to the live commit, at the lowest priority.
    pub(super) rotating: Worker,
    /// Removes trees and objects that are no longer needed.
    pub(super) sweeper: Worker,
    /// The number of sweeps in a row that left something behind.
    pub(super) failed_sweeps: AtomicU32,
    /// True while a sync is running.
    pub(super) busy: AtomicBool,
    /// True while it is to do so, and has not begun.
    pub(super) sweep_waits: AtomicBool,
    /// The background work after a publish.
    pub(super) preparing: Mutex<Option<AbortHandle>>,
    /// True while a standby tree is being written.
    pub(super) making: watch::Sender<bool>,
    pub(super) no_room_reported: AtomicBool,
    /// Compares trees after hooks ran in them.
    pub(super) accepting: Worker,
    /// True once the log has said that hooks change tracked files.
    pub(super) hook_changes_reported: AtomicBool,
    /// How often a published tree was put back.
    pub(super) repairs: AtomicU64,
    /// When the last sweep wants the next one.
    pub(super) sweep_due: Mutex<Option<Instant>>,
    /// The touch file and the error file; `None` if there is none to be.
    pub(super) notices: NoticeFiles,
    /// Writes decisions; apart from builds, which may be stuck.
    pub(super) deciding_disk: Worker,
}

/// The state of the volume, as far as each sync has to know it.
#[derive(Debug)]
pub struct VolumeState {
    pub live: Live,
    /// With `--worktree-git`: what the `.git` file in that tree leads to went with its store.
    pub git_is_lost: bool,
}

impl VolumeState {
    fn of(volume: &Volume) -> Result<Self, publish::Error> {
        let live = volume.live()?;
        let git_is_lost = matches!(live, Live::Tree(commit) if volume.has_lost_git(commit));
        Ok(Self { live, git_is_lost })
    }
}

impl Tools {
    #[expect(clippy::too_many_arguments, reason = "called once, by `start`, which names each of them")]
    pub fn new(
        engine: Engine,
        status: Arc<StatusStore>,
        queue: Arc<Queue>,
        history: Arc<History>,
        metrics: Arc<Metrics>,
        clock: Clock,
        options: Options,
        volume_options: VolumeOptions,
    ) -> Self {
        let hooks = Hooks::new(options.hooks.clone(), metrics.clone());
        let notices = NoticeFiles::new(&options.notices);
        Self {
            engine,
            status,
            queue,
            history,
            metrics,
            clock,
            options,
            decisions: Mutex::default(),
            inherited: Mutex::default(),
            first: Mutex::default(),
            released_at: Mutex::default(),
            tracker: Mutex::default(),
            head_at_last_success: Mutex::default(),
            deciding: tokio::sync::Mutex::default(),
            suspect: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
            unadopted: AtomicBool::new(false),
            hooks,
            rejected: RejectedCommit::default(),
            candidate: Mutex::default(),
            objects_due: AtomicBool::new(true),
            volume_options,
            volume: Mutex::new(None),
            opening: Arc::default(),
            disk: Worker::new("disk"),
            spare: Worker::new("spare"),
            rotating: Worker::quiet("standby"),
            sweeper: Worker::new("sweep"),
            failed_sweeps: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            sweep_waits: AtomicBool::new(false),
            preparing: Mutex::default(),
            making: watch::Sender::new(false),
            no_room_reported: AtomicBool::new(false),
            accepting: Worker::quiet("accept"),
            hook_changes_reported: AtomicBool::new(false),
            repairs: AtomicU64::new(0),
            sweep_due: Mutex::default(),
            notices,
            deciding_disk: Worker::new("decisions"),
        }
    }

    /// Trees that neither a sweep nor the preparation of a standby tree may use, although no link names them.
    pub fn kept(&self) -> Vec<Oid> {
        let candidate = *self.candidate.lock();
        self.decisions().pinned.into_iter().chain(candidate).chain(self.rejected.commit()).collect()
    }

    pub fn decisions(&self) -> Decisions {
        self.decisions.lock().clone()
    }

    /// True while a pinned commit is not the published one.
    pub fn pin_is_due(&self) -> bool {
        let Some(pinned) = self.held(&self.decisions()).map(|commit| commit.to_string()) else { return false };
        self.status.read(|snapshot| snapshot.published.as_ref().is_none_or(|published| published.commit != pinned))
    }

    /// The open volume, if it could be opened so far.
    pub fn volume(&self) -> Option<Arc<Volume>> {
        self.volume.lock().clone()
    }

    /// Opens the volume on the first call that succeeds, and takes over what an earlier process left on it. Returns the
    /// volume's state; for an open volume that is one system call, because each sync asks for it.
    pub async fn open_volume(&self, deadline: Instant) -> Result<VolumeState, SyncError> {
        if self.volume().is_some() {
            let look = |volume: &Volume, _: &Cancel| volume.holds_lock().then(|| VolumeState::of(volume)).transpose();
            if let Some(standing) = self.on_disk(Phase::Publish, deadline, look).await? {
                self.adopt(deadline).await?;
                return Ok(standing);
            }
            self.close_volume();
        }
        let volume = Arc::new(self.take_volume(deadline).await?);
        self.attach_history(&volume.state_folder()).await;
        self.status.restore(self.history.page(None, 50));
        let state = volume.state_folder().join("state.json");
        let decided = self.deciding_disk.run(deadline, move |_| Decisions::load(&state)).await;
        let mut undecided = false;
        match decided.map_err(std::io::Error::other).flatten() {
            Ok(Some(decisions)) => self.decide(decisions),
            Ok(None) => undecided = true,
            Err(error) => tracing::warn!(%error, "state.json cannot be read: no pause and no pin is in force"),
        }
        if self.hooks.run_in_trees() {
            volume.verify_before_use();
        }
        volume.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        *self.volume.lock() = Some(volume.clone());
        if undecided {
            self.inherit(deadline).await;
        }
        self.unadopted.store(true, Ordering::Relaxed);
        self.outdated.store(false, Ordering::Relaxed);
        self.clear_leftovers(&volume, deadline).await;
        self.adopt(deadline).await?;
        self.on_disk(Phase::Publish, deadline, |volume, _| VolumeState::of(volume)).await
    }

    /// Looks at the volume without owning it.
    pub async fn observe(&self, deadline: Instant) -> Result<publish::Observed, SyncError> {
        let options = self.volume_options.clone();
        let observed = self.disk.run(deadline, move |_| publish::observe(&options));
        error::publish(Phase::Publish, observed.await)
    }

    /// Opens the volume, or waits for an earlier sync's attempt to open it, which may take longer than a sync on a slow
    /// disk. A second attempt at the same time would find the first one's lock and take this process for another one.
    async fn take_volume(&self, deadline: Instant) -> Result<Volume, SyncError> {
        let late = || error::publish(Phase::Publish, Err(Lost::Deadline));
        let turn = || timeout_at(deadline, self.opening.clone().lock_owned());
        let Ok(mut opening) = turn().await else { return late() };
        if let Some(volume) = opening.take() {
            return Ok(volume);
        }
        let options = self.volume_options.clone();
        let opened = self.disk.run(deadline, move |_| {
            *opening = Some(Volume::open(options)?);
            Ok(())
        });
        error::publish(Phase::Publish, opened.await)?;
        turn().await.ok().and_then(|mut opened| opened.take()).map_or_else(late, Ok)
    }

    /// Removes unfinished files of an earlier process: at once with `--one-time`, otherwise in the background.
    async fn clear_leftovers(&self, volume: &Volume, deadline: Instant) {
        if !volume.has_leftovers() {
            return;
        }
        if !self.options.one_time {
            return self.sweep_in(Duration::ZERO);
        }
        let emptied =
            self.on_disk(Phase::Publish, deadline, |volume, cancel| volume.remove_marked(|| !cancel.is_cancelled()));
        if let Err(error) = emptied.await {
            tracing::warn!(%error, "what an earlier process left unfinished could not be removed");
        }
    }

    /// Closes a volume that was emptied or replaced while it was open; the next sync opens the new one.
    fn close_volume(&self) {
        tracing::warn!("the volume was emptied or replaced; opening it again");
        let volume = self.volume.lock().take();
        self.history.detach();
        // The files are closed on the disk's thread, where a disk that hangs stops no probe.
        self.disk.post(move || drop(volume));
    }

    /// Takes over what an earlier process published, once: tried again if the disk was too slow for it.
    async fn adopt(&self, deadline: Instant) -> Result<(), SyncError> {
        if let Some(volume) = self.volume().filter(|_| self.unadopted.load(Ordering::Relaxed)) {
            self.try_to_adopt(&volume, deadline).await?;
            self.unadopted.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Verifies the tree that an earlier process published.
    async fn try_to_adopt(&self, volume: &Arc<Volume>, deadline: Instant) -> Result<(), SyncError> {
        let Live::Tree(commit) = self.on_disk(Phase::Publish, deadline, |volume, _| volume.live()).await? else {
            return Ok(());
        };
        // With --one-time the tree is compared before the process ends; otherwise in the background, while readers use it.
        let survived = self.on_disk(Phase::Publish, deadline, move |volume, _| Ok(volume.survived(commit))).await?;
        if survived && !self.options.one_time {
            volume.verify_later(commit);
            tracing::info!(commit = %commit, "the published tree stays; its content is compared in the background");
            self.report_adopted(commit).await;
            return Ok(());
        }
        self.suspect.store(true, Ordering::Relaxed);
        let (volume, store) = (volume.clone(), volume.store());
        let verdict = self.disk.run(deadline, move |cancel| volume.verify(&store, commit, cancel)).await;
        match error::publish(Phase::Publish, verdict) {
            Ok(Verdict::Whole) => {
                self.suspect.store(false, Ordering::Relaxed);
                tracing::info!(commit = %commit, "the published tree is whole; it stays");
                self.report_adopted(commit).await;
            }
            Ok(Verdict::Differs(difference)) => {
                tracing::warn!(commit = %commit, difference, "the published tree is not its commit; it will be rebuilt");
            }
            Err(error) => tracing::warn!(commit = %commit, %error, "the published tree cannot be checked yet"),
        }
        Ok(())
    }

    /// Reports that the link names a commit since `at`. Readers, probes and metrics see this before its details are read.
    pub fn went_live(&self, commit: Oid) {
        let text = commit.to_string();
        self.metrics.published(&text);
        self.status.set_health(|health| (health.started, health.ready) = (true, true));
        let published_at = Some(self.clock.now());
        self.status.change_quietly(|snapshot| {
            if snapshot.published.as_ref().is_none_or(|published| published.commit != text) {
                let (subject, author, committed_at) = (String::new(), String::new(), None);
                snapshot.published = Some(Published { commit: text, subject, author, committed_at, published_at });
            }
        });
        self.status.is_live(commit);
    }

    /// Reports a commit that an earlier process published as live: to the probes, in the metrics and in the state.
    async fn report_adopted(&self, commit: Oid) {
        let text = commit.to_string();
        let record = self
            .history
            .page(None, usize::MAX)
            .into_iter()
            .find(|record| record.outcome == Outcome::Published && record.new.as_deref() == Some(text.as_str()));
        let published = self.describe(commit, record.map(|record| record.finished_at)).await;
        self.metrics.published(&published.commit);
        self.status.set_health(|health| (health.started, health.ready) = (true, true));
        self.status.change(|snapshot| snapshot.published = Some(published));
    }

    /// A published commit as the state shows it.
    pub async fn describe(&self, commit: Oid, published_at: Option<Timestamp>) -> Published {
        let described = self.engine.commit(commit).await.ok();
        Published {
            commit: commit.to_string(),
            subject: described.as_ref().map(|commit| commit.subject.clone()).unwrap_or_default(),
            author: described.as_ref().map(|commit| commit.author.clone()).unwrap_or_default(),
            committed_at: described.and_then(|commit| commit.committed_at),
            published_at,
        }
    }

    /// Puts decisions in force. The next sync acts on them.
    pub fn decide(&self, decisions: Decisions) {
        let mut in_force = self.decisions.lock();
        let before = std::mem::replace(&mut *in_force, decisions.clone());
        drop(in_force);
        if decisions.releases(&before) {
            *self.released_at.lock() = Some(Instant::now());
        }
        self.metrics.paused(decisions.paused_until.is_some());
        self.metrics.pinned(decisions.pinned.is_some());
        self.status.change(|snapshot| {
            snapshot.paused_until = decisions.paused_until;
            snapshot.paused_by = decisions.paused_by;
            snapshot.pinned = decisions.pinned.map(|commit| commit.to_string());
            snapshot.pinned_by = decisions.pinned_by;
        });
        self.queue.nudge();
    }

    /// Writes decisions to the volume.
    pub async fn store_decisions(&self, decisions: Decisions) -> std::io::Result<()> {
        self.store_decisions_by(decisions, Instant::now() + DECISION_DEADLINE).await
    }

    /// The same with another limit.
    pub(super) async fn store_decisions_by(&self, decisions: Decisions, deadline: Instant) -> std::io::Result<()> {
        let volume = self.volume().ok_or_else(|| std::io::Error::other("the volume is not open yet"))?;
        let path = volume.state_folder().join("state.json");
        let stored = self.deciding_disk.run(deadline, move |_| decisions.store(&path)).await;
        stored.map_err(std::io::Error::other).flatten()
    }

    /// Ends the expectation of a push. Files that were opened for it are closed on the disk's thread.
    pub fn expect_nothing(&self) {
        if let Some(volume) = self.volume().filter(|volume| volume.expects_push()) {
            self.disk.post(move || volume.expect_nothing());
        }
    }

    /// Runs blocking work on the volume, given up at the deadline.
    pub async fn on_disk<T: Send + 'static>(
        &self,
        phase: Phase,
        deadline: Instant,
        work: impl FnOnce(&Volume, &Cancel) -> Result<T, publish::Error> + Send + 'static,
    ) -> Result<T, SyncError> {
        let volume = self.volume().ok_or_else(|| error::internal(phase, "the volume is not open"))?;
        let outcome = self.disk.run(deadline, move |cancel| work(&volume, cancel)).await;
        error::publish(phase, outcome)
    }

    /// Waits for git, given up at the deadline.
    pub async fn with_git<T>(
        &self,
        phase: Phase,
        deadline: Instant,
        work: impl Future<Output = Result<T, git::Error>>,
    ) -> Result<T, SyncError> {
        match timeout_at(deadline, work).await {
            Ok(outcome) => outcome.map_err(|error| error::git(phase, error)),
            Err(_elapsed) => Err(error::timeout(phase)),
        }
    }

    /// True while the link may be changing.
    pub fn is_swapping(&self) -> bool {
        self.status.read(|snapshot| snapshot.running.as_ref().is_some_and(|running| running.phase == Phase::Publish))
    }

    /// Notes the remote's commit after a successful sync: finding it again is no missed webhook.
    pub fn remember_head(&self) {
        let head = self.status.read(|snapshot| snapshot.head.as_ref()?.commit.parse().ok());
        *self.head_at_last_success.lock() = head;
    }
}
