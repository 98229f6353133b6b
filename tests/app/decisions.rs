//! What a person decides: pause with an end, pin, unpin; all of it survives a restart.

use pushsync::api::{Outcome, State, TriggerKind};
use serde_json::json;

use super::site::Site;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn a_pin_holds_through_pushes_and_a_restart_and_unpinning_catches_up() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    let second = site.push_and_ring("a", "2").await;
    site.wait_published(&second).await;
    site.wait_record(|record| record.new.as_deref() == Some(&second)).await;

    let (status, answer) = site.post("pin", &json!({ "commit": &first[..8] })).await;
    assert_eq!((status, &answer["pinned"]), (202, &json!(first)), "{answer}");
    site.wait_published(&first).await;
    let id = answer["sync"].as_str().unwrap().to_owned();
    let record = site.wait_record(|record| record.id == id).await;
    assert_eq!((record.outcome, record.trigger.kind), (Outcome::Published, TriggerKind::Manual));
    assert_eq!(site.snapshot().await.state, State::Pinned);

    let third = site.push_and_ring("a", "3").await;
    eventually_snapshot(&site, |snapshot| snapshot.head.as_ref().is_some_and(|head| head.commit == third)).await;
    assert_eq!(site.published(), Some(first.clone()));

    site.sidecar().kill();
    site.start().await;
    site.wait_record(|record| record.trigger.kind == TriggerKind::Startup && record.id.parse::<u32>().unwrap() > 3)
        .await;
    assert_eq!(site.published(), Some(first.clone()));
    assert_eq!(site.snapshot().await.pinned, Some(first));

    let (status, answer) = site.post("unpin", &json!({})).await;
    assert_eq!(status, 202, "{answer}");
    site.wait_published(&third).await;
    site.assert_whole(&third);
    let (status, answer) = site.post("unpin", &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("not_pinned")));
}

#[tokio::test]
async fn a_pin_to_a_commit_that_nobody_has_fails_with_a_hint_and_unpin_recovers() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let head = site.repo.head();
    let (status, _) = site.post("pin", &json!({ "commit": "1".repeat(40) })).await;
    assert_eq!(status, 202);
    let record = site.wait_record(|record| record.outcome == Outcome::Failed).await;
    assert!(record.error.unwrap().hint.is_some());
    assert_eq!(site.published(), Some(head.clone()));
    assert_eq!(site.post("unpin", &json!({})).await.0, 202);
    eventually_snapshot(&site, |snapshot| snapshot.state == State::InSync).await;
    site.assert_whole(&head);
    for (body, code) in [(json!({"commit": "xyz"}), 400), (json!({"commit": "0123456789"}), 409), (json!({}), 400)] {
        let (status, answer) = site.post("pin", &body).await;
        assert_eq!(status, code, "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_pause_holds_pushes_back_survives_a_restart_and_resuming_publishes_them() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
    let (status, answer) = site.post("pause", &json!({ "minutes": 60 })).await;
    assert_eq!(status, 202, "{answer}");
    let looks = site.remote.requests();
    let second = site.push_and_ring("a", "2").await;
    let (status, answer) = site.post("sync", &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("paused")));
    site.idle_while_paused().await;
    assert_eq!(site.remote.requests(), looks, "a paused sidecar asks nothing");
    assert_eq!(site.snapshot().await.state, State::Paused);

    site.sidecar().kill();
    site.start().await;
    eventually_snapshot(&site, |snapshot| snapshot.paused_until.is_some()).await;
    assert_eq!(site.published(), Some(first));

    let resuming = std::time::Instant::now();
    assert_eq!(site.post("resume", &json!({})).await.0, 202);
    site.wait_published(&second).await;
    println!("published {:?} after the resume", resuming.elapsed());
    // The loop comes round each ten seconds anyway; a resume must not wait for that.
    assert!(resuming.elapsed() < std::time::Duration::from_secs(8), "{:?}", resuming.elapsed());
    site.assert_whole(&second);
}

#[tokio::test]
async fn rolling_back_works_while_paused_and_resuming_does_not_publish_the_bad_commit() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let good = site.repo.head();
    let bad = site.push_and_ring("a", "broken").await;
    site.wait_published(&bad).await;
    site.wait_record(|record| record.new.as_deref() == Some(&bad)).await;
    assert_eq!(site.post("pause", &json!({ "minutes": 60 })).await.0, 202);
    let worse = site.push_and_ring("a", "more of it").await;

    let (status, answer) = site.post("pin", &json!({ "commit": good })).await;
    assert_eq!((status, &answer["pinned"]), (202, &json!(good)), "{answer}");
    site.wait_published(&good).await;
    let id = answer["sync"].as_str().unwrap().to_owned();
    let record = site.wait_record(|record| record.id == id).await;
    assert_eq!((record.outcome, record.new.as_deref()), (Outcome::Published, Some(good.as_str())));
    let snapshot = site.snapshot().await;
    assert!(snapshot.paused_until.is_some(), "the pause goes on");
    let looks = site.remote.requests();

    // Further back, or to another commit: the same while it is still paused.
    assert_eq!(site.post("pin", &json!({ "commit": bad })).await.0, 202);
    site.wait_published(&bad).await;
    assert_eq!(site.post("pin", &json!({ "commit": good })).await.0, 202);
    site.wait_published(&good).await;
    eventually_snapshot(&site, |snapshot| snapshot.running.is_none()).await;
    assert_eq!(site.remote.requests(), looks, "a paused sidecar asks nothing for a commit that it has");

    // Also after a restart, which finds both decisions on the volume.
    site.sidecar().kill();
    site.start().await;
    eventually_snapshot(&site, |snapshot| snapshot.paused_until.is_some() && snapshot.pinned.is_some()).await;
    assert_eq!(site.published(), Some(good.clone()));

    let (status, answer) = site.post("resume", &json!({})).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["sync"].as_str().unwrap().to_owned();
    site.wait_record(|record| record.id == id).await;
    eventually_snapshot(&site, |snapshot| snapshot.head.as_ref().is_some_and(|head| head.commit == worse)).await;
    assert_eq!(site.published(), Some(good.clone()), "resuming does not undo the rollback");
    assert_eq!(site.snapshot().await.state, State::Pinned);
    assert_eq!(site.post("unpin", &json!({})).await.0, 202);
    site.wait_published(&worse).await;
}

