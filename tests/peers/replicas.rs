//! Eight real sidecars on one machine, and peers that are dead, closed or liars beside them: one webhook reaches them all.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use pushsync::api::{HistoryPage, Outcome, PeerResult, Record, TriggerKind};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::delivery::{Answer, Delivery};
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

pub(super) const SECRET: &str = "a secret that all replicas share";
const OLD_SECRET: &str = "the secret that all shared before";
/// Between a push and the last of eight replicas; two seconds are promised, a loaded machine gets more.
const GENEROUS: Duration = Duration::from_secs(20);

pub(super) struct Replica {
    pub hook: SocketAddr,
    pub root: PathBuf,
    pub sidecar: Sidecar,
    arguments: Vec<String>,
}

pub(super) struct Fleet {
    pub repo: Repo,
    remote: GitHttp,
    folder: TempDir,
    pub replicas: Vec<Replica>,
    network: u8,
    port: u16,
}

/// The next fleet's network. Each has its own, so that they do not meet: 127.0.77.1 and up, then 127.0.78.1 and up …
static NETWORK: AtomicU8 = AtomicU8::new(77);

impl Fleet {
    /// Starts `size` replicas that know each other and `others` addresses after them; `secrets` of a replica are its
    /// current and previous one.
    pub async fn start(size: usize, others: usize, secrets: impl Fn(usize) -> Vec<&'static str>) -> Self {
        let repo = Repo::new();
        let remote = GitHttp::start(&repo.root());
        let folder = tempfile::tempdir().unwrap();
        let network = NETWORK.fetch_add(1, Ordering::Relaxed);
        // Free on the first address is free on the others: nobody else uses this network.
        let first = SocketAddr::from(([127, 0, network, 1], 0));
        let port = TcpListener::bind(first).unwrap().local_addr().unwrap().port();
        let mut fleet = Self { repo, remote, folder, replicas: Vec::new(), network, port };
        let names: Vec<String> = (1..=size + others).map(|number| fleet.address(number).to_string()).collect();
        for number in 1..=size {
            fleet.add(number, &names.join(","), &secrets(number));
        }
        let head = fleet.repo.head();
        for replica in &mut fleet.replicas {
            replica.sidecar.wait_for_line(PATIENCE, |line| listening(line, "admin").is_some()).await;
        }
        fleet.wait_published(&head).await;
        fleet
    }

    fn add(&mut self, number: usize, names: &str, secrets: &[&str]) {
        let root = self.folder.path().join(format!("root-{number}"));
        let hook = self.address(number);
        let mut arguments = vec![
            format!("--repo={}", self.url()),
            "--ref=main".into(),
            format!("--root={}", root.display()),
            "--link=current".into(),
            "--period=1h".into(),
            "--hook-rate=0".into(),
            format!("--hook-bind={hook}"),
            format!("--peers={names}"),
            "--http-bind=127.0.0.1:0".into(),
            "--http-metrics".into(),
            "--admin-bind=127.0.0.1:0".into(),
            "--log-format=json".into(),
        ];
        for (place, secret) in secrets.iter().enumerate() {
            let path = self.folder.path().join(format!("secret-{number}-{place}"));
            std::fs::write(&path, secret).unwrap();
            arguments.push(format!("--hook-secret-file={}", path.display()));
        }
        let sidecar = Sidecar::start(&arguments);
        self.replicas.push(Replica { hook, root, sidecar, arguments });
    }

