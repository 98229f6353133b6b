//! Requests about whose end a proxy and a server could differ, on all three listeners: refused, or read in one way only.

use std::net::SocketAddr;

use super::harness::*;

/// A request that an attacker hides behind another one. If it were parsed as a request, the answer would be 404, 405 or 202.
const HIDDEN: &str = "POST /hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

fn listeners(sidecar: &Sidecar) -> [(&'static str, SocketAddr, &'static str); 3] {
    [
        ("hook", sidecar.hook(), "/webhook"),
        ("http", sidecar.http(), "/livez"),
        ("admin", sidecar.admin(), "/api/v1/sync"),
    ]
}

/// One answer, that this is no request, and then the end of the connection.
async fn refused(address: SocketAddr, name: &str, bytes: &[u8]) {
    let answer = exchange(address, bytes).await;
    assert!([400, 414, 431].contains(&answer.status), "{name}: {answer:?}");
    assert!(!answer.body.contains("HTTP/1.1"), "{name}: a second answer: {answer:?}");
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_read_in_none() {
    let sidecar = Sidecar::new();
    let cases = [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 0\r\n"),
        ("a list of lengths", "Content-Length: 5, 5\r\n"),
        ("a signed length", "Content-Length: +5\r\n"),
        ("a negative length", "Content-Length: -5\r\n"),
        ("a length in hex", "Content-Length: 0x5\r\n"),
        ("a length with a space in it", "Content-Length: 5 0\r\n"),
        ("an empty length", "Content-Length:\r\n"),
        ("a length in other digits", "Content-Length: \u{665}\r\n"),
        ("a length too long for any number", "Content-Length: 18446744073709551621\r\n"),
        ("a space before the colon", "Content-Length : 5\r\n"),
        ("a tab before the colon", "Content-Length\t: 5\r\n"),
        ("a folded length", "X: y\r\n Content-Length: 5\r\n"),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
        ("chunked, but not last", "Transfer-Encoding: chunked, identity\r\n"),
        ("a coding with a control character", "Transfer-Encoding: \u{b}chunked\r\n"),
        ("a zero byte in a name", "Content-\0Length: 5\r\n"),
        ("a zero byte in a value", "X: a\0b\r\n"),
        ("a lone CR in a value", "X: a\rContent-Length: 5\r\n"),
        ("a line without a name", ": 5\r\n"),
        ("a name of other letters", "C\u{f6}ntent-Length: 5\r\n"),
    ];
    for (listener, address, path) in listeners(&sidecar) {
        for (name, line) in cases {
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n0\r\n\r\n{HIDDEN}");
            refused(address, &format!("{listener}: {name}"), head.as_bytes()).await;
        }
    }
    assert!(sidecar.rung().is_none() && sidecar.commands.lock().unwrap().is_empty());
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202, "the listener lives on");
}

