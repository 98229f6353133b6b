//! The main job: a push that is rung becomes a published tree, and is told about.

use std::time::Duration;

use pushsync::api::{Outcome, TriggerKind};

use super::site::{SECRET, Site, published};
use crate::support::delivery::{Delivery, NO_COMMIT};
use crate::support::git_http::Mode;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn a_signed_push_becomes_a_published_tree_and_a_row() {
    let mut site = Site::new();
    site.repo.write("run.sh", "#!/bin/sh\necho hi\n");
    site.repo.make_executable("run.sh");
    site.repo.symlink("index.html", "home.html");
    site.repo.commit("things with modes");
    site.repo.push();
    site.start_in_sync().await;
    let first = site.repo.head();
    site.assert_whole(&first);

    let second = site.push_and_ring("index.html", "<h1>hello</h1>").await;
    site.wait_published(&second).await;
    site.assert_whole(&second);

    let record = site.wait_record(|record| record.new.as_deref() == Some(&second)).await;
    assert_eq!(record.trigger.kind, TriggerKind::Webhook);
    assert_eq!(record.trigger.secret.as_deref(), Some("current"));
    assert!(record.trigger.delivery.is_some());
    assert_eq!(record.outcome, Outcome::Published);
    assert_eq!(record.old.as_deref(), Some(first.as_str()));
    assert!(record.received_to_published_ms.is_some());
    let commits = record.commits.expect("the commit is described");
    assert_eq!(commits.subject, "change index.html");
    let detail = site.detail(&record.id).await.detail;
    assert_eq!(detail.files_total, 1);
    assert_eq!(detail.files[0].path, "index.html");

    let (status, metrics) = site.probe("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains(&format!("pushsync_published_info{{commit=\"{second}\"}} 1")), "{metrics}");
    assert!(metrics.contains("git_sync_count_total{status=\"success\"} 2"), "{metrics}");
    for path in ["/", "/livez", "/readyz", "/startupz"] {
        assert_eq!(site.probe(path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_webhook_during_a_running_sync_is_not_lost() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    // A sync that finds nothing, held up at the remote, while the next push is rung.
    site.remote.hold();
    let second = site.repo.push_file("a", "2", "second");
    assert_eq!(site.ring(&first, &second).await.status, 202);
    eventually(PATIENCE, || site.remote.requests() > 2).await;
    let third = site.repo.push_file("a", "3", "third");
    assert_eq!(site.ring(&second, &third).await.status, 202);
    site.remote.release();
    site.wait_published(&third).await;
    site.assert_whole(&third);
    assert!(site.history().await.iter().all(|record| record.trigger.kind != TriggerKind::Poll));
}

#[tokio::test]
async fn a_webhook_that_outruns_its_ref_is_published_as_soon_as_the_ref_shows() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let before = site.repo.head();
    site.remote.hold();
    let looks = site.remote.requests();
    let after = site.repo.push_file("late", "1", "late");
    assert_eq!(site.ring(&before, &after).await.status, 202);
    // The first look, the fetch beside it, and three looks more.
    eventually(PATIENCE, || site.remote.requests() >= looks + 5).await;
    assert_eq!(site.published().as_deref(), Some(before.as_str()));
    site.remote.release();
    site.wait_published(&after).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&after)).await;
    assert!(record.chased >= 3, "{} extra looks", record.chased);
    assert_eq!(record.trigger.kind, TriggerKind::Webhook);
}

#[tokio::test]
async fn a_rollback_by_force_push_that_outruns_its_ref_is_waited_for_too() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    let second = site.push_and_ring("a", "2").await;
    site.wait_published(&second).await;
    site.remote.hold();
    site.repo.git(&["reset", "-q", "--hard", &first]);
    site.repo.force_push();
    let looks = site.remote.requests();
    assert_eq!(site.ring(&second, &first).await.status, 202);
    eventually(PATIENCE, || site.remote.requests() >= looks + 3).await;
    assert_eq!(site.published().as_deref(), Some(second.as_str()));
    site.remote.release();
    site.wait_published(&first).await;
}

#[tokio::test]
async fn a_late_ref_is_waited_for_also_when_the_push_does_not_begin_at_what_the_remote_shows() {
    let mut site = Site::new();
    site.start_in_sync().await;
    // Two pushes, of which the first one's delivery was lost.
    site.remote.hold();
    let unheard = site.repo.push_file("a", "1", "its delivery was lost");
    let second = site.repo.push_file("a", "2", "the second");
    let looks = site.remote.requests();
    assert_eq!(site.ring(&unheard, &second).await.status, 202);
    eventually(PATIENCE, || site.remote.requests() >= looks + 3).await;
    site.remote.release();
    site.wait_published(&second).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&second)).await;
    assert!(record.trigger.kind == TriggerKind::Webhook && record.chased >= 1, "{record:?}");
    // A branch that was removed and made again: its delivery names no commit before.
    site.remote.hold();
    let again = site.repo.push_file("a", "3", "made again");
    let looks = site.remote.requests();
    assert_eq!(site.ring(NO_COMMIT, &again).await.status, 202);
    eventually(PATIENCE, || site.remote.requests() >= looks + 3).await;
    site.remote.release();
    site.wait_published(&again).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&again)).await;
    assert!(record.trigger.kind == TriggerKind::Webhook && record.chased >= 1, "{record:?}");
}

