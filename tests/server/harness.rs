//! The listeners with a status store, a queue and a history behind them, but no sync loop: what arrives can be looked at.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use pushsync::api::{Accepted, Refusal, SCHEMA, State};
use pushsync::clock::Clock;
use pushsync::history::History;
use pushsync::metrics::Metrics;
use pushsync::secret::Secret;
use pushsync::server::{
    AdminBind, AllLimits, Audience, Repository, ServerOptions, Servers, WebhookOptions, start_with,
};
use pushsync::signature::sign;
use pushsync::sync::{Command, Handle, Queue, Request, StatusStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// GitHub's published one.
pub const SECRET: &str = "It's a Secret to Everybody";
pub const OLD_SECRET: &str = "the secret that was before";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const DELIVERY: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
/// Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Commands with the labels of the people who asked.
pub type Asked = Vec<(Command, Option<String>)>;

pub struct Sidecar {
    pub servers: Servers,
    pub status: Arc<StatusStore>,
    pub queue: Arc<Queue>,
    pub history: Arc<History>,
    pub metrics: Arc<Metrics>,
    /// Commands of the admin API, which get the answer of [`Setup::answer`].
    pub commands: Arc<Mutex<Asked>>,
    pub folder: TempDir,
}

pub struct Setup {
    pub audience: Audience,
    pub limits: AllLimits,
    pub admin_token: Option<&'static str>,
    pub answer: Result<Accepted, Refusal>,
}

impl Default for Setup {
    fn default() -> Self {
        let repository = Some(Repository { host: Some("github.com".into()), name: "acme/site".into() });
        let accepted = Accepted {
            schema: SCHEMA,
            sync: Some("7".into()),
            state: State::Syncing,
            paused_until: None,
            pinned: None,
        };
        Self {
            audience: Audience { repository, reference: "main".into() },
            limits: AllLimits::default(),
            admin_token: None,
            answer: Ok(accepted),
        }
    }
}

pub fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub fn sync_options() -> pushsync::sync::Options {
    pushsync::sync::Options {
        hooks: pushsync::hooks::HookOptions::default(),
        notices: pushsync::notices::NoticeOptions::default(),
        period: Duration::from_secs(60),
        init_period: None,
        timeout: Duration::from_secs(120),
        one_time: false,
        max_failures: -1,
        init_max_failures: None,
        sync_on_signal: None,
        hook_rate: 0.0,
        webhooks: true,
        peers: false,
        history_limit: 1000,
        compaction: pushsync::git::Compaction::Auto,
        reference: "main".into(),
        repo: "https://github.com/acme/site.git".into(),
        replica: "web-5d8f".into(),
    }
}

impl Sidecar {
    pub fn new() -> Self {
        Setup::default().start()
    }

    pub fn hook(&self) -> SocketAddr {
        self.servers.hook_addr.unwrap()
    }

    pub fn http(&self) -> SocketAddr {
        self.servers.http_addr.unwrap()
    }

    pub fn admin(&self) -> SocketAddr {
        self.servers.admin_addr.unwrap()
    }

    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the next trigger, if there is one. Triggers are queued before their response is sent, so there is no need to wait.
    pub fn rung(&self) -> Option<Request> {
        self.queue.next().now_or_never()
    }

    pub async fn post(&self, post: &Post) -> Answer {
        exchange(self.hook(), &post.bytes()).await
    }

    /// The value of a sample in the exposition.
    pub fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }
}

impl Setup {
    pub fn start(self) -> Sidecar {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("current"), format!("{SECRET}\n")).unwrap();
        std::fs::write(folder.path().join("previous"), OLD_SECRET).unwrap();
        let token = self.admin_token.map(|token| {
            let path = folder.path().join("token");
            std::fs::write(&path, token).unwrap();
            path
        });
        let clock = Clock::manual(noon());
        let options = sync_options();
        let status = Arc::new(StatusStore::new(&options, clock.clone()));
        let queue = Arc::new(Queue::new(options.hook_rate));
        let history = Arc::new(History::in_memory());
        let metrics = Arc::new(Metrics::new("0.1.0", &options.repo, &options.reference));
        let (handle, mut receiver) =
            Handle::new(Arc::clone(&status), Arc::clone(&queue), Arc::clone(&history), Arc::clone(&metrics), clock);
        let commands = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&commands);
        let reply = self.answer;
        tokio::spawn(async move {
            while let Some(order) = receiver.recv().await {
                noted.lock().unwrap().push((order.command, order.by));
                let _ = order.answer.send(reply.clone());
            }
        });
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServerOptions {
            hook: Some(WebhookOptions {
                bind: local,
                path: "/webhook".into(),
                secret_files: vec![folder.path().join("current"), folder.path().join("previous")],
                secret_optional: false,
                audience: self.audience,
                peers: pushsync::peers::PeerOptions {
                    names: Vec::new(),
                    repo: "https://github.com/acme/site.git".into(),
                    reference: "main".into(),
                },
            }),
            http: Some(local),
            http_metrics: true,
            admin: AdminBind::Address(local),
            admin_token_file: token,
        };
        let servers = start_with(&options, &handle, &self.limits).unwrap();
        Sidecar { servers, status, queue, history, metrics, commands, folder }
    }
}

/// A webhook request, right in every way until a test says otherwise.
#[derive(Clone)]
pub struct Post {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Post {
    pub fn new(event: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-GitHub-Event", event),
            ("X-GitHub-Delivery", DELIVERY),
            ("User-Agent", "GitHub-Hookshot/044aadd"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { path: "/webhook".into(), headers, body: body.into() }.signed(SECRET)
    }

    pub fn push(payload: &Value) -> Self {
        Self::new("push", payload.to_string())
    }

    /// Sets a header; an empty value takes it away.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.into(), value.into()));
        }
        self
    }

    /// Adds a header beside what is there.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn signed(self, secret: &str) -> Self {
        let signature = sign(&Secret::new(secret), &self.body);
        self.with("X-Hub-Signature-256", &signature)
    }

    pub fn head(&self) -> String {
        let mut head = format!("POST {} HTTP/1.1\r\nHost: hooks.test\r\n", self.path);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head().into_bytes();
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// A push of one commit to `refs/heads/main`, with the fields that GitHub sends around those that matter.
pub fn payload() -> Value {
    json!({
        "ref": "refs/heads/main",
        "before": "f".repeat(40),
        "after": COMMIT,
        "created": false, "deleted": false, "forced": false,
        "base_ref": null,
        "compare": "https://github.com/acme/site/compare/a...b",
        "commits": [{"id": COMMIT, "message": "Say \"hello\"\n\nto everybody — ünïcode", "added": ["a"], "removed": []}],
        "head_commit": {"id": COMMIT, "message": "Say hello", "timestamp": "2026-11-22T12:00:00Z"},
        "repository": {
            "id": 1, "full_name": "acme/site", "private": false, "created_at": 1_769_000_000, "pushed_at": 1_769_000_001,
            "owner": {"name": "acme", "email": null},
            "html_url": "https://github.com/acme/site",
            "clone_url": "https://github.com/acme/site.git",
            "ssh_url": "git@github.com:acme/site.git",
            "default_branch": "main"
        },
        "pusher": {"name": "somebody", "email": "somebody@example.test"},
        "sender": {"login": "somebody"}
    })
}

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends everything, then reads until the server closes. A reset instead of an answer fails the test.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    timeout(PATIENCE, stream.write_all(bytes)).await.expect("taken in time").expect("taken");
    read_answer(&mut stream).await
}

pub async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").expect("no reset");
    Answer::parse(&answer)
}

/// A request to the http or admin listener, `Connection: close` added.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await
}
