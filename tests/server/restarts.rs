//! The real program told to end while deliveries come in: what has connected is answered, and with `--drain` none is lost.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pushsync::secret::Secret;
use pushsync::signature::sign;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::support::delivery::Delivery;
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

pub const SECRET: &str = "a secret of the restarts";

/// One repository, its server, and any number of pods that follow it.
pub struct Place {
    pub repo: Repo,
    remote: GitHttp,
    pub folder: TempDir,
}

pub struct Pod {
    pub sidecar: Sidecar,
    pub hook: SocketAddr,
    root: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let repo = Repo::new();
        let remote = GitHttp::start(&repo.root());
        Self { repo, remote, folder: tempfile::tempdir().unwrap() }
    }

    pub fn url(&self) -> String {
        self.remote.url(&self.repo.bare().file_name().unwrap().to_string_lossy())
    }

    /// Starts a pod on a volume of its own and waits until it is published and listens.
    pub async fn start(&self, name: &str, more: &[String]) -> Pod {
        let root = self.folder.path().join(name);
        let secret = self.folder.path().join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        let mut arguments = vec![
            format!("--repo={}", self.url()),
            "--ref=main".into(),
            format!("--root={}", root.display()),
            "--link=current".into(),
            "--period=1h".into(),
            "--hook-bind=127.0.0.1:0".into(),
            "--admin-bind=off".into(),
            "--log-format=json".into(),
        ];
        arguments.extend(more.iter().cloned());
        if !more.iter().any(|argument| argument.starts_with("--hook-secret-file")) {
            arguments.push(format!("--hook-secret-file={}", secret.display()));
        }
        let mut sidecar = Sidecar::start(&arguments);
        let line = sidecar.wait_for_text(PATIENCE, "\"listener\":\"hook\"").await;
        let line: Value = serde_json::from_str(&line).unwrap();
        let hook = line["address"].as_str().unwrap().parse().unwrap();
        let pod = Pod { sidecar, hook, root };
        let link = pod.root.join("current");
        eventually(PATIENCE, || std::fs::read_link(&link).is_ok()).await;
        pod
    }

    fn push(&self) -> Vec<u8> {
        let delivery = Delivery::push(&self.url(), "refs/heads/main", &self.repo.head(), &self.repo.head());
        request(&delivery)
    }
}

impl Pod {
    pub fn has(&self, commit: &str) -> bool {
        std::fs::read_link(self.root.join("current")).is_ok_and(|target| target.ends_with(commit))
    }
}

fn request(delivery: &Delivery) -> Vec<u8> {
    let signature = sign(&Secret::new(SECRET), &delivery.body);
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: hooks.test\r\nContent-Type: application/json\r\nX-GitHub-Event: {}\r\n\
         X-GitHub-Delivery: {}\r\nX-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n",
        delivery.event,
        delivery.id,
        delivery.body.len()
    );
    [head.as_bytes(), &delivery.body].concat()
}

/// The status of the answer; an error is a delivery that the forge would show as failed.
async fn status(stream: &mut TcpStream) -> Result<u16, String> {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.map_err(|_| "no answer".to_owned())?;
    read.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| format!("no answer: {text:?}"))
}

