//! Calls to a disk that never return: a tracer holds the threads that make them, and everything that does not need that disk
//! goes on. `FREEZE_SECONDS` makes each freeze last longer, for figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pushsync::api::{Outcome, Record, Snapshot, TriggerKind};
use pushsync::secret::Secret;
use pushsync::signature::sign;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::site::{SECRET, Site, client, published};
use crate::support::delivery::Delivery;
use crate::support::tracer::{Plan, Traced, permitted};
use crate::support::{PATIENCE, eventually, skip};

fn figures() -> Option<u64> {
    std::env::var("FREEZE_SECONDS").ok()?.parse().ok()
}

fn freeze_lasts() -> Duration {
    Duration::from_secs(figures().unwrap_or(3))
}

/// The longest that a probe may take: a second where figures are asked for, on a quiet machine. Beside other tests an answer
/// may be late, and a freeze has no end.
fn prompt() -> Duration {
    Duration::from_secs(if figures().is_some() { 1 } else { 8 })
}

/// A running program whose calls can be held.
pub(super) struct Frozen {
    pub(super) site: Site,
    pub(super) program: Traced,
}

/// `None`, loudly, where programs may not be traced.
pub(super) async fn start(prepare: impl FnOnce(&mut Site)) -> Option<Frozen> {
    if let Err(why) = permitted() {
        skip(&why);
        return None;
    }
    let mut site = Site::new();
    // A push that had to wait for its turn would tell nothing of the disk.
    site.set("hook-rate", "0");
    prepare(&mut site);
    let program = Traced::start(plan(&site));
    eventually(PATIENCE, || site.listens("admin").is_some()).await;
    Some(Frozen { site, program })
}

fn plan(site: &Site) -> Plan {
    Plan {
        program: env!("CARGO_BIN_EXE_pushsync").into(),
        arguments: site.arguments().into_iter().map(Into::into).collect(),
        log: site.path("log"),
        under: site.folder.path().canonicalize().unwrap().join("root"),
        kill_before: None,
        armed: false,
    }
}

impl Frozen {
    pub(super) async fn in_sync(&self) {
        let head = self.site.repo.head();
        self.site.wait_published(&head).await;
        self.site.wait_record(|record| record.new.as_deref() == Some(&head)).await;
        eventually(PATIENCE, || self.on_disk().iter().any(|record| record.new.as_deref() == Some(&head))).await;
    }

    fn history_file(&self) -> PathBuf {
        self.site.root().join(".pushsync/history.jsonl")
    }

