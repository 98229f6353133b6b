//! `POST /webhook/peer` over real sockets: what is heard, and everything that is refused without a trace.

use pushsync::api::TriggerKind;
use pushsync::peers::{Message, SIGNATURE, seal, window};
use pushsync::secret::Secret;
use pushsync::sync::Request;
use tokio::time::{Instant, timeout};

use crate::server::harness::{
    Answer, COMMIT, DELIVERY, OLD_SECRET, PATIENCE, Post, SECRET, Sidecar, exchange, noon, payload,
};

fn message() -> Message {
    let mut message = Message::new("https://github.com/acme/site.git", "main", "another replica");
    message.after = Some(COMMIT.into());
    message.before = Some("f".repeat(40));
    message.delivery = Some(DELIVERY.into());
    message.replicas = 3;
    message.nonce = format!("{:x}", fastrand::u64(..));
    message.id.clone_from(&message.nonce);
    message
}

/// A message as a peer sends it at `after_noon` seconds.
fn post(body: impl Into<Vec<u8>>, secret: &str, after_noon: i64) -> Post {
    let body = body.into();
    let sealed = seal(&Secret::new(secret), noon().as_second() + after_noon, &body);
    let headers = [("Content-Type", "application/json"), (SIGNATURE, &sealed)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Post { path: "/webhook/peer".into(), headers, body }
}

fn good(message: &Message) -> Post {
    post(serde_json::to_vec(message).unwrap(), SECRET, 0)
}

/// Nothing was rung, recorded or counted as a webhook.
fn assert_no_trace(sidecar: &Sidecar, what: &str) {
    assert!(sidecar.rung().is_none(), "{what}");
    assert!(sidecar.history.page(None, 10).is_empty(), "{what}");
    let webhook = sidecar.status.snapshot().webhook;
    assert_eq!((webhook.received, webhook.last_delivery_at), (0, None), "{what}");
    assert_eq!(sidecar.metric("pushsync_peer_messages_total{result=\"received\"}"), None, "{what}");
}

#[tokio::test]
async fn a_message_rings_with_what_the_webhook_said() {
    let sidecar = Sidecar::new();
    for (secret, word) in [(SECRET, "current"), (OLD_SECRET, "previous")] {
        let body = serde_json::to_vec(&message()).unwrap();
        let answer = sidecar.post(&post(body, secret, 0)).await;
        assert_eq!((answer.status, answer.body.as_str()), (202, "{\"result\":\"queued\"}"));
        let rung = sidecar.rung().expect("rung");
        assert_eq!(rung.trigger.kind, TriggerKind::Peer);
        assert_eq!(rung.trigger.delivery.as_deref(), Some(DELIVERY));
        assert_eq!(rung.trigger.secret.as_deref(), Some(word));
        assert_eq!(rung.announced.len(), 1);
        assert_eq!(rung.announced[0].after.to_string(), COMMIT);
        assert_eq!(rung.announced[0].before.map(|before| before.to_string()), Some("f".repeat(40)));
        assert!(rung.not_before.is_none() && rung.peer_results.is_empty());
    }
    assert_eq!(sidecar.metric("pushsync_peer_messages_total{result=\"received\"}"), Some(2.0));
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_not_and_the_bell_rings_all_the_same() {
    let sidecar = Sidecar::new();
    for after in [None, Some("0".repeat(40)), Some("a".repeat(64)), Some("--upload-pack=x".into())] {
        let message = Message { after, delivery: Some("a b\u{7}".into()), ..message() };
        assert_eq!(sidecar.post(&good(&message)).await.status, 202);
        let rung = sidecar.rung().expect("rung");
        assert!(rung.announced.is_empty() && rung.trigger.delivery.is_none());
    }
}

#[tokio::test]
async fn a_replica_of_a_large_fleet_is_delayed_and_another_trigger_merges_with_it() {
    let sidecar = Sidecar::new();
    let large = || good(&Message { replicas: u32::MAX, ..message() });
    assert_eq!(sidecar.post(&large()).await.status, 202);
    let heard = Instant::now();
    let rung = timeout(PATIENCE, sidecar.queue.next()).await.expect("its turn comes");
    let turn = rung.not_before.expect("a large fleet spreads its looks");
    assert!(turn <= heard + window(u32::MAX) && Instant::now() >= turn);

    // The look may come at once by chance; that all of ten do is one in more than a billion.
    let mut waited = 0;
    for _ in 0..10 {
        assert_eq!(sidecar.post(&large()).await.status, 202);
        sidecar.queue.push(Request::new(TriggerKind::Manual, noon()));
        let rung = sidecar.rung().expect("another trigger is not delayed");
        waited += u32::from(rung.trigger.kind == TriggerKind::Peer && rung.not_before.is_none());
    }
    assert!(waited > 0);
}

#[tokio::test]
async fn forged_old_and_damaged_messages_are_refused_alike_and_leave_no_trace() {
    let sidecar = Sidecar::new();
    let body = serde_json::to_vec(&message()).unwrap();
    let mut changed = post(body.clone(), SECRET, 0);
    changed.body[20] ^= 1;
    let sealed = |header: &str| post(body.clone(), SECRET, 0).with(SIGNATURE, header);
    let mac = "0".repeat(64);
    let noon = noon().as_second();
    let cases = [
        ("a wrong secret", post(body.clone(), "the secret of another site", 0)),
        ("no signature", sealed("")),
        ("a signature of nothing", sealed(&format!("t={noon},v1={mac}"))),
        ("no time", sealed(&format!("v1={mac}"))),
        ("another scheme", sealed(&format!("t={noon},v2={mac}"))),
        ("two signatures", post(body.clone(), SECRET, 0).and(SIGNATURE, &format!("t={noon},v1={mac}"))),
        ("GitHub's signature", post(body.clone(), SECRET, 0).with(SIGNATURE, "").signed(SECRET)),
        ("a changed body", changed),
        ("an old message", post(body.clone(), SECRET, -61)),
        ("a message of the future", post(body.clone(), SECRET, 61)),
    ];
    let mut refusals: Vec<Answer> = Vec::new();
    let count = cases.len();
    for (what, post) in cases {
        let answer = sidecar.post(&post).await;
        assert_eq!(answer.status, 401, "{what}");
        assert_no_trace(&sidecar, what);
        refusals.push(answer);
    }
    assert!(refusals.iter().all(|answer| answer.body == refusals[0].body), "{refusals:?}");
    let count = f64::from(u32::try_from(count).unwrap());
    assert_eq!(sidecar.metric("pushsync_peer_messages_total{result=\"rejected\"}"), Some(count));
}

#[tokio::test]
async fn a_replay_is_refused_and_says_no_more_than_a_forgery() {
    let sidecar = Sidecar::new();
    let post = good(&message());
    assert_eq!(sidecar.post(&post).await.status, 202);
    assert!(sidecar.rung().is_some());
    let replay = sidecar.post(&post).await;
    let forged = sidecar.post(&post.clone().with(SIGNATURE, "t=1,v1=x")).await;
    assert_eq!((replay.status, &replay.body), (401, &forged.body));
    assert!(sidecar.rung().is_none());
}

#[tokio::test]
async fn a_second_try_that_was_not_needed_is_answered_and_rings_nothing() {
    let sidecar = Sidecar::new();
    let message = message();
    for (nonce, rings) in [("the first try", true), ("the second try", false)] {
        let answer = sidecar.post(&good(&Message { nonce: nonce.into(), ..message.clone() })).await;
        assert_eq!((answer.status, sidecar.rung().is_some()), (202, rings), "{nonce}");
    }
}

#[tokio::test]
async fn what_is_authentic_and_not_for_us_is_told_so_and_leaves_no_trace() {
    let sidecar = Sidecar::new();
    let json = serde_json::to_string(&message()).unwrap();
    let other_repo = Message { repo: "https://github.com/acme/other.git".into(), ..message() };
    for (what, post) in [
        ("another version", post(json.replace("\"v\":1", "\"v\":2"), SECRET, 0)),
        ("no JSON", post("hello", SECRET, 0)),
        ("nothing", post("", SECRET, 0)),
        ("another type", post(json.replace("\"replicas\":3", "\"replicas\":\"3\""), SECRET, 0)),
        ("another repository", good(&other_repo)),
        ("another ref", good(&Message { reference: "next".into(), ..message() })),
    ] {
        assert_eq!(sidecar.post(&post).await.status, 422, "{what}");
        assert_no_trace(&sidecar, what);
    }
}

#[tokio::test]
async fn a_body_over_four_kibibytes_is_not_read() {
    let sidecar = Sidecar::new();
    let long = Message { delivery: Some("x".repeat(4096)), ..message() };
    let post = good(&long);
    assert_eq!(sidecar.post(&post).await.status, 413);
    assert_no_trace(&sidecar, "a declared length");
    // Without saying so before.
    let chunked = post.clone().with("Transfer-Encoding", "chunked");
    let mut bytes = chunked.head().into_bytes();
    bytes.extend(format!("\r\n{:x}\r\n", post.body.len()).into_bytes());
    bytes.extend(&post.body);
    bytes.extend(b"\r\n0\r\n\r\n");
    assert_eq!(exchange(sidecar.hook(), &bytes).await.status, 401);
    assert_no_trace(&sidecar, "a length that was not declared");
}

#[tokio::test]
async fn only_post_and_only_the_exact_path() {
    let sidecar = Sidecar::new();
    let bytes = String::from_utf8(good(&message()).bytes()).unwrap();
    for method in ["GET", "PUT", "HEAD", "OPTIONS"] {
        let answer = exchange(sidecar.hook(), bytes.replacen("POST", method, 1).as_bytes()).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    for path in ["/webhook/peer/", "/peer", "/webhook/peer/peer", "/webhookpeer", "/webhook//peer"] {
        let answer = sidecar.post(&Post { path: path.into(), ..good(&message()) }).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    // A webhook is no message, wherever it is sent.
    let webhook = Post { path: "/webhook/peer".into(), ..Post::push(&payload()) };
    assert_eq!(sidecar.post(&webhook).await.status, 401);
    assert_no_trace(&sidecar, "other methods and paths");
}
