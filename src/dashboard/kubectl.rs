//! A port-forward through a spawned `kubectl`, so that every login, proxy and context that works for the user works here.
//!
//! The protocol with the child: the line on stdout that names the local port means ready; both pipes are always drained,
//! because a full pipe would block it; the last line on stderr for users is the reason of its end; it is ended and reaped
//! when the connection is dropped.

pub(crate) mod follow;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::child::{self, Terminal};
use super::children::Children;
use super::forward::{Boxed, Forward, Way};
use super::model::Problem;

/// The time until the ready line: a login plugin may be slow at first.
const READY: Duration = Duration::from_secs(15);
/// The time between asking a child to end and killing it.
const GRACE: Duration = Duration::from_secs(1);
/// The lines of stderr that are kept, and at most shown in the Events view.
const LINES: usize = 50;
/// The bytes of a line that are read.
const LINE: usize = 4096;

/// The part of a `kubectl` call that all calls share.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub context: Option<String>,
    pub kubeconfig: Option<OsString>,
}

impl Cluster {
    /// A call without its verb.
    #[must_use]
    pub fn command(&self, terminal: Terminal) -> std::process::Command {
        let mut command = child::command(PROGRAM, terminal);
        if let Some(context) = &self.context {
            command.arg("--context").arg(context);
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        command
    }
}

/// Forwards to one pod.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub cluster: Cluster,
    pub namespace: String,
    pub pod: String,
    /// Tried in this order.
    pub ports: Vec<u16>,
    pub children: Children,
    /// Waits for the tasks that reap.
    pub tasks: TaskTracker,
}

impl Forward for Kubectl {
    fn places(&self) -> usize {
        self.ports.len()
    }

    fn open(&self, place: usize, lines: mpsc::Sender<String>) -> Boxed<'_, Result<Way, Problem>> {
        Box::pin(self.start(place, lines))
    }
}

impl Kubectl {
    async fn start(&self, place: usize, lines: mpsc::Sender<String>) -> Result<Way, Problem> {
        let port = self.ports.get(place).or(self.ports.first()).copied().unwrap_or(crate::api::DEFAULT_ADMIN_PORT);
        if !child::on_path(PROGRAM) {
            return Err(not_found());
        }
        let mut command = self.cluster.command(Terminal::None);
        // By default kubectl listens on `localhost`, which is `::1` as well, and names both. `:PORT` lets it choose a
        // free local port, so two dashboards do not collide.
        command.args(["--namespace", &self.namespace, "port-forward", "--address", "127.0.0.1"]);
        command.arg(format!("pod/{}", self.pod)).arg(format!(":{port}"));
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().map_err(|error| cannot_start(&error))?;
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (ready, mut is_ready) = watch::channel(None);
        let (end, mut ended) = watch::channel(None);
        self.tasks.spawn(supervise(child, self.children.clone(), stop, ready, end, lines));
        let named = async {
            // The guard of the channel must not live across the wait below.
            if let Ok(port) = is_ready.wait_for(Option::is_some).await.map(|port| *port) {
                return port;
            }
            // Its stdout is closed, so it will name no port; its end, which follows, has the reason.
            std::future::pending().await
        };
        let outcome = tokio::time::timeout(READY, async {
            tokio::select! {
                port = named => Ok(port),
                problem = ended.wait_for(Option::is_some) => Err(problem.ok().and_then(|problem| problem.clone())),
            }
        });
        let port = match outcome.await {
            Ok(Ok(Some(port))) => port,
            Ok(Err(Some(problem))) => return Err(problem),
            Ok(Ok(None) | Err(None)) => return Err(Problem::new("kubectl ended before it was ready")),
            Err(_) => return Err(Problem::new(format!("kubectl was not ready within {} s", READY.as_secs()))),
        };
        let base = Url::parse(&format!("http://127.0.0.1:{port}"));
        let base = base.map_err(|error| Problem::new(format!("kubectl named no usable port: {error}")))?;
        Ok(Way { base, ended: Some(ended), guard: Some(guard) })
    }
}

/// The program.
pub(crate) const PROGRAM: &str = "kubectl";

/// Returns the problem that there is no `kubectl`.
#[must_use]
pub(crate) fn not_found() -> Problem {
    Problem::new("kubectl is not on the PATH")
        .hint("install it, or use --url with a port-forward of your own")
        .word("no kubectl")
}

/// Returns the problem that `kubectl` itself cannot run.
#[must_use]
pub(crate) fn cannot_start(error: &std::io::Error) -> Problem {
    Problem::new(format!("kubectl cannot be started: {error}"))
}

/// Owns the child until it is reaped.
async fn supervise(
    mut child: Child,
    children: Children,
    stop: CancellationToken,
    ready: watch::Sender<Option<u16>>,
    end: watch::Sender<Option<Problem>>,
    lines: mpsc::Sender<String>,
) {
    let id = child.id().unwrap_or(0);
    children.add(id);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        // Both pipes were requested, so they exist.
        return;
    };
    let out = tokio::spawn(drain(stdout, move |line| {
        if let Some(port) = ready_port(line) {
            ready.send_replace(Some(port));
        }
    }));
    let (collect, collected) = std::sync::mpsc::sync_channel(1);
    let err = tokio::spawn(async move {
        let mut kept: VecDeque<String> = VecDeque::new();
        let mut told = 0;
        drain(stderr, |line| {
            if line.starts_with("Handling connection for") {
                return;
            }
            if told < LINES {
                told += 1;
                // A flood of lines must not block the child: lines that do not fit are dropped here and kept below.
                let _ = lines.try_send(line.to_owned());
            }
            kept.push_back(line.to_owned());
            if kept.len() > LINES {
                kept.pop_front();
            }
        })
        .await;
        let _ = collect.send(kept);
    });
    let stopped = tokio::select! {
        _ = child.wait() => false,
        () = stop.cancelled() => true,
    };
    if stopped {
        children.terminate(id);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            children.kill(id);
            let _ = child.wait().await;
        }
    }
    children.reaped(id);
    // A process that it left behind may hold the pipes open; do not wait for that.
    let _ = tokio::time::timeout(Duration::from_millis(300), async { tokio::join!(out, err) }).await;
    let kept = collected.try_recv().unwrap_or_default();
    end.send_replace(Some(if stopped { Problem::new("closed") } else { explain(&kept) }));
}

