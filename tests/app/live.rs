//! "Is this commit live?" and what a person or a push does to the answer, on the running program.

use std::time::{Duration, Instant};

use pushsync::api::{Action, CommitHow, CommitStatus, DeliveryResult, Outcome, Snapshot, State, TriggerKind};
use serde_json::json;

use super::site::{SECRET, Site};
use crate::support::PATIENCE;
use crate::support::delivery::Delivery;

async fn commit(site: &Site, hash: &str) -> CommitStatus {
    let text = site.get(&format!("/api/v1/commits/{hash}")).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn shown(site: &Site, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let end = Instant::now() + PATIENCE;
    loop {
        let snapshot = site.snapshot().await;
        if holds(&snapshot) {
            return snapshot;
        }
        assert!(Instant::now() < end, "{snapshot:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn announced(snapshot: &Snapshot) -> Option<&str> {
    snapshot.announced.as_ref().map(|announced| announced.commit.as_str())
}

/// Pushes, rings, and waits for the record.
async fn publish(site: &Site, content: &str) -> String {
    let commit = site.push_and_ring("a", content).await;
    site.wait_published(&commit).await;
    site.wait_record(|record| record.new.as_deref() == Some(&commit)).await;
    commit
}

#[tokio::test]
async fn a_push_during_a_pause_is_shown_as_announced_and_not_fetched() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
    let (status, answer) = site.post("pause", &json!({ "minutes": 60, "by": "ada@laptop\u{1b}[2J" })).await;
    assert_eq!(status, 202, "{answer}");
    let looks = site.remote.requests();
    let second = site.push_and_ring("a", "2").await;
    let snapshot = site.snapshot().await;
    assert_eq!((announced(&snapshot), snapshot.state), (Some(second.as_str()), State::Paused));
    assert_eq!(snapshot.announced.as_ref().unwrap().source, TriggerKind::Webhook);
    assert!(snapshot.announced.unwrap().delivery.is_some());
    assert_eq!(snapshot.paused_by.as_deref(), Some("ada@laptop\u{fffd}[2J"));
    // A second push is the news then, whatever order the deliveries come in.
    let third = site.repo.push_file("a", "3", "third");
    site.ring(&second, &third).await;
    site.ring(&first, &second).await;
    assert_eq!(announced(&site.snapshot().await), Some(third.as_str()));
    let status = commit(&site, &third).await;
    assert_eq!((status.how, status.live), (CommitHow::NotPublished, false));
    assert_eq!(site.remote.requests(), looks, "shown, and never fetched by it");

    // The label outlives the process.
    site.sidecar().kill();
    site.start().await;
    let snapshot = shown(&site, |snapshot| snapshot.paused_until.is_some()).await;
    assert_eq!(snapshot.paused_by.as_deref(), Some("ada@laptop\u{fffd}[2J"));
    site.ring(&second, &third).await;
    assert_eq!(announced(&site.snapshot().await), Some(third.as_str()));

    // So that the pause has lasted for at least this long.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(site.post("resume", &json!({ "by": "bob@laptop" })).await.0, 202);
    site.wait_published(&third).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&third)).await;
    assert_eq!((record.trigger.kind, record.trigger.action), (TriggerKind::Webhook, Some(Action::Resume)));
    assert_eq!(record.trigger.by.as_deref(), Some("bob@laptop"));
    let (held, took) = (record.held_ms.unwrap(), record.received_to_published_ms.unwrap());
    assert!(held >= 2_000 && took < held, "the pause is no latency: {record:#?}");
    let snapshot = shown(&site, |snapshot| snapshot.state == State::InSync).await;
    assert_eq!((announced(&snapshot), snapshot.paused_by.as_ref()), (None, None));
}

