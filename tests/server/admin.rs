//! The admin API: who may use it, what it answers, and its documents as they are frozen.

use std::fmt::Write as _;

use pushsync::api::{
    Change, Commit, Commits, DeliveryResult, Detail, ErrorInfo, FileChange, Files, Head, LogLine, Outcome, Phase,
    Phases, Published, Record, Refusal, Running, SCHEMA, Trigger, TriggerKind,
};
use pushsync::sync::{Command, Delivery};

use super::harness::*;

const TOKEN: &str = "a token of sufficient length";

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    (text + "\r\n" + body).into_bytes()
}

const CHANGE: [(&str, &str); 3] =
    [("Host", "localhost:9180"), ("Content-Type", "application/json"), ("X-Pushsync", "1")];

async fn change(sidecar: &Sidecar, path: &str, body: &str) -> Answer {
    exchange(sidecar.admin(), &request("POST", path, &CHANGE, body)).await
}

fn asked(sidecar: &Sidecar) -> Asked {
    std::mem::take(&mut sidecar.commands.lock().unwrap())
}

pub fn record(id: &str) -> Record {
    Record {
        schema: SCHEMA,
        id: id.into(),
        started_at: noon(),
        finished_at: "2026-11-22T12:00:00.042Z".parse().unwrap(),
        trigger: Trigger {
            kind: TriggerKind::Webhook,
            delivery: Some(DELIVERY.into()),
            event: Some("push".into()),
            secret: Some("current".into()),
            redelivered: false,
            merged: 1,
            action: None,
            by: None,
        },
        old: Some("f".repeat(40)),
        new: Some(COMMIT.into()),
        outcome: Outcome::Published,
        commits: Some(Commits { count: Some(2), subject: "Say hello".into(), author: "Somebody".into() }),
        files: Some(Files { added: 1, modified: 2, deleted: 3 }),
        bytes: Some(4096),
        objects: Some(5),
        phases: Phases { queue_ms: Some(1), fetch_ms: Some(20), build_ms: Some(3), gate_ms: None, publish_ms: Some(4) },
        received_to_published_ms: Some(28),
        held_ms: None,
        chased: 0,
        missed_webhook: false,
        ignored_webhook: None,
        rewritten: false,
        fast_forward: None,
        pinned: None,
        withheld: None,
        peers: Vec::new(),
        error: None,
    }
}

pub fn queued() -> Delivery<'static> {
    Delivery { event: "push", id: Some(DELIVERY), result: DeliveryResult::Queued, reason: None, push: None }
}

fn failed(id: &str) -> Record {
    let error = ErrorInfo {
        phase: Phase::Fetch,
        kind: "auth".into(),
        message: "https://***@github.com/acme/site.git: 401".into(),
        hint: Some("check --password-file".into()),
    };
    Record {
        trigger: Trigger { kind: TriggerKind::Poll, merged: 1, ..Trigger::default() },
        outcome: Outcome::Failed,
        commits: None,
        files: None,
        received_to_published_ms: None,
        error: Some(error),
        ..record(id)
    }
}

/// Puts one of everything into the status and into the history.
fn furnish(sidecar: &Sidecar) {
    let detail = Detail {
        commits: vec![Commit {
            commit: COMMIT.into(),
            subject: "Say hello".into(),
            author: "Somebody".into(),
            committed_at: Some(noon()),
        }],
        files: vec![FileChange { path: "index.html".into(), change: Change::Modified }],
        files_total: 6,
        log: vec![LogLine { at: noon(), level: "info".into(), message: "published".into() }],
    };
    sidecar.history.append(record("1"), detail);
    sidecar.history.append(failed("2"), Detail::default());
    sidecar.status.finished(record("1"), |snapshot| {
        snapshot.published = Some(Published {
            commit: COMMIT.into(),
            subject: "Say hello".into(),
            author: "Somebody".into(),
            committed_at: Some(noon()),
            published_at: Some(noon()),
        });
        snapshot.head = Some(Head { commit: COMMIT.into(), seen_at: noon() });
        snapshot.poll.last_at = Some(noon());
        snapshot.poll.unchanged = 9;
    });
    sidecar.status.delivery(queued());
    sidecar.status.bad_signature();
    sidecar.status.finished(failed("2"), |_| {});
    sidecar.status.running(Running {
        id: "3".into(),
        trigger: TriggerKind::Manual,
        phase: Phase::Fetch,
        started_at: noon(),
    });
}

