//! The state that a history shares with its writer thread, behind one lock.
//!
//! It must not know files.

use std::sync::atomic::AtomicUsize;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::records::{RecordState, Waiting};

/// The state that the history and its writer share.
#[derive(Debug)]
pub(super) struct SharedHistory {
    pub(super) limit: usize,
    pub(super) inner: Mutex<RecordState>,
    /// Wakes a writer that waits before its next attempt.
    pub(super) more: Condvar,
    /// The number of living writers, including those that hang in files that have been detached.
    pub(super) writers: AtomicUsize,
    pub(super) waiting: watch::Sender<Waiting>,
}

impl SharedHistory {
    /// Must not be held during a call to the disk.
    pub(super) fn lock(&self) -> MutexGuard<'_, RecordState> {
        self.inner.lock()
    }

    /// Changes the records and publishes what is waiting afterwards.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut RecordState) -> T) -> T {
        let mut inner = self.lock();
        let changed = change(&mut inner);
        let now = inner.waiting();
        self.waiting.send_if_modified(|before| {
            let differs = *before != now;
            *before = now;
            differs
        });
        changed
    }
}
