//! `pushsync ping` against sockets that answer, refuse, hang up or do not speak the language.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Output;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pushsync::secret::Secret;
use pushsync::signature::sign;
use serde_json::Value;

use super::{pushsync, stderr, stdout};

const SECRET: &str = "ping-secret-0123456789";

/// One delivery as it came over the wire.
struct Received {
    /// Request line and headers, names in lower case.
    head: Vec<String>,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let found = self.head.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        found.unwrap_or_else(|| panic!("{name} in {:?}", self.head))
    }
}

/// Accepts one connection, reads one request and answers it with the given bytes.
fn answer_once(answer: &'static str) -> (u16, JoinHandle<Received>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let received = read_request(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        received
    });
    (port, server)
}

fn read_request(stream: &mut TcpStream) -> Received {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head: Vec<String> = head.lines().map(lower_name).collect();
            let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            if body.len() >= length {
                return Received { head, body: body.as_bytes()[..length].to_vec() };
            }
        }
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the client hung up: {text}");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn lower_name(line: &str) -> String {
    match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    }
}

fn ping(url: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let arguments = [&["ping", "--url", url, "--secret-file", file.to_str().unwrap()], more].concat();
    pushsync(&arguments, &[])
}

#[test]
fn a_ping_is_signed_and_looks_like_githubs() {
    let (port, server) = answer_once(
        "HTTP/1.1 200 OK\r\ncontent-length: 46\r\n\r\n{\"queued\":false,\"reason\":\"pong\",\"more\":\"\u{9b}1m\"}",
    );
    let output = ping(&format!("http://127.0.0.1:{port}/webhook"), &["--repo", "acme/site"]);
    let received = server.join().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("200 OK after ") && text.contains("pong") && !text.contains('\u{9b}'), "{text}");

    assert_eq!(received.head[0], "POST /webhook HTTP/1.1");
    assert_eq!(received.header("x-github-event"), "ping");
    assert_eq!(received.header("content-type"), "application/json");
    assert!(received.header("user-agent").starts_with("pushsync-ping/"));
    assert_eq!(received.header("x-github-delivery").len(), 36);
    assert_eq!(received.header("x-hub-signature-256"), sign(&Secret::new(SECRET), &received.body));
    let payload: Value = serde_json::from_slice(&received.body).unwrap();
    assert!(payload["zen"].is_string() && payload["hook"].is_object(), "{payload}");
    assert_eq!(payload["repository"]["full_name"], "acme/site");
}

#[test]
fn a_push_announces_what_it_is_told_to() {
    let (port, server) =
        answer_once("HTTP/1.1 202 Accepted\r\ncontent-length: 33\r\n\r\n{\"queued\":true,\"reason\":\"pushed\"}");
    let after = "757107ea0eb2509fc211221cce984b8a37570b6d";
    let more = ["--push", "--ref", "live", "--after", after, "--repo", "https://git.test/acme/site.git"];
    let output = ping(&format!("http://127.0.0.1:{port}/webhook"), &more);
    let received = server.join().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(received.header("x-github-event"), "push");
    assert_eq!(received.header("x-hub-signature-256"), sign(&Secret::new(SECRET), &received.body));
    let payload: Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!((&payload["ref"], &payload["after"]), (&Value::from("refs/heads/live"), &Value::from(after)));
    assert_eq!(payload["repository"]["clone_url"], "https://git.test/acme/site.git");
}

#[test]
fn refusals_are_explained() {
    let cases = [
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "secret here and the one the sidecar reads differ"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "exactly that of --hook-path"),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "could not reach the sidecar"),
        ("HTTP/1.1 308 Permanent Redirect\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", "no forge follows"),
        ("not http at all\r\n\r\n", "was closed before a response"),
        ("", "was closed before a response"),
    ];
    for (answer, expected) in cases {
        let (port, server) = answer_once(answer);
        let output = ping(&format!("http://127.0.0.1:{port}/webhook"), &[]);
        server.join().unwrap();
        assert_eq!(output.status.code(), Some(1), "{answer}");
        assert!(stdout(&output).contains(expected), "{expected} in {}", stdout(&output));
    }
}

#[test]
fn the_way_there_is_explained_by_where_it_ends() {
    // Bound but not listening: it refuses connections, and no other process can take the port.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = deaf.local_addr().unwrap().port();
    let refused = ping(&format!("http://127.0.0.1:{port}/webhook"), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stdout(&refused).contains("nothing listens on that port"), "{}", stdout(&refused));

    // A label of 64 characters is refused by the resolver itself (RFC 1035, section 2.3.4), so no name server is asked.
    let unknown = ping(&format!("http://{}.invalid/webhook", "x".repeat(64)), &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stdout(&unknown).contains("does not exist in DNS"), "{}", stdout(&unknown));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 1024];
        let _ = stream.read(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let tls = ping(&format!("https://127.0.0.1:{port}/webhook"), &[]);
    plain.join().unwrap();
    assert_eq!(tls.status.code(), Some(1));
    assert!(stdout(&tls).contains("TLS failed"), "{}", stdout(&tls));
}

#[test]
fn a_missing_secret_file_is_told() {
    let output = pushsync(&["ping", "--url=http://127.0.0.1:1/", "--secret-file=/nowhere"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("The secret file cannot be read"), "{}", stdout(&output));
}