fn frozen(answer: &Answer) -> String {
    format!("{} {}", answer.status, serde_json::to_string_pretty(&answer.json()).unwrap())
}

#[tokio::test]
async fn every_document_is_frozen() {
    let sidecar = Sidecar::new();
    furnish(&sidecar);
    let admin = sidecar.admin();
    insta::assert_snapshot!(
        "snapshot",
        frozen(&get(admin, "/api/v1/snapshot").await).replace(env!("CARGO_PKG_VERSION"), "VERSION")
    );
    insta::assert_snapshot!("history", frozen(&get(admin, "/api/v1/history?limit=2").await));
    insta::assert_snapshot!("sync", frozen(&get(admin, "/api/v1/syncs/1").await));
    insta::assert_snapshot!("accepted", frozen(&change(&sidecar, "/api/v1/sync", "").await));
    insta::assert_snapshot!("refused", frozen(&get(admin, "/api/v1/syncs/99").await));
}

#[tokio::test]
async fn the_history_is_read_in_pages() {
    let sidecar = Sidecar::new();
    for number in 1..=150 {
        sidecar.history.append(record(&number.to_string()), Detail::default());
    }
    let ids = |answer: &Answer| -> Vec<String> {
        let records = answer.json()["records"].as_array().unwrap().clone();
        records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    };
    let admin = sidecar.admin();
    let first = ids(&get(admin, "/api/v1/history").await);
    assert_eq!((first.len(), first[0].as_str(), first[99].as_str()), (100, "150", "51"));
    assert_eq!(ids(&get(admin, "/api/v1/history?before=51&limit=2").await), ["50", "49"]);
    assert_eq!(ids(&get(admin, "/api/v1/history?limit=1000&newer=unknown").await).len(), 150);
    for wrong in ["limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "before="] {
        assert_eq!(get(admin, &format!("/api/v1/history?{wrong}")).await.status, 400, "{wrong}");
    }
    let long = "9".repeat(5000);
    assert_eq!(get(admin, &format!("/api/v1/syncs/{long}")).await.status, 404);
    for odd in ["..%2f1", "%ff", "%00"] {
        let answer = get(admin, &format!("/api/v1/syncs/{odd}")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("unknown_sync")), "{odd}");
    }
}

#[tokio::test]
async fn a_commit_is_looked_up_by_hash_or_prefix_and_nothing_is_asked_of_the_sync_loop() {
    let sidecar = Sidecar::new();
    furnish(&sidecar);
    sidecar.status.set_health(|health| health.ready = true);
    let admin = sidecar.admin();
    insta::assert_snapshot!("commit", frozen(&get(admin, &format!("/api/v1/commits/{COMMIT}")).await));
    let answer = get(admin, &format!("/api/v1/commits/{}", &COMMIT[..7].to_uppercase())).await;
    assert_eq!((answer.json()["commit"].as_str(), answer.json()["live"].as_bool()), (Some(COMMIT), Some(true)));
    // Replaced, by the only record that names it.
    let answer = get(admin, &format!("/api/v1/commits/{}", "f".repeat(40))).await;
    assert_eq!((answer.json()["how"].as_str(), answer.json()["live"].as_bool()), (Some("replaced"), Some(false)));
    for odd in ["abcdef", "xyzxyzxyz", "%ff", "..%2f..%2fetc", &"a".repeat(41)] {
        let answer = get(admin, &format!("/api/v1/commits/{odd}")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("bad_commit")), "{odd}");
    }
    assert_eq!(asked(&sidecar), []);
    assert!(sidecar.rung().is_none());
    // A tree that is being put back is not live.
    sidecar.status.set_health(|health| health.ready = false);
    let answer = get(admin, &format!("/api/v1/commits/{COMMIT}")).await;
    assert_eq!(answer.json()["live"], false);
}