#[tokio::test]
async fn a_renamed_repository_is_ours_under_the_name_that_the_remote_redirects_to() {
    let mut site = Site::new();
    let bare = site.repo.bare().file_name().unwrap().to_string_lossy().into_owned();
    site.remote.set(Mode::RedirectFrom("/acme/old.git".into(), format!("/{bare}")));
    let old = site.remote.url("acme/old.git");
    site.set("repo", &old);
    site.start_in_sync().await;
    let before = site.repo.head();
    let after = site.repo.push_file("a", "1", "after the rename");
    let push = |url: &str| Delivery::push(url, "refs/heads/main", &before, &after);
    let other = push(&site.remote.url("acme/other.git")).send(&site.hook(), SECRET).await;
    assert!(other.status == 200 && other.body.contains("another repository"), "{other:?}");
    assert_eq!(push(&site.remote.url(&bare)).send(&site.hook(), SECRET).await.status, 202);
    site.wait_published(&after).await;
    let later = site.repo.push_file("a", "2", "announced under the old name");
    assert_eq!(site.ring(&after, &later).await.status, 202);
    site.wait_published(&later).await;
}

#[tokio::test]
async fn a_person_or_a_newer_push_ends_the_wait_for_a_ref() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let before = site.repo.head();
    site.remote.hold();
    let after = site.repo.push_file("late", "1", "late");
    assert_eq!(site.ring(&before, &after).await.status, 202);
    let looks = site.remote.requests();
    eventually(PATIENCE, || site.remote.requests() > looks).await;
    // Paused in the middle: what shows up now must not be published.
    assert_eq!(site.post("pause", &serde_json::json!({ "minutes": 5 })).await.0, 202);
    site.remote.release();
    site.idle_while_paused().await;
    assert_eq!(site.published().as_deref(), Some(before.as_str()));
    assert_eq!(site.post("resume", &serde_json::json!({})).await.0, 202);
    site.wait_published(&after).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&after)).await;
    assert_eq!(record.trigger.kind, TriggerKind::Webhook, "the delivery kept its place in the queue");
}

#[tokio::test]
async fn steady_pushes_do_not_keep_old_trees_for_ever() {
    let mut site = Site::new();
    site.set("stale-worktree-timeout", "1s").set("hook-rate", "0");
    site.start_in_sync().await;
    let mut most = 0;
    for number in 0..20 {
        let commit = site.push_and_ring("a", &number.to_string()).await;
        site.wait_published(&commit).await;
        // Time passes for the grace of a second that each replaced tree has.
        tokio::time::sleep(Duration::from_millis(300)).await;
        most = most.max(site.trees());
    }
    println!("at most {most} trees with 20 pushes in some six seconds and a grace of one");
    assert!(most < 16, "{most} trees");
    eventually(PATIENCE, || site.trees() == 1).await;
}

#[tokio::test]
async fn a_volume_that_is_emptied_under_us_is_taken_again_with_its_history() {
    let mut site = Site::new();
    site.set("period", "300ms");
    site.start_in_sync().await;
    let first = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
    for entry in std::fs::read_dir(site.root()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            // The program goes on writing meanwhile (a spare tree, its next look), so a folder may not be empty yet.
            eventually(PATIENCE, || std::fs::remove_dir_all(&path).is_ok() || !path.exists()).await;
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    site.wait_published(&first).await;
    eventually(PATIENCE, || site.root().join(".pushsync/history.jsonl").exists()).await;
    site.assert_whole(&first);
    let mut second = crate::support::sidecar::Sidecar::start(site.arguments());
    // The new volume has one writer, too.
    second.wait_for_text(PATIENCE, "standing by").await;
    let kept = std::fs::read_to_string(site.root().join(".pushsync/history.jsonl")).unwrap();
    assert!(kept.contains("\"startup\""), "the old records are in the new file");
}

#[tokio::test]
async fn it_gives_up_after_as_many_failures_as_it_was_told() {
    let mut site = Site::new();
    site.remote.set(crate::support::git_http::Mode::Refuse);
    site.set("max-failures", "2").set("period", "1s");
    let mut sidecar = crate::support::sidecar::Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(1));
    let failures = sidecar.log().iter().filter(|line| line.contains("sync failed")).count();
    assert_eq!(failures, 2, "{}", sidecar.log().join("\n"));
}

