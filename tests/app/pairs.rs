//! Two pushes in quick succession: each record names its own delivery, and the second push takes the fast path.

use std::time::Duration;

use pushsync::api::{Outcome, TriggerKind};

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::{PATIENCE, eventually};

/// Delivers a push and returns the id of the delivery.
async fn ring(site: &Site, before: &str, after: &str) -> String {
    let answer = site.ring(before, after).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["delivery"].as_str().expect("a delivery id").to_owned()
}

/// A program for `--pre-publish-exechook-command` that takes its time.
fn slow_hook(site: &Site) -> String {
    let path = site.path("slow-hook");
    std::fs::write(&path, "#!/bin/sh\nexec sleep 1\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn twenty_quick_pairs_of_pushes_keep_their_deliveries_and_the_second_takes_the_fast_path() {
    let mut site = Site::new();
    site.set("hook-rate", "0");
    site.start_in_sync().await;
    let head = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&head)).await;
    for pair in 0..20 {
        let late = pair % 2 == 1;
        let before = site.repo.head();
        if late {
            site.remote.hold();
        }
        let one = site.repo.push_file("a", format!("{pair} one"), "one");
        let first = ring(&site, &before, &one).await;
        site.repo.write("a", format!("{pair} two"));
        let two = site.repo.commit("two");
        if late {
            // The running sync waits for the ref, and has just looked in vain. The next look is some time off.
            let shown = site.remote.requests();
            eventually(PATIENCE, || site.remote.requests() > shown).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            site.wait_published(&one).await;
        }
        let fetches = site.remote.fetches().len();
        site.repo.push();
        site.remote.release();
        let second = ring(&site, &one, &two).await;
        site.wait_published(&two).await;

        let record = site.wait_record(|record| record.new.as_deref() == Some(&two)).await;
        assert_eq!(record.trigger.delivery.as_ref(), Some(&second), "pair {pair}: {record:#?}");
        assert_eq!((record.trigger.kind, record.outcome), (TriggerKind::Webhook, Outcome::Published));
        let log = site.detail(&record.id).await.detail.log;
        let ahead = log.iter().any(|line| line.message.ends_with("while refs were listed"));
        assert!(ahead, "pair {pair}, late: {late}: no speculative fetch: {log:#?}");
        for fetch in &site.remote.fetches()[fetches..] {
            assert!(!fetch.contains("deepen"), "pair {pair}, late: {late}: {fetch}");
        }
        if late {
            assert_eq!((record.old.as_ref(), record.trigger.merged), (Some(&before), 2), "pair {pair}");
        } else {
            let record = site.wait_record(|record| record.new.as_deref() == Some(&one)).await;
            assert_eq!(record.trigger.delivery.as_ref(), Some(&first), "pair {pair}");
        }
        // Its own delivery's latency, not that of the one before.
        let took = record.received_to_published_ms.expect("measured");
        assert!(took < 10_000, "{took} ms");
    }
    assert!(site.history().await.iter().all(|record| record.trigger.kind != TriggerKind::Poll));
}

#[tokio::test]
async fn a_delivery_that_comes_after_its_commit_was_found_names_the_record_all_the_same() {
    let mut site = Site::new();
    let hook = slow_hook(&site);
    site.set("pre-publish-exechook-command", &hook);
    site.start_in_sync().await;
    let before = site.repo.head();
    let one = site.repo.push_file("a", "1", "one");
    let two = site.repo.push_file("a", "2", "two");
    ring(&site, &before, &one).await;
    // The sync for the first push has found the second one, and is at its pre-publish hook.
    let end = std::time::Instant::now() + PATIENCE;
    while !site.snapshot().await.running.is_some_and(|running| running.phase == pushsync::api::Phase::Gate) {
        assert!(std::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let second = ring(&site, &one, &two).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&two)).await;
    assert_eq!((record.trigger.delivery.as_ref(), record.trigger.merged), (Some(&second), 2), "{record:#?}");
    assert!(record.received_to_published_ms.is_some_and(|took| took < 1_000), "from its own delivery: {record:#?}");
    let sent = site.snapshot().await.webhook.received;
    assert_eq!(
        (sent, site.history().await.iter().filter(|record| record.outcome == Outcome::Unchanged).count()),
        (2, 0)
    );
}

#[tokio::test]
async fn a_push_after_a_failed_one_names_its_own_delivery_and_keeps_the_way_from_what_is_published() {
    let mut site = Site::new();
    site.set("hook-rate", "0");
    site.start_in_sync().await;
    let before = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&before)).await;
    site.remote.set(Mode::Refuse);
    let one = site.repo.push_file("a", "1", "one");
    ring(&site, &before, &one).await;
    site.wait_record(|record| record.outcome == Outcome::Failed).await;
    let two = site.repo.push_file("a", "2", "two");
    let second = ring(&site, &one, &two).await;
    let failures = site.snapshot().await.failures_in_row;
    let end = std::time::Instant::now() + PATIENCE;
    while site.snapshot().await.failures_in_row == failures {
        assert!(std::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fetches = site.remote.fetches().len();
    site.remote.set(Mode::Serve);
    site.wait_published(&two).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&two) && record.outcome == Outcome::Published);
    let record = record.await;
    assert_eq!(record.trigger.delivery.as_ref(), Some(&second), "{record:#?}");
    for fetch in &site.remote.fetches()[fetches..] {
        assert!(!fetch.contains("deepen"), "{fetch}");
    }
}
