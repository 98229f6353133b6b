//! The shapes on the wire that proxies and servers disagree about, and requests that are no requests.

use super::harness::*;

#[tokio::test]
async fn a_body_has_one_length() {
    let sidecar = Sidecar::new();
    let good = Post::push(&payload());
    let length = good.body.len().to_string();
    let chunked = |head: String| {
        let mut bytes = head.into_bytes();
        bytes.extend(format!("\r\n{:x}\r\n", good.body.len()).bytes());
        bytes.extend(&good.body);
        bytes.extend(b"\r\n0\r\n\r\n");
        bytes
    };
    let two_lengths = good.clone().and("Content-Length", &length).and("content-length", &length);
    assert_eq!(sidecar.post(&two_lengths).await.status, 400, "two equal lengths");
    let two_lengths = good.clone().and("Content-Length", &length).and("Content-Length", "5");
    assert_eq!(sidecar.post(&two_lengths).await.status, 400, "two lengths");
    let both = good.head() + &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n");
    assert_eq!(exchange(sidecar.hook(), &chunked(both)).await.status, 400, "chunked and a length");
    let both = good.head() + &format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n");
    assert_eq!(exchange(sidecar.hook(), &chunked(both)).await.status, 400, "a length after chunked");
    let twice = good.head() + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(exchange(sidecar.hook(), &chunked(twice)).await.status, 400, "chunked twice");
    assert!(sidecar.rung().is_none());

    let once = good.head() + "Transfer-Encoding: chunked\r\n";
    assert_eq!(exchange(sidecar.hook(), &chunked(once)).await.status, 202, "chunked is fine");
    assert!(sidecar.rung().is_some());
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_rings_nothing() {
    let sidecar = Sidecar::new();
    let good = Post::push(&payload());
    let with_head = |line: &str| [good.head().as_bytes(), line.as_bytes(), b"\r\n", &good.body].concat();
    let cases: [(&str, Vec<u8>); 11] = [
        ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("bad chunk size", with_head("Transfer-Encoding: chunked\r\n")),
        ("unknown coding", with_head("Transfer-Encoding: gzip\r\n")),
        ("a length that is none", with_head("Content-Length: 1x\r\n")),
        ("a signed length", with_head("Content-Length: +5\r\n")),
        ("a length beyond numbers", with_head("Content-Length: 99999999999999999999999\r\n")),
        ("a folded header", with_head("X-A: b\r\n c\r\nContent-Length: 5\r\n")),
        ("a space before the colon", with_head("Content-Length : 5\r\n")),
        ("no colon", with_head("Content-Length\r\n")),
        ("a long header", with_head(&format!("X-A: {}\r\n", "a".repeat(40_000)))),
        ("many headers", with_head(&"X-A: b\r\n".repeat(200))),
    ];
    for (name, bytes) in cases {
        let answer = exchange(sidecar.hook(), &bytes).await;
        assert!((400..500).contains(&answer.status), "{name}: {answer:?}");
        assert!(sidecar.rung().is_none(), "{name} rang");
    }
    let preface = exchange(sidecar.hook(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(preface.status, 0, "HTTP/2 is not spoken, and has no answer in HTTP/1.1: {preface:?}");
    assert_eq!(sidecar.post(&good).await.status, 202, "the listener lives on");
}

#[tokio::test]
async fn a_second_request_on_the_same_connection_is_not_read() {
    let sidecar = Sidecar::new();
    let good = Post::push(&payload()).bytes();
    let answer = exchange(sidecar.hook(), &[good.clone(), good].concat()).await;
    assert_eq!(answer.status, 202);
    assert!(!answer.body.contains("HTTP/1.1"), "two answers: {answer:?}");
    assert_eq!(sidecar.rung().expect("one").trigger.merged, 1);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_or_not() {
    let sidecar = Sidecar::new();
    let good = Post::push(&payload()).with("Expect", "100-continue");
    let answer = sidecar.post(&good).await;
    assert_eq!(answer.status, 100, "{answer:?}");
    assert!(answer.body.starts_with("HTTP/1.1 202"), "{answer:?}");
    let unsigned = good.with("X-Hub-Signature-256", "");
    assert_eq!(sidecar.post(&unsigned).await.status, 401);
}

#[tokio::test]
async fn no_prefix_and_no_flipped_byte_of_a_signed_push_does_harm() {
    let sidecar = Sidecar::new();
    let text = payload().to_string().into_bytes();
    // Signed by us at every length: only the whole document may ring.
    let mut tasks = tokio::task::JoinSet::new();
    for end in 0..text.len() {
        let (address, post) = (sidecar.hook(), Post::new("push", &text[..end]).bytes());
        tasks.spawn(async move { (end, exchange(address, &post).await.status) });
        if tasks.len() >= 16 {
            let (end, status) = tasks.join_next().await.unwrap().unwrap();
            assert_eq!(status, 400, "the first {end} bytes");
        }
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap().1, 400);
    }
    assert!(sidecar.rung().is_none());

    // Signed by us with some bytes replaced: anything but a 5xx, and a ring only with a 202.
    let mut random = fastrand::Rng::with_seed(2026);
    for round in 0..500 {
        let mut body = text.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..body.len());
            body[at] = *random.choice(br#""\{}[],:0e-n\u00x"#).unwrap_or(&0xff);
        }
        let status = sidecar.post(&Post::new("push", body)).await.status;
        assert!([200, 202, 400, 422].contains(&status), "round {round}: {status}");
        assert_eq!(sidecar.rung().is_some(), status == 202, "round {round}");
    }
}