async fn eventually_snapshot(site: &Site, holds: impl Fn(&pushsync::api::Snapshot) -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let snapshot = site.snapshot().await;
        if holds(&snapshot) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{snapshot:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_published_is_put_back_when_it_is_gone() {
    let mut site = Site::new();
    site.set("period", "200ms");
    site.start_in_sync().await;
    let head = site.repo.head();
    let tree = site.root().join(".worktrees").join(&head);

    std::fs::remove_file(site.link()).unwrap();
    site.wait_published(&head).await;
    std::fs::remove_dir_all(&tree).unwrap();
    eventually(PATIENCE, || {
        tree.join("README.md").exists() || std::fs::read_dir(&tree).is_ok_and(|mut d| d.next().is_some())
    })
    .await;
    std::fs::remove_file(site.link()).unwrap();
    std::os::unix::fs::symlink("/etc", site.link()).unwrap();
    site.wait_published(&head).await;
    site.assert_whole(&head);

    // Also while the remote is down: what the store has needs no network.
    site.remote.set(crate::support::git_http::Mode::Refuse);
    std::fs::remove_file(site.link()).unwrap();
    std::fs::remove_dir_all(&tree).unwrap();
    site.wait_published(&head).await;
    site.assert_whole(&head);
    assert_eq!(site.probe("/readyz").await.0, 200, "a remote that is down must not take the site down");
}

#[tokio::test]
async fn a_tree_that_was_edited_while_nobody_looked_is_rebuilt_at_start() {
    let mut site = Site::new();
    site.repo.push_file("page.html", "as committed", "a page");
    site.start_in_sync().await;
    let head = site.repo.head();
    site.sidecar().kill();
    let page = site.link().join("page.html");
    std::fs::write(&page, "as edited by somebody").unwrap();
    site.remote.set(crate::support::git_http::Mode::Refuse);
    site.start().await;
    eventually(PATIENCE, || std::fs::read_to_string(&page).is_ok_and(|text| text == "as committed")).await;
    site.assert_whole(&head);
    let record = site.wait_record(|record| record.old == record.new && record.outcome == Outcome::Published).await;
    assert_eq!(record.new.as_deref(), Some(head.as_str()));
    for path in ["/", "/readyz", "/startupz"] {
        assert_eq!(site.probe(path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_prefix_is_looked_up_and_the_process_lives_while_an_old_server_is_silent() {
    let mut site = Site::new();
    site.set("period", "300ms");
    // A server without protocol v2 is asked over a connection of our own as well, so the git thread is free.
    site.remote.set(crate::support::git_http::Mode::OldProtocol);
    site.start_in_sync().await;
    site.remote.set(crate::support::git_http::Mode::Silent);
    let looks = site.remote.requests();
    eventually(PATIENCE, || site.remote.requests() > looks).await;
    let (status, answer) = site.post("pin", &json!({ "commit": "abcdef" })).await;
    assert_eq!((status, &answer["code"]), (409, &json!("unknown_commit")), "{answer}");
    assert_eq!(site.probe("/livez").await.0, 200);
}

#[tokio::test]
async fn an_edit_in_a_large_spare_is_repaired_right_after_it_was_published() {
    let mut site = Site::new();
    for file in 0..1_500 {
        site.repo.write(&format!("d{}/f{file}", file % 30), format!("{file}\n"));
    }
    site.repo.commit("many files");
    site.repo.push();
    site.set("verbose", "1");
    site.start_in_sync().await;
    site.sidecar().wait_for_text(PATIENCE, "Ready(1)").await;
    let trees = site.root().join(".worktrees");
    let spare = || {
        let names = std::fs::read_dir(&trees).unwrap().map(|entry| entry.unwrap().path());
        names.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(".spare-"))
    };
    // The clock that counts goes in steps of some milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    std::fs::write(spare().unwrap().join("d7/f7"), "defaced").unwrap();
    let after = site.push_and_ring("d1/f1", "changed").await;
    site.wait_published(&after).await;
    let link = site.link();
    eventually(PATIENCE, || std::fs::read(link.join("d7/f7")).is_ok_and(|content| content == b"7\n")).await;
    site.assert_whole(&after);
    let repair = site.wait_record(|record| record.old == record.new && record.new.as_deref() == Some(&after)).await;
    let told = site.detail(&repair.id).await.detail.log;
    assert!(told.iter().any(|line| line.message.contains("putting")), "{told:?}");
    assert_eq!(site.incremental_and_fresh().await.0, 1);
}

#[tokio::test]
async fn a_commit_can_be_chosen_by_its_prefix_while_the_remote_says_nothing() {
    let mut site = Site::new();
    site.set("period", "300ms");
    site.start_in_sync().await;
    let head = site.repo.head();
    site.remote.set(crate::support::git_http::Mode::Silent);
    let looks = site.remote.requests();
    eventually(PATIENCE, || site.remote.requests() > looks).await;
    let (status, answer) = site.post("pin", &json!({ "commit": &head[..8] })).await;
    assert_eq!((status, &answer["pinned"]), (202, &json!(head)), "{answer}");
}