#[tokio::test]
async fn changes_reach_the_sync_loop_as_commands() {
    let sidecar = Sidecar::new();
    let cases = [
        ("/api/v1/sync", "", Command::Sync),
        ("/api/v1/sync", "{}", Command::Sync),
        ("/api/v1/pause", "{\"minutes\":1}", Command::Pause { minutes: 1 }),
        ("/api/v1/pause", "{\"minutes\":10080,\"why\":\"new field\"}", Command::Pause { minutes: 10080 }),
        ("/api/v1/resume", "", Command::Resume),
        ("/api/v1/pin", "{\"commit\":\"ABCD\"}", Command::Pin { commit: "abcd".into() }),
        ("/api/v1/unpin", "{}", Command::Unpin),
    ];
    for (path, body, command) in cases {
        let answer = change(&sidecar, path, body).await;
        assert_eq!(answer.status, 202, "{path} {body}: {answer:?}");
        assert_eq!(answer.json()["sync"], "7");
        assert_eq!(asked(&sidecar), [(command, None)]);
    }
    for (path, body) in [
        ("/api/v1/sync", "{\"by\":\" ada@laptop\\u001b\\n\"}"),
        ("/api/v1/pause", "{\"minutes\":1,\"by\":\"ada@laptop\\u001b\"}"),
        ("/api/v1/pin", "{\"commit\":\"abcd\",\"by\":\"ada@laptop\\u202e\"}"),
    ] {
        assert_eq!(change(&sidecar, path, body).await.status, 202, "{path}");
        let by = asked(&sidecar).pop().unwrap().1;
        assert_eq!(by.as_deref(), Some("ada@laptop\u{fffd}"), "{path}");
    }
    let long = format!("{{\"by\":\"{}\"}}", "x".repeat(500));
    assert_eq!(change(&sidecar, "/api/v1/resume", &long).await.status, 202);
    assert_eq!(asked(&sidecar).pop().unwrap().1.map(|by| by.chars().count()), Some(100));
    let wrong = [
        ("/api/v1/sync", "{\"by\":7}"),
        ("/api/v1/sync", "x"),
        ("/api/v1/sync", "[]"),
        ("/api/v1/pause", ""),
        ("/api/v1/pause", "{}"),
        ("/api/v1/pause", "{\"minutes\":0}"),
        ("/api/v1/pause", "{\"minutes\":10081}"),
        ("/api/v1/pause", "{\"minutes\":-1}"),
        ("/api/v1/pause", "{\"minutes\":\"5\"}"),
        ("/api/v1/pin", "{\"commit\":\"abc\"}"),
        ("/api/v1/pin", "{\"commit\":\"--upload-pack=x\"}"),
        ("/api/v1/pin", "{\"commit\":7}"),
    ];
    for (path, body) in wrong {
        let answer = change(&sidecar, path, body).await;
        assert_eq!(answer.status, 400, "{path} {body}");
        assert!(answer.json()["code"].is_string() && answer.json()["message"].is_string());
    }
    assert_eq!(change(&sidecar, "/api/v1/sync", &" ".repeat(4097)).await.status, 413);
    assert!(asked(&sidecar).is_empty());
}

#[tokio::test]
async fn what_the_sync_loop_refuses_is_passed_on() {
    let refusal = |code: &str| Refusal { code: code.into(), message: "no".into(), hint: Some("wait".into()) };
    for (code, status) in [("unknown_commit", 409), ("stopping", 503)] {
        let sidecar = Setup { answer: Err(refusal(code)), ..Setup::default() }.start();
        let answer = change(&sidecar, "/api/v1/pin", "{\"commit\":\"abcd\"}").await;
        assert_eq!(answer.status, status);
        assert_eq!(serde_json::from_str::<Refusal>(&answer.body).unwrap(), refusal(code));
    }
}

