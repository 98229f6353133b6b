//! Runs a program in a tree: starts it, reads its output, stops it at its timeout, and reaps it in any case.
//!
//! As in git-sync there is no shell and no argument. Processes that the program leaves behind in its process group
//! are stopped with it; a daemon that should survive needs its own session. This module does not know what the
//! program is for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::HookError;
use super::output::Output;
use super::processes::RunningProgram;
use super::run::{HookRuns, Publication};
use crate::text::one_line;
use crate::worker::{Lost, Worker};

/// How long a program and its child processes may take to exit after SIGTERM, at the timeout or if they outlive the
/// program.
const GRACE: Duration = Duration::from_secs(1);
/// The same when the whole process stops or the result is no longer needed.
pub(super) const STOP_GRACE: Duration = Duration::from_millis(300);
/// A process that still exists this long after SIGKILL hangs in the kernel and is abandoned.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// How long to read output that is still in the pipe after the program has exited. The wait is longer only if another
/// process keeps the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_millis(20);
/// SIGCHLD notifications can be lost, so the state is also checked at this interval.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A program and the parameters of its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// A path, or a name that is looked up in `PATH`. A relative path with a slash refers to the tree.
    pub command: OsString,
    pub timeout: Duration,
    pub backoff: Duration,
}

/// A program that can be run repeatedly.
#[derive(Debug)]
pub(super) struct Program {
    exec: Exec,
    runs: HookRuns,
    /// Starting a program reads its file, which can hang on a network file system, so it happens on this thread.
    starter: Arc<Worker>,
}

impl Program {
    pub(super) fn new(exec: Exec, runs: HookRuns) -> Self {
        Self { exec, runs, starter: Arc::new(Worker::new("hook")) }
    }

    pub(super) fn backoff(&self) -> Duration {
        self.exec.backoff
    }

    /// Runs the program in the tree and waits for its end. Dropping the returned future stops it.
    pub(super) async fn run(&self, what: &Publication) -> Result<(), HookError> {
        let wanted = self.runs.stop.child_token();
        let _until_dropped = wanted.clone().drop_guard();
        let run = Run {
            shown: one_line(&self.exec.command.to_string_lossy(), 200),
            command: command(&self.exec.command, what),
            timeout: self.exec.timeout,
            stop: wanted,
        };
        // A separate task, so that a run whose caller is gone is still stopped and reaped properly.
        let running = self.runs.tasks.spawn(run.carry_out(self.runs.clone(), self.starter.clone()));
        running.await.unwrap_or(Err(HookError::Stopped))
    }
}

fn command(program: &OsStr, what: &Publication) -> Command {
    let inside = Path::new(program).is_relative() && program.as_bytes().contains(&b'/');
    let program = if inside { what.tree.join(program) } else { PathBuf::from(program) };
    let mut command = Command::new(program);
    command.current_dir(&what.tree).env("PWD", &what.tree);
    command.env("GITSYNC_HASH", &what.hash).env("PUSHSYNC_HASH", &what.hash).stdin(Stdio::null());
    command
}

/// A single run.
struct Run {
    shown: String,
    command: Command,
    timeout: Duration,
    stop: CancellationToken,
}

/// Why a program was made to exit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StopReason {
    TimedOut,
    Stopped,
}

impl Run {
    async fn carry_out(self, runs: HookRuns, starter: Arc<Worker>) -> Result<(), HookError> {
        let Self { shown, mut command, timeout, stop } = self;
        if stop.is_cancelled() {
            return Err(HookError::Stopped);
        }
        let deadline = Instant::now() + timeout;
        let failed = |source| HookError::NotStarted { program: shown.clone(), source };
        // Subscribe before the child exists, so that its exit cannot be missed.
        let mut died = signal(SignalKind::child()).map_err(failed)?;
        let (reading, writing) = std::io::pipe().map_err(failed)?;
        command.stdout(writing.try_clone().map_err(failed)?).stderr(writing);
        let mut output = Output::new(reading.into()).map_err(failed)?;
        let processes = runs.processes.clone();
        // The command moves into the job, which also closes our copies of the pipe's writing end. Wait for the start
        // even during shutdown, because a program that starts unobserved could outlive this process.
        let started = starter.run(deadline, move |_| processes.start(&mut command)).await;
        let program = match started {
            Ok(started) => started.map_err(failed)?,
            Err(Lost::Deadline) => {
                return Err(HookError::TimedOut { program: shown, after: timeout, printed: Vec::new() });
            }
            Err(lost) => return Err(failed(std::io::Error::other(lost))),
        };

        let mut stop_reason = None;
        let mut kill_at = None;
        let mut killed_at: Option<Instant> = None;
        while !program.has_ended() {
            tokio::select! {
                () = output.read() => {}
                _ = died.recv() => {}
                () = sleep(CHECK_INTERVAL) => {}
                () = stop.cancelled(), if stop_reason != Some(StopReason::Stopped) => {
                    stop_reason = Some(StopReason::Stopped);
                    kill_at = Some(Instant::now() + STOP_GRACE);
                    program.signal(Signal::TERM);
                }
                () = sleep_until(deadline), if stop_reason.is_none() => {
                    stop_reason = Some(StopReason::TimedOut);
                    kill_at = Some(Instant::now() + GRACE);
                    program.signal(Signal::TERM);
                }
                () = sleep_until(kill_at.unwrap_or(deadline)), if kill_at.is_some() && killed_at.is_none() => {
                    killed_at = Some(Instant::now());
                    program.signal(Signal::KILL);
                }
                () = sleep_until(killed_at.unwrap_or(deadline) + AFTER_KILL), if killed_at.is_some() => break,
            }
        }
        let ended = match killed_at {
            Some(_) if !program.has_ended() => None,
            _ => Some(stop_leftovers(program, &mut output, kill_at, &shown, &stop).await.map_err(failed)?),
        };
        let printed = output.into_lines();
        match (stop_reason, ended) {
            (Some(StopReason::Stopped), _) => Err(HookError::Stopped),
            (Some(StopReason::TimedOut), _) | (None, None) => {
                Err(HookError::TimedOut { program: shown, after: timeout, printed })
            }
            (None, Some(status)) if status.success() => {
                tracing::debug!(program = shown, printed = printed.join(" | "), "the hook succeeded");
                Ok(())
            }
            (None, Some(status)) => Err(HookError::Failed { program: shown, how: how(status), printed }),
        }
    }
}

/// Stops the processes that the exited program left behind. The program is reaped last, because its process id is
/// that of the group.
async fn stop_leftovers(
    program: RunningProgram,
    output: &mut Output,
    kill_at: Option<Instant>,
    shown: &str,
    stop: &CancellationToken,
) -> std::io::Result<ExitStatus> {
    if !output.read_to_end(OUTPUT_GRACE).await {
        if kill_at.is_none() {
            tracing::warn!(program = shown, "the hook exited and left processes behind: they are stopped, too");
        }
        program.signal(Signal::TERM);
        let left = kill_at.map_or(GRACE, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            _ = output.read_to_end(left) => {}
            () = stop.cancelled(), if kill_at.is_none() => {}
        }
    }
    program.signal(Signal::KILL);
    // A process with its own session is not in the group and may keep the pipe open forever.
    output.read_to_end(OUTPUT_GRACE).await;
    program.reap()
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
