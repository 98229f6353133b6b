//! Keeps track of child processes, so that none outlives the dashboard, however it ends.
//!
//! Each leads its own session and process group: Ctrl-C in the terminal must not reach it before the dashboard, and its own
//! children are signaled with it. It must not know the programs.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The running children.
#[derive(Clone, Debug, Default)]
pub struct Children(Arc<Mutex<HashSet<i32>>>);

impl Children {
    /// Notes a child that was just started.
    pub fn add(&self, id: u32) {
        if let Ok(id) = i32::try_from(id) {
            self.lock().insert(id);
        }
    }

    /// Forgets a child that was reaped: another process may get its id.
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

    /// Kills all children that were not reaped, from any thread, as a last resort.
    pub fn kill_all(&self) {
        kill(&mut self.lock());
    }

    /// Installs a hook that kills them at a panic: one in tokio's own threads aborts the process without unwinding.
    pub fn die_with_a_panic(&self) {
        let children = self.clone();
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The panicking thread may hold the lock itself; then the unwinding kills them.
            if let Some(mut left) = children.0.try_lock() {
                kill(&mut left);
            }
            previous(info);
        }));
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn signal(&self, id: u32, signal: Signal) {
        let Ok(id) = i32::try_from(id) else { return };
        // The lock keeps a reaped id from being signaled: it may belong to another process.
        let children = self.lock();
        if let (true, Some(id)) = (children.contains(&id), Pid::from_raw(id)) {
            end(id, signal);
        }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashSet<i32>> {
        self.0.lock()
    }
}

fn kill(children: &mut HashSet<i32>) {
    for id in children.drain().filter_map(Pid::from_raw) {
        end(id, Signal::KILL);
    }
}

/// Signals a child's group. A child that was just started has none yet, and one that may use the terminal is in ours.
fn end(id: Pid, signal: Signal) {
    if kill_process_group(id, signal).is_err() {
        let _ = kill_process(id, signal);
    }
}

/// Kills the remaining children when it goes out of scope, also while a panic unwinds.
#[derive(Debug)]
pub struct Reaper(pub Children);

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.kill_all();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_kills_children_before_it_unwinds() {
        let mut child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let children = Children::default();
        children.add(child.id());
        children.die_with_a_panic();
        // Nothing here owns a Reaper: only the hook can end it.
        let _ = std::thread::spawn(|| panic!("meant to happen")).join();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(children.count(), 0);
    }
}
