//! What strangers and forges can cost: memory while large bodies stream, patience while connections dribble.

use std::time::{Duration, Instant};

use pushsync::secret::Secret;
use pushsync::signature::sign;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::site::{SECRET, Site};
use crate::support::{PATIENCE, eventually};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn thirty_two_signed_bodies_of_24_mib_at_once_stay_under_64_mib() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let head = site.repo.head();
    let idle = memory(site.sidecar().id(), "VmRSS");
    let url = site.remote.url("site.git");
    let opening = format!(
        r#"{{"ref":"refs/heads/main","before":"{head}","after":"{head}","created":false,"deleted":false,"repository":{{"full_name":"site","clone_url":"{url}","default_branch":"main"}},"padding":""#
    );
    let mut body = opening.into_bytes();
    body.resize(24 * MIB - 2, b'x');
    body.extend(b"\"}");
    let signature = sign(&Secret::new(SECRET), &body);
    let body = bytes::Bytes::from(body);
    let hook = site.hook();
    let sends: Vec<_> = (0..32)
        .map(|_| {
            let (hook, signature, body) = (hook.clone(), signature.clone(), body.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().unwrap();
                let request = client.post(hook).header("content-type", "application/json");
                let request = request.header("x-github-event", "push").header("x-hub-signature-256", signature);
                request.header("x-github-delivery", "large").body(body).send().await.unwrap().status().as_u16()
            })
        })
        .collect();
    let mut rung = 0;
    for send in sends {
        let status = send.await.unwrap();
        // Too many bodies in flight may be told to come back, never to a crash; those that are read must ring.
        assert!(matches!(status, 202 | 503), "{status}");
        rung += usize::from(status == 202);
    }
    let peak = memory(site.sidecar().id(), "VmHWM");
    println!("RSS idle {idle} KiB, peak {peak} KiB with 32 bodies of 24 MiB ({rung} rung)");
    assert_eq!(rung, 32);
    assert!(peak < 64 * 1024, "peak RSS {peak} KiB");
}

#[tokio::test]
async fn a_good_push_is_answered_while_200_connections_dribble_their_headers() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let address = site.hook().trim_start_matches("http://").trim_end_matches("/webhook").to_owned();
    let dribblers: Vec<_> = (0..200)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move {
                let mut connection = TcpStream::connect(address).await.unwrap();
                for byte in b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Slow: aaaaaaaaaaaaaaaaaaaa".iter().cycle() {
                    if connection.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let mut rest = Vec::new();
                let _ = connection.read_to_end(&mut rest).await;
            })
        })
        .collect();
    let descriptors = format!("/proc/{}/fd", site.sidecar().id());
    eventually(PATIENCE, || std::fs::read_dir(&descriptors).unwrap().count() >= 200).await;
    let before = site.repo.head();
    let after = site.repo.push_file("a", "good", "good push");
    let answer = site.ring(&before, &after).await;
    println!("answered in {:?} beside 200 dribbling connections", answer.took);
    assert_eq!(answer.status, 202);
    // The promise is a second; the bound leaves room for a loaded machine.
    assert!(answer.took < Duration::from_secs(5), "{:?}", answer.took);
    site.wait_published(&after).await;
    // They are thrown out: headers have five seconds.
    let started = Instant::now();
    for dribbler in dribblers {
        tokio::time::timeout(Duration::from_secs(60), dribbler).await.expect("it is thrown out").unwrap();
    }
    println!("the last dribbler was thrown out after {:?} more", started.elapsed());
}

/// A line of `/proc/PID/status`, in KiB.
fn memory(process: u32, what: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux, and it runs");
    let line = status.lines().find(|line| line.starts_with(what)).expect("the line is there");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