#[tokio::test]
async fn an_announcement_that_the_remote_does_not_bear_out_is_shown_until_it_is_given_up() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let head = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&head)).await;
    // From where the ref is not: one look, and it is over.
    let nowhere = "7".repeat(40);
    site.ring(&"8".repeat(40), &nowhere).await;
    site.wait_record(|record| record.trigger.kind == TriggerKind::Webhook).await;
    let snapshot = site.snapshot().await;
    assert_eq!((announced(&snapshot), snapshot.state), (None, State::InSync));
    // From where it is: waited for, and not in sync meanwhile.
    site.ring(&head, &nowhere).await;
    let snapshot = shown(&site, |snapshot| snapshot.running.is_some()).await;
    assert_eq!(announced(&snapshot), Some(nowhere.as_str()));
    assert_ne!(snapshot.state, State::InSync);
}

#[tokio::test]
async fn a_commit_is_live_if_it_is_published_or_contained_in_what_is() {
    for depth in ["1", "0"] {
        let mut site = Site::new();
        site.set("depth", depth);
        // A depth of 1 does not fetch the first commit's parent.
        site.repo.push_file("a", "1", "one more");
        site.start_in_sync().await;
        let first = site.repo.head();
        site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
        let second = publish(&site, "2").await;
        let third = publish(&site, "3").await;

        let status = commit(&site, &third).await;
        assert_eq!((status.how, status.live, status.contained), (CommitHow::Published, true, Some(true)));
        assert_eq!((status.published.as_ref(), status.replaced_at), (Some(&third), None));
        for older in [&second, &first] {
            let status = commit(&site, &older[..9]).await;
            assert_eq!((status.how, status.live, &status.commit), (CommitHow::Contained, true, older), "{depth}");
            assert!(status.last_published_at.is_some() && status.replaced_at.is_some());
        }

        // Rewritten: the second and third commits are gone, the first one is not.
        site.repo.git(&["reset", "-q", "--hard", &first]);
        site.repo.write("b", "other");
        let other = site.repo.commit("another line of history");
        site.repo.force_push();
        site.ring(&third, &other).await;
        site.wait_published(&other).await;
        site.wait_record(|record| record.new.as_deref() == Some(&other)).await;
        let status = commit(&site, &third).await;
        assert_eq!((status.how, status.live), (CommitHow::ForcePushedAway, false), "{depth}: {status:?}");
        assert_eq!(status.contained, Some(false), "all that the store lacks is older than both");
        assert!(!commit(&site, &second).await.live);
        // The parent of what is published, known by its hash alone.
        assert!(commit(&site, &first).await.live, "{depth}");

        let strange = commit(&site, &"1".repeat(40)).await;
        assert_eq!((strange.how, strange.live), (CommitHow::NeverSeen, false));
        assert_ne!(strange.contained, Some(true));
        if depth == "0" {
            assert_eq!(strange.contained, Some(false), "the whole history is here");
        }
        assert_eq!(commit(&site, "0123456789").await.how, CommitHow::NeverSeen);
    }
}

#[tokio::test]
async fn a_rollback_is_called_that_and_a_push_during_a_pin_is_not_published_already() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
    let second = publish(&site, "2").await;
    let (status, answer) = site.post("pin", &json!({ "commit": first, "by": "ada@laptop" })).await;
    assert_eq!(status, 202, "{answer}");
    site.wait_published(&first).await;
    let id = answer["sync"].as_str().unwrap().to_owned();
    let record = site.wait_record(|record| record.id == id).await;
    assert_eq!((record.trigger.action, record.rewritten), (Some(Action::Rollback), false));
    assert_eq!(record.trigger.by.as_deref(), Some("ada@laptop"));
    assert_eq!((record.received_to_published_ms, record.pinned.as_ref()), (None, Some(&first)));
    let status = commit(&site, &second).await;
    assert_eq!((status.how, status.live, status.contained), (CommitHow::Replaced, false, Some(false)));
    assert_eq!(site.snapshot().await.pinned_by.as_deref(), Some("ada@laptop"));

    let third = site.push_and_ring("a", "3").await;
    let withheld = site.wait_record(|record| record.withheld.as_deref() == Some(&third)).await;
    assert_eq!((withheld.outcome, withheld.new.as_ref()), (Outcome::Unchanged, Some(&first)));
    site.sidecar()
        .wait_for_text(PATIENCE, &format!("pinned at {}: {} is not published", &first[..7], &third[..7]))
        .await;
    let snapshot = site.snapshot().await;
    assert_eq!((snapshot.state, announced(&snapshot)), (State::Pinned, None), "the remote has shown it");
    assert_eq!(snapshot.head.unwrap().commit, third);
    let fourth = site.push_and_ring("a", "4").await;
    site.wait_record(|record| record.withheld.as_deref() == Some(&fourth)).await;

    let (_, answer) = site.post("unpin", &json!({})).await;
    site.wait_published(&fourth).await;
    let id = answer["sync"].as_str().unwrap().to_owned();
    let record = site.wait_record(|record| record.id == id).await;
    assert_eq!((record.trigger.action, record.received_to_published_ms), (Some(Action::Unpin), None));
    assert_eq!((record.trigger.by, record.pinned), (None, None));
    assert_eq!(site.snapshot().await.pinned_by, None);
}