#[tokio::test]
async fn a_request_line_that_is_none_is_refused() {
    let sidecar = Sidecar::new();
    let long = format!("GET /{} HTTP/1.1", "a".repeat(40_000));
    let cases = [
        "GET / HTTP/1.1 HTTP/1.1",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\r/ HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/11",
        "GET / http/1.1",
        "G\u{f6}T / HTTP/1.1",
        "GET /",
        &long,
    ];
    for (listener, address, _) in listeners(&sidecar) {
        for line in cases {
            let name = format!("{listener}: {:.40}", line.escape_debug());
            refused(address, &name, format!("{line}\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        }
    }
}

#[tokio::test]
async fn chunks_are_read_in_one_way() {
    let sidecar = Sidecar::new();
    let good = Post::push(&payload());
    let length = good.body.len();
    let send = async |size: String, end: &str, trailers: &str| {
        let head = good.head() + "Transfer-Encoding: chunked\r\n\r\n";
        let body = [head.as_bytes(), size.as_bytes(), &good.body, end.as_bytes(), trailers.as_bytes()].concat();
        exchange(sidecar.hook(), &body).await.status
    };
    let last = "0\r\n\r\n";
    for (name, size) in [
        ("a sign", format!("+{length:x}\r\n")),
        ("a prefix", format!("0x{length:x}\r\n")),
        ("a negative size", format!("-{length:x}\r\n")),
        ("no size", "\r\n".to_owned()),
        ("a lone LF", format!("{length:x}\n")),
        ("a lone CR", format!("{length:x}\r")),
        ("an overflow", format!("10000000000000000{length:x}\r\n")),
        ("an extension that ends in a lone LF", format!("{length:x};a=b\n")),
        ("an endless extension", format!("{length:x};{}\r\n", "a".repeat(40_000))),
    ] {
        assert_eq!(send(size, "\r\n", last).await, 400, "{name}");
    }
    let size = || format!("{length:x}\r\n");
    assert_eq!(send(size(), "", last).await, 400, "no line end behind the data");
    assert_eq!(send(size(), "\n", last).await, 400, "a lone LF behind the data");
    assert_eq!(send(size(), "x\r\n", last).await, 400, "more data than was said");
    assert!(sidecar.rung().is_none());

    let zeros = format!("000{length:X}\r\n");
    let trailer = "0\r\nX-Hub-Signature-256: sha256=00\r\nX-GitHub-Event: ping\r\n\r\n";
    for (name, size, last) in [
        ("an extension", format!("{length:x};a=\"b\"\r\n"), last),
        ("leading zeros and capitals", zeros, last),
        ("trailers, which do not count as headers", size(), trailer),
    ] {
        assert_eq!(send(size, "\r\n", last).await, 202, "{name}");
        assert_eq!(sidecar.rung().expect(name).trigger.event.as_deref(), Some("push"), "{name}");
    }
}

#[tokio::test]
async fn what_is_hidden_behind_a_webhook_is_never_read() {
    let sidecar = Sidecar::new();
    let good = Post::push(&payload());
    let second = String::from_utf8(good.bytes()).unwrap();
    // Both bodies are signed, so only the framing can keep the second one out.
    for (name, first) in [
        ("keep-alive", good.clone().with("Connection", "keep-alive")),
        ("a ping", Post::new("ping", "{}")),
        ("unsigned", good.clone().with("X-Hub-Signature-256", "")),
        ("another path", Post { path: "/elsewhere".into(), ..good.clone() }),
    ] {
        let answer = exchange(sidecar.hook(), &[first.bytes(), second.clone().into_bytes()].concat()).await;
        assert!(!answer.body.contains("HTTP/1.1"), "{name}: {answer:?}");
        let merged = sidecar.rung().map_or(0, |ring| ring.trigger.merged);
        assert_eq!(merged, u32::from(answer.status == 202), "{name}: {answer:?}");
    }
    // HTTP/1.0 knows no chunks.
    let old = good.head().replace("HTTP/1.1", "HTTP/1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(sidecar.hook(), "chunks in HTTP/1.0", (old + HIDDEN).as_bytes()).await;
}

#[tokio::test]
async fn pipelined_requests_of_the_cluster_are_answered_in_order_up_to_the_first_that_is_none() {
    let sidecar = Sidecar::new();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (listener, address, path) in
        [("http", sidecar.http(), "/livez"), ("admin", sidecar.admin(), "/api/v1/snapshot")]
    {
        let (one, other) = (get(address, path).await.status, get(address, "/nowhere").await.status);
        let bytes = request(path) + &request("/nowhere") + &request(path) + "GARBAGE\r\n\r\n" + &request(path);
        let answer = exchange(address, bytes.as_bytes()).await;
        let text = format!("{}\r\n\r\n{}", answer.head, answer.body);
        let statuses: Vec<u16> =
            text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect();
        assert_eq!(statuses, [one, other, one, 400], "{listener}");
    }
}

/// A client of the admin listener may send changes anyway. The test is that the guard checks each request individually.
#[tokio::test]
async fn a_change_hidden_in_a_body_is_a_body_and_behind_one_it_is_guarded() {
    let sidecar = Sidecar::new();
    let hidden = "POST /api/v1/sync HTTP/1.1\r\nHost: evil.test\r\nContent-Type: application/json\r\nX-Pushsync: 1\r\nContent-Length: 2\r\n\r\n{}";
    let inside = format!(
        "POST /api/v1/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{hidden}",
        hidden.len()
    );
    let answer = exchange(sidecar.admin(), inside.as_bytes()).await;
    assert!((400..500).contains(&answer.status) && !answer.body.contains("HTTP/1.1"), "in a body: {answer:?}");
    for framing in [
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let chunk = if framing.contains("chunked") { "0\r\n\r\n" } else { "" };
        let first = format!("POST /api/v1/pause HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{chunk}");
        let end = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(sidecar.admin(), (first + hidden + end).as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{framing}: {answer:?}");
        assert!(!answer.body.contains("HTTP/1.1 2"), "{framing}: {answer:?}");
    }
    assert!(sidecar.commands.lock().unwrap().is_empty());
}
