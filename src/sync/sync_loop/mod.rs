//! The sync loop: one sync after the other, with commands and timers in between.

mod failures;
mod other_owner;
mod rejected;
mod report;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::{Snapshot, TriggerKind};
use crate::error::{ErrorKind, Phase, SyncError};

use self::failures::{Limit, worth_a_record};
use crate::sync::context::Context;
use crate::sync::decisions::Decisions;
use crate::sync::handle::Commands;
use crate::sync::inherited::Inherited;
use crate::sync::maintenance::{Activity, Maintenance, MaintenanceTask, compact_at_end, remove_at_end};
use crate::sync::options::Options;
use crate::sync::queue::Request;
use crate::sync::run::{Done, RunEnd, RunReport, SyncRun};
use crate::sync::state::SyncState;
use crate::sync::{backoff, command, error, record};

/// How often the end of a pause is looked at: it is a time of day, and clocks are set.
const PAUSE_CHECK: Duration = Duration::from_secs(10);

/// How long a swap of the link may continue after the request to stop.
const LAST_SWAP: Duration = Duration::from_millis(300);

/// How long records, the touch file and the error file may take at the end of a process that was asked to stop.
const LAST_WRITES: Duration = Duration::from_millis(400);

/// The same if the process ends by itself: its caller reads them next.
const LAST_WRITES_BY_ITSELF: Duration = Duration::from_secs(10);

/// Why the loop ended.
#[derive(Debug)]
pub enum Ending {
    /// It was asked to stop.
    Stopped,
    /// `--one-time`: a commit is published.
    Done,
    /// As many failures in a row as `--max-failures`.
    GaveUp,
    /// `--one-time`: a commit is published, but not every hook succeeded.
    HookFailed,
    /// `--one-time`, and the volume says that a person paused it.
    Paused,
    /// `--one-time`: another process owns the root, and has not published what is wanted in time.
    Locked(SyncError),
}

impl Ending {
    /// The process's exit code. Logs the reason if it is a failure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped | Self::Done => 0,
            Self::GaveUp => {
                tracing::error!("giving up after too many failures in a row; the published tree stays");
                1
            }
            Self::HookFailed => {
                tracing::error!("published, but a hook failed; the published tree stays");
                1
            }
            Self::Paused => {
                tracing::error!("paused by a person: resume it, or remove .pushsync/state.json from the volume");
                1
            }
            Self::Locked(error) => {
                tracing::error!("{}", error.message());
                1
            }
        }
    }
}

/// Owns the volume from now until [`SyncLoop::run`] returns.
pub struct SyncLoop {
    context: Arc<Context>,
    state: SyncState,
    maintenance: Maintenance,
    /// Spawned when the loop runs.
    maintenance_task: Option<MaintenanceTask>,
    commands: Commands,
    failures: u32,
    limit: Limit,
    succeeded: bool,
    next_poll: Instant,
    /// The request that the next poll repeats, if the sync before it failed.
    retry: Option<Request>,
    /// Since when another process has been found to own the volume.
    standby: Option<Instant>,
    /// `--one-time`: the store has grown, or holds objects that are not needed.
    compact_at_end: bool,
}

impl SyncLoop {
    pub(super) fn new(context: Arc<Context>, commands: Commands, grace: Duration) -> Self {
        let (maintenance, task) = Maintenance::new(context.clone(), grace);
        Self {
            context,
            state: SyncState::default(),
            maintenance,
            maintenance_task: Some(task),
            commands,
            failures: 0,
            limit: Limit::default(),
            succeeded: false,
            next_poll: Instant::now(),
            retry: None,
            standby: None,
            compact_at_end: false,
        }
    }

