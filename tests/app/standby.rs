//! Two processes on one volume, as in a rolling update of one replica: the second stands by and takes over.

use std::time::Duration;

use pushsync::api::State;

use super::odd_volumes::once;
use super::site::{Site, published};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

/// The second process, as a site of its own around the same volume and repository.
async fn second(site: &Site) -> Sidecar {
    let mut sidecar = Sidecar::start(site.arguments());
    sidecar.wait_for_text(PATIENCE, "standing by").await;
    sidecar
}

fn address(sidecar: &Sidecar, listener: &str) -> String {
    let log = sidecar.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut found = lines.filter(|line| line["listener"] == listener && line["address"].is_string());
    found.next().expect("it listens")["address"].as_str().unwrap().to_owned()
}

async fn status(sidecar: &Sidecar, path: &str) -> u16 {
    let url = format!("http://{}{path}", address(sidecar, "http"));
    super::site::client().get(url).send().await.unwrap().status().as_u16()
}

async fn snapshot(sidecar: &Sidecar) -> pushsync::api::Snapshot {
    let url = format!("http://{}/api/v1/snapshot", address(sidecar, "admin"));
    serde_json::from_str(&super::site::client().get(url).send().await.unwrap().text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_second_process_stands_by_is_ready_and_takes_over() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    let mut standby = second(&site).await;
    for path in ["/livez", "/startupz", "/readyz", "/"] {
        assert_eq!(status(&standby, path).await, 200, "{path}");
    }
    let shown = snapshot(&standby).await;
    assert_eq!(shown.state, State::Standby);
    assert_eq!(shown.published.map(|published| published.commit), Some(first));
    assert!(shown.standby.is_some_and(|owner| owner.contains("pid ")), "it says which process");
    assert!(shown.recent.is_empty() && shown.last_error.is_none(), "standing by is no failure");

    // The owner goes on, and the other one sees it.
    let second = site.push_and_ring("file", "2").await;
    site.wait_published(&second).await;
    let end = std::time::Instant::now() + PATIENCE;
    while snapshot(&standby).await.published.is_none_or(|published| published.commit != second) {
        assert!(std::time::Instant::now() < end, "the standby process does not see the new commit");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(standby.is_running());

    // A push that the owner has not heard of is published by the standby process when it owns the volume. It is there
    // before the owner goes: the first look of the standby process may come at once, and the next one a minute later.
    let third = site.repo.push_file("file", "3", "before the owner goes");
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    standby.wait_for_text(PATIENCE, "owns the volume now").await;
    eventually(PATIENCE, || published(&site.link()).as_deref() == Some(&third)).await;
    site.sidecar = Some(standby);
    let fourth = site.push_and_ring("file", "4").await;
    site.wait_published(&fourth).await;
    site.assert_whole(&fourth);
    let shown = site.snapshot().await;
    assert_eq!((shown.state, shown.standby), (State::InSync, None));
}

#[tokio::test]
async fn a_standby_process_is_not_ready_without_a_tree_and_ends_when_it_is_told_to() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let mut standby = second(&site).await;
    std::fs::rename(site.link(), site.root().join("elsewhere")).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while status(&standby, "/readyz").await == 200 {
        assert!(std::time::Instant::now() < end, "it stays ready without a link");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status(&standby, "/livez").await, 200);
    std::fs::rename(site.root().join("elsewhere"), site.link()).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while status(&standby, "/readyz").await != 200 {
        assert!(std::time::Instant::now() < end, "it does not become ready again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let started = std::time::Instant::now();
    standby.terminate();
    assert_eq!(standby.exited(PATIENCE).await.code(), Some(143));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn one_time_beside_an_owner_succeeds_once_the_wanted_commit_is_live() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let (code, log) = once(&site).await;
    assert_eq!(code, 0, "{log}");
    // The owner does not know of this one yet: it is waited for.
    let next = site.repo.push_file("file", "2", "next");
    let before = site.published().unwrap();
    let mut arguments = site.arguments();
    arguments.push("--one-time".to_owned());
    let mut waiting = Sidecar::start(arguments.clone());
    waiting.wait_for_text(PATIENCE, "standing by").await;
    // It looks at the lock and the link each second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(waiting.is_running());
    assert_eq!(site.ring(&before, &next).await.status, 202);
    assert_eq!(waiting.exited(PATIENCE).await.code(), Some(0), "{:?}", waiting.log());
    assert_eq!(site.published(), Some(next));

    // Not for ever.
    let _never = site.repo.push_file("file", "3", "never announced");
    arguments.push("--sync-timeout=3s".to_owned());
    let mut waiting = Sidecar::start(arguments);
    assert_eq!(waiting.exited(PATIENCE).await.code(), Some(1));
    assert!(waiting.log().iter().any(|line| line.contains("is held by another process")), "{:?}", waiting.log());
}
