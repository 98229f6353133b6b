//! The background work after a publish: a second check of the tree, a standby tree for the next push, flushing to the disk,
//! and the removal of old trees.
//!
//! All of it yields to a push. It must not change what readers see.

mod compaction;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout};

use crate::api::TriggerKind;
use crate::error::{Phase, Retry, SyncError};
use crate::git;
use crate::publish::{Live, Prepared, Verdict, Volume};
use crate::worker::{Cancel, Raised};

use crate::sync::backoff;
use crate::sync::error::{self, NO_SUBMODULES};
use crate::sync::queue::Request;
use crate::sync::tools::Tools;

/// The longest time of a sweep. The next one removes the rest.
const LONGEST_SWEEP: Duration = Duration::from_secs(60 * 60);

/// How often a sweep checks whether the preparation of standby trees has ended.
const POLL_PREPARING: Duration = Duration::from_millis(20);

/// A cancelled thread has ended by then.
const LONGEST_END: Duration = Duration::from_millis(50);

/// The pause before a sweep that found the published tree unverified is tried again.
const SWEEP_IN_DOUBT: Duration = Duration::from_secs(60);

/// The longest wait after a failed sweep, until it is tried again and its failure is logged again. The first one is a second.
const SWEEP_AFTER_FAILURE: Duration = Duration::from_secs(10 * 60);

/// A margin, so that a tree whose grace period ends now has expired when the sweep runs.
pub(super) const SWEEP_MARGIN: Duration = Duration::from_millis(50);

impl Tools {
    /// Starts the work that a publish left for later, in the background: checks the tree again, makes a standby tree for
    /// the next push, and flushes everything to the disk. Earlier work of this kind is cancelled.
    pub fn prepare_for_next(self: &Arc<Self>) {
        if !self.options.one_time {
            drop(self.start_preparing());
        }
    }

    fn start_preparing(self: &Arc<Self>) -> JoinHandle<()> {
        let tools = self.clone();
        let task = tokio::spawn(async move { tools.prepare().await });
        let before = self.preparing.lock().replace(task.abort_handle());
        before.inspect(AbortHandle::abort);
        task
    }