    /// Runs until it is stopped, or until a limit such as `--one-time` or `--max-failures` ends it. A failed sync alone
    /// never ends it. The first sync waits for `delay` and for the other replicas' decisions; both are short.
    pub async fn run(
        mut self,
        delay: impl Future<Output = Duration> + Send,
        inherited: impl Future<Output = Option<Inherited>> + Send,
        stop: CancellationToken,
    ) -> Ending {
        let context = self.context.clone();
        context.hooks.watch(stop.clone());
        context.recorder.watch(stop.clone());
        follow_hooks(&context);
        if let Some(task) = self.maintenance_task.take() {
            tokio::spawn(task.run());
        }
        let before = async { tokio::join!(delay, inherited) };
        let mut ending = self.run_until_end(before, &stop).await;
        if matches!(ending, Ending::Done) {
            let ran = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                ran = self.run_hooks_once() => Some(ran),
            };
            ending = match ran {
                Some(true) => Ending::Done,
                Some(false) => Ending::HookFailed,
                None => Ending::Stopped,
            };
        }
        self.clean_up_at_end(&ending).await;
        let patience = if matches!(ending, Ending::Stopped) { LAST_WRITES } else { LAST_WRITES_BY_ITSELF };
        tokio::join!(context.hooks.stop(), context.last_writes(Instant::now() + patience));
        ending
    }

    async fn run_until_end(
        &mut self,
        before: impl Future<Output = (Duration, Option<Inherited>)> + Send,
        stop: &CancellationToken,
    ) -> Ending {
        let mut first = Request::new(TriggerKind::Startup, self.context.clock.now());
        let (delay, inherited) = before.await;
        self.state.inherited = inherited;
        // Replicas that start together would otherwise all query the remote at once.
        first.not_before = Some(Instant::now() + delay);
        self.context.queue.push(first);
        // The first request covers the first poll.
        self.next_poll = Instant::now() + self.options().timeout;
        loop {
            // Each turn of the loop answers the liveness probe: no timer does.
            self.report_alive();
            let Some(request) = self.wait(stop).await else { return Ending::Stopped };
            let mut run = SyncRun::new(&self.context, &self.maintenance, &mut self.state, request);
            self.maintenance.enter(Activity::Syncing);
            let ended = {
                let running = Self::run_with_commands(&mut self.commands, &self.context, &mut run);
                tokio::pin!(running);
                tokio::select! {
                    biased;
                    ended = &mut running => Some(ended),
                    // Last, so that a sync that has just ended is still recorded.
                    () = stopped(stop, &self.context) => None,
                }
            };
            // Ends the loan of the state to the sync.
            let report = run.into_report();
            self.maintenance.enter(Activity::Other);
            self.context.disk.expect_nothing();
            let Some(ended) = ended else { return Ending::Stopped };
            if let Some(ending) = self.finish_run(report, ended).await {
                self.flush_at_end(&ending).await;
                return ending;
            }
        }
    }

    /// Runs each hook once for the published commit and waits. True if all of them succeeded.
    async fn run_hooks_once(&self) -> bool {
        let live = self.context.status.read(|snapshot| snapshot.published.as_ref()?.commit.parse().ok());
        let Some(commit) = live else { return true };
        let succeeded = self.context.notifier.run_hooks_once(commit, self.state.repairs).await;
        if self.context.hooks.run_in_trees() {
            self.context.hook_changes.accept_or_log(commit).await;
        }
        succeeded
    }

    /// In one-time mode nothing runs later, so trees of earlier runs whose grace is over are removed now.
    async fn clean_up_at_end(&self, ending: &Ending) {
        if self.options().one_time && matches!(ending, Ending::Done | Ending::HookFailed | Ending::GaveUp) {
            let removed = remove_at_end(&self.context).await;
            compact_at_end(&self.context, removed > 0 || self.compact_at_end).await;
        }
    }

    /// In one-time mode compaction and removal happen before the process ends.
    async fn flush_at_end(&self, ending: &Ending) {
        // An unverified tree must not be noted as being on the disk.
        if matches!(ending, Ending::Done)
            && !self.context.tree.is_unverified()
            && let Err(error) = self.context.disk.flush(Instant::now() + self.options().timeout).await
        {
            tracing::warn!(%error, "what is published could not be written through to the disk");
        }
    }

    /// Runs a sync while commands are still answered. A panic in it counts as a failed sync.
    async fn run_with_commands(
        commands: &mut Commands,
        context: &Arc<Context>,
        run: &mut SyncRun<'_>,
    ) -> Result<RunEnd, SyncError> {
        let running = AssertUnwindSafe(run.run()).catch_unwind();
        tokio::pin!(running);
        loop {
            let asked = context.queue.asked();
            context.status.set_health(|health| health.asked = None);
            tokio::select! {
                ended = &mut running => {
                    return ended.unwrap_or_else(|panic| Err(error::panicked(Phase::Queue, &*panic)));
                }
                Some(order) = commands.recv() => command::answer(context, order),
                () = asked => {}
            }
        }
    }

    /// Waits for the next reason to sync; answers commands, ends pauses and sweeps meanwhile.
    async fn wait(&mut self, stop: &CancellationToken) -> Option<Request> {
        if self.standby.is_some() && !self.options().one_time {
            return self.wait_for_owner(stop).await;
        }
        self.maintenance.enter(Activity::Idle);
        let request = self.next_request(stop).await;
        self.maintenance.enter(Activity::Other);
        request
    }

    async fn next_request(&mut self, stop: &CancellationToken) -> Option<Request> {
        let context = self.context.clone();
        loop {
            let (nudged, asked) = (context.queue.nudged(), context.queue.asked());
            self.report_alive();
            let paused_until = context.decisions.current().paused_until;
            if paused_until.is_some_and(|end| end <= self.context.clock.now()) {
                self.end_pause();
                continue;
            }
            // A rollback is carried out during a pause, too, and tried again until it has worked.
            let paused = paused_until.is_some() && !context.decisions.pin_is_due();
            let pause_check = self.pause_check(paused_until);
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                Some(order) = self.commands.recv() => command::answer(&self.context, order),
                request = self.context.queue.next(), if !paused => {
                    // The failed request is merged into this one, as the older part.
                    let Some(retry) = self.retry.take() else { return Some(request) };
                    return Some(retry.followed_by(request));
                }
                () = sleep_until(self.next_poll), if !paused => {
                    self.next_poll = Instant::now() + self.options().period;
                    match self.retry.take() {
                        Some(retry) => self.context.queue.requeue(retry),
                        None => drop(self.context.queue.push(Request::new(TriggerKind::Poll, self.context.clock.now()))),
                    }
                }
                // A decision changed: a resumed loop must not go on sleeping.
                () = nudged => {}
                () = asked => {}
                () = sleep_until(pause_check), if paused => {}
            }
        }
    }

    /// When to look whether a pause is over.
    fn pause_check(&self, paused_until: Option<Timestamp>) -> Instant {
        let left = paused_until.map_or(PAUSE_CHECK, |end| {
            Duration::try_from(end.duration_since(self.context.clock.now())).unwrap_or(Duration::ZERO)
        });
        Instant::now() + left.clamp(Duration::from_millis(10), PAUSE_CHECK)
    }

    fn end_pause(&mut self) {
        tracing::info!("the pause is over");
        let decisions = &self.context.decisions;
        decisions.decide(Decisions { paused_until: None, paused_by: None, ..decisions.current() });
        self.next_poll = Instant::now();
        // The disk is not waited for: a restart would see the pause end again.
        tokio::spawn(command::store_end_of_pause(self.context.clone()));
    }

    /// Records how a sync ended, reports it, and determines when the next one is due.
    async fn finish_run(&mut self, run: RunReport, ended: Result<RunEnd, SyncError>) -> Option<Ending> {
        let polled = run.request.trigger.kind == TriggerKind::Poll;
        let repeated = polled || run.request.retry;
        self.retry = None;
        let repeat = ended.as_ref().is_ok_and(|end| end.repeat);
        let ended = ended.map(|end| end.done);
        match ended {
            // No failure: another process is at work on this volume.
            Err(error) if error.kind == ErrorKind::Locked => return self.stand_by(run, error).await,
            _ => self.took_over(),
        }
        match &ended {
            Ok(Done::Interrupted) => {
                let retry = run.request.retry;
                // It paid its token, and keeps its id, which a reader may have been shown.
                let mut request = run.request.again(retry);
                request.id = run.id;
                self.context.queue.requeue(request);
                self.context.status.change(|snapshot| snapshot.running = None);
                let paused = self.context.decisions.current().paused_until.is_some();
                return (paused && self.options().one_time).then_some(Ending::Paused);
            }
            Ok(Done::StillRejected) => {
                self.leave_rejected(&run);
                return None;
            }
            Ok(done) => {
                let still_refused = self.is_repair_beside_rejected(&run, *done);
                if !still_refused {
                    self.failures = 0;
                    self.limit = Limit::default();
                    self.forget_rejected();
                }
                let first = !std::mem::replace(&mut self.succeeded, true);
                if first && *done == Done::Unchanged {
                    // An earlier process published it; the next push is to be as quick as after one of ours.
                    self.maintenance.published();
                    if !self.options().one_time {
                        // A process that ends now compacts before it ends; one in the background would be cut off.
                        self.maintenance.store_changed();
                    }
                }
                // A pin that was taken over from other replicas is published without a look at the remote. The replica
                // could not say what it is behind until the next poll, so that one is made now.
                let blind = *done == Done::Published && self.context.status.read(|snapshot| snapshot.head.is_none());
                self.next_poll = Instant::now() + if blind { Duration::ZERO } else { self.options().period };
                self.remember_head();
                self.context.status.set_health(|health| (health.started, health.ready) = (true, true));
                let live = if *done == Done::Published { run.new } else { run.old };
                if let Some(live) = live.filter(|_| first || *done == Done::Published) {
                    self.context.notifier.published(live, self.state.repairs);
                }
                if !still_refused {
                    self.context.notifier.report_failure(None);
                }
                if *done == Done::Unchanged && (polled || self.is_recorded_already(&run)) {
                    self.context.metrics.unchanged(run.started.elapsed());
                    self.report_poll(0, None);
                    return self.ending(None);
                }
            }
            Err(error) => {
                if self.failures == 0 && !self.succeeded {
                    // The remote may be down for a long time, so the tree of an earlier process is compared now.
                    self.maintenance.published();
                }
                if run.phases.build_ms.is_some() {
                    // A tree whose link could not be set is removed like any other that is not needed.
                    self.maintenance.remove_after_grace();
                }
                self.failures = self.failures.saturating_add(1);
                self.limit.count(error, self.period(), Instant::now());
                let wait = backoff::delay(self.failures, error.retry, self.period(), fastrand::f64());
                self.next_poll = Instant::now() + wait;
                let in_row = self.note_rejection(&run, error).unwrap_or(self.failures);
                self.context.notifier.report_failure(Some((error, self.failures)));
                self.retry = Some(run.request.clone().again(true));
                let last = self.context.status.read(|snapshot| snapshot.last_error.clone());
                if repeated && !worth_a_record(in_row, error, last.as_ref()) {
                    tracing::warn!(failures_in_row = self.failures, "sync failed again: {error}");
                    self.context.metrics.failed(run.started.elapsed());
                    self.report_poll(self.failures, Some(error.to_api()));
                    return self.ending(ended.err());
                }
            }
        }
        // After a repair nothing of the request is done yet, so it is a retry if it was one.
        let retry = run.request.retry && run.old == run.new;
        let repeat = repeat.then(|| run.request.clone().again(retry));
        let published = matches!(ended, Ok(Done::Published));
        let refused = ended.as_ref().is_err_and(|error| error.phase == Phase::Gate);
        let peer_results = run.request.peer_results.clone();
        let (record, detail) = record::of(&self.context, run, ended.as_ref().copied()).await;
        let (id, known) = (record.id.clone(), record.peers.clone());
        self.context.recorder.keep(record.clone(), detail).await;
        self.report(record, published, polled).await;
        if published || refused {
            // After the record, because a compaction must not delay it.
            self.maintenance.published();
            if self.options().one_time {
                self.compact_at_end = true;
            } else {
                self.maintenance.store_changed();
            }
        }
        self.amend_later(id, peer_results, known);
        if let Some(request) = repeat {
            self.context.queue.requeue(request);
            return ended.err().and_then(|error| self.ending(Some(error)));
        }
        self.ending(ended.err())
    }

    /// Whether the process should end now.
    fn ending(&self, error: Option<SyncError>) -> Option<Ending> {
        let options = self.options();
        if error.is_none() {
            return options.one_time.then_some(Ending::Done);
        }
        let most = match options.init_max_failures {
            Some(most) if !self.succeeded => most,
            _ => options.max_failures,
        };
        (most >= 0 && i64::from(self.limit.failures) >= most).then_some(Ending::GaveUp)
    }

    /// Notes the remote's commit after a successful sync: finding it again is no missed webhook.
    fn remember_head(&mut self) {
        let head = self.context.status.read(|snapshot| snapshot.head.as_ref()?.commit.parse().ok());
        self.state.head_at_last_success = head;
        if head.is_some() {
            self.context.protected.note_success();
        }
    }

    fn period(&self) -> Duration {
        let options = self.options();
        options.init_period.filter(|_| !self.succeeded).unwrap_or(options.period)
    }

    fn options(&self) -> &Options {
        &self.context.options
    }

    fn report_alive(&self) {
        self.context.status.set_health(|health| health.asked = None);
    }

    fn wall_clock(&self, at: Instant) -> Option<Timestamp> {
        let left = at.saturating_duration_since(Instant::now());
        self.context.clock.now().checked_add(left).ok()
    }
}

/// Waits for the request to stop. A swap that has begun is finished, so that its record is not lost.
async fn stopped(stop: &CancellationToken, context: &Context) {
    stop.cancelled().await;
    let is_swapping =
        |snapshot: &Snapshot| snapshot.running.as_ref().is_some_and(|running| running.phase == Phase::Publish);
    if context.status.read(is_swapping) {
        tokio::time::sleep(LAST_SWAP).await;
    }
}

/// After each hook's run, accepts its changes to tracked files as part of the published tree. Runs until the process ends.
fn follow_hooks(context: &Arc<Context>) {
    let Some(mut runs) = context.hooks.take_runs() else { return };
    // Weak, because the hooks, which are part of the context, hold the other end.
    let context = Arc::downgrade(context);
    tokio::spawn(async move {
        while let Some(run) = runs.recv().await {
            let Some(context) = context.upgrade() else { return };
            if let Ok(commit) = run.hash.parse() {
                context.hook_changes.accept_or_log(commit).await;
            }
        }
    });
}
