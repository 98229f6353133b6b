//! Floods, slow readers and writers, half-open connections and huge heads, on all three listeners.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::*;

fn listeners(sidecar: &Sidecar) -> [(&'static str, SocketAddr); 3] {
    [("hook", sidecar.hook()), ("http", sidecar.http()), ("admin", sidecar.admin())]
}

/// All three with the same bounds.
fn bounded(change: impl Fn(&mut pushsync::server::Limits)) -> Sidecar {
    let mut setup = Setup::default();
    for limits in [&mut setup.limits.hook, &mut setup.limits.http, &mut setup.limits.admin] {
        change(limits);
    }
    setup.start()
}

async fn good(sidecar: &Sidecar, listener: &str) -> u16 {
    match listener {
        "hook" => sidecar.post(&Post::push(&payload())).await.status,
        "http" => get(sidecar.http(), "/livez").await.status,
        _ => get(sidecar.admin(), "/api/v1/snapshot").await.status,
    }
}

#[tokio::test]
async fn a_flood_of_silent_connections_blocks_no_other_client() {
    let sidecar = Sidecar::new();
    for (listener, address) in listeners(&sidecar) {
        let calm = good(&sidecar, listener).await;
        let mut crowd = Vec::new();
        // More than any listener has places for.
        for _ in 0..600 {
            crowd.push(timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap());
        }
        let started = Instant::now();
        assert_eq!(good(&sidecar, listener).await, calm, "{listener}");
        println!("{listener}: answered among 600 silent connections in {} ms", started.elapsed().as_millis());
        assert!(started.elapsed() < PATIENCE, "{listener}");
    }
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let sidecar = Sidecar::new();
    for (listener, address) in listeners(&sidecar) {
        let calm = good(&sidecar, listener).await;
        for round in 0..300 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if round % 3 > 0 {
                stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            }
            if round % 2 == 0 {
                stream.set_zero_linger().unwrap();
            }
        }
        assert_eq!(good(&sidecar, listener).await, calm, "{listener}");
    }
}

#[tokio::test]
async fn a_head_has_its_time_on_every_listener_also_if_it_dribbles() {
    let sidecar = bounded(|limits| limits.head = Duration::from_millis(700));
    for (listener, address) in listeners(&sidecar) {
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await.unwrap();
        let started = Instant::now();
        // A byte each 50 ms is progress, and no excuse.
        while started.elapsed() < PATIENCE && slow.write_all(b"a").await.is_ok() {
            if timeout(Duration::from_millis(50), slow.read_u8()).await.is_ok() {
                break;
            }
        }
        assert!(started.elapsed() < PATIENCE, "{listener}: the dribbler was never dropped");
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("dropped");
        assert!(read.is_err() || rest.is_empty(), "{listener}: {rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_closes_its_half_in_the_middle_gets_an_end_and_rings_nothing() {
    let sidecar = Sidecar::new();
    let whole = Post::push(&payload()).bytes();
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let change = b"POST /api/v1/sync HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Pushsync: 1\r\nContent-Length: 50\r\n\r\n{";
    for (listener, address) in listeners(&sidecar) {
        for bytes in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost", &whole[..head], &whole[..whole.len() - 1], change] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end").expect("no reset");
            let status = Answer::parse(&answer).status;
            assert!(status == 0 || (400..500).contains(&status), "{listener}: {status} to {} bytes", bytes.len());
        }
    }
    assert!(sidecar.rung().is_none() && sidecar.commands.lock().unwrap().is_empty());
    // With everything sent it is a request like any other.
    let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
    stream.write_all(&whole).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 202);
    assert!(sidecar.rung().is_some());
}

#[tokio::test]
async fn a_head_beyond_its_bounds_is_refused_on_every_listener() {
    let sidecar = Sidecar::new();
    let heads = [
        ("a long value", format!("X: {}\r\n", "a".repeat(64 * 1024))),
        ("a long name", format!("{}: x\r\n", "a".repeat(64 * 1024))),
        ("many lines", "X: y\r\n".repeat(5000)),
        ("one that never ends", "a".repeat(1024 * 1024)),
    ];
    for (listener, address) in listeners(&sidecar) {
        let calm = good(&sidecar, listener).await;
        for (name, lines) in &heads {
            let answer =
                exchange(address, format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n").as_bytes()).await;
            assert!((400..500).contains(&answer.status), "{listener}: {name}: {answer:?}");
        }
        assert_eq!(good(&sidecar, listener).await, calm, "{listener}");
    }
}

#[tokio::test]
async fn unexpected_bodies_are_bounded_on_the_http_listener_too() {
    let sidecar = bounded(|limits| limits.body = Duration::from_millis(300));
    for (address, path) in [(sidecar.http(), "/livez"), (sidecar.admin(), "/api/v1/sync")] {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Pushsync: 1\r\n");
        let huge = head.clone() + "Content-Length: 99999999999\r\n\r\n{";
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(huge.as_bytes()).await.unwrap();
        assert!((400..500).contains(&read_answer(&mut stream).await.status), "{path}: a huge length");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all((head + "Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        // Until it is refused: at most what lingers is read and thrown away.
        for _ in 0..1024 {
            if timeout(PATIENCE, stream.write_all(&chunk)).await.expect("read or refused").is_err() {
                break;
            }
        }
    }
    assert!(sidecar.commands.lock().unwrap().is_empty());
}
