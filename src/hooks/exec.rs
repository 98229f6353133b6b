//! One run of a program: started in a tree, listened to, ended whole at its time-out, reaped in any case.
//!
//! No shell and no arguments, as git-sync has it. What the program leaves running in its process group ends with it; a
//! daemon that is to stay needs a session of its own. It must not know what the program is for.

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

use super::output::Output;
use super::processes::Running;
use super::{Error, Publication, Shared};
use crate::text::one_line;
use crate::worker::{Lost, Worker};

/// How long a program and what it started may take to end after SIGTERM: at its time-out, or if it left something behind.
const GRACE: Duration = Duration::from_secs(1);
/// The same when the whole process is told to stop, or nobody wants the answer any more.
pub(super) const STOP_GRACE: Duration = Duration::from_millis(300);
/// What was killed and is still there by then hangs in the kernel. It is left behind.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// After the program's end, for output that is still in the pipe; longer only if somebody keeps it open.
const LAST_WORDS: Duration = Duration::from_millis(20);
/// The news that a child died could get lost.
const TURN: Duration = Duration::from_secs(1);

/// A program and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// A path, or a name that is looked up in `PATH`. A relative path with a slash is one inside the tree.
    pub command: OsString,
    pub timeout: Duration,
    pub backoff: Duration,
}

/// The program, ready to be run again and again.
#[derive(Debug)]
pub(super) struct Program {
    exec: Exec,
    shared: Shared,
    /// Starting a program reads it, which can hang on a network's file system.
    starter: Arc<Worker>,
}

impl Program {
    pub(super) fn new(exec: Exec, shared: Shared) -> Self {
        Self { exec, shared, starter: Arc::new(Worker::new("hook")) }
    }

    pub(super) fn backoff(&self) -> Duration {
        self.exec.backoff
    }

    /// Runs it in the tree and waits for its end. Dropping the returned future ends it.
    pub(super) async fn run(&self, what: &Publication) -> Result<(), Error> {
        let wanted = self.shared.stop.child_token();
        let _until_dropped = wanted.clone().drop_guard();
        let run = Run {
            shown: one_line(&self.exec.command.to_string_lossy(), 200),
            command: command(&self.exec.command, what),
            timeout: self.exec.timeout,
            stop: wanted,
        };
        // A task of its own, so that a run which nobody waits for any more is still ended in order.
        let running = self.shared.tasks.spawn(run.carry_out(self.shared.clone(), self.starter.clone()));
        running.await.unwrap_or(Err(Error::Stopped))
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

/// One run.
struct Run {
    shown: String,
    command: Command,
    timeout: Duration,
    stop: CancellationToken,
}

/// Why a program was asked to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Late,
    Stopped,
}

impl Run {
    async fn carry_out(self, shared: Shared, starter: Arc<Worker>) -> Result<(), Error> {
        let Self { shown, mut command, timeout, stop } = self;
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let deadline = Instant::now() + timeout;
        let failed = |source| Error::NotStarted { program: shown.clone(), source };
        // Before there is a child that could die unheard.
        let mut died = signal(SignalKind::child()).map_err(failed)?;
        let (reading, writing) = std::io::pipe().map_err(failed)?;
        command.stdout(writing.try_clone().map_err(failed)?).stderr(writing);
        let mut output = Output::new(reading.into()).map_err(failed)?;
        let processes = shared.processes.clone();
        // The command goes with the job, and with it our copies of the writing end.
        // Waited for even if we are told to stop: a program that is left to itself while it starts would outlive us.
        let started = starter.run(deadline, move |_| processes.start(&mut command)).await;
        let program = match started {
            Ok(started) => started.map_err(failed)?,
            Err(Lost::Deadline) => return Err(Error::TimedOut { program: shown, after: timeout, said: Vec::new() }),
            Err(lost) => return Err(failed(std::io::Error::other(lost))),
        };

        let mut asked = None;
        let mut kill_at = None;
        let mut killed_at: Option<Instant> = None;
        while !program.has_ended() {
            tokio::select! {
                () = output.read() => {}
                _ = died.recv() => {}
                () = sleep(TURN) => {}
                () = stop.cancelled(), if asked != Some(Asked::Stopped) => {
                    asked = Some(Asked::Stopped);
                    kill_at = Some(Instant::now() + STOP_GRACE);
                    program.signal(Signal::TERM);
                }
                () = sleep_until(deadline), if asked.is_none() => {
                    asked = Some(Asked::Late);
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
            _ => Some(end_the_rest(program, &mut output, kill_at, &shown, &stop).await.map_err(failed)?),
        };
        let said = output.into_lines();
        match (asked, ended) {
            (Some(Asked::Stopped), _) => Err(Error::Stopped),
            (Some(Asked::Late), _) | (None, None) => Err(Error::TimedOut { program: shown, after: timeout, said }),
            (None, Some(status)) if status.success() => {
                tracing::debug!(program = shown, said = said.join(" | "), "the hook is done");
                Ok(())
            }
            (None, Some(status)) => Err(Error::Failed { program: shown, how: how(status), said }),
        }
    }
}

/// The program is dead; what it started goes as well. Only then is it reaped, since its id is that of the group.
async fn end_the_rest(
    program: Running,
    output: &mut Output,
    kill_at: Option<Instant>,
    shown: &str,
    stop: &CancellationToken,
) -> std::io::Result<ExitStatus> {
    if !output.read_to_end(LAST_WORDS).await {
        if kill_at.is_none() {
            tracing::warn!(program = shown, "the hook ended and left processes behind: they are ended, too");
        }
        program.signal(Signal::TERM);
        let left = kill_at.map_or(GRACE, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            _ = output.read_to_end(left) => {}
            () = stop.cancelled(), if kill_at.is_none() => {}
        }
    }
    program.signal(Signal::KILL);
    // Who has a session of its own was not in the group, and may keep the pipe for ever.
    output.read_to_end(LAST_WORDS).await;
    program.reap()
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
