//! Clients that dribble, hang and crowd: the owner's push gets through.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::*;

#[tokio::test]
async fn a_good_push_is_answered_while_200_connections_dribble_their_heads() {
    let sidecar = Sidecar::new();
    let mut dribblers = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
        stream.write_all(b"POST /webhook HTTP/1.1\r\nX-A: ").await.unwrap();
        dribblers.push(stream);
    }
    let dribble = tokio::spawn(async move {
        loop {
            for stream in &mut dribblers {
                let _ = stream.write_all(b"a").await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let started = Instant::now();
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
    println!("a good push among 200 dribblers: {} ms", started.elapsed().as_millis());
    assert!(started.elapsed() < Duration::from_secs(5));
    dribble.abort();
}

#[tokio::test]
async fn when_all_places_are_taken_the_oldest_without_a_request_makes_room() {
    let mut setup = Setup::default();
    setup.limits.hook.connections = 8;
    setup.limits.hook.head = Duration::from_secs(600);
    let sidecar = setup.start();
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
        stream.write_all(b"POST /webhook HTTP/1.1\r\nX-A: ").await.unwrap();
        crowd.push(stream);
    }
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
    // The first of them was dropped for it.
    let mut byte = [0];
    let read = timeout(PATIENCE, crowd[0].read(&mut byte)).await.expect("dropped");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn bodies_that_never_end_do_not_hold_all_places_either() {
    let mut setup = Setup::default();
    setup.limits.hook.connections = 4;
    setup.limits.hook.body = Duration::from_secs(600);
    setup.limits.hook.crowded_out_after = Some(Duration::from_millis(200));
    let sidecar = setup.start();
    let mut crowd = Vec::new();
    let stuck = Post::push(&payload()).with("Content-Length", "1000000").bytes();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
        stream.write_all(&stuck).await.unwrap();
        crowd.push(stream);
    }
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
}

#[tokio::test]
async fn heads_and_bodies_have_their_time() {
    let mut setup = Setup::default();
    setup.limits.hook.head = Duration::from_secs(2);
    setup.limits.hook.body = Duration::from_millis(300);
    let sidecar = setup.start();

    let mut silent = TcpStream::connect(sidecar.hook()).await.unwrap();
    assert_eq!(read_answer(&mut silent).await.body, "", "closed without a word");
    let mut slow = TcpStream::connect(sidecar.hook()).await.unwrap();
    slow.write_all(b"POST /webhook HTTP/1.1\r\n").await.unwrap();
    assert_eq!(read_answer(&mut slow).await.status, 0, "closed");

    let mut slow = TcpStream::connect(sidecar.hook()).await.unwrap();
    slow.write_all(&Post::push(&payload()).with("Content-Length", "100000").bytes()).await.unwrap();
    assert_eq!(read_answer(&mut slow).await.status, 408);
    assert_eq!(sidecar.metric("pushsync_webhook_deliveries_total{result=\"timeout\"}"), Some(1.0));
    assert!(sidecar.rung().is_none());
}

#[tokio::test]
async fn hanging_up_at_any_point_leaves_the_listener_alone() {
    let sidecar = Sidecar::new();
    let whole = Post::push(&payload()).bytes();
    for end in (0..whole.len()).step_by(97) {
        let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
        stream.write_all(&whole[..end]).await.unwrap();
        if end % 2 == 0 {
            // A reset instead of a proper end.
            stream.set_zero_linger().unwrap();
        }
    }
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
    assert_eq!(sidecar.rung().expect("the whole one").trigger.merged, 1);
}
