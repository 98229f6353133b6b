//! The decisions in force: the pause and the pin, in memory and on the volume.
//!
//! Commands change them while a sync runs, so they have a lock of their own, which is never held over a call to the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::worker::Worker;

use super::decisions::Decisions;
use super::disk::Disk;
use super::inherited::Inherited;
use super::queue::Queue;
use super::status::StatusStore;

/// The longest wait for a decision to be written. It has a few hundred bytes, so a disk that takes longer is stuck.
pub(crate) const DECISION_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct DecisionStore {
    disk: Arc<Disk>,
    status: Arc<StatusStore>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    clock: Clock,
    in_force: Mutex<InForce>,
    /// Held while a command changes the decisions, so that commands are carried out one at a time.
    pub one_at_a_time: tokio::sync::Mutex<()>,
    /// Reads and writes the file; apart from builds, which may be stuck.
    file: Worker,
}

#[derive(Debug, Default)]
struct InForce {
    decisions: Decisions,
    /// When a pause or pin ended last. The time that a push waited for this does not count as latency.
    released_at: Option<Instant>,
    /// The commit that the other replicas publish, during a pause that was taken over from them.
    published_by_others: Option<Oid>,
}

impl DecisionStore {
    pub(crate) fn new(
        disk: Arc<Disk>,
        status: Arc<StatusStore>,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let (in_force, one_at_a_time) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { disk, status, queue, metrics, clock, in_force, one_at_a_time, file: Worker::new("decisions") }
    }

    pub(crate) fn current(&self) -> Decisions {
        self.in_force.lock().decisions.clone()
    }

    pub(crate) fn released_at(&self) -> Option<Instant> {
        self.in_force.lock().released_at
    }

    /// True while a pinned commit is not the published one.
    pub(crate) fn pin_is_due(&self) -> bool {
        let Some(pinned) = self.commit_to_hold(&self.current()).map(|commit| commit.to_string()) else { return false };
        self.status.read(|snapshot| snapshot.published.as_ref().is_none_or(|published| published.commit != pinned))
    }

    /// The commit that is to be published even if the remote has another: the pin, or, while a pause that was taken over lasts
    /// and nothing is published, what the other replicas publish.
    pub(crate) fn commit_to_hold(&self, decisions: &Decisions) -> Option<Oid> {
        if decisions.pinned.is_some() || decisions.paused_until.is_none() {
            return decisions.pinned;
        }
        let published_by_others = self.in_force.lock().published_by_others;
        published_by_others.filter(|_| self.status.read(|snapshot| snapshot.published.is_none()))
    }

    /// Puts decisions in force. The next sync acts on them.
    pub(crate) fn decide(&self, decisions: Decisions) {
        let mut in_force = self.in_force.lock();
        let before = std::mem::replace(&mut in_force.decisions, decisions.clone());
        if decisions.releases(&before) {
            in_force.released_at = Some(Instant::now());
        }
        // The status has a lock of its own; neither is held while the other is taken.
        drop(in_force);
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

    /// Reads the decisions of an earlier process and puts them in force. Returns false if the volume never had any.
    pub(super) async fn load(&self, state_folder: &Path, deadline: Instant) -> bool {
        let path = state_folder.join("state.json");
        let loaded = self.file.run(deadline, move |_| Decisions::load(&path)).await;
        match loaded.map_err(io::Error::other).flatten() {
            Ok(Some(decisions)) => self.decide(decisions),
            Ok(None) => return false,
            Err(error) => tracing::warn!(%error, "state.json cannot be read: no pause and no pin is in force"),
        }
        true
    }

    /// Writes decisions to the volume.
    pub(crate) async fn store(&self, decisions: Decisions, deadline: Instant) -> io::Result<()> {
        let volume = self.disk.volume().ok_or_else(|| io::Error::other("the volume is not open yet"))?;
        let path = volume.state_folder().join("state.json");
        let stored = self.file.run(deadline, move |_| decisions.store(&path)).await;
        stored.map_err(io::Error::other).flatten()
    }

    /// Takes the decisions of the other replicas over, on a volume that never had any: a replica's own decision is never
    /// replaced.
    pub(super) async fn inherit(&self, inherited: Inherited, deadline: Instant) {
        let decisions = inherited.decisions(self.clock.now());
        if decisions == Decisions::default() {
            return;
        }
        let replicas = inherited.replicas;
        if let Some(commit) = &decisions.pinned {
            tracing::info!(replicas, by = decisions.pinned_by, "pinned at {commit}, as the other replicas are");
        }
        if let Some(until) = &decisions.paused_until {
            tracing::info!(replicas, by = decisions.paused_by, "paused until {until}, as the other replicas are");
        }
        // A replica that has published nothing could not serve before the end of the pause.
        self.in_force.lock().published_by_others =
            inherited.published.filter(|_| decisions.paused_until.is_some() && decisions.pinned.is_none());
        self.decide(decisions.clone());
        if let Err(error) = self.store(decisions, deadline).await {
            // In force all the same. The next start asks again.
            tracing::warn!(%error, "the decisions of the other replicas cannot be written to the volume");
        }
    }

    pub(super) fn rest(&self) {
        self.file.rest();
    }
}
