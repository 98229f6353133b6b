//! The real program beside the benchmark: started, rung by raw bytes on a connection that is open already, and watched
//! by what the link names.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pushsync::secret::Secret;
use pushsync::signature::sign;
use serde_json::Value;

use crate::process;
use crate::remote::{Changed, Remote};
use crate::support::delivery::Delivery;
use crate::support::sidecar::Sidecar;

pub const SECRET: &str = "only for this benchmark";
/// A loaded machine is slow, but not that slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Ours {
    pub sidecar: Sidecar,
    pub root: PathBuf,
    hook: Option<SocketAddr>,
}

/// The program of the same build, or the one that `PUSHSYNC` names: the static one, say.
pub fn program() -> Command {
    Command::new(std::env::var_os("PUSHSYNC").unwrap_or_else(|| env!("CARGO_BIN_EXE_pushsync").into()))
}

impl Ours {
    /// Starts it with a webhook and waits until the remote's head is published.
    pub fn start(remote: &Remote, name: &str, more: &[&str]) -> Self {
        Self::start_as(program(), remote, name, more)
    }

    /// Only starts it, and waits for nothing.
    pub fn spawn(remote: &Remote, name: &str, more: &[&str]) -> Sidecar {
        Sidecar::spawn(command_line(program(), remote, name, more).0)
    }

    /// The same as `start` by a command that runs the program.
    pub fn start_as(command: Command, remote: &Remote, name: &str, more: &[&str]) -> Self {
        let root = PathBuf::from(remote.at(name));
        let (command, rung) = command_line(command, remote, name, more);
        let mut sidecar = Sidecar::spawn(command);
        let listens = |line: &str| line.contains("\"listener\":\"hook\"");
        let hook = rung.then(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let line = runtime.block_on(sidecar.wait_for_line(PATIENCE, listens));
            let line: Value = serde_json::from_str(&line).unwrap();
            line["address"].as_str().unwrap().parse().unwrap()
        });
        let ours = Self { sidecar, root, hook };
        ours.wait(&remote.head);
        ours
    }

    pub fn link(&self) -> PathBuf {
        self.root.join("current")
    }

    pub fn hook(&self) -> SocketAddr {
        self.hook.expect("it was started with a webhook")
    }

    /// How long from the first byte of a signed push to the link that names its commit.
    pub fn publish(&self, remote: &Remote, before: &str) -> Duration {
        let request = signed(remote, before, &remote.head);
        let mut connection = connect(self.hook());
        let started = Instant::now();
        connection.write_all(&request).unwrap();
        self.wait(&remote.head);
        let took = started.elapsed();
        assert_eq!(status(&mut connection), 202);
        took
    }

    pub fn wait(&self, commit: &str) {
        let pid = self.sidecar.id();
        // A process that has ended uses no memory.
        let alive = || process::of(pid, "VmRSS") > 0;
        assert!(wait_while(&self.link(), commit, alive), "{commit} was not published: {:#?}", self.sidecar.log());
    }

    /// Waits until the next push finds a tree ready; pushes of people are further apart than that takes.
    pub fn wait_for_spare(&self, commit: &str, files: usize) {
        let begins = format!(".spare-{commit}-");
        let end = Instant::now() + PATIENCE;
        let ready = || {
            let trees = std::fs::read_dir(self.root.join(".worktrees")).unwrap();
            trees.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&begins))
        };
        while !ready() {
            assert!(Instant::now() < end, "no spare tree for {commit}");
            std::thread::sleep(Duration::from_millis(2));
        }
        // It has its name before it is looked at for the last time, which takes two microseconds a file.
        std::thread::sleep(Duration::from_millis(20) + Duration::from_micros(4 * files as u64));
    }

    /// Returns the log's values for the sync that published a commit.
    pub fn told(&self, commit: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = self.sidecar.log();
            let told = lines.iter().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) =
                told.into_iter().find(|line| line["commit.new"] == commit && line["outcome"] == "published")
            {
                return line;
            }
            assert!(Instant::now() < end, "the log does not tell of {commit}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How it is started, and true if it has a webhook: unless it is told when to poll.
fn command_line(mut command: Command, remote: &Remote, name: &str, more: &[&str]) -> (Command, bool) {
    let secret = remote.at("secret");
    std::fs::write(&secret, SECRET).unwrap();
    command.env_clear().args([
        &format!("--repo={}", remote.url()),
        "--ref=main",
        &format!("--root={}", remote.at(name)),
        "--link=current",
        "--admin-bind=off",
        "--log-format=json",
    ]);
    let rung = !more.iter().any(|flag| flag.starts_with("--period"));
    if rung {
        let secret = format!("--hook-secret-file={secret}");
        command.args(["--period=1h", "--hook-rate=0", &secret]);
        if !more.iter().any(|flag| flag.starts_with("--hook-bind")) {
            command.arg("--hook-bind=127.0.0.1:0");
        }
    }
    command.args(more);
    (command, rung)
}

/// Fails unless a tree holds what was pushed.
pub fn check(tree: &Path, changed: &Changed) {
    let found = std::fs::read_to_string(tree.join(&changed.path)).unwrap();
    assert_eq!(found, changed.contents, "{} in {}", changed.path, tree.display());
}

/// Returns as soon as the link names the commit.
pub fn wait(link: &Path, commit: &str) {
    assert!(wait_while(link, commit, || true), "{commit} was not published");
}

/// False if that did not come to pass in time, or cannot any more.
fn wait_while(link: &Path, commit: &str, can_be: impl Fn() -> bool) -> bool {
    let (end, mut turns) = (Instant::now() + PATIENCE, 0_u32);
    while std::fs::read_link(link).ok().and_then(|target| Some(target.file_name()? == commit)) != Some(true) {
        turns += 1;
        if Instant::now() > end || (turns % 1000 == 0 && !can_be()) {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    true
}

fn connect(to: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(to).unwrap();
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

/// A push of our ref, signed, as bytes of HTTP.
pub fn signed(remote: &Remote, before: &str, after: &str) -> Vec<u8> {
    let delivery = Delivery::push(&remote.url(), "refs/heads/main", before, after);
    let signature = sign(&Secret::new(SECRET), &delivery.body);
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: bench\r\nuser-agent: GitHub-Hookshot/bench\r\ncontent-type: application/json\r\n\
         x-github-event: push\r\nx-github-delivery: {}\r\nx-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n",
        delivery.id,
        delivery.body.len()
    );
    [head.as_bytes(), &delivery.body].concat()
}

/// Sends a request and waits for the status of the answer. The listener closes the connection behind it.
pub fn deliver(request: &[u8], to: SocketAddr) -> u16 {
    let mut connection = connect(to);
    connection.write_all(request).unwrap();
    status(&mut connection)
}

fn status(connection: &mut TcpStream) -> u16 {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer in HTTP")
}
