//! Child processes, each in its own process group, so that processes that it starts can be stopped with it.
//!
//! A process id is reserved for a child until the child is reaped; after that the kernel may reuse it. Therefore one
//! lock guards both signalling and reaping, and a group is signalled only while its first process has not been
//! reaped. This module knows nothing of hooks.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::worker::Newest;

/// The programs that were started and have not been reaped.
#[derive(Debug, Default)]
pub(super) struct Processes {
    running: Mutex<HashSet<i32>>,
    /// How many are being started. A child that is not in `running` yet could be mistaken for an orphan.
    starting: Mutex<usize>,
    /// Notified when `starting` drops to zero.
    started: Notify,
}

/// A program that is being started.
struct Starting<'a>(&'a Processes);

impl<'a> Starting<'a> {
    fn begin(processes: &'a Processes) -> Self {
        *processes.starting() += 1;
        Self(processes)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let mut starting = self.0.starting();
        *starting -= 1;
        if *starting == 0 {
            self.0.started.notify_one();
        }
    }
}

/// A started program. If it is dropped before it is reaped, it is killed.
#[derive(Debug)]
pub(super) struct RunningProgram {
    child: Option<Child>,
    id: i32,
    processes: Arc<Processes>,
}

impl Processes {
    /// Starts a program in its own process group. May block forever if the file system does not deliver the program's
    /// file; other programs can be started in the meantime.
    pub(super) fn start(self: &Arc<Self>, command: &mut Command) -> io::Result<RunningProgram> {
        let _starting = Starting::begin(self);
        let child = command.process_group(0).spawn()?;
        let id = i32::try_from(child.id()).map_err(io::Error::other)?;
        self.running().insert(id);
        Ok(RunningProgram { child: Some(child), id, processes: self.clone() })
    }

    /// Kills all running programs. Can be called from any thread.
    pub(super) fn kill_all(&self) {
        for id in self.running().iter() {
            send(*id, Signal::KILL);
        }
    }

    /// Reaps the orphans that the kernel assigned to this process because it is the first one of its container.
    /// Programs that hooks wait for are left alone. Does nothing while a program is being started; `started` notifies
    /// when to call it again.
    fn reap_orphans(&self) {
        // List before taking the locks, because listing may take long. A listed program that has been reaped
        // meanwhile does no harm: if its id has been reused, then only by another dead child of this process.
        let dead = dead_children();
        let starting = self.starting();
        if *starting > 0 {
            return;
        }
        let running = self.running();
        for pid in dead.into_iter().filter(|pid| !running.contains(&pid.as_raw_nonzero().get())) {
            // Fails if it was reaped in the meantime.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    fn starting(&self) -> MutexGuard<'_, usize> {
        self.starting.lock()
    }

    fn running(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.running.lock()
    }
}

/// Returns the dead children that have not been reaped, according to `/proc`. (`waitid` would always report the same
/// child, and reading which one takes unsafe code.)
fn dead_children() -> Vec<Pid> {
    let ours = std::process::id();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        // The line reads "pid (name) state parent …". The name may contain any character.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
        after_name.next() == Some("Z") && after_name.next().and_then(|parent| parent.parse().ok()) == Some(ours)
    })
    .filter_map(Pid::from_raw)
    .collect()
}

impl RunningProgram {
    /// Sends a signal to the whole group.
    pub(super) fn signal(&self, what: Signal) {
        if self.processes.running().contains(&self.id) {
            send(self.id, what);
        }
    }

    /// Returns true once the program has exited. It stays unreaped, so that its group can still be signalled.
    pub(super) fn has_ended(&self) -> bool {
        self.wait_unreaped(WaitIdOptions::NOHANG)
    }

    fn wait_unreaped(&self, how: WaitIdOptions) -> bool {
        let Some(pid) = Pid::from_raw(self.id) else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | how;
        // An error means that there is nothing to wait for.
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None) | Err(rustix::io::Errno::INTR))
    }

    /// Reaps the program after [`has_ended`](Self::has_ended) and returns its exit status.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        let mut running = self.processes.running();
        running.remove(&self.id);
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::Error::other("it has already been reaped")),
        }
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.signal(Signal::KILL);
        let waiting = Self { child: None, id: self.id, processes: self.processes.clone() };
        // The kernel may need time to release the process. If no thread can be created, it stays a zombie until this
        // process exits.
        let _ = std::thread::Builder::new().name("hook-reaper".to_owned()).spawn(move || {
            while !waiting.wait_unreaped(WaitIdOptions::empty()) {}
            let mut running = waiting.processes.running();
            running.remove(&waiting.id);
            let _ = child.wait();
        });
    }
}

fn send(group: i32, what: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, what);
    }
}

/// Reaps orphans as they die. Returns only if SIGCHLD cannot be observed. It needs no timer, so a process without
/// dead children is neither woken nor reads `/proc`.
pub(super) async fn watch_orphans(processes: Arc<Processes>) {
    let Ok(mut died) = signal(SignalKind::child()) else { return };
    let reaper = Newest::new("orphans", {
        let processes = Arc::clone(&processes);
        move |()| processes.reap_orphans()
    });
    loop {
        if has_dead_child() {
            reaper.ask(());
        }
        tokio::select! {
            died = died.recv() => if died.is_none() { return },
            // A child may have died while a program was being started.
            () = processes.started.notified() => {}
        }
    }
}

/// Returns true if any child is dead and not reaped, including one that a hook waits for.
fn has_dead_child() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Ok(Some(_)))
}
