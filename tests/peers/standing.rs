//! Pins and pauses that outlive a pod: what a replica that starts on an empty volume takes over from real sidecars.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pushsync::api::Snapshot;
use serde_json::json;

use super::replicas::{Fleet, Replica, SECRET};
use crate::support::PATIENCE;

async fn snapshot(replica: &Replica) -> Snapshot {
    serde_json::from_str(&replica.get("admin", "/api/v1/snapshot").await).unwrap()
}

/// Waits until a snapshot holds.
async fn settled(replica: &Replica, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let end = Instant::now() + PATIENCE;
    loop {
        let snapshot = snapshot(replica).await;
        if holds(&snapshot) {
            return snapshot;
        }
        assert!(Instant::now() < end, "{snapshot:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn pin(fleet: &Fleet, replicas: &[usize], commit: &str) {
    for &at in replicas {
        let replica = &fleet.replicas[at];
        assert_eq!(replica.post("pin", &json!({"commit": commit, "by": "ada@laptop"})).await, 202);
        settled(replica, |it| it.running.is_none() && it.published.as_ref().is_some_and(|it| it.commit == commit))
            .await;
    }
}

/// The exit code and the last line of the real program, about all replicas.
fn verdict(fleet: &Fleet, word: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.arg(word).args(arguments).stdin(Stdio::null());
    for replica in &fleet.replicas {
        command.args(["--url", &replica.admin()]);
    }
    let output = command.output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), out.lines().last().unwrap_or_default().to_owned())
}

/// The commits that a replica ever published on its volume.
async fn published(replica: &Replica) -> Vec<String> {
    replica.history().await.into_iter().filter_map(|record| record.new).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_of_all_survives_that_every_pod_is_replaced_one_by_one() {
    let mut fleet = Fleet::start(3, 0, |_| vec![SECRET]).await;
    let good = fleet.repo.head();
    let (bad, ..) = fleet.push(0, SECRET).await;
    pin(&fleet, &[0, 1, 2], &good).await;
    for at in 0..3 {
        fleet.replicas[at].replace().await;
        let replica = &fleet.replicas[at];
        let snapshot = settled(replica, |snapshot| snapshot.running.is_none()).await;
        assert_eq!(snapshot.pinned.as_ref(), Some(&good));
        assert_eq!(snapshot.pinned_by.as_deref(), Some("ada@laptop"));
        assert!(replica.has(&good), "{snapshot:#?}");
        // The bad commit was never seen by a reader of the new pod.
        assert!(!published(replica).await.contains(&bad));
    }
    // The verdict names the pin of replicas that took it over as that of the others. None of them has looked at the remote
    // before it published, so each does it right after.
    for replica in &fleet.replicas {
        settled(replica, |snapshot| snapshot.head.as_ref().is_some_and(|head| head.commit == bad)).await;
    }
    let (code, last) = verdict(&fleet, "dashboard", &["--check"]);
    // No replica has a record of the bad commit, so its subject is not known.
    let expected = format!("NOT LIVE EVERYWHERE  {}  0 of 3  3 pinned at {}", &bad[..7], &good[..7]);
    assert_eq!((code, last.as_str()), (Some(3), expected.as_str()));
    let (code, last) = verdict(&fleet, "status", &["--commit", &good]);
    assert_eq!(code, Some(0), "{last}");
    assert!(last.starts_with("LIVE EVERYWHERE") && last.contains("3 of 3"), "{last}");
    // It is the replica's own decision now: it outlives a restart of the container, too, with nobody to ask.
    for at in [0, 1] {
        fleet.replicas[at].sidecar.kill();
    }
    fleet.replicas[2].restart().await;
    assert_eq!(snapshot(&fleet.replicas[2]).await.pinned.as_ref(), Some(&good));
    // And it is undone as any other.
    assert_eq!(fleet.replicas[2].post("unpin", &json!({})).await, 202);
    settled(&fleet.replicas[2], |it| it.published.as_ref().is_some_and(|it| it.commit == bad)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_all_is_taken_over_with_what_the_others_publish() {
    let mut fleet = Fleet::start(3, 0, |_| vec![SECRET]).await;
    let live = fleet.repo.head();
    for replica in &fleet.replicas {
        assert_eq!(replica.post("pause", &json!({"minutes": 60, "by": "ada@laptop"})).await, 202);
    }
    let until = snapshot(&fleet.replicas[1]).await.paused_until;
    let newer = fleet.repo.push_file("page", "newer", "newer");
    fleet.replicas[0].replace().await;
    let replica = &fleet.replicas[0];
    let snapshot = settled(replica, |snapshot| snapshot.running.is_none()).await;
    assert!(replica.has(&live), "it serves what the others serve: {snapshot:#?}");
    assert!(snapshot.paused_until.is_some() && snapshot.paused_until >= until, "{:?} {until:?}", snapshot.paused_until);
    assert_eq!((snapshot.paused_by.as_deref(), snapshot.pinned), (Some("ada@laptop"), None));
    assert_eq!(replica.post("resume", &json!({})).await, 202);
    settled(replica, |it| it.published.as_ref().is_some_and(|it| it.commit == newer)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_secret_is_not_believed() {
    let mut fleet =
        Fleet::start(4, 0, |number| vec![if number == 4 { "a secret of somebody else" } else { SECRET }]).await;
    let old = fleet.repo.head();
    let new = fleet.repo.push_file("page", "new", "new");
    for replica in &fleet.replicas {
        assert_eq!(replica.post("sync", &json!({})).await, 202);
    }
    fleet.wait_published(&new).await;
    // The only replica with a pin has another secret.
    pin(&fleet, &[3], &old).await;
    fleet.replicas[0].replace().await;
    let snapshot = settled(&fleet.replicas[0], |snapshot| snapshot.running.is_none()).await;
    assert_eq!(snapshot.pinned, None);
    assert!(fleet.replicas[0].has(&new));
    assert!(fleet.replicas[3].messages("rejected").await > 0, "it was asked, and refused the question");
    assert!(fleet.replicas[1].messages("asked").await > 0);
}

/// The time from the listeners to the first publish, by the log. Its lines arrive on a thread, perhaps later than the tree.
async fn started(replica: &mut Replica) -> jiff::SignedDuration {
    let mut times = Vec::new();
    for text in ["\"listener\":\"admin\"", "\"outcome\":\"published\""] {
        let line = replica.sidecar.wait_for_text(PATIENCE, text).await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        times.push(line["ts"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
    }
    times[1].duration_since(times[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_take_connections_and_say_nothing_delay_a_start_by_the_limit_at_most() {
    let mut fleet = Fleet::start(1, 2, |_| vec![SECRET]).await;
    let silent: Vec<TcpListener> = (2..=3).map(|number| TcpListener::bind(fleet.address(number)).unwrap()).collect();
    fleet.replicas[0].replace().await;
    let took = started(&mut fleet.replicas[0]).await;
    println!("from listening to published with two silent peers: {took:?}");
    // Each try ends after a second, and all of it after two; the rest is the first fetch on a loaded machine.
    assert!(took < jiff::SignedDuration::from_secs(8), "{took:?}");
    drop(silent);
    // All pods are replaced at once: nobody is left to ask, and the ref is followed.
    fleet.replicas[0].replace().await;
    let took = started(&mut fleet.replicas[0]).await;
    println!("from listening to published with closed peers: {took:?}");
    assert_eq!(snapshot(&fleet.replicas[0]).await.pinned, None);
}
