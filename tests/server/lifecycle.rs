//! Starting (errors name the flag) and stopping (no connection is closed without need).

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use pushsync::api::{DEFAULT_ADMIN_PORT, LAST_ADMIN_PORT};
use pushsync::server::{AdminBind, ServerOptions, Servers, WebhookOptions, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::harness::*;

fn options() -> ServerOptions {
    ServerOptions { hook: None, http: None, http_metrics: false, admin: AdminBind::Off, admin_token_file: None }
}

fn begin(sidecar: &Sidecar, options: &ServerOptions) -> Result<Servers, String> {
    let (handle, _commands) = pushsync::sync::Handle::new(
        sidecar.status.clone(),
        sidecar.queue.clone(),
        sidecar.history.clone(),
        sidecar.metrics.clone(),
        pushsync::clock::Clock::real(),
    );
    start(options, &handle).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    })
}

/// A push whose head is being handled (the server asked for the body), and the body that is still to be sent.
async fn half_sent(hook: SocketAddr) -> (TcpStream, Vec<u8>) {
    let post = Post::push(&payload()).with("Expect", "100-continue");
    let mut stream = TcpStream::connect(hook).await.unwrap();
    let head = post.head() + &format!("Content-Length: {}\r\n\r\n", post.body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    (stream, post.body)
}

#[tokio::test]
async fn a_start_that_fails_names_the_address_and_the_flag() {
    let sidecar = Sidecar::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for (flag, options) in [
        ("--http-bind", ServerOptions { http: Some(address), ..options() }),
        ("--admin-bind", ServerOptions { admin: AdminBind::Address(address), ..options() }),
    ] {
        let message = begin(&sidecar, &options).unwrap_err();
        assert!(message.contains(flag) && message.contains(&address.to_string()), "{message}");
        assert!(message.contains("another process or container of this pod"), "{message}");
    }
    let open: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let message = begin(&sidecar, &ServerOptions { admin: AdminBind::Address(open), ..options() }).unwrap_err();
    assert!(message.contains("--admin-token-file is required"), "{message}");

    let hook = |secret_files: Vec<std::path::PathBuf>| {
        let audience = Setup::default().audience;
        let bind = "127.0.0.1:0".parse().unwrap();
        let peers = pushsync::peers::PeerOptions::default();
        ServerOptions {
            hook: Some(WebhookOptions {
                bind,
                path: "/webhook".into(),
                secret_files,
                secret_optional: false,
                audience,
                peers,
            }),
            ..options()
        }
    };
    let short = sidecar.secret_path("short");
    std::fs::write(&short, "fifteen bytes..").unwrap();
    let good = sidecar.secret_path("current");
    let none = sidecar.secret_path("none");
    for (files, words) in [
        (vec![], "requires --hook-secret-file"),
        (vec![short.clone()], "16 to 512 bytes"),
        (vec![none.clone()], "cannot be read"),
        (vec![good.clone(), short], "16 to 512 bytes"),
    ] {
        let message = begin(&sidecar, &hook(files)).unwrap_err();
        assert!(message.contains(words) && message.contains("--hook-secret-file"), "{message}");
        assert!(!message.contains("fifteen"), "the secret is in the message: {message}");
    }
    assert!(begin(&sidecar, &hook(vec![good, none])).is_ok(), "the previous secret may be gone");
}

#[tokio::test]
async fn the_admin_port_moves_on_when_it_is_taken() {
    let sidecar = Sidecar::new();
    let options = ServerOptions { admin: AdminBind::Default, ..options() };
    // Others on this machine may hold some of the ten, but hardly all.
    let first = begin(&sidecar, &options).unwrap();
    let second = begin(&sidecar, &options).unwrap();
    let (first, second) = (first.admin_addr.unwrap(), second.admin_addr.unwrap());
    assert_ne!(first, second);
    for address in [first, second] {
        assert!(address.ip().is_loopback());
        assert!((DEFAULT_ADMIN_PORT..=LAST_ADMIN_PORT).contains(&address.port()));
        assert_eq!(get(address, "/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn a_request_that_runs_is_finished_and_nothing_new_is_taken() {
    let sidecar = Sidecar::new();
    let (hook, admin) = (sidecar.hook(), sidecar.admin());
    let (mut running, body) = half_sent(hook).await;
    let mut idle = TcpStream::connect(admin).await.unwrap();
    let mut dribbling = TcpStream::connect(hook).await.unwrap();
    dribbling.write_all(b"POST /webhook HT").await.unwrap();
    let stopping = tokio::spawn(sidecar.servers.shutdown(PATIENCE));
    assert_eq!(read_answer(&mut idle).await.body, "", "closed without a reset");
    assert_eq!(read_answer(&mut dribbling).await.body, "", "closed without a reset");
    assert!(TcpStream::connect(hook).await.is_err(), "still accepting");
    running.write_all(&body).await.unwrap();
    assert_eq!(read_answer(&mut running).await.status, 202);
    drop((running, idle, dribbling));
    stopping.await.unwrap();
    assert!(sidecar.queue.next().await.newest_announced().is_some());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_those_who_hang() {
    let sidecar = Sidecar::new();
    let (_stuck, _body) = half_sent(sidecar.hook()).await;
    let started = Instant::now();
    sidecar.servers.shutdown(Duration::from_millis(500)).await;
    let took = started.elapsed();
    println!("shutdown with a stuck request took {} ms", took.as_millis());
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(10), "{took:?}");
    assert!(sidecar.queue.next().now_or_never().is_none(), "half a request rang");
}
