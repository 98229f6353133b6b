//! The rows of the fault matrix about the limit of descriptors.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use pushsync::api::Outcome;

use super::site::Site;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

/// Runs the program under a limit of the shell's `ulimit`.
pub(super) fn limited(site: &Site, limit: &str) -> Sidecar {
    let mut command = Command::new("sh");
    command.args(["-c", &format!(r#"ulimit {limit} && exec "$0" "$@""#), env!("CARGO_BIN_EXE_pushsync")]);
    command.args(site.arguments());
    Sidecar::spawn(command)
}

#[tokio::test]
async fn forty_descriptors_are_enough() {
    let mut site = Site::new();
    let sidecar = limited(&site, "-n 40");
    site.started(sidecar).await;
    let head = site.repo.head();
    site.wait_published(&head).await;
    for number in 0..12 {
        let commit = site.push_and_ring("a", &number.to_string()).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
    }
    assert!(site.history().await.iter().all(|record| record.outcome != Outcome::Failed));
}

#[tokio::test]
async fn when_others_hold_all_descriptors_it_lives_and_goes_on_once_they_let_go() {
    let mut site = Site::new();
    site.set("period", "1s");
    let sidecar = limited(&site, "-n 40");
    site.started(sidecar).await;
    let before = site.repo.head();
    site.wait_published(&before).await;
    let address = site.hook().trim_start_matches("http://").trim_end_matches("/webhook").to_owned();
    // The kernel's queue takes what the process cannot.
    let held: Vec<TcpStream> = (0..60).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", site.sidecar.as_ref().unwrap().id())).unwrap().count();
    eventually(PATIENCE, || open() >= 38).await;
    let after = site.repo.push_file("a", "2", "nobody can ring");
    let stop = Instant::now() + Duration::from_secs(3);
    while Instant::now() < stop {
        let live = site.published().expect("the link is there");
        assert!(live == before || live == after, "{live}");
        site.assert_whole(&live);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(site.sidecar().is_running());
    drop(held);
    site.wait_published(&after).await;
    site.assert_whole(&after);
    let mut told = 0;
    for record in site.history().await {
        println!("{:?} {:?}", record.outcome, record.error);
        let Some(error) = record.error else { continue };
        assert!(!error.message.contains("damaged"), "no reason to throw the store away");
        if error.message.contains("Too many open files") {
            told += 1;
            assert_eq!(error.kind, "no_descriptors", "{error:?}");
            assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("ulimit -n")), "{error:?}");
        }
    }
    println!("{told} records for want of descriptors");
    // The listener waits between its attempts, and says what helps: a loop without a pause would have thousands of lines.
    let paused = |line: &&String| line.contains("cannot accept connections");
    let log = site.sidecar().log();
    let lines: Vec<&String> = log.iter().filter(paused).collect();
    assert!((1..=40).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.contains("ulimit -n")), "{lines:?}");
}
