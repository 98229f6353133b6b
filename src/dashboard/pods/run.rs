//! One run of `kubectl get`: started, read to its end within a limit, and ended if the caller drops it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

use crate::dashboard::child::{Terminal, on_path};
use crate::dashboard::children::Children;
use crate::dashboard::kubectl::{PROGRAM, cannot_start, explain, not_found};
use crate::dashboard::model::Problem;

/// The longest output that is read: it is enough for thousands of pods.
const MAX_ANSWER: u64 = 32 << 20;
/// How long kubectl may take.
const ANSWER: Duration = Duration::from_secs(20);
/// The same while it may ask the user to log in.
const LOGIN: Duration = Duration::from_secs(300);

/// A kubectl that is killed when this is dropped.
pub struct Running {
    child: Child,
    id: u32,
    children: Children,
}

impl Running {
    /// # Errors
    /// It cannot be started.
    pub fn start(command: std::process::Command, terminal: Terminal, children: &Children) -> Result<Self, Problem> {
        if !on_path(PROGRAM) {
            return Err(not_found());
        }
        let mut command = Command::from(command);
        command.stdout(Stdio::piped()).kill_on_drop(true);
        match terminal {
            Terminal::Shared => command.stdin(Stdio::inherit()).stderr(Stdio::inherit()),
            Terminal::None => command.stdin(Stdio::null()).stderr(Stdio::piped()),
        };
        let child = command.spawn().map_err(|error| cannot_start(&error))?;
        let id = child.id().unwrap_or(0);
        children.add(id);
        Ok(Self { child, id, children: children.clone() })
    }

    /// Returns the pipe of its output, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// kubectl's message, or that it took too long.
    pub async fn answer(mut self) -> Result<Vec<u8>, Problem> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let interactive = stderr.is_none();
        let limit = if interactive { LOGIN } else { ANSWER };
        let work = async {
            let (answer, said) = tokio::join!(all(stdout), all(stderr));
            (self.child.wait().await, answer, said)
        };
        let late = || Problem::new(format!("kubectl did not answer within {} s", limit.as_secs()));
        let (status, answer, said) = tokio::time::timeout(limit, work).await.map_err(|_| late())?;
        self.children.reaped(self.id);
        if status.is_ok_and(|status| status.success()) {
            return Ok(answer);
        }
        let said: Vec<String> = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
        Err(if interactive { Problem::new("kubectl failed (see above)") } else { explain(&said) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // This has no effect if it was reaped. Its own children (a login plugin) are in its group and are ended, too.
        self.children.kill(self.id);
        self.children.reaped(self.id);
    }
}

/// Reads a pipe to its end, but keeps no more than [`MAX_ANSWER`].
async fn all(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // Output that was cut by an error does not parse, and that is reported.
        let _ = pipe.take(MAX_ANSWER).read_to_end(&mut bytes).await;
    }
    bytes
}