    fn is_preparing(&self) -> bool {
        let preparing = self.preparing.lock();
        preparing.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Makes way for a waiting push. It waits for a standby tree that is being made, because writing a whole tree would
    /// take longer. All other background work stops between two files, without a wait.
    pub async fn yield_to_push(&self, deadline: Instant) {
        if !self.volume().is_some_and(|volume| volume.has_standby()) {
            let longest = deadline.saturating_duration_since(Instant::now()) / 2;
            let mut making = self.making.subscribe();
            let _ = timeout(longest, making.wait_for(|making| !making)).await;
        }
        let under_way = self.preparing.lock().take();
        under_way.inspect(AbortHandle::abort);
    }

    /// Prepares for a push that is being fetched: checks what has to be checked before its build. Errors are ignored.
    pub async fn expect_push(&self, deadline: Instant) {
        let expect = |volume: &Volume, cancel: &Cancel| volume.expect_push(&volume.store(), cancel);
        if let Err(error) = self.on_disk(Phase::Build, deadline, expect).await {
            tracing::debug!(%error, "the standby tree could not be checked before the push");
        }
    }

    async fn prepare(&self) {
        let Some(volume) = self.volume() else { return };
        let deadline = Instant::now() + self.options.timeout;
        let again = volume.clone();
        let look = move |cancel: &Cancel| {
            if again.verify_is_due() { again.verify_live(&again.store(), cancel) } else { Ok(Verdict::Whole) }
        };
        let looked = self.rotating.run(deadline, look).await;
        match error::publish(Phase::Publish, looked) {
            Ok(Verdict::Whole) => {}
            Ok(Verdict::Differs(_)) if self.hooks.run_in_trees() => {
                // A hook may run in it now, or has just ended.
                if let Ok(Live::Tree(live)) = volume.live() {
                    self.accept_changes(live).await;
                }
            }
            Ok(Verdict::Differs(difference)) => {
                tracing::warn!(difference, "another process changed the published tree; it will be rebuilt");
                self.suspect.store(true, Ordering::Relaxed);
                self.queue.push(Request::new(TriggerKind::Poll, self.clock.now()));
                return;
            }
            Err(error) if error.kind == NO_SUBMODULES => return self.want_other_submodules(),
            Err(error) => return tracing::debug!(%error, "the published tree could not be compared"),
        }
        self.make_standby_tree(volume.clone(), deadline).await;
        if volume.removal_waits() {
            self.sweep_in(Duration::ZERO);
        }
        self.engine.prepare_for_push().await;
        if let Err(error) = self.write_through(deadline).await {
            tracing::warn!(%error, "what is published could not be written through to the disk yet");
        }
    }

    /// Handles a published tree that has other submodules than those that are configured now.
    fn want_other_submodules(&self) {
        if self.hooks.gate_backoff().is_some() {
            // The hook has not run for them, and cannot run beside the readers, because the commit has no second name.
            tracing::warn!(
                "the submodules to publish have changed: they are published with the next push, which the pre-publish hook sees"
            );
        } else if !self.outdated.swap(true, Ordering::Relaxed) {
            tracing::info!("the submodules to publish have changed: they are fetched for the published commit");
            self.queue.push(Request::new(TriggerKind::Poll, self.clock.now()));
        }
    }

    /// Waits until the published tree is on the disk.
    pub async fn write_through(&self, deadline: Instant) -> Result<(), SyncError> {
        let Some(volume) = self.volume() else { return Ok(()) };
        if self.suspect.load(Ordering::Relaxed) {
            // An unverified tree must not be noted as being on the disk.
            return Ok(());
        }
        let through = self.spare.run(deadline, move |_| volume.write_through()).await;
        error::publish(Phase::Publish, through)
    }

    /// Makes standby trees. A push waits for the first one, which therefore has the priority of a push; the others have a
    /// low one.
    async fn make_standby_tree(&self, volume: Arc<Volume>, deadline: Instant) {
        let keep = self.kept();
        let mut prepared = Ok(Prepared::Nothing);
        let is_urgent = !volume.has_standby();
        if is_urgent {
            let making = Raised::raise(&self.making);
            let (first, keep) = (volume.clone(), keep.clone());
            let made = self.spare.run(deadline, move |cancel| first.prepare_one(&first.store(), &keep, cancel)).await;
            prepared = error::publish(Phase::Publish, made);
            drop(making);
        }
        if prepared.is_ok() && (!is_urgent || volume.has_upkeep()) {
            let rotated =
                self.rotating.run(deadline, move |cancel| volume.rotate(&volume.store(), &keep, cancel)).await;
            prepared = error::publish(Phase::Publish, rotated);
        }
        match prepared {
            Ok(Prepared::NoRoom) => {
                if !self.no_room_reported.swap(true, Ordering::Relaxed) {
                    tracing::info!("the volume has no room for a standby tree: each push writes a whole one");
                }
            }
            Ok(Prepared::Soon(left)) => self.sweep_in(left),
            Ok(prepared) => {
                self.no_room_reported.store(false, Ordering::Relaxed);
                tracing::debug!(?prepared, "standby trees");
            }
            Err(error) => tracing::debug!(%error, "no standby tree could be made"),
        }
    }

    /// Waits until no preparation is running, or a push has stopped it.
    async fn prepared(&self, deadline: Instant) {
        while self.is_preparing() && Instant::now() < deadline {
            sleep(POLL_PREPARING).await;
        }
    }

    /// Removes old trees and unused objects, in the background.
    pub fn sweep(self: &Arc<Self>) {
        let tools = self.clone();
        tokio::spawn(async move {
            let deadline = Instant::now() + tools.options.timeout;
            if tools.volume().is_some_and(|volume| volume.removal_waits()) {
                // What was renamed before needs neither the preparation nor the flush, which take long on a busy disk.
                let tools = tools.clone();
                tokio::spawn(async move {
                    if !tools.remove_and_measure().await {
                        tools.sweep_again();
                    }
                });
            }
            tools.prepared(deadline).await;
            if tools.volume().is_some_and(|volume| volume.has_upkeep()) {
                // An expired tree may become a standby tree instead of being removed.
                let _ = tools.start_preparing().await;
            }
            // The flush may take long here; the one on the build's thread finds nothing left to write then.
            if let Err(error) = tools.write_through(Instant::now() + tools.options.timeout).await {
                tracing::debug!(%error, "what is published could not be written through before the sweep");
            }
            if tools.suspect.load(Ordering::Relaxed) {
                // While the published tree is unverified, no tree is removed, and none is noted as being on the disk.
                tracing::debug!("no old tree is removed while the published tree is not verified");
                return tools.sweep_in(SWEEP_IN_DOUBT);
            }
            let deadline = Instant::now() + tools.options.timeout;
            let keeper = tools.clone();
            let doom =
                move |volume: &Volume, _: &Cancel| volume.mark_superfluous(|commit| keeper.kept().contains(&commit));
            let doomed = tools.on_disk(Phase::Publish, deadline, doom).await;
            tracing::debug!("looked for trees whose grace is over");
            let is_marked = doomed.is_ok();
            match doomed {
                Ok(left) => {
                    let upkeep = tools.volume().and_then(|volume| volume.next_upkeep());
                    left.into_iter().chain(upkeep).min().inspect(|left| tools.sweep_in(*left));
                }
                Err(error) => {
                    tracing::warn!(%error, "old trees could not be removed");
                    tools.sweep_again();
                }
            }
            tools.remove_unneeded_objects(deadline).await;
            tracing::debug!("looked for objects that no tree needs");
            let is_removed = tools.remove_and_measure().await;
            if is_marked && is_removed {
                tools.failed_sweeps.store(0, Ordering::Relaxed);
            } else if is_marked {
                tools.sweep_again();
            }
            // It may take long; its result is logged at its end.
            tools.compact_after_sweep().await;
            tools.rest().await;
        });
    }
}

impl Tools {
    /// The sweep of a process that ends now. Returns the number of removed trees.
    pub async fn sweep_at_end(self: &Arc<Self>) -> usize {
        if self.volume().is_none() || self.suspect.load(Ordering::Relaxed) {
            return 0;
        }
        let deadline = Instant::now() + self.options.timeout;
        let kept = self.kept();
        let sweep = move |volume: &Volume, cancel: &Cancel| {
            volume.sweep(|commit| kept.contains(&commit), || !cancel.is_cancelled())
        };
        let swept = self.on_disk(Phase::Publish, deadline, sweep).await;
        self.remove_unneeded_objects(deadline).await;
        swept.unwrap_or_else(|error| {
            tracing::warn!(%error, "old trees could not be removed");
            0
        })
    }