/// Reads a pipe to its end and passes on its lines, truncated to a reasonable length.
async fn drain(mut pipe: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for &byte in &chunk[..count] {
            if byte == b'\n' {
                each(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            } else if line.len() < LINE {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        each(String::from_utf8_lossy(&line).trim_end());
    }
}

/// The local port in `Forwarding from 127.0.0.1:PORT -> REMOTE`; other lines (IPv6, chatter) have none.
fn ready_port(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("Forwarding from 127.0.0.1:")?;
    let (port, remote) = rest.split_once(" -> ")?;
    remote.parse::<u16>().ok()?;
    port.parse().ok()
}

/// Returns the last line for users as the reason, with a hint.
#[must_use]
pub(crate) fn explain<'a>(lines: impl IntoIterator<Item = &'a String, IntoIter: DoubleEndedIterator>) -> Problem {
    let mut lines = lines.into_iter().rev().filter(|line| !line.trim().is_empty()).peekable();
    let last = lines.peek().map(|line| (*line).as_str());
    let for_people = lines.find(|line| klog_text(line).is_none());
    let text = match (for_people, last) {
        (Some(line), _) => line.as_str(),
        // Older releases write even the lost connection as a log line.
        (None, Some(line)) => klog_text(line).unwrap_or(line),
        (None, None) => return Problem::new("kubectl ended without a message"),
    };
    let problem = Problem::new(format!("kubectl: {text}"));
    // The capital is left out below: kubectl writes `(Forbidden)` and `is forbidden`, depending on the call.
    if text.contains("Unauthorized") || text.contains("must be logged in") || text.contains("getting credentials") {
        problem
            .hint("your cluster login expired. Run `kubectl get pods` in another terminal to log in again; this reconnects by itself (r = now)")
            .word("log in")
    } else if text.contains("orbidden") && text.contains("portforward") {
        problem.hint("your role needs the verbs `get` and `create` on `pods/portforward`").word("forbidden")
    } else if text.contains("orbidden") {
        problem.hint("your role needs the verbs `get` and `list` on `pods`").word("forbidden")
    } else if text.contains("pod is not running") {
        problem.hint("kubectl forwards no port of a pod that does not run yet; it is connected as soon as it does")
    } else if text.contains("not found") && text.contains("pods") {
        problem.hint("the pod is gone; its successor appears by itself").word("pod gone")
    } else if text.contains("unable to listen") {
        problem.hint("the local port was taken meanwhile; the next try takes another")
    } else if text.contains("Unable to connect to the server") || text.contains("connection refused") {
        problem.hint("is the cluster reachable (VPN, proxy, context)?")
    } else {
        problem
    }
}

/// The text of a line that the logging library wrote: `E1122 12:03:58.1 123 file.go:4] text`.
fn klog_text(line: &str) -> Option<&str> {
    let mut characters = line.chars();
    let level = characters.next()?;
    let digits = characters.by_ref().take(4).filter(char::is_ascii_digit).count();
    if !matches!(level, 'E' | 'W' | 'I' | 'F') || digits != 4 || characters.next() != Some(' ') {
        return None;
    }
    Some(line.split_once("] ").map_or(line, |(_, text)| text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ipv4_ready_line_names_a_port() {
        assert_eq!(ready_port("Forwarding from 127.0.0.1:41234 -> 9180"), Some(41234));
        assert_eq!(ready_port("Forwarding from [::1]:41234 -> 9180"), None);
        assert_eq!(ready_port("Forwarding from 127.0.0.1:99999 -> 9180"), None);
        assert_eq!(ready_port("Forwarding from 127.0.0.1:41234 -> x"), None);
    }

    #[test]
    fn the_reason_is_the_last_line_meant_for_people() {
        let lines = |text: &[&str]| text.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let noise = "E1122 12:03:58.123456     321 memcache.go:265] couldn't get current server API group list";
        let problem = explain(&lines(&[noise, "error: You must be logged in to the server (Unauthorized)", noise]));
        assert_eq!(problem.reason, "kubectl: error: You must be logged in to the server (Unauthorized)");
        assert!(problem.hint.is_some_and(|hint| hint.contains("log in again")));
        let older = explain(&lines(&["E1122 12:03:58.1 1 portforward.go:233] lost connection to pod"]));
        assert_eq!(older.reason, "kubectl: lost connection to pod");
        let forbidden = "Error from server (Forbidden): pods \"a\" is forbidden: User \"u\" cannot create resource \"pods/portforward\"";
        assert!(explain(&lines(&[forbidden])).hint.is_some_and(|hint| hint.contains("`create`")));
        assert_eq!(explain(&lines(&[])).reason, "kubectl ended without a message");
    }

    #[tokio::test]
    async fn a_pipe_is_drained_to_its_end() {
        let mut input = vec![b'x'; 100_000];
        input.extend(b"\nsecond\nlast without end");
        let mut lines = Vec::new();
        drain(input.as_slice(), |line| lines.push(line.to_owned())).await;
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LINE, 6, 16]);
    }
}
