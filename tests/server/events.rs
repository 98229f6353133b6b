//! The event stream: a snapshot, then every change, numbered alike; told when behind; ended properly.

use std::time::Duration;

use pushsync::api::{DeliveryResult, Event, Phase, Running, TriggerKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::admin::{queued, record};
use super::harness::*;

/// Reads a chunked stream of events.
struct Reader {
    stream: TcpStream,
    raw: Vec<u8>,
}

impl Reader {
    async fn open(sidecar: &Sidecar) -> Self {
        let mut stream = TcpStream::connect(sidecar.admin()).await.unwrap();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut reader = Self { stream, raw: Vec::new() };
        let head = reader.upto(b"\r\n\r\n").await.expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        reader
    }

    /// `None` at the end of the connection.
    async fn upto(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.raw.windows(end.len()).position(|window| window == end) {
                let rest = self.raw.split_off(at + end.len());
                return Some(String::from_utf8(std::mem::replace(&mut self.raw, rest)).unwrap());
            }
            if timeout(PATIENCE, self.stream.read_buf(&mut self.raw)).await.expect("in time").expect("no reset") == 0 {
                return None;
            }
        }
    }

    /// The next chunk's content; `None` after the chunk that ends the body.
    async fn chunk(&mut self) -> Option<String> {
        let size = usize::from_str_radix(self.upto(b"\r\n").await?.trim(), 16).unwrap();
        while self.raw.len() < size + 2 {
            assert_ne!(self.stream.read_buf(&mut self.raw).await.unwrap(), 0, "cut within a chunk");
        }
        let rest = self.raw.split_off(size + 2);
        let chunk = std::mem::replace(&mut self.raw, rest);
        (size > 0).then(|| String::from_utf8(chunk[..size].to_vec()).unwrap())
    }

    /// The next event with its number.
    async fn event(&mut self) -> Option<(u64, Event)> {
        loop {
            let chunk = self.chunk().await?;
            if chunk.starts_with(':') {
                continue;
            }
            let field = |name: &str| chunk.lines().find_map(|line| line.strip_prefix(name)).expect(name).to_owned();
            let event = Event::parse(&field("event: "), &field("data: ")).unwrap().expect("known");
            return Some((field("id: ").parse().unwrap(), event));
        }
    }
}

#[tokio::test]
async fn a_snapshot_comes_first_and_every_change_after_it() {
    let sidecar = Sidecar::new();
    sidecar.status.change(|snapshot| snapshot.poll.last_at = Some(noon()));
    let mut reader = Reader::open(&sidecar).await;
    let (first, event) = reader.event().await.unwrap();
    assert!(matches!(event, Event::Snapshot(snapshot) if snapshot.seq == first && first == 1));

    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
    let (number, event) = reader.event().await.unwrap();
    assert!(matches!(event, Event::Delivery(webhook) if webhook.received == 1));
    assert_eq!(number, 2);
    // The announced commit is shown before anything is fetched.
    let (number, event) = reader.event().await.unwrap();
    assert!(matches!(event, Event::State(state) if state.announced.as_ref().is_some_and(|it| it.commit == COMMIT)));
    assert_eq!(number, 3);

    sidecar.status.finished(record("1"), |_| {});
    assert!(matches!(reader.event().await.unwrap(), (4, Event::SyncFinished(record)) if record.id == "1"));
    assert!(matches!(reader.event().await.unwrap(), (5, Event::State(_))));
}

