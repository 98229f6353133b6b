//! The open volume, and the threads on which it is used. A call to a disk may hang, so none runs on a thread of tokio.
//!
//! It must not know what is done with the volume.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::error::{Phase, SyncError};
use crate::publish::{self, Live, Volume, VolumeOptions};
use crate::worker::{Cancel, Lost, Worker};

use super::error;

pub(crate) struct Disk {
    options: VolumeOptions,
    volume: Mutex<Option<Arc<Volume>>>,
    /// Held while the volume is being opened, however long that takes.
    opening: Arc<tokio::sync::Mutex<Option<Volume>>>,
    /// Builds trees and swaps the link.
    builds: Worker,
    /// Writes fresh standby trees, apart from builds, so that a push never waits behind it.
    pub(super) standby_trees: Worker,
    /// Checks replaced trees and updates them to the live commit, at a low priority.
    pub(super) rotation: Worker,
    /// Removes trees and objects that are no longer needed.
    pub(super) removal: Worker,
}

/// The state of the volume, as far as each sync has to know it.
#[derive(Debug)]
pub(crate) struct VolumeState {
    pub live: Live,
    /// With `--worktree-git`: the store that the `.git` file in the live tree names was lost.
    pub git_is_lost: bool,
}

impl VolumeState {
    pub(crate) fn of(volume: &Volume) -> Result<Self, publish::Error> {
        let live = volume.live()?;
        let git_is_lost = matches!(live, Live::Tree(commit) if volume.has_lost_git(commit));
        Ok(Self { live, git_is_lost })
    }
}

impl Disk {
    pub(crate) fn new(options: VolumeOptions) -> Self {
        Self {
            options,
            volume: Mutex::new(None),
            opening: Arc::default(),
            builds: Worker::new("disk"),
            standby_trees: Worker::new("spare"),
            rotation: Worker::quiet("standby"),
            removal: Worker::new("sweep"),
        }
    }

    /// The open volume, if it could be opened so far.
    pub(crate) fn volume(&self) -> Option<Arc<Volume>> {
        self.volume.lock().clone()
    }

    /// Makes an opened volume the one that all further work uses.
    pub(super) fn set_volume(&self, volume: Arc<Volume>) {
        *self.volume.lock() = Some(volume);
    }

    /// Runs blocking work on the volume, given up at the deadline.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        phase: Phase,
        deadline: Instant,
        work: impl FnOnce(&Volume, &Cancel) -> Result<T, publish::Error> + Send + 'static,
    ) -> Result<T, SyncError> {
        let volume = self.volume().ok_or_else(|| error::internal(phase, "the volume is not open"))?;
        let outcome = self.builds.run(deadline, move |cancel| work(&volume, cancel)).await;
        error::publish(phase, outcome)
    }

    /// Reads the state of the volume without owning it.
    pub(crate) async fn observe(&self, deadline: Instant) -> Result<publish::Observed, SyncError> {
        let options = self.options.clone();
        let observed = self.builds.run(deadline, move |_| publish::observe(&options));
        error::publish(Phase::Publish, observed.await)
    }

    /// Opens the volume, or waits for an earlier sync that opens it, which may take longer than a sync on a slow disk.
    pub(super) async fn open(&self, deadline: Instant) -> Result<Volume, SyncError> {
        let late = || error::publish(Phase::Publish, Err(Lost::Deadline));
        // A second call to open at the same time would find the lock of the first and take this process for another one.
        let turn = || timeout_at(deadline, self.opening.clone().lock_owned());
        let Ok(mut opening) = turn().await else { return late() };
        if let Some(volume) = opening.take() {
            return Ok(volume);
        }
        let options = self.options.clone();
        let opened = self.builds.run(deadline, move |_| {
            *opening = Some(Volume::open(options)?);
            Ok(())
        });
        error::publish(Phase::Publish, opened.await)?;
        turn().await.ok().and_then(|mut opened| opened.take()).map_or_else(late, Ok)
    }

    /// Closes the volume. Its files are closed on the disk's thread, where a disk that hangs stops no probe.
    pub(super) fn close(&self) {
        // The lock is released at the end of this line; the files are closed later.
        let volume = self.volume.lock().take();
        self.builds.post(move || drop(volume));
    }

    /// Ends the expectation of a push. Files that were opened for it are closed on the disk's thread.
    pub(crate) fn expect_nothing(&self) {
        if let Some(volume) = self.volume().filter(|volume| volume.expects_push()) {
            self.builds.post(move || volume.expect_nothing());
        }
    }

    /// Prepares for a push that is being fetched: checks what has to be checked before its build.
    pub(crate) async fn expect_push(&self, deadline: Instant) {
        let expect = |volume: &Volume, cancel: &Cancel| volume.expect_push(&volume.store(), cancel);
        // The build checks again, so an error here costs time only.
        if let Err(error) = self.run(Phase::Build, deadline, expect).await {
            tracing::debug!(%error, "the standby tree could not be checked before the push");
        }
    }

    /// Waits until the published tree is on the disk.
    pub(super) async fn flush(&self, deadline: Instant) -> Result<(), SyncError> {
        let Some(volume) = self.volume() else { return Ok(()) };
        let flushed = self.standby_trees.run(deadline, move |_| volume.write_through()).await;
        error::publish(Phase::Publish, flushed)
    }

    /// Ends the threads that no caller waits for. The removal's thread stays, because it gives the memory back.
    pub(super) fn rest(&self) {
        // A thread at rest holds a stack and a heap of its own.
        for worker in [&self.builds, &self.standby_trees, &self.rotation] {
            worker.rest();
        }
    }
}
