//! The real program as a child process: started with flags, listened to line by line, ended in every way.
//!
//! Dropping it kills and reaps it, so a failing test leaves nothing behind.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

type Lines = Arc<Mutex<Vec<String>>>;

pub struct Sidecar {
    child: Child,
    stderr: Lines,
    stdout: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Sidecar {
    /// Starts `pushsync` with these arguments and no environment but PATH.
    pub fn start<I, S>(args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Self::start_with(args, &[])
    }

    /// The same with environment variables.
    pub fn start_with<I, S>(args: I, environment: &[(&str, &str)]) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
        command.env_clear().envs(environment.iter().copied()).args(args);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Self::spawn(command)
    }

    /// Any command of the caller's making.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            collect(child.stdout.take().expect("stdout is piped"), Arc::clone(&stdout)),
            collect(child.stderr.take().expect("stderr is piped"), Arc::clone(&stderr)),
        ];
        Self { child, stderr, stdout, readers }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Every line of stderr so far.
    pub fn log(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line of stderr that matches; the panic shows the whole log.
    pub async fn wait_for_line(&mut self, deadline: Duration, matches: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + deadline;
        loop {
            // Asked before the log is read, so that the last words of a program that ended are not missed.
            let ended = self.child.try_wait().expect("it can be waited for").is_some()
                && self.readers.iter().all(JoinHandle::is_finished);
            if let Some(line) = self.log().into_iter().find(|line| matches(line)) {
                return line;
            }
            assert!(!ended && Instant::now() < end, "no such line (ended: {ended}):\n{}", self.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn wait_for_text(&mut self, deadline: Duration, text: &str) -> String {
        self.wait_for_line(deadline, |line| line.contains(text)).await
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; the end is awaited with [`exited`](Self::exited).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child and not reaped");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// Waits for the end and for the last line of its output.
    pub async fn exited(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                for reader in self.readers.drain(..) {
                    let _ = reader.join();
                }
                return status;
            }
            assert!(Instant::now() < end, "still running after {deadline:?}:\n{}", self.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(from: impl Read + Send + 'static, into: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            into.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}