#[tokio::test]
async fn a_replayed_delivery_costs_one_look_and_rolls_nobody_back() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    let second = site.push_and_ring("a", "2").await;
    site.wait_published(&second).await;
    let third = site.push_and_ring("a", "3").await;
    site.wait_published(&third).await;
    site.wait_record(|record| record.new.as_deref() == Some(&third)).await;

    let looks = site.remote.requests();
    assert_eq!(site.ring(&first, &second).await.status, 202);
    let record = site
        .wait_record(|record| record.outcome == Outcome::Unchanged && record.trigger.kind == TriggerKind::Webhook)
        .await;
    assert_eq!((record.new.as_deref(), record.chased), (Some(third.as_str()), 0));
    assert_eq!(site.remote.requests() - looks, 1);
    assert_eq!(site.published().as_deref(), Some(third.as_str()));

    // Again and again: each costs a look at most, and the history is not flushed by it.
    let rows = site.history().await.len();
    for _ in 0..5 {
        assert_eq!(site.ring(&first, &second).await.status, 202);
        // Apart, so that they are not all one request.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually(PATIENCE, || site.remote.requests() > looks + 2).await;
    site.barrier_with_the_rest().await;
    assert!(site.remote.requests() - looks <= 7, "one of them is the barrier's");
    assert_eq!(site.history().await.len(), rows + 1);
}

#[tokio::test]
async fn a_push_that_no_webhook_announced_is_found_by_the_poll_and_called_missed() {
    let mut site = Site::new();
    site.set("period", "300ms");
    site.start_in_sync().await;
    let after = site.repo.push_file("quiet", "1", "nobody rang");
    site.wait_published(&after).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&after)).await;
    assert_eq!(record.trigger.kind, TriggerKind::Poll);
    assert!(record.missed_webhook);
    let snapshot = site.snapshot().await;
    assert_eq!((snapshot.webhook.missed, snapshot.webhook.day.missed), (1, 1));
}

#[tokio::test]
async fn without_webhooks_nothing_is_missed() {
    let mut site = Site::new();
    site.set("period", "300ms");
    let arguments: Vec<_> = site.arguments().into_iter().filter(|flag| !flag.starts_with("--hook")).collect();
    site.sidecar = Some(crate::support::sidecar::Sidecar::start(arguments));
    let first = site.repo.head();
    site.wait_published(&first).await;
    let after = site.repo.push_file("quiet", "1", "nobody can ring");
    let record = site.wait_record(|record| record.new.as_deref() == Some(&after)).await;
    assert!(!record.missed_webhook);
    let snapshot = site.snapshot().await;
    assert!(!snapshot.webhook.enabled);
    assert_eq!(snapshot.webhook.missed, 0);
}

#[tokio::test]
async fn force_push_orphan_branch_and_a_moved_tag_are_just_other_commits() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let before = site.repo.push_file("a", "1", "one");
    site.ring(&site.repo.head(), &before).await;
    site.wait_published(&before).await;
    site.repo.write("a", "other");
    let amended = site.repo.amend("rewritten");
    site.repo.force_push();
    site.ring(&before, &amended).await;
    site.wait_published(&amended).await;
    site.assert_whole(&amended);

    site.repo.orphan("other");
    site.repo.write("only", "me");
    let unrelated = site.repo.commit("unrelated history");
    site.repo.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    site.ring(&amended, &unrelated).await;
    site.wait_published(&unrelated).await;
    site.assert_whole(&unrelated);
}

#[tokio::test]
async fn unsigned_requests_cause_no_look_no_row_and_no_5xx() {
    let mut site = Site::new();
    site.start_in_sync().await;
    site.wait_record(|record| record.trigger.kind == TriggerKind::Startup).await;
    let (looks, rows) = (site.remote.requests(), site.history().await);
    let before = site.repo.head();
    let delivery = Delivery::push(&site.remote.url("site.git"), "refs/heads/main", &before, &"1".repeat(40));
    let wrong = pushsync::signature::sign(&pushsync::secret::Secret::new("not the secret at all"), &delivery.body);
    let signatures = ["", "sha256=", "sha1=00", "sha256=zz", &format!("sha256={}", "0".repeat(64)), &wrong];
    for signature in signatures {
        assert_eq!(delivery.send_signed(&site.hook(), signature).await.status, 401, "{signature}");
    }
    site.barrier().await;
    assert_eq!(site.remote.requests(), looks + 1);
    assert_eq!(site.history().await[1..], rows);
    assert_eq!(site.snapshot().await.webhook.bad_signature, signatures.len() as u64);
}

