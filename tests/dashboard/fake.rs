//! A sidecar's admin API without a sidecar: serves the wire types, does what a test says, can be killed and restarted.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use pushsync::api::{
    Accepted, CommitHow, CommitStatus, Commits, Detail, Event, Files, Head, HistoryPage, Outcome, Phase, Phases,
    Published, Record, Refusal, Running, SCHEMA, Snapshot, State, SyncDetail, TriggerKind,
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

use super::sample;

/// What a test may look at and change while it serves.
pub struct Inner {
    pub snapshot: Snapshot,
    /// Newest first.
    pub records: Vec<(Record, Detail)>,
    /// `None`: it is half-open, as after a laptop's sleep: the connection stands and nothing comes.
    pub heartbeat: Option<Duration>,
    pub token: Option<String>,
    /// Paths of the changes that were asked for, with their bodies.
    pub changes: Vec<(String, String)>,
    pub pages: usize,
    pub streams: usize,
    /// It is a sidecar of an older release, which cannot say where a commit is.
    pub old: bool,
    /// What the next reader of the snapshot gets instead of the state of now: it was read before what happened since.
    pub stale: Option<Snapshot>,
    events: broadcast::Sender<(u64, Event)>,
}

type Shared = Arc<Mutex<Inner>>;

/// One fake replica.
pub struct Fake {
    pub address: SocketAddr,
    inner: Shared,
    runtime: Option<Runtime>,
}

impl Fake {
    pub fn start(ip: IpAddr, name: &str) -> Self {
        Self::start_at(SocketAddr::new(ip, 0), name)
    }

    pub fn start_at(address: SocketAddr, name: &str) -> Self {
        let now = Timestamp::now();
        let mut snapshot = sample::snapshot(name, "41d07be", Vec::new());
        snapshot.now = now;
        snapshot.published = None;
        snapshot.head = None;
        snapshot.state = State::Starting;
        snapshot.webhook.last_delivery_at = None;
        snapshot.poll.last_at = Some(now);
        snapshot.poll.next_at = Some(now + SignedDuration::from_secs(60));
        let inner = Inner {
            snapshot,
            records: Vec::new(),
            heartbeat: Some(Duration::from_secs(10)),
            token: None,
            changes: Vec::new(),
            pages: 0,
            streams: 0,
            old: false,
            stale: None,
            events: broadcast::Sender::new(256),
        };
        let mut fake = Self { address, inner: Arc::new(Mutex::new(inner)), runtime: None };
        fake.serve();
        fake
    }

