//! The log of the sidecar in a pod, followed by `kubectl logs`.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dashboard::child::{Terminal, on_path};
use crate::dashboard::children::Children;
use crate::dashboard::message::Msg;
use crate::dashboard::model::PodId;

use super::{Cluster, LINE, PROGRAM, cannot_start, drain, explain, not_found};

/// Lines of the past that are shown first.
const TAIL: u32 = 500;

/// The log to follow, and where its lines go.
pub(crate) struct Follow {
    pub cluster: Cluster,
    pub id: PodId,
    pub namespace: String,
    pub pod: String,
    /// `None` if the sidecar could not be identified among the containers, so all are shown with their names.
    pub container: Option<String>,
    pub children: Children,
    pub out: mpsc::Sender<Msg>,
}

impl Follow {
    /// Runs until the log ends or it is told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let why = tokio::select! {
            () = stop.cancelled() => return,
            why = self.follow() => why,
        };
        // The screen may have ended meanwhile.
        let _ = self.out.send(Msg::LogEnded(self.id.clone(), why)).await;
    }

    /// Returns why it ended.
    async fn follow(&self) -> String {
        if !on_path(PROGRAM) {
            return not_found().reason;
        }
        let mut command = self.cluster.command(Terminal::None);
        command.args(["--namespace", &self.namespace, "logs", "--follow", &format!("--tail={TAIL}")]);
        match &self.container {
            Some(container) => command.args(["--container", container]),
            // Otherwise kubectl shows its default container only, which is the app in most pods.
            None => command.args(["--all-containers", "--prefix"]),
        };
        command.arg(&self.pod);
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return cannot_start(&error).reason,
        };
        let guard = Guard { id: child.id().unwrap_or(0), children: self.children.clone() };
        self.children.add(guard.id);
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return "kubectl has no output".to_owned();
        };
        // A channel between them: lines are read by a callback, and sending may have to wait.
        let (lines, mut read) = mpsc::channel::<String>(256);
        let out = self.out.clone();
        let id = self.id.clone();
        let reading = drain_to(stdout, lines);
        let telling = async move {
            while let Some(line) = read.recv().await {
                if out.send(Msg::LogLine(id.clone(), line)).await.is_err() {
                    return;
                }
            }
        };
        let mut said = Vec::new();
        let complaining = drain(stderr, |line| said.push(line.to_owned()));
        tokio::join!(reading, telling, complaining);
        let ended = child.wait().await;
        match ended {
            Ok(status) if status.success() => "the container has ended".to_owned(),
            _ => explain(&said).reason,
        }
    }
}

/// Sends each line of a pipe, truncated to a reasonable length. The pipe waits while the channel is full.
async fn drain_to(mut pipe: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        for &byte in &chunk[..count] {
            if byte != b'\n' {
                if line.len() < LINE {
                    line.push(byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if lines.send(text).await.is_err() {
                return;
            }
        }
    }
}

/// Ends the child when it goes out of scope, for whatever reason.
struct Guard {
    id: u32,
    children: Children,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.children.kill(self.id);
        self.children.reaped(self.id);
    }
}