async fn deliver(to: SocketAddr, bytes: &[u8]) -> Result<u16, String> {
    let mut stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
    stream.write_all(bytes).await.map_err(|error| error.to_string())?;
    status(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_backlog_at_sigterm_is_answered() {
    const WAITING: usize = 60;
    let place = Place::new();
    let mut pod = place.start("pod", &["--hook-rate=0".into()]).await;
    let bytes = place.push();
    for round in 0..3 {
        if round > 0 {
            pod = place.start(&format!("pod-{round}"), &["--hook-rate=0".into()]).await;
        }
        // As on a loaded node: connections are made by the kernel while the process does not get to run.
        pod.sidecar.signal(Signal::STOP);
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            let mut stream = TcpStream::connect(pod.hook).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            waiting.push(stream);
        }
        pod.sidecar.terminate();
        let started = Instant::now();
        pod.sidecar.signal(Signal::CONT);
        for (number, stream) in waiting.iter_mut().enumerate() {
            assert_eq!(status(stream).await, Ok(202), "delivery {number} of round {round}");
        }
        assert_eq!(pod.sidecar.exited(PATIENCE).await.code(), Some(143));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

/// Routes deliveries as a Service does whose proxies hear of a pod's end only after a while.
#[derive(Default)]
struct Service {
    pods: std::sync::Mutex<Vec<SocketAddr>>,
    stop: AtomicBool,
    sent: AtomicUsize,
    lost: std::sync::Mutex<Vec<String>>,
}

impl Service {
    async fn deliver_until_stopped(self: Arc<Self>, bytes: Arc<Vec<u8>>) {
        while !self.stop.load(Ordering::SeqCst) {
            let pods = self.pods.lock().unwrap().clone();
            let to = pods[self.sent.fetch_add(1, Ordering::SeqCst) % pods.len()];
            match deliver(to, &bytes).await {
                Ok(202) => {}
                other => self.lost.lock().unwrap().push(format!("{to}: {other:?}")),
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Replaces each of two pods once under a stream of deliveries. A proxy goes on sending to a pod for `lag` after its SIGTERM.
/// Returns how many were sent, which were lost, and how long each pod took to end.
async fn rolling_restart(drain: &str, lag: Duration) -> (usize, Vec<String>, Vec<Duration>) {
    let place = Place::new();
    let arguments = ["--hook-rate=0".to_owned(), format!("--drain={drain}")];
    let mut pods = vec![place.start("a", &arguments).await, place.start("b", &arguments).await];
    let service = Arc::new(Service::default());
    *service.pods.lock().unwrap() = pods.iter().map(|pod| pod.hook).collect();
    let bytes = Arc::new(place.push());
    let senders: Vec<_> =
        (0..4).map(|_| tokio::spawn(Arc::clone(&service).deliver_until_stopped(Arc::clone(&bytes)))).collect();
    eventually(PATIENCE, || service.sent.load(Ordering::SeqCst) >= 20).await;
    let mut ended = Vec::new();
    for number in 0..2 {
        // maxSurge 1, maxUnavailable 0: the new pod is ready before the old one is told to end.
        let new = place.start(&format!("new-{number}"), &arguments).await;
        service.pods.lock().unwrap().push(new.hook);
        let mut old = pods.remove(0);
        let told = Instant::now();
        old.sidecar.terminate();
        let (hook, routed) = (old.hook, Arc::clone(&service));
        let forget = tokio::spawn(async move {
            sleep(lag).await;
            routed.pods.lock().unwrap().retain(|pod| *pod != hook);
        });
        assert_eq!(old.sidecar.exited(PATIENCE).await.code(), Some(143));
        ended.push(told.elapsed());
        forget.await.unwrap();
        pods.push(new);
    }
    service.stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    let lost = service.lost.lock().unwrap().clone();
    (service.sent.load(Ordering::SeqCst), lost, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_with_a_drain_loses_no_delivery() {
    let lag = Duration::from_millis(1500);
    let (sent, lost, ended) = rolling_restart("3s", lag).await;
    println!("{sent} deliveries during a rolling restart with --drain=3s, {} lost, ended after {ended:?}", lost.len());
    assert!(lost.is_empty(), "{} of {sent} lost: {:?}", lost.len(), &lost[..lost.len().min(5)]);
    assert!(sent > 300, "{sent} deliveries");
    assert!(ended.iter().all(|took| (Duration::from_secs(3)..Duration::from_secs(12)).contains(took)), "{ended:?}");
    // The same without a drain shows that this test can fail.
    let (sent, lost, _) = rolling_restart("0", lag).await;
    println!("{sent} deliveries during a rolling restart without a drain, {} lost", lost.len());
    assert!(!lost.is_empty(), "none of {sent} lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_during_the_drain_is_published_and_a_second_signal_ends_it() {
    let place = Place::new();
    let mut pod = place.start("pod", &["--drain=60s".into()]).await;
    pod.sidecar.terminate();
    pod.sidecar.wait_for_text(PATIENCE, "--drain").await;
    let before = place.repo.head();
    let after = place.repo.push_file("page", "new", "during the drain");
    let push = Delivery::push(&place.url(), "refs/heads/main", &before, &after);
    assert_eq!(deliver(pod.hook, &request(&push)).await, Ok(202));
    eventually(PATIENCE, || pod.has(&after)).await;
    let started = Instant::now();
    pod.sidecar.terminate();
    assert_eq!(pod.sidecar.exited(PATIENCE).await.code(), Some(143));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
