//! What stands in front of the hook's port: load balancers that check it, gateways that add headers or connect ahead of time,
//! and those that speak something else to it.

use std::time::Duration;

use pushsync::server::{AllLimits, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::harness::*;

#[tokio::test]
async fn a_check_of_the_hooks_port_is_answered_and_says_nothing() {
    let sidecar = Sidecar::new();
    let check = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: 10.1.2.3:8080\r\nUser-Agent: GoogleHC/1.0\r\n\r\n");
        let hook = sidecar.hook();
        async move { exchange(hook, request.as_bytes()).await }
    };
    for method in ["GET", "HEAD"] {
        let answer = check(method, "/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{method}: {answer:?}");
        let names = answer.head.lines().skip(1).filter_map(|line| line.split(':').next()).map(str::to_lowercase);
        for name in names {
            assert!(["connection", "content-length", "date"].contains(&name.as_str()), "not a word more: {answer:?}");
        }
    }
    // haproxy's oldest check, for HTTP/1.0 without a Host.
    assert_eq!(exchange(sidecar.hook(), b"GET / HTTP/1.0\r\n\r\n").await.status, 200);
    for (method, path, status) in
        [("POST", "/", 404), ("OPTIONS", "/", 404), ("GET", "/x", 404), ("GET", "//", 404), ("GET", "/webhook", 405)]
    {
        assert_eq!(check(method, path).await.status, status, "{method} {path}");
    }
    assert!(sidecar.rung().is_none());
    sidecar.servers.leave();
    assert_eq!(check("GET", "/").await.status, 503, "a process that is about to end takes no new connections");
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202, "and still takes what comes");
}

#[tokio::test]
async fn a_request_may_have_a_hundred_headers() {
    let sidecar = Sidecar::new();
    // Host, Content-Length, and what a delivery has.
    let own = Post::push(&payload()).headers.len() + 2;
    for (count, status) in [(65, 202), (100, 202), (101, 431)] {
        let mut post = Post::push(&payload());
        for number in 0..count - own {
            post = post.and(&format!("X-Mesh-{number}"), "added on the way");
        }
        assert_eq!(sidecar.post(&post).await.status, status, "{count} headers");
    }
}

#[tokio::test]
async fn a_connection_that_has_sent_nothing_yet_may_stay() {
    assert_eq!(Limits::hook().silence(), Duration::from_secs(30));
    let hook = Limits { head: Duration::from_millis(500), ..Limits::hook() };
    assert_eq!(hook.silence(), Duration::from_secs(3));
    let sidecar = Setup { limits: AllLimits { hook, ..AllLimits::default() }, ..Setup::default() }.start();
    let mut early = TcpStream::connect(sidecar.hook()).await.unwrap();
    let mut silent = TcpStream::connect(sidecar.hook()).await.unwrap();
    let mut slow = TcpStream::connect(sidecar.hook()).await.unwrap();
    let started = Instant::now();
    slow.write_all(b"P").await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("ended").expect("no reset");
    assert!(started.elapsed() < Duration::from_secs(3), "a head that has begun has less time");
    // Longer than a head that has begun may take.
    sleep(Duration::from_secs(1)).await;
    early.write_all(&Post::push(&payload()).bytes()).await.unwrap();
    assert_eq!(read_answer(&mut early).await.status, 202);
    timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("ended").expect("no reset");
    assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn silent_connections_make_room_for_a_delivery() {
    let hook = Limits { connections: 4, ..Limits::hook() };
    let sidecar = Setup { limits: AllLimits { hook, ..AllLimits::default() }, ..Setup::default() }.start();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(sidecar.hook()).await.unwrap());
    }
    let started = Instant::now();
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn another_protocol_is_told_so_and_rings_nothing() {
    let sidecar = Sidecar::new();
    let delivery = Post::push(&payload()).bytes();
    let version_1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec();
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb".to_vec();
    let tls = b"\x16\x03\x01\0\x05\x01\0\0\x01\0".to_vec();
    for (start, code) in [(version_1, "proxy_protocol"), (version_2, "proxy_protocol"), (tls, "tls")] {
        let answer = exchange(sidecar.hook(), &[start, delivery.clone()].concat()).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some(code)), "{answer:?}");
        assert!(sidecar.rung().is_none());
    }
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
}

#[tokio::test]
async fn only_a_test_delivery_is_told_that_its_signature_was_lost() {
    let sidecar = Sidecar::new();
    let proof = |secret: &str, body: &[u8]| {
        let mut signer =
            pushsync::signature::Signer::derived(&pushsync::secret::Secret::new(secret), pushsync::signature::PING);
        signer.update(body);
        signer.header()
    };
    let post = Post::push(&payload());
    let unsigned = post.clone().with("X-Hub-Signature-256", "");
    let uniform = sidecar.post(&unsigned).await;
    assert_eq!(uniform.status, 401);
    for secret in [SECRET, OLD_SECRET] {
        let lost = unsigned.clone().with("X-Pushsync-Ping", &proof(secret, &post.body));
        let answer = sidecar.post(&lost).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("signature_lost")), "{answer:?}");
    }
    let date = |answer: &Answer| answer.head.lines().filter(|line| !line.starts_with("date:")).collect::<String>();
    for wrong in [
        proof("another secret of this length", &post.body),
        proof(SECRET, b"another body"),
        // A signature of GitHub's is no proof of ours, nor the other way round.
        pushsync::signature::sign(&pushsync::secret::Secret::new(SECRET), &post.body),
        "sha256=".to_owned(),
    ] {
        let answer = sidecar.post(&unsigned.clone().with("X-Pushsync-Ping", &wrong)).await;
        assert_eq!((date(&answer), &answer.body), (date(&uniform), &uniform.body), "{wrong}");
    }
    let as_signature = unsigned.clone().with("X-Hub-Signature-256", &proof(SECRET, &post.body));
    assert_eq!(sidecar.post(&as_signature).await.status, 401);
    assert!(sidecar.rung().is_none());
    // The signature decides where it is there.
    assert_eq!(sidecar.post(&post.with("X-Pushsync-Ping", "sha256=00")).await.status, 202);
}