    /// Where a replica listens, or would if there were one.
    pub fn address(&self, number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, self.network, u8::try_from(number).unwrap()], self.port))
    }

    fn url(&self) -> String {
        self.remote.url(&self.repo.bare().file_name().unwrap().to_string_lossy())
    }

    /// Delivers a push to one replica.
    pub async fn ring(&self, at: usize, before: &str, after: &str, secret: &str) -> (Answer, String) {
        let delivery = Delivery::push(&self.url(), "refs/heads/main", before, after);
        let id = delivery.id.clone();
        let url = format!("http://{}/webhook", self.replicas[at].hook);
        (delivery.send(&url, secret.as_bytes()).await, id)
    }

    /// Pushes, rings one replica and waits until all have it. Returns the commit, the delivery and how long that took.
    pub async fn push(&self, at: usize, secret: &str) -> (String, String, Duration) {
        let before = self.repo.head();
        let after = self.repo.push_file("page", fastrand::u64(..).to_string(), "a change");
        let started = Instant::now();
        let (answer, id) = self.ring(at, &before, &after, secret).await;
        assert_eq!(answer.status, 202);
        self.wait_published(&after).await;
        (after, id, started.elapsed())
    }

    pub async fn wait_published(&self, commit: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left: Vec<SocketAddr> =
                self.replicas.iter().filter(|replica| !replica.has(commit)).map(|replica| replica.hook).collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{left:?} did not publish {commit}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Replica {
    pub fn has(&self, commit: &str) -> bool {
        std::fs::read_link(self.root.join("current")).is_ok_and(|target| target.ends_with(commit))
    }

    /// A change, as the dashboard asks for it.
    pub async fn post(&self, path: &str, body: &Value) -> u16 {
        let log = self.sidecar.log();
        let address = log.iter().find_map(|line| listening(line, "admin")).expect("it listens");
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let request = client.post(format!("http://{address}/api/v1/{path}")).header("x-pushsync", "1");
        let request = request.header("content-type", "application/json").body(body.to_string());
        request.send().await.unwrap().status().as_u16()
    }

    /// The address of the admin API.
    pub fn admin(&self) -> String {
        let log = self.sidecar.log();
        log.iter().find_map(|line| listening(line, "admin")).expect("it listens")
    }

    /// The pod is replaced: told to end, and started again on an empty volume. Returns once it is ready.
    pub async fn replace(&mut self) {
        self.sidecar.terminate();
        assert_eq!(self.sidecar.exited(PATIENCE).await.code(), Some(143));
        std::fs::remove_dir_all(&self.root).unwrap();
        self.begin().await;
    }

    /// The container is restarted on its volume, after a kill -9. Returns once it is ready.
    pub async fn restart(&mut self) {
        self.sidecar.kill();
        self.begin().await;
    }

    async fn begin(&mut self) {
        self.sidecar = Sidecar::start(&self.arguments);
        self.sidecar.wait_for_line(PATIENCE, |line| listening(line, "http").is_some()).await;
        let end = Instant::now() + PATIENCE;
        while self.get("http", "/readyz").await != "ok\n" && self.get("http", "/readyz").await != "ok" {
            assert!(Instant::now() < end, "{}", self.sidecar.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn get(&self, listener: &str, path: &str) -> String {
        let log = self.sidecar.log();
        let address = log.iter().find_map(|line| listening(line, listener)).expect("it listens");
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        client.get(format!("http://{address}{path}")).send().await.unwrap().text().await.unwrap()
    }

    pub async fn history(&self) -> Vec<Record> {
        let page: HistoryPage = serde_json::from_str(&self.get("admin", "/api/v1/history?limit=1000").await).unwrap();
        page.records
    }

    async fn wait_record(&self, fits: impl Fn(&Record) -> bool) -> Record {
        let end = Instant::now() + PATIENCE;
        loop {
            let history = self.history().await;
            if let Some(record) = history.iter().find(|record| fits(record)) {
                return record.clone();
            }
            assert!(Instant::now() < end, "no such record in {history:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `pushsync_peer_messages_total` of one result.
    pub async fn messages(&self, result: &str) -> u64 {
        let metrics = self.get("http", "/metrics").await;
        let sample = format!("pushsync_peer_messages_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&sample)).map_or(0, |count| count.parse().unwrap())
    }
}

fn listening(line: &str, listener: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_it = line["msg"].as_str()?.starts_with("listening") && line["listener"] == listener;
    is_it.then(|| line["address"].as_str().map(str::to_owned))?
}

fn by_address(peers: &[PeerResult]) -> BTreeMap<String, String> {
    peers.iter().map(|peer| (peer.address.clone(), peer.result.clone())).collect()
}

/// Pushes so many times to an eight-replica fleet with one black hole in it, ringing each in turn.
async fn measure(fleet: &Fleet, pushes: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for number in 0..pushes {
        took.push(fleet.push(number % 8, SECRET).await.2);
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "from the webhook's delivery to the last of 8 replicas, {pushes} pushes: p50 {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        at(100)
    );
    took
}

#[tokio::test]
async fn one_webhook_reaches_all_eight_replicas_past_a_black_hole() {
    let mut fleet = Fleet::start(8, 1, |_| vec![SECRET]).await;
    // Takes connections and never says a word.
    let _black_hole = TcpListener::bind(fleet.address(9)).unwrap();
    assert!(measure(&fleet, 4).await.iter().all(|took| *took < GENEROUS));

    let (commit, delivery, took) = fleet.push(0, SECRET).await;
    assert!(took < GENEROUS, "{took:?}");
    let rung = fleet.replicas[0].wait_record(|record| record.new.as_deref() == Some(&commit)).await;
    assert_eq!((rung.trigger.kind, rung.outcome), (TriggerKind::Webhook, Outcome::Published));
    // The record is there before the black hole is given up, and grows when it is.
    let full = |record: &Record| record.id == rung.id && record.peers.len() == 8;
    let record = fleet.replicas[0].wait_record(full).await;
    let results = by_address(&record.peers);
    assert_eq!(results[&fleet.address(9).to_string()], "timed_out");
    for number in 2..=8 {
        assert_eq!(results[&fleet.address(number).to_string()], "told");
    }
    assert!(!results.contains_key(&fleet.address(1).to_string()), "own address");
    let snapshot = fleet.replicas[0].get("admin", "/api/v1/snapshot").await;
    assert!(snapshot.contains("timed_out"), "the snapshot tells it as well");

    for replica in &fleet.replicas[1..] {
        let record = replica.wait_record(|record| record.new.as_deref() == Some(&commit)).await;
        assert_eq!((record.trigger.kind, record.outcome), (TriggerKind::Peer, Outcome::Published));
        assert_eq!(record.trigger.delivery.as_deref(), Some(delivery.as_str()));
        assert!(!record.missed_webhook && record.peers.is_empty());
        assert!(record.received_to_published_ms.is_some());
    }
    // Nobody passed on what a peer said: each told seven others, and only when a webhook rang it.
    for (number, replica) in fleet.replicas.iter().enumerate() {
        let webhooks = replica.history().await.iter().filter(|r| r.trigger.kind == TriggerKind::Webhook).count();
        assert_eq!(webhooks, if number == 0 { 2 } else { usize::from(number < 4) }, "{number}");
        let end = Instant::now() + PATIENCE;
        while replica.messages("told").await < 7 * webhooks as u64 {
            assert!(Instant::now() < end, "{number}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(replica.messages("told").await, 7 * webhooks as u64, "{number}");
    }

    // What grew is on disk: a restart tells the same.
    let first = &mut fleet.replicas[0];
    first.sidecar.kill();
    let file = std::fs::read_to_string(first.root.join(".pushsync/history.jsonl")).unwrap();
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.iter().rfind(|line| line["id"] == record.id).unwrap();
    assert_eq!(last["peers"].as_array().unwrap().len(), 8);
    assert_eq!(last["detail"]["files_total"], 1, "the detail is kept");
}

#[tokio::test]
#[ignore = "a measurement: fifty pushes"]
async fn fifty_pushes_to_eight_replicas() {
    let fleet = Fleet::start(8, 1, |_| vec![SECRET]).await;
    let _black_hole = TcpListener::bind(fleet.address(9)).unwrap();
    assert!(measure(&fleet, 50).await.iter().all(|took| *took < GENEROUS));
}

#[tokio::test]
async fn dead_closed_and_lying_peers_delay_nobody() {
    let fleet = Fleet::start(2, 3, |_| vec![SECRET]).await;
    let _black_hole = TcpListener::bind(fleet.address(3)).unwrap();
    // Nobody listens at the fourth address. The fifth says what it likes.
    let liar = tokio::net::TcpListener::bind(fleet.address(5)).await.unwrap();
    let lying = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            let (mut stream, _) = liar.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome").await;
        }
    });
    let (commit, _, took) = fleet.push(0, SECRET).await;
    println!("past a black hole, a closed port and a liar: {took:?}");
    let record = fleet.replicas[0].wait_record(|r| r.new.as_deref() == Some(&commit) && r.peers.len() == 4).await;
    let results = by_address(&record.peers);
    let of = |number| results[&fleet.address(number).to_string()].as_str();
    assert_eq!((of(2), of(3), of(4), of(5)), ("told", "timed_out", "unreachable", "bad_answer"));
    // The sync itself took none of the seconds that they were waited for.
    let own = record.received_to_published_ms.expect("rung");
    assert!(u128::from(own) <= took.as_millis(), "{own} ms");
    let ended = record.finished_at.duration_since(record.started_at);
    assert!(ended.as_millis() <= i128::try_from(GENEROUS.as_millis()).unwrap());
    lying.abort();
}

#[tokio::test]
async fn a_rotation_of_the_secret_loses_nobody() {
    // The first has the new secret already, the second both in order, the third has not seen the new one yet.
    let secrets = |number| match number {
        1 | 2 => vec![SECRET, OLD_SECRET],
        _ => vec![OLD_SECRET],
    };
    let fleet = Fleet::start(3, 0, secrets).await;
    let words = async |commit: &str, at: usize| {
        let record = fleet.replicas[at].wait_record(|record| record.new.as_deref() == Some(commit)).await;
        (record.trigger.kind, record.trigger.secret.unwrap_or_default())
    };
    // The forge still signs with the old one, at a replica that has the new one.
    let (commit, ..) = fleet.push(0, OLD_SECRET).await;
    assert_eq!(words(&commit, 0).await, (TriggerKind::Webhook, "previous".into()));
    assert_eq!(words(&commit, 1).await, (TriggerKind::Peer, "current".into()));
    assert_eq!(words(&commit, 2).await, (TriggerKind::Peer, "current".into()));
    // At a replica that has only the old one.
    let (commit, ..) = fleet.push(2, OLD_SECRET).await;
    assert_eq!(words(&commit, 0).await, (TriggerKind::Peer, "previous".into()));
    // The forge has the new one.
    let (commit, ..) = fleet.push(1, SECRET).await;
    assert_eq!(words(&commit, 1).await, (TriggerKind::Webhook, "current".into()));
    assert_eq!(words(&commit, 2).await, (TriggerKind::Peer, "current".into()));
}

#[tokio::test]
async fn an_announced_commit_that_is_late_is_waited_for_by_every_replica() {
    let fleet = Fleet::start(3, 0, |_| vec![SECRET]).await;
    let before = fleet.repo.head();
    fleet.remote.hold();
    let looks = fleet.remote.requests();
    let after = fleet.repo.push_file("late", "1", "late");
    assert_eq!(fleet.ring(0, &before, &after, SECRET).await.0.status, 202);
    // A look is one request here. All of these see the old commit, and at most three are first looks.
    eventually(PATIENCE, || fleet.remote.requests() >= looks + 12).await;
    fleet.remote.release();
    fleet.wait_published(&after).await;
    let mut chased = 0;
    for (number, replica) in fleet.replicas.iter().enumerate() {
        let published = |record: &Record| record.new.as_deref() == Some(&after) && record.outcome == Outcome::Published;
        let record = replica.wait_record(published).await;
        assert_eq!(record.trigger.kind, if number == 0 { TriggerKind::Webhook } else { TriggerKind::Peer });
        chased += record.chased;
    }
    assert!(chased >= 9, "{chased} extra looks");
}

#[tokio::test]
async fn a_stop_waits_for_the_peers_to_be_told() {
    let mut fleet = Fleet::start(3, 0, |_| vec![SECRET]).await;
    let before = fleet.repo.head();
    let after = fleet.repo.push_file("page", "last", "the last push before a rollout");
    assert_eq!(fleet.ring(0, &before, &after, SECRET).await.0.status, 202);
    let mut stopped = fleet.replicas.remove(0);
    stopped.sidecar.terminate();
    let status = stopped.sidecar.exited(PATIENCE).await;
    assert_eq!(status.code(), Some(143));
    fleet.wait_published(&after).await;
}