    /// Nothing is left to do until the next request or poll.
    async fn rest(&self) {
        if self.busy.load(Ordering::Relaxed) {
            return;
        }
        for worker in [&self.disk, &self.spare, &self.rotating, &self.accepting, &self.deciding_disk] {
            worker.rest();
        }
        self.engine.rest();
        self.history.rest();
        sleep(LONGEST_END).await;
        let _ = self.sweeper.run(Instant::now() + self.options.timeout, |_| git::give_back_memory()).await;
    }

    /// Schedules another sweep after one that left something behind: soon at first, because a slow disk may have ended it,
    /// and no other sweep is due until the next publish.
    fn sweep_again(&self) {
        let failures = self.failed_sweeps.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.sweep_in(backoff::delay(failures, Retry::Soon, SWEEP_AFTER_FAILURE, fastrand::f64()));
    }

    /// The part of a sweep that takes long for large trees. One waiting call is enough for all. Returns false if entries
    /// are left that have to be removed.
    async fn remove_and_measure(self: &Arc<Self>) -> bool {
        let Some(volume) = self.volume() else { return true };
        if self.sweep_waits.swap(true, Ordering::Relaxed) {
            return true;
        }
        let tools = self.clone();
        let swept = self.sweeper.run(Instant::now() + LONGEST_SWEEP, move |cancel| {
            tools.sweep_waits.store(false, Ordering::Relaxed);
            let courtesy = Courtesy::default();
            let is_ours = || tools.volume().is_some_and(|now| Arc::ptr_eq(&now, &volume));
            let repeat = || {
                courtesy.rest();
                courtesy.wait_while(&tools.busy) && is_ours() && !cancel.is_cancelled()
            };
            let emptied = volume.remove_marked(repeat);
            if let Err(error) = &emptied {
                tracing::warn!(%error, "old trees could not be removed");
            }
            Ok((emptied.is_ok() && !volume.is_removal_stuck(), volume.usage(repeat)))
        });
        let swept = error::publish(Phase::Publish, swept.await);
        self.sweep_waits.store(false, Ordering::Relaxed);
        let (is_removed, usage) = match swept {
            Ok((is_removed, usage)) => (is_removed, error::publish(Phase::Publish, Ok(usage))),
            Err(error) => (false, Err(error)),
        };
        match usage {
            Ok((store, trees)) => {
                self.metrics.volume_bytes("store", store);
                self.metrics.volume_bytes("trees", trees);
                self.metrics.volume_limit(self.volume().and_then(|volume| volume.limit()));
            }
            Err(error) => tracing::debug!(%error, "what is on the volume could not be measured"),
        }
        is_removed
    }