#[tokio::test]
async fn every_kind_of_event_is_frozen() {
    let sidecar = Sidecar::new();
    let mut reader = Reader::open(&sidecar).await;
    assert!(reader.chunk().await.unwrap().contains("event: snapshot"));
    let running = |phase| Running { id: "1".into(), trigger: TriggerKind::Webhook, phase, started_at: noon() };
    sidecar.status.running(running(Phase::Look));
    sidecar.status.running(running(Phase::Fetch));
    sidecar.status.delivery(queued());
    sidecar.status.finished(record("1"), |_| {});
    let mut frames = String::new();
    for _ in 0..5 {
        frames += &reader.chunk().await.unwrap();
    }
    insta::assert_snapshot!("events", frames.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[tokio::test]
async fn refused_signatures_and_ignored_deliveries_reach_an_open_stream_and_a_flood_is_an_event_a_second() {
    let sidecar = Sidecar::new();
    let mut reader = Reader::open(&sidecar).await;
    reader.event().await.unwrap();
    let mut other = payload();
    other["ref"] = "refs/heads/other".into();
    assert_eq!(sidecar.post(&Post::push(&other)).await.status, 200);
    let Event::Delivery(webhook) = reader.event().await.unwrap().1 else { panic!("a delivery") };
    let last = webhook.last.unwrap();
    assert_eq!((last.result, last.delivery.as_deref()), (DeliveryResult::Ignored, Some(DELIVERY)));
    assert_eq!(last.reason.as_deref(), Some("another ref: refs/heads/other, followed is main"));
    assert_eq!(webhook.last_result.as_deref(), Some("ignored: another ref: refs/heads/other, followed is main"));

    let started = std::time::Instant::now();
    let mut unsigned = Post::push(&payload());
    unsigned.headers.retain(|(name, _)| name != "X-Hub-Signature-256");
    for _ in 0..50 {
        assert_eq!(sidecar.post(&unsigned).await.status, 401);
    }
    let mut events = 0;
    loop {
        let Event::Delivery(webhook) = reader.event().await.unwrap().1 else { panic!("a delivery") };
        events += 1;
        if webhook.bad_signature == 50 {
            assert_eq!(webhook.day.bad_signature, 50);
            break;
        }
    }
    let seconds = started.elapsed().as_secs();
    assert!(events <= 2 + seconds, "{events} events in {seconds} s");
}

#[tokio::test]
async fn a_reader_who_falls_behind_starts_over() {
    let sidecar = Sidecar::new();
    let mut reader = Reader::open(&sidecar).await;
    assert!(matches!(reader.event().await.unwrap().1, Event::Snapshot(_)));
    // More than the backlog, without a chance to read between: this test's runtime has one thread.
    for _ in 0..1000 {
        sidecar.status.change(|snapshot| snapshot.poll.unchanged += 1);
    }
    let mut events = Vec::new();
    loop {
        let (number, event) = reader.event().await.unwrap();
        events.push((number, event.name()));
        if let Event::Snapshot(snapshot) = event {
            assert_eq!((snapshot.poll.unchanged, snapshot.seq, number), (1000, 1000, 1000));
            break;
        }
    }
    assert_eq!(events, [(1000, "reset"), (1000, "snapshot")]);
    sidecar.status.change(|snapshot| snapshot.poll.unchanged += 1);
    assert!(matches!(reader.event().await.unwrap(), (1001, Event::State(_))));
}

#[tokio::test]
async fn there_is_a_heartbeat() {
    let sidecar = Sidecar::new();
    let mut reader = Reader::open(&sidecar).await;
    assert!(reader.chunk().await.unwrap().contains("event: snapshot"));
    assert_eq!(reader.chunk().await.as_deref(), Some(": alive\n\n"));
}

#[tokio::test]
async fn the_number_of_readers_is_bounded_and_places_come_back() {
    let sidecar = Sidecar::new();
    let mut readers = Vec::new();
    for _ in 0..32 {
        readers.push(Reader::open(&sidecar).await);
    }
    assert_eq!(get(sidecar.admin(), "/api/v1/events").await.status, 429);
    assert_eq!(get(sidecar.admin(), "/healthz").await.status, 200);
    drop(readers);
    // The places are free again once the server has noticed.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(sidecar.admin()).await.unwrap();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        if &start == b"HTTP/1.1 200" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no place came back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn streams_end_properly_at_shutdown() {
    let sidecar = Sidecar::new();
    let mut reader = Reader::open(&sidecar).await;
    assert!(reader.event().await.is_some());
    let started = tokio::time::Instant::now();
    let stopping = tokio::spawn(sidecar.servers.shutdown(PATIENCE));
    // The empty chunk, then the end of the connection: no cut, no reset.
    assert!(reader.chunk().await.is_none());
    assert!(reader.upto(b"never").await.is_none());
    drop(reader);
    stopping.await.unwrap();
    println!("shutdown with an open stream took {} ms", started.elapsed().as_millis());
}
