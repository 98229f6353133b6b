//! Programs that run for us, each in a process group of its own, so that what one started ends with it.
//!
//! A process id is only ours until it is reaped; it may be a stranger's after that. So one lock guards signals and
//! reaping, and a group is signalled only while its first process, dead or alive, is not reaped. Knows nothing of hooks.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::worker::Newest;

/// The programs that were started and not reaped.
#[derive(Debug, Default)]
pub(super) struct Processes {
    running: Mutex<HashSet<i32>>,
    /// How many are being started: until one is in the set, it could be taken for an orphan.
    starting: Mutex<usize>,
    /// Told when none is being started any more.
    started: Notify,
}

/// One that is being started.
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

/// One of them. Dropped before it is reaped, it is killed.
#[derive(Debug)]
pub(super) struct Running {
    child: Option<Child>,
    id: i32,
    processes: Arc<Processes>,
}

impl Processes {
    /// Starts a program in a group of its own. Blocking, perhaps for ever: a file system may not hand out the program. Others
    /// can be started meanwhile.
    pub(super) fn start(self: &Arc<Self>, command: &mut Command) -> io::Result<Running> {
        let _starting = Starting::begin(self);
        let child = command.process_group(0).spawn()?;
        let id = i32::try_from(child.id()).map_err(io::Error::other)?;
        self.running().insert(id);
        Ok(Running { child: Some(child), id, processes: self.clone() })
    }

    /// The last resort, from any thread.
    pub(super) fn kill_all(&self) {
        for id in self.running().iter() {
            send(*id, Signal::KILL);
        }
    }

    /// Reaps the dead that were left to us because we are the first process of a container, and not the programs that a hook
    /// waits for. Does nothing while one is being started; `started` tells when to call it again.
    fn reap_orphans(&self) {
        // Listed before the locks are taken: the list may be long. Of those in it, a program that was reaped meanwhile is not
        // waited for again, since no process has its id but one that is as dead and as much ours.
        let dead = dead_children();
        let starting = self.starting();
        if *starting > 0 {
            return;
        }
        let running = self.running();
        for pid in dead.into_iter().filter(|pid| !running.contains(&pid.as_raw_nonzero().get())) {
            // Fails if it was reaped meanwhile.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    fn starting(&self) -> MutexGuard<'_, usize> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Our children that are dead and not reaped, as the kernel lists them. (That `waitid` answers whose death it saw can only be
/// read with unsafe code, and it always answers the same one.)
fn dead_children() -> Vec<Pid> {
    let ours = std::process::id();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        // pid (name) state parent …, and the name may hold anything.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
        after_name.next() == Some("Z") && after_name.next().and_then(|parent| parent.parse().ok()) == Some(ours)
    })
    .filter_map(Pid::from_raw)
    .collect()
}

impl Running {
    /// Signals the program and all of its group.
    pub(super) fn signal(&self, what: Signal) {
        if self.processes.running().contains(&self.id) {
            send(self.id, what);
        }
    }

    /// True once the program itself has ended. It is not reaped by that: its group can still be signalled.
    pub(super) fn has_ended(&self) -> bool {
        self.wait_unreaped(WaitIdOptions::NOHANG)
    }

    fn wait_unreaped(&self, how: WaitIdOptions) -> bool {
        let Some(pid) = Pid::from_raw(self.id) else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | how;
        // An error is the news that there is nothing to wait for.
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None) | Err(rustix::io::Errno::INTR))
    }

    /// How it ended, after [`has_ended`](Self::has_ended).
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        let mut running = self.processes.running();
        running.remove(&self.id);
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::Error::other("it was reaped already")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.signal(Signal::KILL);
        let waiting = Self { child: None, id: self.id, processes: self.processes.clone() };
        // It may take the kernel a while to let go of it. If there is no thread to be had, it is a zombie until we end.
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

/// Reaps orphans as they die. Never returns, unless the system refuses to tell of dead children. No timer: a process without
/// dead children is not woken, and does not read `/proc`.
pub(super) async fn bury_orphans(processes: Arc<Processes>) {
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
            // One may have died while a program was being started.
            () = processes.started.notified() => {}
        }
    }
}

/// True if a child is dead and not reaped; also if a hook waits for that one.
fn has_dead_child() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Ok(Some(_)))
}