    /// The records in the file, oldest first.
    pub(super) fn on_disk(&self) -> Vec<Record> {
        let text = fs::read_to_string(self.history_file()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Pushes and rings; returns the commit, and how long it took from the delivery to the link.
    pub(super) async fn push(&self, contents: &str) -> (String, Duration) {
        let before = self.site.repo.head();
        let commit = self.site.repo.push_file("page", contents, contents);
        let started = Instant::now();
        let answer = self.site.ring(&before, &commit).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(answer.took < prompt(), "{answer:?}");
        while published(&self.site.link()).as_deref() != Some(commit.as_str()) {
            assert!(started.elapsed() < PATIENCE, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (commit, started.elapsed())
    }

    /// Waits until the state is as it should be.
    pub(super) async fn snapshot_when(&self, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let end = Instant::now() + PATIENCE;
        loop {
            let snapshot = self.site.snapshot().await;
            if holds(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < end, "{snapshot:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the program as the kubelet does.
    pub(super) fn terminate(self) {
        let stopping = Instant::now();
        self.program.signal(Signal::SIGTERM);
        let log = self.log();
        let report = self.program.wait(Duration::from_secs(2)).unwrap_or_else(|_| panic!("it hangs\n{log}"));
        println!("ended {:?} after SIGTERM", stopping.elapsed());
        assert_eq!(report.code, Some(143), "{log}");
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.site.path("log")).unwrap_or_default()
    }
}

/// Asks every probe again and again, until it is stopped.
struct Probes {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(usize, Duration)>,
}

impl Probes {
    fn start(site: &Site) -> Self {
        let base = format!("http://{}", site.listens("http").expect("it listens"));
        let admin = format!("http://{}", site.listens("admin").expect("it listens"));
        let paths = ["/", "/livez", "/readyz", "/startupz", "/metrics"].map(|path| format!("{base}{path}"));
        let calls = ["/healthz", "/api/v1/snapshot", "/api/v1/history?limit=1000"].map(|path| format!("{admin}{path}"));
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let task = tokio::spawn(async move {
            let (mut asked, mut slowest) = (0, Duration::ZERO);
            while !until.load(Ordering::SeqCst) {
                for url in paths.iter().chain(&calls) {
                    let started = Instant::now();
                    let answer = tokio::time::timeout(prompt(), client().get(url).send()).await;
                    let status = answer.unwrap_or_else(|_| panic!("{url} takes too long")).unwrap().status();
                    assert_eq!(status.as_u16(), 200, "{url}");
                    (asked, slowest) = (asked + 1, slowest.max(started.elapsed()));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (asked, slowest)
        });
        Self { stop, task }
    }

    async fn stop(self, what: &str) {
        self.stop.store(true, Ordering::SeqCst);
        let (asked, slowest) = self.task.await.expect("every probe is answered");
        println!("{what}: {asked} probes and reads, the slowest took {slowest:?}");
        assert!(asked >= 8);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

pub(super) fn sync_of_history(name: &str, path: &Path) -> bool {
    ["fsync", "fdatasync"].contains(&name) && path.ends_with("history.jsonl")
}

/// Pushes for as long as the freeze lasts, at least five times.
async fn push_meanwhile(frozen: &Frozen, what: &str) -> Vec<(String, Duration)> {
    let end = Instant::now() + freeze_lasts();
    let mut pushed = Vec::new();
    while pushed.len() < 5 || Instant::now() < end {
        pushed.push(frozen.push(&format!("{what} {}", pushed.len())).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    pushed
}

async fn while_the_history_hangs(name: &'static str, hangs: fn(&str, &Path) -> bool) {
    let Some(frozen) = start(|_| {}).await else { return };
    frozen.in_sync().await;
    let probes = Probes::start(&frozen.site);
    let mut before = Vec::new();
    for number in 0..5 {
        before.push(frozen.push(&format!("before {number}")).await.1);
    }
    let old = frozen.site.wait_record(|record| record.outcome == Outcome::Published).await;
    eventually(PATIENCE, || frozen.on_disk().len() == 6).await;

    frozen.program.hang(hangs);
    let pushed = push_meanwhile(&frozen, "during").await;
    assert!(frozen.program.hanging() > 0, "nothing hangs");
    let during = median(pushed.iter().map(|(_, took)| *took).collect());
    let before = median(before);
    println!("{name} hangs: {} pushes, live after {during:?} (median), before it hung after {before:?}", pushed.len());
    // A machine that is busy with other tests; a wait for the disk would be ten seconds, or have no end.
    assert!(during < before * 2 + Duration::from_secs(1), "{during:?}, {before:?} before");

    // Each of them is shown, and the state says that they wait.
    let (last, _) = pushed.last().unwrap();
    frozen.site.wait_record(|record| record.new.as_deref() == Some(last)).await;
    let listed = frozen.site.history().await;
    assert!(pushed.iter().all(|(commit, _)| listed.iter().any(|record| record.new.as_ref() == Some(commit))));
    assert_eq!(frozen.site.snapshot().await.published.unwrap().commit, *last);
    let waiting = frozen.snapshot_when(|snapshot| snapshot.history.waiting == pushed.len() as u64).await.history;
    assert!(waiting.since.is_some() && waiting.dropped == 0, "{waiting:?}");
    assert!(frozen.log().contains("records wait in memory"), "{}", frozen.log());
    let (_, metrics) = frozen.site.probe("/metrics").await;
    assert!(metrics.contains(&format!("pushsync_history_waiting {}\n", pushed.len())), "{metrics}");
    // What is on the disk can be read, and what waits is in memory.
    for id in [&old.id, &listed[0].id] {
        assert!(!frozen.site.detail(id).await.detail.log.is_empty(), "{id}");
    }
    // A decision is written to another file of the same folder.
    let (status, answer) = frozen.site.post("pause", &json!({ "minutes": 5 })).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(frozen.site.post("resume", &json!({})).await.0, 202);
    probes.stop(name).await;

    frozen.program.release();
    let all = frozen.site.history().await;
    eventually(PATIENCE, || frozen.on_disk().len() >= all.len()).await;
    let in_order: Vec<String> = frozen.on_disk().into_iter().map(|record| record.id).collect();
    let shown: Vec<String> = frozen.site.history().await.into_iter().rev().map(|record| record.id).collect();
    assert_eq!(in_order, shown, "in order, each once");
    frozen.snapshot_when(|snapshot| snapshot.history.is_settled()).await;

    frozen.program.hang(hangs);
    frozen.push("at the end").await;
    eventually(PATIENCE, || frozen.program.hanging() > 0).await;
    frozen.terminate();
}

#[tokio::test]
async fn pushes_go_live_and_probes_are_answered_while_the_history_is_never_synced() {
    while_the_history_hangs("fsync and fdatasync", sync_of_history).await;
}

#[tokio::test]
async fn pushes_go_live_and_probes_are_answered_while_the_history_is_never_written() {
    let hangs: fn(&str, &Path) -> bool = |name, path| name == "write" && path.ends_with("history.jsonl");
    while_the_history_hangs("write", hangs).await;
}

#[tokio::test]
async fn details_that_cannot_be_read_are_refused_in_time_and_hold_nothing_up() {
    let Some(frozen) = start(|_| {}).await else { return };
    frozen.in_sync().await;
    let record = frozen.site.history().await.remove(0);
    frozen.program.hang(|name, path| name == "pread64" && path.ends_with("history.jsonl"));
    let probes = Probes::start(&frozen.site);
    let url = format!("http://{}/api/v1/syncs/{}", frozen.site.listens("admin").unwrap(), record.id);
    let started = Instant::now();
    let asked = (0..4).map(|_| async { client().get(&url).send().await.unwrap() });
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status().as_u16(), 503);
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(answer["code"], "history_busy", "{answer}");
    }
    assert!(started.elapsed() < Duration::from_secs(2) + prompt(), "{:?}", started.elapsed());
    frozen.push("meanwhile").await;
    probes.stop("details").await;
    frozen.terminate();
}

#[tokio::test]
async fn a_history_that_cannot_be_opened_at_the_start_is_taken_in_when_it_can() {
    let Some(frozen) = start(|_| {}).await else { return };
    frozen.in_sync().await;
    frozen.push("by the first process").await;
    eventually(PATIENCE, || frozen.on_disk().len() == 2).await;
    let Frozen { site, program } = frozen;
    drop(program);
    fs::remove_file(site.path("log")).unwrap();

    let hangs = |name: &str, path: &Path| name == "openat" && path.ends_with("history.jsonl");
    let program = Traced::start_hanging(plan(&site), hangs);
    eventually(PATIENCE, || site.listens("admin").is_some()).await;
    let frozen = Frozen { site, program };
    eventually(PATIENCE, || frozen.program.hanging() > 0).await;
    // Its start is a record of its own then. A push that comes during the first look would be a part of it.
    frozen.site.wait_record(|record| record.trigger.kind == TriggerKind::Startup).await;
    let probes = Probes::start(&frozen.site);
    let (third, _) = frozen.push("while it hangs").await;
    frozen.site.wait_record(|record| record.new.as_ref() == Some(&third)).await;
    probes.stop("openat").await;
    frozen.program.release();
    let is_all = |records: &[Record]| {
        let ids: Vec<u32> = records.iter().rev().map(|record| record.id.parse().unwrap()).collect();
        ids == [1, 2, 3, 4] && records[0].new.as_ref() == Some(&third)
    };
    frozen.snapshot_when(|snapshot| is_all(&snapshot.recent) && snapshot.history.is_settled()).await;
    assert!(is_all(&frozen.site.history().await));
    assert_eq!(frozen.on_disk().len(), 4);
    frozen.terminate();
}

/// Delivers a ping, signed with this secret.
async fn ping(site: &Site, secret: &[u8]) -> u16 {
    let answer = Delivery::ping().send(&site.hook(), secret).await;
    assert!(answer.took < prompt(), "{answer:?}");
    answer.status
}

#[tokio::test]
async fn the_last_good_secret_stays_in_use_while_its_file_hangs() {
    const NEXT: &[u8] = b"the next secret of the tests, long enough";
    for call in ["statx", "openat", "read"] {
        let Some(frozen) = start(|_| {}).await else { return };
        frozen.in_sync().await;
        let secret = frozen.site.path("secret").canonicalize().unwrap();
        let is_secret = secret.clone();
        // So that there is something to read.
        fs::write(&secret, [SECRET, b"\n"].concat()).unwrap();
        frozen.program.hang(move |name, path| name == call && path == is_secret);
        let probes = Probes::start(&frozen.site);
        // What is known of the file counts for a second.
        let end = Instant::now() + freeze_lasts();
        while Instant::now() < end || frozen.program.hanging() == 0 {
            assert_eq!(ping(&frozen.site, SECRET).await, 200);
            assert_eq!(ping(&frozen.site, b"a secret of somebody else's").await, 401);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (_, took) = frozen.push("while the secret hangs").await;
        println!("{call} of the secret hangs: live after {took:?}");
        probes.stop(call).await;

        frozen.program.release();
        fs::write(&secret, NEXT).unwrap();
        let end = Instant::now() + PATIENCE;
        while ping(&frozen.site, NEXT).await != 200 {
            assert!(Instant::now() < end, "the next secret is not taken up\n{}", frozen.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        frozen.terminate();
    }
}

#[tokio::test]
async fn what_does_not_need_the_volume_goes_on_while_every_call_to_it_hangs() {
    let Some(frozen) = start(|site| {
        site.set("period", "500ms").set("touch-file", "touched").set("error-file", "errors.json");
    })
    .await
    else {
        return;
    };
    frozen.in_sync().await;
    let root = frozen.site.root().canonicalize().unwrap();
    let (first, second) = (frozen.site.repo.head(), frozen.site.repo.push_file("page", "during", "during"));
    frozen.program.hang(move |_, path| path.starts_with(&root));
    let probes = Probes::start(&frozen.site);
    eventually(PATIENCE, || frozen.program.hanging() > 0).await;
    let end = Instant::now() + freeze_lasts();
    while Instant::now() < end {
        let answer = frozen.site.ring(&first, &second).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(answer.took < prompt(), "{answer:?}");
        assert_eq!(ping(&frozen.site, b"a secret of somebody else's").await, 401);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(frozen.site.post("sync", &json!({})).await.0, 202);
    // A decision that a restart would forget is refused, in its time.
    let asked = Instant::now();
    let (status, answer) = frozen.site.post("pause", &json!({ "minutes": 5 })).await;
    assert!(status == 409 || status == 503, "{status}: {answer}");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert_eq!(frozen.site.published(), Some(first));
    probes.stop("the volume").await;
    frozen.terminate();
}

/// Leaves nothing behind if the test fails.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_log_that_nothing_reads_stops_nothing_and_says_what_it_dropped() {
    use std::io::Read as _;
    let mut site = Site::new();
    let (reading, writing) = std::io::pipe().unwrap();
    // The addresses are in the log, which nothing reads: they are chosen here, on an address of this process's own, so that
    // no other test gets one of them meanwhile.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = std::net::Ipv4Addr::new(127, 128 | high, middle, low);
    let ports: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind((ip, 0)).unwrap()).collect();
    let addresses: Vec<String> = ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
    for (flag, address) in ["hook-bind", "http-bind", "admin-bind"].iter().zip(&addresses) {
        site.set(flag, address);
    }
    drop(ports);
    let lines: String = ["hook", "http", "admin"]
        .iter()
        .zip(&addresses)
        .map(|(listener, address)| {
            json!({ "msg": "listening", "listener": listener, "address": address }).to_string() + "\n"
        })
        .collect();
    fs::write(site.path("log"), lines).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.args(site.arguments()).stdin(std::process::Stdio::null()).stderr(writing);
    let mut child = Killed(command.spawn().unwrap());
    drop(command);
    let head = site.repo.head();
    site.wait_published(&head).await;
    // Until it must have dropped some: a quarter of a mebibyte is kept besides what the pipe takes, and each of these
    // deliveries is a line with a long reason.
    let probes = Probes::start(&site);
    let url = format!("https://example.test/{}.git", "x".repeat(2_000));
    let delivery = Delivery::push(&url, "refs/heads/main", &head, &head);
    let signature = sign(&Secret::new(SECRET), &delivery.body);
    let sender = client();
    let mut delivered = 0;
    while delivered < 1_500 {
        let sent = (0..50).map(|_| {
            let request = sender.post(site.hook()).header("x-hub-signature-256", &signature);
            let request = request.header("x-github-event", "push").header("x-github-delivery", &delivery.id);
            request.header("content-type", "application/json").body(delivery.body.clone()).send()
        });
        for answer in futures_util::future::join_all(sent).await {
            assert_eq!(answer.unwrap().status().as_u16(), 200);
            delivered += 1;
        }
    }
    let before = head;
    let after = site.repo.push_file("page", "unread", "unread");
    assert_eq!(site.ring(&before, &after).await.status, 202);
    site.wait_published(&after).await;
    probes.stop("the log is not read").await;

    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = { reading }.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let stopping = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(stopping.elapsed() <= Duration::from_secs(2), "it hangs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(status.code(), Some(143));
    let log = reader.join().unwrap();
    let dropped = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|line| line["dropped"].as_u64());
    assert!(dropped.is_some_and(|dropped| dropped > 0), "{}", log.lines().last().unwrap_or_default());
    println!("{dropped:?} lines were dropped, {} are there", log.lines().count());
}