#[tokio::test]
async fn deliveries_that_are_not_ours_are_answered_with_the_reason() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let looks = site.remote.requests();
    let url = site.remote.url("site.git");
    let head = site.repo.head();
    let deliveries = [
        Delivery::ping(),
        Delivery::push(&url, "refs/heads/other", &head, &head),
        Delivery::push(&url, "refs/tags/main", &head, &head),
        Delivery::push("https://github.com/somebody/else.git", "refs/heads/main", &head, &head),
        Delivery::json("issues", "{}"),
    ];
    for delivery in deliveries {
        let answer = delivery.send(&site.hook(), SECRET).await;
        assert_eq!(answer.status, 200, "{}: {}", delivery.event, answer.body);
    }
    site.barrier().await;
    assert_eq!(site.remote.requests(), looks + 1);
    assert_eq!(site.snapshot().await.webhook.received, 5);
}

#[tokio::test]
async fn one_time_publishes_and_exits_and_a_signal_means_look_now() {
    let mut site = Site::new();
    site.set("one-time", "true");
    let mut sidecar = crate::support::sidecar::Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(0));
    let first = site.repo.head();
    site.assert_whole(&first);

    site.set("one-time", "false").set("sync-on-signal", "SIGUSR1");
    site.start().await;
    site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
    let second = site.repo.push_file("b", "1", "by signal");
    site.sidecar().signal(rustix::process::Signal::USR1);
    site.wait_published(&second).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&second)).await;
    assert_eq!(record.trigger.kind, TriggerKind::Signal);
}

#[tokio::test]
async fn sigterm_ends_it_with_143_and_leaves_the_tree() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let head = site.repo.head();
    site.sidecar().terminate();
    let started = std::time::Instant::now();
    assert_eq!(site.sidecar().exited(PATIENCE).await.code(), Some(143));
    println!("SIGTERM to exit: {:?}", started.elapsed());
    site.assert_whole(&head);
    assert_eq!(published(&site.link()), Some(head));
}

#[tokio::test]
async fn a_second_process_on_the_same_root_stands_by_and_names_the_first() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let mut second = crate::support::sidecar::Sidecar::start(site.arguments());
    let line = second.wait_for_text(PATIENCE, "standing by").await;
    assert!(line.contains(&site.sidecar().id().to_string()), "{line}");
}

/// How many requests a replica made to its remote since a moment, once it has made all of them.
async fn requests_settle(site: &Site, since: usize) -> usize {
    // Taken and done, so that the barrier is a sync of its own: one that waits for its ref would give way to it.
    eventually(PATIENCE, || site.remote.requests() > since).await;
    while site.snapshot().await.running.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.barrier().await;
    site.remote.requests() - since - 1
}

#[tokio::test]
async fn an_announced_commit_is_fetched_beside_the_look_and_a_replay_is_only_a_look() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    let requests = site.remote.requests();
    let second = site.push_and_ring("index.html", "two").await;
    site.wait_published(&second).await;
    site.assert_whole(&second);
    let record = site.wait_record(|record| record.new.as_deref() == Some(&second)).await;
    assert!(record.bytes.is_some_and(|bytes| bytes > 0), "{record:?}");
    let log = site.detail(&record.id).await.detail.log;
    assert!(log.iter().any(|line| line.message.ends_with("while refs were listed")), "{log:#?}");
    assert_eq!(requests_settle(&site, requests).await, 2);

    // The same delivery again, and one of the same words under a new name.
    for _ in 0..2 {
        let requests = site.remote.requests();
        assert_eq!(site.ring(&first, &second).await.status, 202);
        assert_eq!(requests_settle(&site, requests).await, 1);
    }
    // A push from where the ref is not (any more): the delivery before it may have been lost, so there are looks for 5 s.
    let nowhere = "7".repeat(40);
    let requests = site.remote.requests();
    assert_eq!(site.ring(&first, &nowhere).await.status, 202);
    let looks = requests_settle(&site, requests).await;
    assert!((2..=7).contains(&looks), "{looks} looks");
    // A replay of it is one look again.
    let requests = site.remote.requests();
    assert_eq!(site.ring(&first, &nowhere).await.status, 202);
    assert_eq!(requests_settle(&site, requests).await, 1);
    assert_eq!(site.published().as_deref(), Some(second.as_str()));

    // Announced as the next one, but never to be had: one fetch in vain, and looks while it may still come.
    let (looks, others) = (site.remote.requests(), site.remote.seen().len());
    assert_eq!(site.ring(&second, &nowhere).await.status, 202);
    eventually(PATIENCE, || site.remote.requests() >= looks + 4).await;
    assert!(site.remote.seen()[others..].iter().all(|seen| seen.method == "POST"), "version 2 as before");
    assert_eq!(site.published().as_deref(), Some(second.as_str()));
    let third = site.push_and_ring("index.html", "three").await;
    site.wait_published(&third).await;
    site.assert_whole(&third);
}