#[tokio::test]
async fn a_poll_that_finds_what_an_ignored_delivery_announced_says_so_and_misses_nothing() {
    let mut site = Site::new();
    site.set("period", "300ms").set("hook-repo", "acme/site");
    site.start_in_sync().await;
    let before = site.repo.head();
    // Delivered while the remote hides it, so that the poll comes after the delivery.
    site.remote.hold();
    let after = site.repo.push_file("a", "2", "second");
    let url = site.remote.url("site.git");
    let answer = Delivery::push(&url, "refs/heads/main", &before, &after).send(&site.hook(), SECRET).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let webhook = site.snapshot().await.webhook;
    let last = webhook.last.unwrap();
    assert_eq!(last.result, DeliveryResult::Ignored);
    assert!(last.reason.as_ref().is_some_and(|reason| reason.starts_with("another repository")), "{last:?}");
    site.remote.release();
    site.wait_published(&after).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&after)).await;
    assert_eq!((record.missed_webhook, record.ignored_webhook), (false, last.reason));
    site.sidecar().wait_for_text(PATIENCE, "the webhook arrived and was ignored: another repository").await;

    // A delivery about another ref says nothing of ours, though the commit is the same.
    site.remote.hold();
    let third = site.repo.push_file("a", "3", "third");
    Delivery::push(&url, "refs/heads/other", &after, &third).send(&site.hook(), SECRET).await;
    site.remote.release();
    let record = site.wait_record(|record| record.new.as_deref() == Some(&third)).await;
    assert_eq!((record.missed_webhook, record.ignored_webhook), (true, None));
    let webhook = site.snapshot().await.webhook;
    assert_eq!(webhook.missed, 1);
    assert_eq!(webhook.missed_pushes.iter().map(|push| &push.commit).collect::<Vec<_>>(), [&third]);

    // Its delivery comes a moment after the poll: it was not missed.
    let ours = site.remote.url("acme/site.git");
    let answer = Delivery::push(&ours, "refs/heads/main", &after, &third).send(&site.hook(), SECRET).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let webhook = site.snapshot().await.webhook;
    assert_eq!((webhook.missed, webhook.missed_pushes.len(), webhook.day.missed), (0, 0, 0));
}

#[tokio::test]
async fn a_ref_that_no_webhook_can_announce_is_never_missed() {
    let mut site = Site::new();
    site.set("period", "300ms").set("ref", "refs/pull/7/head");
    site.repo.git(&["push", "-q", "origin", "HEAD:refs/pull/7/head"]);
    site.start_in_sync().await;
    site.repo.write("a", "2");
    let after = site.repo.commit("second");
    site.repo.git(&["push", "-q", "origin", "HEAD:refs/pull/7/head"]);
    let record = site.wait_record(|record| record.new.as_deref() == Some(&after)).await;
    assert_eq!((record.trigger.kind, record.missed_webhook), (TriggerKind::Poll, false));
    assert_eq!(site.snapshot().await.webhook.missed, 0);
}
