//! Our child processes, so that none outlives us on any way out.
//!
//! Each runs in its own process group: a terminal's Ctrl-C must not reach it before us, and what it started goes with
//! it. It knows process ids, not what runs in them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// The running children.
#[derive(Clone, Debug, Default)]
pub struct Children(Arc<Mutex<HashSet<i32>>>);

impl Children {
    /// Notes a child that was just started in a group of its own.
    pub fn add(&self, id: u32) {
        if let Ok(id) = i32::try_from(id) {
            self.lock().insert(id);
        }
    }

    /// Forgets a child that was reaped: its id may soon be another's.
    pub fn reaped(&self, id: u32) {
        if let Ok(id) = i32::try_from(id) {
            self.lock().remove(&id);
        }
    }

    /// Asks a child and what it started to end.
    pub fn terminate(&self, id: u32) {
        self.signal(id, Signal::TERM);
    }

    /// Ends a child and what it started.
    pub fn kill(&self, id: u32) {
        self.signal(id, Signal::KILL);
    }

    /// The last resort, from any thread: whatever was not reaped is killed.
    pub fn kill_all(&self) {
        for id in self.lock().drain() {
            if let Some(id) = Pid::from_raw(id) {
                let _ = kill_process_group(id, Signal::KILL);
            }
        }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn signal(&self, id: u32, signal: Signal) {
        let Ok(id) = i32::try_from(id) else { return };
        // Only while it is ours: the lock keeps a reaped id from being signalled.
        let children = self.lock();
        if let (true, Some(id)) = (children.contains(&id), Pid::from_raw(id)) {
            let _ = kill_process_group(id, signal);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills what is left when it goes out of scope, also while a panic unwinds.
#[derive(Debug)]
pub struct Reaper(pub Children);

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.kill_all();
    }
}
