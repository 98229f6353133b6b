//! Runs a program under ptrace, counts its calls that change files below a folder, over all of its threads, and kills it
//! before one of them, or makes each of them slow, or lets chosen calls never return. The product knows nothing of it; rustix makes raw system calls, so a preloaded library would not see them.
//!
//! Linux on `x86_64` only; elsewhere `permitted` says why not. Programs that the program starts are not followed.
#![allow(clippy::zombie_processes, reason = "the tracer waits for what it starts by waitpid")]

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// Bytes of the log that a failing test shows.
const LOG_SHOWN: usize = 16 * 1024;

/// What to run, and when to kill it.
pub struct Plan {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Where stderr goes.
    pub log: PathBuf,
    /// Only calls that change something in here count.
    pub under: PathBuf,
    /// Kill before this call, counted from 1; `None` only counts.
    pub kill_before: Option<usize>,
    /// Count from the start, or from [`Traced::arm`].
    pub armed: bool,
}

/// A call that changes files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    /// Below the folder.
    pub path: PathBuf,
}

#[derive(Debug, Default)]
pub struct Report {
    /// The calls that counted; the last one did not happen if `killed`.
    pub calls: Vec<Call>,
    /// True if the program was killed at the chosen call.
    pub killed: bool,
    /// How it ended otherwise; `None`: by a signal.
    pub code: Option<i32>,
}

/// A program that runs and is traced.
pub struct Traced {
    pub id: i32,
    log: PathBuf,
    shared: Arc<Shared>,
    tracer: Option<JoinHandle<Report>>,
}

struct Shared {
    begun: Instant,
    armed: AtomicBool,
    /// Milliseconds after `begun`.
    last_call: AtomicU64,
    /// Milliseconds that each call takes longer.
    slower_by: AtomicU64,
    /// True once no call is stopped any more.
    free: AtomicBool,
    /// Which calls do not return, by their name and the path of the file.
    hangs: Mutex<Option<Hangs>>,
    /// Threads that are inside such a call.
    hanging: AtomicUsize,
}

type Hangs = Box<dyn Fn(&str, &Path) -> bool + Send>;

impl Shared {
    fn hangs(&self) -> std::sync::MutexGuard<'_, Option<Hangs>> {
        self.hangs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traced {
    pub fn start(plan: Plan) -> Self {
        Self::begin(plan, None)
    }

    /// The same as [`Traced::start`] and [`Traced::hang`], before the program makes its first call.
    pub fn start_hanging(plan: Plan, hangs: impl Fn(&str, &Path) -> bool + Send + 'static) -> Self {
        Self::begin(plan, Some(Box::new(hangs)))
    }

    fn begin(plan: Plan, hangs: Option<Hangs>) -> Self {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            armed: AtomicBool::new(plan.armed),
            last_call: AtomicU64::new(0),
            slower_by: AtomicU64::new(0),
            free: AtomicBool::new(false),
            hangs: Mutex::new(hangs),
            hanging: AtomicUsize::new(0),
        });
        let (started, id) = mpsc::channel();
        let (for_tracer, log) = (shared.clone(), plan.log.clone());
        // All requests of ptrace must come from the thread that the tracee belongs to.
        let tracer = std::thread::spawn(move || arch::run(&plan, &for_tracer, &started));
        let id = id.recv().expect("the program starts");
        Self { id, log, shared, tracer: Some(tracer) }
    }

    /// Counts from now on.
    pub fn arm(&self) {
        self.shared.armed.store(true, Ordering::SeqCst);
    }

    /// From now on each of these calls takes so much longer, as on a slow disk: its thread waits, others do not.
    pub fn slow_down(&self, by: Duration) {
        self.shared.slower_by.store(u64::try_from(by.as_millis()).expect("not for ever"), Ordering::SeqCst);
    }

    /// From now on no call is stopped: the program runs as fast as without a tracer, whose stops take seconds of each thousand
    /// calls on a busy machine. Nothing is counted, slowed down or held any more.
    pub fn let_go(&self) {
        self.slow_down(Duration::ZERO);
        self.shared.free.store(true, Ordering::SeqCst);
        self.release();
    }

    /// From now on the calls that `hangs` chooses, by their name and the path of their file, do not return before
    /// [`Traced::release`]. Other threads go on.
    pub fn hang(&self, hangs: impl Fn(&str, &Path) -> bool + Send + 'static) {
        *self.shared.hangs() = Some(Box::new(hangs));
    }

    /// How many threads are inside a call that does not return.
    pub fn hanging(&self) -> usize {
        self.shared.hanging.load(Ordering::SeqCst)
    }

    /// Lets every call return again.
    pub fn release(&self) {
        *self.shared.hangs() = None;
        // The tracer waits for the program's next stop, and the program ignores this signal.
        self.signal(nix::sys::signal::Signal::SIGWINCH);
    }

    pub fn has_ended(&self) -> bool {
        self.tracer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Since when no file was changed below the folder.
    pub fn quiet_for(&self) -> Duration {
        let last = Duration::from_millis(self.shared.last_call.load(Ordering::SeqCst));
        self.shared.begun.elapsed().saturating_sub(last)
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        if !self.has_ended() {
            let _ = nix::sys::signal::kill(Pid::from_raw(self.id), signal);
        }
    }

    /// Waits for its end; kills what does not come to an end. `Err`: it had to.
    pub fn wait(mut self, deadline: Duration) -> Result<Report, Report> {
        let end = Instant::now() + deadline;
        while !self.has_ended() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        let hung = !self.has_ended();
        let report = self.stop();
        if hung { Err(report) } else { Ok(report) }
    }

    fn stop(&mut self) -> Report {
        self.signal(nix::sys::signal::Signal::SIGKILL);
        self.tracer.take().map(|tracer| tracer.join().expect("the tracer does not panic")).unwrap_or_default()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A test that fails here and nowhere else is understood by what the program said.
            let log = std::fs::read(&self.log).unwrap_or_default();
            let first = log.len().saturating_sub(LOG_SHOWN);
            // The cut may be inside of a character.
            eprintln!("the end of the log:\n{}", String::from_utf8_lossy(&log[first..]));
        }
        self.stop();
    }
}

