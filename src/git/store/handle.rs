//! The handle to the store: its path, and the one thread on which everything that reads or writes it runs.
//!
//! It must not know what the jobs do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::git::deadline::Deadline;
use crate::git::error::Error;
use crate::worker::{Cancel, Lost, Worker};

use super::{locks, repository};

/// The store. Clones share the thread and the counter of changes.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    changes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    worker: Worker,
    /// True once the leftovers of an earlier process were removed.
    cleared: AtomicBool,
}

impl Store {
    /// Touches nothing. `path` is the folder of the bare repository, which the first job creates if it is missing.
    pub(crate) fn new(path: PathBuf) -> Self {
        let shared = Shared { path, worker: Worker::new("git"), cleared: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), changes: Arc::default() }
    }

    /// Returns a handle to the same store and thread with a counter of changes of its own, for another remote.
    pub(crate) fn with_own_counter(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), changes: Arc::default() }
    }

    /// Returns the folder of the repository.
    pub(crate) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Ends the thread until the next job.
    pub(crate) fn rest(&self) {
        self.shared.worker.rest();
    }

    /// Returns how many jobs of [`Store::run`] have started on this handle. A plan that was made at another count may be
    /// out of date.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Runs a job that may change the store. It gets the path of the repository.
    pub(crate) async fn run<T, F>(&self, deadline: &Deadline, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Path, &Cancel) -> Result<T, Error> + Send + 'static,
    {
        let changes = Arc::clone(&self.changes);
        self.read(deadline, move |path, cancel| {
            // Counted before the job: one that fails may have changed something as well.
            changes.fetch_add(1, Ordering::Relaxed);
            job(path, cancel)
        })
        .await
    }

    /// Runs a job that changes nothing in the store.
    pub(crate) async fn read<T, F>(&self, deadline: &Deadline, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Path, &Cancel) -> Result<T, Error> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let answer = self.shared.worker.run(deadline.at(), move |cancel| {
            // At the first job and on this thread: a disk that hangs at the start must not stop the probes.
            if !shared.cleared.swap(true, Ordering::Relaxed) {
                locks::clear_leftovers(&shared.path);
                repository::remove_outlived(&shared.path);
            }
            job(&shared.path, cancel)
        });
        match answer.await {
            Ok(answer) => answer,
            Err(Lost::Deadline) => Err(deadline.error()),
            Err(lost) => Err(Error::Internal { source: lost }),
        }
    }
}