#[tokio::test]
async fn a_web_page_can_neither_read_nor_change() {
    let sidecar = Sidecar::new();
    let admin = sidecar.admin();
    // DNS rebinding: the browser sends the page's own host.
    for host in ["evil.test", "evil.test:9180", "localhost.evil.test", "0.0.0.0:9180", "127.0.0.2", ""] {
        let answer = exchange(admin, &request("GET", "/api/v1/snapshot", &[("Host", host)], "")).await;
        assert_eq!(answer.status, 403, "{host}");
        assert_eq!(answer.json()["code"], "host_refused");
    }
    for headers in
        [vec![], vec![("Host", "localhost"), ("Host", "evil.test")], vec![("Host", "localhost"), ("Host", "localhost")]]
    {
        assert_eq!(exchange(admin, &request("GET", "/healthz", &headers, "")).await.status, 403, "{headers:?}");
    }
    let target = "http://evil.test/api/v1/snapshot";
    assert_eq!(exchange(admin, &request("GET", target, &[("Host", "localhost")], "")).await.status, 403);

    // Cross-site requests that a browser sends without asking first.
    for (headers, status) in [
        (vec![("Host", "localhost")], 415),
        (vec![("Host", "localhost"), ("Content-Type", "text/plain"), ("X-Pushsync", "1")], 415),
        (vec![("Host", "localhost"), ("Content-Type", "application/json")], 403),
        (vec![("Host", "localhost"), ("Content-Type", "application/json"), ("X-Pushsync", "0")], 403),
    ] {
        let answer = exchange(admin, &request("POST", "/api/v1/sync", &headers, "")).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(answer.json()["code"].is_string());
    }
    // And asking first is not answered.
    let origin = [("Host", "localhost"), ("Origin", "http://evil.test"), ("Access-Control-Request-Method", "POST")];
    for method in ["OPTIONS", "GET"] {
        let answer = exchange(admin, &request(method, "/api/v1/sync", &origin, "")).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let answer = exchange(admin, &request("GET", "/api/v1/snapshot", &origin, "")).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.head.to_lowercase().contains("access-control"), "{answer:?}");
    assert!(asked(&sidecar).is_empty());

    for host in ["localhost", "localhost:1234", "127.0.0.1:9180", "[::1]:9180"] {
        let answer = exchange(admin, &request("GET", "/healthz", &[("Host", host)], "")).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn no_get_has_an_effect() {
    let sidecar = Sidecar::new();
    for path in ["sync", "pause", "resume", "pin", "unpin"] {
        let path = format!("/api/v1/{path}?minutes=5&commit=abcd");
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let answer = exchange(sidecar.admin(), &request(method, &path, &CHANGE, "")).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    assert!(asked(&sidecar).is_empty());
    assert_eq!(get(sidecar.admin(), "/nothing").await.json()["code"], "not_found");
}

#[tokio::test]
async fn a_token_opens_everything_from_anywhere_and_its_lack_nothing() {
    let sidecar = Setup { admin_token: Some(TOKEN), ..Setup::default() }.start();
    let bearer = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {TOKEN}x");
    let longer = format!("Bearer  {TOKEN}");
    for path in ["/healthz", "/api/v1/snapshot", "/api/v1/history", "/api/v1/events", "/nothing"] {
        for header in
            [None, Some("Bearer"), Some("Bearer "), Some(TOKEN), Some(&wrong), Some(&longer), Some("Basic eDp5")]
        {
            let mut headers = vec![("Host", "localhost")];
            headers.extend(header.map(|value| ("Authorization", value)));
            let answer = exchange(sidecar.admin(), &request("GET", path, &headers, "")).await;
            assert_eq!(answer.status, 401, "{path} {header:?}");
        }
    }
    let headers = [("Host", "dashboards.test"), ("Authorization", bearer.as_str())];
    assert_eq!(exchange(sidecar.admin(), &request("GET", "/healthz", &headers, "")).await.status, 200);
    assert_eq!(exchange(sidecar.admin(), &request("POST", "/api/v1/sync", &headers, "")).await.status, 415);
    let headers = [CHANGE.as_slice(), &[("Authorization", bearer.as_str())]].concat();
    assert_eq!(exchange(sidecar.admin(), &request("POST", "/api/v1/sync", &headers, "")).await.status, 202);
}