    /// Schedules the next sweep for the end of a grace period, also without other events.
    pub(super) fn sweep_in(&self, left: Duration) {
        *self.sweep_due.lock() = Some(Instant::now() + left + SWEEP_MARGIN);
        self.queue.nudge();
    }
}

/// The longest total wait of a sweep for others, so that it ends however many pushes there are. A lower priority of its
/// thread would not suffice: on a machine that is always busy old trees would accumulate.
const LONGEST_COURTESY: Duration = Duration::from_secs(5);

/// A sweep works for this time at once,
const SLICE: Duration = Duration::from_millis(2);
/// and rests this many times as long as that took: a thread that a CPU limit stopped meanwhile rests longer, so that a push
/// or a probe finds most of the limit unused.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_millis(500);

/// Lets syncs go first, for a limited time, and leaves most of the processor to others.
struct Courtesy(Cell<Duration>, Cell<std::time::Instant>);

impl Default for Courtesy {
    fn default() -> Self {
        Self(Cell::default(), Cell::new(std::time::Instant::now()))
    }
}

impl Courtesy {
    /// To be called before each small piece of work. Sleeps once enough was done.
    fn rest(&self) {
        let worked = self.1.get().elapsed();
        if worked >= SLICE {
            thread::sleep((worked * REST).min(LONGEST_REST));
            self.1.set(std::time::Instant::now());
        }
    }

    fn wait_while(&self, busy: &AtomicBool) -> bool {
        const STEP: Duration = Duration::from_millis(1);
        while busy.load(Ordering::Relaxed) && self.0.get() < LONGEST_COURTESY {
            thread::sleep(STEP);
            self.0.set(self.0.get() + STEP);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_sweep_lets_attempts_go_first_and_comes_to_its_end_all_the_same() {
        let busy = AtomicBool::new(true);
        let courtesy = Courtesy::default();
        let started = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                busy.store(false, Ordering::Relaxed);
            });
            assert!(courtesy.wait_while(&busy));
        });
        assert!(started.elapsed() >= Duration::from_millis(50) && courtesy.0.get() > Duration::ZERO);
        // The total wait is limited, not each single one.
        busy.store(true, Ordering::Relaxed);
        courtesy.0.set(LONGEST_COURTESY);
        assert!(courtesy.wait_while(&busy));
        assert_eq!(courtesy.0.get(), LONGEST_COURTESY);
    }

    #[test]
    fn a_sweep_rests_three_quarters_of_its_time_and_longer_if_it_was_held_up() {
        let courtesy = Courtesy::default();
        let (started, mut worked) = (Instant::now(), Duration::ZERO);
        while worked < Duration::from_millis(20) {
            let piece = Instant::now();
            while piece.elapsed() < SLICE {
                std::hint::spin_loop();
            }
            worked += piece.elapsed();
            courtesy.rest();
        }
        assert!(started.elapsed() >= worked * 3, "{worked:?} of {:?}", started.elapsed());
        // Simulates a stop by a CPU limit.
        thread::sleep(Duration::from_millis(90));
        let rest = Instant::now();
        courtesy.rest();
        assert!(rest.elapsed() >= Duration::from_millis(200), "{:?}", rest.elapsed());
    }
}