/// Whether programs may be traced here; if not, why.
pub fn permitted() -> Result<(), String> {
    if !arch::SUPPORTED {
        return Err("the tracer reads the registers of Linux on x86_64 only".to_owned());
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let under = folder.path().canonicalize().map_err(|error| error.to_string())?;
    let plan = Plan {
        program: "/bin/sh".into(),
        arguments: ["-c".into(), format!("echo one > {}/file", under.display()).into()].into(),
        log: folder.path().join("log"),
        under,
        kill_before: None,
        armed: true,
    };
    let report = Traced::start(plan).wait(super::PATIENCE).map_err(|_| "a traced shell hangs".to_owned())?;
    // The log counts too: it lies in the same folder, but the shell that opens it is not traced yet.
    let names: Vec<_> = report.calls.iter().map(|call| call.name).collect();
    if names == ["openat", "write"] { Ok(()) } else { Err(format!("ptrace is not permitted here: {report:?}")) }
}

fn touch(shared: &Shared) {
    let now = u64::try_from(shared.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    shared.last_call.store(now, Ordering::SeqCst);
}

/// Stopped before it becomes the program, so that nothing of it is missed.
fn spawn(plan: &Plan) -> std::process::Child {
    let log = File::create(&plan.log).expect("the log can be made");
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(&plan.program).args(&plan.arguments).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(log);
    command.spawn().expect("the shell starts")
}

/// What is below the folder of a path there; `None`: it is elsewhere.
fn below(under: &Path, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(under).ok().map(Path::to_owned)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod arch {
    use super::{Plan, Report, Shared, mpsc};

    pub const SUPPORTED: bool = false;

    pub fn run(_: &Plan, _: &Shared, _: &mpsc::Sender<i32>) -> Report {
        panic!("the tracer reads the registers of Linux on x86_64 only");
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "tracer_calls.rs"]
mod calls;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod arch {
    use std::collections::HashSet;
    use std::time::{Duration, Instant};

    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::ptrace::{self, Options};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

    use super::{Call, Ordering, Pid, Plan, Report, Shared, below, calls, mpsc, spawn, touch};

    pub const SUPPORTED: bool = true;

    pub fn run(plan: &Plan, shared: &Shared, started: &mpsc::Sender<i32>) -> Report {
        let child = spawn(plan);
        let leader = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let stopped = waitpid(leader, Some(WaitPidFlag::WUNTRACED)).expect("it is our child");
        assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        if let Err(errno) = ptrace::seize(leader, options | Options::PTRACE_O_TRACEEXEC) {
            let _ = kill(leader, Signal::SIGKILL);
            let _ = waitpid(leader, None);
            panic!("ptrace is not permitted: {errno}");
        }
        kill(leader, Signal::SIGCONT).expect("it is our child");
        started.send(leader.as_raw()).expect("somebody waits");
        let mut report = Report::default();
        // Threads that are inside a call.
        let mut inside = HashSet::new();
        // Threads inside a call that does not return.
        let mut hanging: Vec<Pid> = Vec::new();
        // Threads that wait for a slow disk, and until when.
        let mut slowed: Vec<(Instant, Pid)> = Vec::new();
        // The shell's own calls are not the program's.
        let mut is_program = false;
        loop {
            let now = Instant::now();
            for (_, thread) in slowed.extract_if(.., |(until, _)| *until <= now) {
                let _ = ptrace::syscall(thread, None);
            }
            if !hanging.is_empty() && shared.hangs().is_none() {
                for thread in hanging.drain(..) {
                    let _ = ptrace::syscall(thread, None);
                }
                shared.hanging.store(0, Ordering::SeqCst);
            }
            // Only what this thread started: other tests have children too.
            let mut how = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            if !slowed.is_empty() {
                how |= WaitPidFlag::WNOHANG;
            }
            let status = match waitpid(None, Some(how)) {
                Ok(WaitStatus::StillAlive) => {
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                }
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(_) => return report,
            };
            let resume = match status {
                WaitStatus::Exited(thread, code) => {
                    if thread == leader {
                        report.code = Some(code);
                        return report;
                    }
                    continue;
                }
                WaitStatus::Signaled(thread, ..) => {
                    if thread == leader {
                        return report;
                    }
                    continue;
                }
                WaitStatus::PtraceSyscall(thread) => {
                    if inside.remove(&thread) {
                        (thread, None)
                    } else {
                        inside.insert(thread);
                        let begins = is_program && !report.killed && !shared.free.load(Ordering::SeqCst);
                        match begins.then(|| entered(plan, shared, thread, &mut report)).flatten() {
                            None => {}
                            Some(Fate::Dies) => {
                                let _ = kill(leader, Signal::SIGKILL);
                                continue;
                            }
                            Some(Fate::Waits(longer)) => {
                                slowed.push((Instant::now() + longer, thread));
                                continue;
                            }
                            Some(Fate::Hangs) => {
                                hanging.push(thread);
                                shared.hanging.store(hanging.len(), Ordering::SeqCst);
                                continue;
                            }
                        }
                        (thread, None)
                    }
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    is_program |= event == libc::PTRACE_EVENT_EXEC;
                    (thread, None)
                }
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                _ => continue,
            };
            // A thread that was killed meanwhile reports its end.
            let _ = if shared.free.load(Ordering::SeqCst) {
                ptrace::cont(resume.0, resume.1)
            } else {
                ptrace::syscall(resume.0, resume.1)
            };
        }
    }

    /// What becomes of a call.
    enum Fate {
        Dies,
        Waits(Duration),
        Hangs,
    }

    /// Counts a call that is about to begin. `None`: it does, at once.
    fn entered(plan: &Plan, shared: &Shared, thread: Pid, report: &mut Report) -> Option<Fate> {
        let mut registers = ptrace::getregs(thread).ok()?;
        if let Some(hangs) = shared.hangs().as_ref()
            && calls::asking(thread, &registers).is_some_and(|(name, path)| hangs(name, &path))
        {
            return Some(Fate::Hangs);
        }
        let (name, path) = calls::changing(thread, &registers)?;
        let path = below(&plan.under, &path)?;
        touch(shared);
        let longer = Duration::from_millis(shared.slower_by.load(Ordering::SeqCst));
        let waits = (!longer.is_zero()).then_some(Fate::Waits(longer));
        if !shared.armed.load(Ordering::SeqCst) {
            return waits;
        }
        report.calls.push(Call { name, path });
        if plan.kill_before != Some(report.calls.len()) {
            return waits;
        }
        // No call at all, should the kernel still carry out what it has begun when the signal arrives.
        registers.orig_rax = u64::MAX;
        let _ = ptrace::setregs(thread, registers);
        report.killed = true;
        Some(Fate::Dies)
    }
}