    pub fn local(name: &str) -> Self {
        Self::start(IpAddr::from([127, 0, 0, 1]), name)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves again at the address it had.
    pub fn serve(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(async {
            // The port may still be in the hands of the connections that were just cut.
            for _ in 0..100 {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
            panic!("{} stays taken", self.address);
        });
        self.address = listener.local_addr().unwrap();
        let app = router(self.inner.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        self.runtime = Some(runtime);
    }

    /// Gone at once, with everything that was connected.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// A push arrives and is published, with all its events.
    pub fn publish(&self, commit: &str, subject: &str) {
        let mut inner = self.inner();
        let id = inner.next_id();
        inner.running(&id, Phase::Fetch);
        inner.published(&id, commit, subject);
    }

    /// Fills the history without telling anybody.
    pub fn fill(&self, count: u32) {
        let mut inner = self.inner();
        let now = Timestamp::now();
        for index in 1..=count {
            let new = format!("{:07x}", index.wrapping_mul(2_654_435_761) >> 4);
            let mut record = sample::record(index, 0, "41d07be", &new, &format!("Change number {index}"));
            record.finished_at = now - SignedDuration::from_secs(i64::from((count - index) * 60 + 5));
            record.started_at = record.finished_at - SignedDuration::from_millis(1200);
            record.phases.build_ms = Some(280);
            record.received_to_published_ms = Some(u64::from(900 + index % 17 * 130));
            inner.records.insert(0, (record, Detail::default()));
        }
        let newest = inner.records.first().map(|(record, _)| record.clone());
        if let Some(record) = newest {
            inner.adopt(&record);
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Inner {
    pub fn next_id(&self) -> String {
        let last: u32 = self.records.first().and_then(|(record, _)| record.id.parse().ok()).unwrap_or(400);
        (last + 1).to_string()
    }

    pub fn send(&mut self, event: impl FnOnce(&Snapshot) -> Event) {
        self.snapshot.seq += 1;
        self.snapshot.now = Timestamp::now();
        let event = event(&self.snapshot);
        let _ = self.events.send((self.snapshot.seq, event));
    }

    pub fn running(&mut self, id: &str, phase: Phase) {
        let running = Running { id: id.to_owned(), trigger: TriggerKind::Webhook, phase, started_at: Timestamp::now() };
        self.snapshot.running = Some(running.clone());
        if self.snapshot.published.is_some() {
            self.snapshot.state = State::Syncing;
        }
        self.send(|_| Event::SyncStarted(running));
    }

    fn adopt(&mut self, record: &Record) {
        let commit = record.new.clone().unwrap();
        let told = record.commits.clone().unwrap();
        self.snapshot.published = Some(Published {
            commit: commit.clone(),
            subject: told.subject,
            author: told.author,
            committed_at: Some(record.started_at),
            published_at: Some(record.finished_at),
        });
        self.snapshot.head = Some(Head { commit, seen_at: record.started_at });
        self.snapshot.state = State::InSync;
        self.snapshot.running = None;
        self.snapshot.failures_in_row = 0;
        self.snapshot.last_error = None;
    }

    pub fn published(&mut self, id: &str, commit: &str, subject: &str) {
        let now = Timestamp::now();
        let mut record = sample::record(0, 0, "0000000", commit, subject);
        id.clone_into(&mut record.id);
        record.old = self.snapshot.published.as_ref().map(|published| published.commit.clone());
        record.started_at = now - SignedDuration::from_millis(40);
        record.finished_at = now;
        record.received_to_published_ms = Some(u64::from(fastrand::u16(8..60)));
        record.commits = Some(Commits { count: Some(1), subject: subject.to_owned(), author: "author 1".to_owned() });
        record.files = Some(Files { added: 2, modified: 3, deleted: 1 });
        record.phases = Phases {
            queue_ms: Some(0),
            fetch_ms: Some(u64::from(fastrand::u8(18..26))),
            build_ms: Some(u64::from(fastrand::u8(6..12))),
            gate_ms: None,
            publish_ms: Some(2),
        };
        self.snapshot.webhook.received += 1;
        self.snapshot.webhook.day.received += 1;
        self.snapshot.webhook.last_delivery_at = Some(now);
        self.snapshot.webhook.last_event = Some("push".to_owned());
        self.snapshot.webhook.last_result = Some("queued".to_owned());
        self.adopt(&record);
        let mut detail = sample::detail();
        commit.clone_into(&mut detail.commits[0].commit);
        subject.clone_into(&mut detail.commits[0].subject);
        detail.commits[0].committed_at = Some(now - SignedDuration::from_secs(9));
        "INFO".clone_into(&mut detail.log[2].level);
        detail.log[2].message = format!("published commit.new={commit} duration_ms=2");
        for (line, millis) in detail.log.iter_mut().zip([0, 1, 38]) {
            line.at = record.started_at + SignedDuration::from_millis(millis);
        }
        self.records.insert(0, (record.clone(), detail));
        self.send(|_| Event::SyncFinished(Box::new(record)));
        self.send(|snapshot| Event::State(Box::new(snapshot.clone())));
    }

    pub fn failed(&mut self, id: &str, commit: &str) {
        let now = Timestamp::now();
        let mut record = sample::failed(0, 0, "0000000", commit);
        id.clone_into(&mut record.id);
        record.old = self.snapshot.published.as_ref().map(|published| published.commit.clone());
        record.started_at = now - SignedDuration::from_millis(370);
        record.finished_at = now;
        self.snapshot.failures_in_row += 1;
        self.snapshot.last_error.clone_from(&record.error);
        self.snapshot.head = Some(Head { commit: sample::sha(commit), seen_at: now });
        self.snapshot.state = State::Failed;
        self.snapshot.running = None;
        self.records.insert(0, (record.clone(), sample::detail()));
        self.send(|_| Event::SyncFinished(Box::new(record)));
        self.send(|snapshot| Event::State(Box::new(snapshot.clone())));
    }

    pub fn full(&self) -> Snapshot {
        let recent = self.records.iter().take(50).map(|(record, _)| record.clone()).collect();
        Snapshot { now: Timestamp::now(), recent, ..self.snapshot.clone() }
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/history", get(history))
        .route("/api/v1/syncs/{id}", get(detail))
        .route("/api/v1/commits/{commit}", get(commit))
        .route("/api/v1/events", get(events))
        .route("/api/v1/{change}", post(change))
        .with_state(shared)
}

fn allowed(inner: &Inner, headers: &HeaderMap) -> Result<(), StatusCode> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    match &inner.token {
        Some(token) if given != Some(format!("Bearer {token}").as_str()) => Err(StatusCode::UNAUTHORIZED),
        _ => Ok(()),
    }
}

async fn snapshot(Extract(shared): Extract<Shared>, headers: HeaderMap) -> Result<Json<Snapshot>, StatusCode> {
    let mut inner = shared.lock().unwrap();
    allowed(&inner, &headers)?;
    Ok(Json(inner.stale.take().unwrap_or_else(|| inner.full())))
}

#[derive(Deserialize)]
struct Page {
    limit: usize,
    before: Option<String>,
}

async fn history(Extract(shared): Extract<Shared>, Query(page): Query<Page>) -> Json<HistoryPage> {
    let mut inner = shared.lock().unwrap();
    inner.pages += 1;
    let start = match &page.before {
        Some(id) => {
            inner.records.iter().position(|(record, _)| record.id == *id).map_or(inner.records.len(), |at| at + 1)
        }
        None => 0,
    };
    let records = inner.records[start..].iter().take(page.limit).map(|(record, _)| record.clone()).collect();
    Json(HistoryPage { schema: SCHEMA, records })
}

async fn detail(Extract(shared): Extract<Shared>, Path(id): Path<String>) -> Result<Json<SyncDetail>, StatusCode> {
    let inner = shared.lock().unwrap();
    let found = inner.records.iter().find(|(record, _)| record.id == id);
    let (record, detail) = found.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(SyncDetail { schema: SCHEMA, record: record.clone(), detail: detail.clone() }))
}

/// Without a store: published now, or on the way there by pushes that rewrote nothing.
async fn commit(Extract(shared): Extract<Shared>, Path(asked): Path<String>) -> Result<Json<CommitStatus>, StatusCode> {
    let inner = shared.lock().unwrap();
    if inner.old {
        return Err(StatusCode::NOT_FOUND);
    }
    let published = inner.snapshot.published.as_ref().map(|published| published.commit.clone());
    let known = inner.records.iter().find_map(|(record, _)| record.new.clone().filter(|new| new.starts_with(&asked)));
    let how = match (&known, &published) {
        (Some(known), Some(published)) if known == published => CommitHow::Published,
        (Some(_), Some(_)) if inner.snapshot.pinned.is_some() => CommitHow::Replaced,
        (Some(_), Some(_)) => CommitHow::Contained,
        _ => CommitHow::NeverSeen,
    };
    let live = matches!(how, CommitHow::Published | CommitHow::Contained);
    Ok(Json(CommitStatus {
        schema: SCHEMA,
        now: Timestamp::now(),
        commit: known.unwrap_or(asked),
        live,
        contained: Some(live),
        how,
        last_published_at: None,
        replaced_at: None,
        published,
    }))
}

async fn events(Extract(shared): Extract<Shared>, headers: HeaderMap) -> Result<Response, StatusCode> {
    let (first, receiver) = {
        let mut inner = shared.lock().unwrap();
        allowed(&inner, &headers)?;
        inner.streams += 1;
        let snapshot = inner.full();
        (frame(snapshot.seq, &Event::Snapshot(Box::new(snapshot.clone()))), inner.events.subscribe())
    };
    let body = stream::unfold((Some(first), receiver, shared), |(first, mut receiver, shared)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, std::io::Error>(first), (None, receiver, shared)));
        }
        loop {
            let heartbeat = shared.lock().unwrap().heartbeat;
            let wait = heartbeat.unwrap_or(Duration::from_millis(100));
            let bytes = match tokio::time::timeout(wait, receiver.recv()).await {
                Ok(Ok((seq, event))) => frame(seq, &event),
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => Bytes::from_static(b"event: reset\ndata: {}\n\n"),
                Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                Err(_) if heartbeat.is_none() => continue,
                Err(_) => Bytes::from_static(b": heartbeat\n\n"),
            };
            return Some((Ok(bytes), (None, receiver, shared)));
        }
    });
    Ok(([("content-type", "text/event-stream")], Body::from_stream(body)).into_response())
}

fn frame(seq: u64, event: &Event) -> Bytes {
    Bytes::from(format!("id: {seq}\nevent: {}\ndata: {}\n\n", event.name(), event.data().unwrap()))
}

async fn change(
    Extract(shared): Extract<Shared>,
    Path(change): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let refuse = |status: StatusCode, code: &str, message: &str| {
        let refusal = Refusal { code: code.to_owned(), message: message.to_owned(), hint: None };
        (status, Json(refusal)).into_response()
    };
    if headers.get("x-pushsync").is_none() || headers.get("content-type").is_none_or(|it| it != "application/json") {
        return refuse(StatusCode::FORBIDDEN, "header", "the header X-Pushsync is missing");
    }
    let mut inner = shared.lock().unwrap();
    if let Err(status) = allowed(&inner, &headers) {
        return refuse(status, "token", "a token is needed");
    }
    inner.changes.push((change.clone(), body.clone()));
    let mut sync = None;
    match change.as_str() {
        "sync" => sync = Some(inner.next_id()),
        "pause" => {
            inner.snapshot.paused_until = Some(Timestamp::now() + SignedDuration::from_mins(60));
            inner.snapshot.state = State::Paused;
        }
        "resume" => {
            inner.snapshot.paused_until = None;
            inner.snapshot.state = State::InSync;
        }
        "pin" => {
            let request: pushsync::api::PinRequest = serde_json::from_str(&body).unwrap();
            inner.snapshot.pinned = Some(request.commit.clone());
            inner.snapshot.state = State::Pinned;
            if let Some(published) = inner.snapshot.published.as_mut() {
                published.commit = request.commit;
            }
        }
        "unpin" => {
            inner.snapshot.pinned = None;
            inner.snapshot.state = State::InSync;
        }
        _ => return refuse(StatusCode::NOT_FOUND, "unknown", "there is no such change"),
    }
    inner.send(|snapshot| Event::State(Box::new(snapshot.clone())));
    let accepted = Accepted {
        schema: SCHEMA,
        sync,
        state: inner.snapshot.state,
        paused_until: inner.snapshot.paused_until,
        pinned: inner.snapshot.pinned.clone(),
    };
    (StatusCode::ACCEPTED, Json(accepted)).into_response()
}

/// Eight lively replicas to look at, until they are interrupted:
/// `LIVELY_FLEET=8 cargo test --test dashboard dashboard::fake::lively_fleet -- --ignored --nocapture`. With
/// `LIVELY_EVENTS=200` they send so many events a second together, with 0 only heartbeats.
#[test]
#[ignore = "serves a fleet to look at, for as long as it is left alone"]
fn lively_fleet() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let Some(replicas) = number("LIVELY_FLEET") else {
        eprintln!("SKIPPED: it never ends; set LIVELY_FLEET=8 to look at it");
        return;
    };
    let names = ["4kq2x", "8d7vm", "p2lzn", "zz81t", "9x2mm", "c7f3d", "h5k8w", "m1n6b"];
    let fakes: Vec<Fake> = (1..=u8::try_from(replicas).expect("at most 255"))
        .map(|last| {
            let name =
                names.get(usize::from(last) - 1).map_or_else(|| format!("n{last:04}"), |name| (*name).to_owned());
            let address = SocketAddr::from(([127, 0, 77, last], 9180));
            let fake = Fake::start_at(address, &format!("web-6f9c-{name}"));
            fake.fill(if last == 1 { 10_000 } else { 200 });
            fake
        })
        .collect();
    let urls: Vec<String> = fakes.iter().map(|fake| format!("--url {}", fake.url())).collect();
    println!("pushsync dashboard {}", urls.join(" "));
    if let Some(events) = number("LIVELY_EVENTS") {
        send_events(&fakes, events);
    }
    let subjects =
        ["Fix pricing table on mobile", "Bump node to 24.3", "Add robots.txt", "修正 价格表 🎉", "New hero image"];
    for turn in 0u32.. {
        let commit = format!("{:07x}", fastrand::u32(..) >> 4);
        let subject = subjects[turn as usize % subjects.len()];
        for (index, fake) in fakes.iter().enumerate() {
            let mut inner = fake.inner();
            let id = inner.next_id();
            inner.running(&id, Phase::Fetch);
            drop(inner);
            std::thread::sleep(Duration::from_millis(u64::from(fastrand::u8(20..120))));
            let mut inner = fake.inner();
            if index == 3 && turn % 3 == 1 {
                inner.failed(&id, &commit);
            } else {
                inner.published(&id, &commit, subject);
            }
        }
        std::thread::sleep(Duration::from_secs(if turn == 0 { 2 } else { 12 }));
    }
}

/// Sends so many events a second, in turns, until it is interrupted; a push is three. Prints their number each minute.
fn send_events(fakes: &[Fake], a_second: u32) -> ! {
    if a_second == 0 {
        loop {
            std::thread::park();
        }
    }
    let (begun, pause) = (Instant::now(), Duration::from_secs(3) / a_second);
    for (push, fake) in (1u32..).zip(fakes.iter().cycle()) {
        fake.publish(&format!("{:07x}", (push / 50).wrapping_mul(2_654_435_761) >> 4), "Fix pricing table on mobile");
        std::thread::sleep((begun + pause * push).saturating_duration_since(Instant::now()));
        if push % (a_second * 20) == 0 {
            println!("{} events in {:?}", push * 3, begun.elapsed());
        }
    }
    unreachable!("the replicas are asked for ever")
}

/// So that an unpublished outcome is not forgotten in the fake.
#[test]
fn the_fake_serves_what_the_wire_types_say() {
    let fake = Fake::local("web-1");
    fake.publish("9f3c2ab", "Fix");
    let inner = fake.inner();
    assert_eq!(inner.records[0].0.outcome, Outcome::Published);
    assert_eq!(inner.snapshot.published.as_ref().unwrap().commit, sample::sha("9f3c2ab"));
}
