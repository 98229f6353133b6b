//! Volumes of other versions: what 0.1.0 left is taken over without a rewrite, and what a later version may add does no harm.
//!
//! The texts below are what 0.1.0 wrote. They stay as they are when the program changes, since they are on users' volumes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use pushsync::api::{Outcome, State, TriggerKind};
use serde_json::{Value, json};

use super::site::Site;
use crate::support::PATIENCE;

/// A line of `.pushsync/history.jsonl`, with the commit as `COMMIT`.
const RECORD: &str = r#"{"schema":1,"id":"41","started_at":"2026-12-01T00:04:45.011047359Z","finished_at":"2026-12-01T00:04:45.116103416Z","trigger":{"kind":"startup","delivery":null,"event":null,"secret":null,"redelivered":false,"merged":1},"old":null,"new":"COMMIT","outcome":"published","commits":{"count":null,"subject":"First page","author":"Ada Test"},"files":{"added":1,"modified":0,"deleted":0},"bytes":214,"objects":3,"phases":{"queue_ms":0,"fetch_ms":66,"build_ms":8,"gate_ms":null,"publish_ms":0},"received_to_published_ms":null,"chased":0,"missed_webhook":false,"rewritten":false,"peers":[],"error":null,"detail":{"commits":[{"commit":"COMMIT","subject":"First page","author":"Ada Test","committed_at":"2026-12-01T00:04:44Z"}],"files":[{"path":"index.html","change":"added"}],"files_total":1,"log":[{"at":"2026-12-01T00:04:45.104645561Z","level":"info","message":"fetched 3 objects, 214 bytes"}]}}"#;
/// `.pushsync/state.json`, with the commit as `COMMIT`.
const PINNED: &str = r#"{"schema":1,"paused_until":null,"pinned":"COMMIT","pinned_by":"ada@laptop"}"#;

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn a_volume_of_0_1_0_keeps_its_tree_its_history_and_its_pin() {
    let mut site = Site::new();
    let commit = site.repo.head();
    let tree = site.root().join(".worktrees").join(&commit);
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("index.html"), "one\n").unwrap();
    symlink(format!(".worktrees/{commit}"), site.link()).unwrap();
    let state = site.root().join(".pushsync");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("history.jsonl"), format!("{}\n", RECORD.replace("COMMIT", &commit))).unwrap();
    fs::write(state.join("state.json"), PINNED.replace("COMMIT", &commit)).unwrap();
    let before = inode(&tree.join("index.html"));

    site.start().await;
    let next = site.repo.push_file("index.html", "two\n", "Second page");
    assert_eq!(site.ring(&commit, &next).await.status, 202);
    site.wait_record(|record| record.trigger.kind == TriggerKind::Webhook).await;
    let snapshot = site.snapshot().await;
    assert_eq!((snapshot.state, snapshot.pinned.as_deref()), (State::Pinned, Some(commit.as_str())));
    assert_eq!(inode(&site.link().join("index.html")), before, "no file was written");
    let old = site.wait_record(|record| record.id == "41").await;
    assert_eq!((old.outcome, old.new.as_deref()), (Outcome::Published, Some(commit.as_str())));
    assert_eq!(site.detail("41").await.detail.files[0].path, "index.html");

    let (status, answer) = site.post("unpin", &json!({})).await;
    assert_eq!(status, 202, "{answer}");
    site.wait_published(&next).await;
    site.assert_whole(&next);
    // Numbers go on where the old ones end.
    assert!(site.history().await.iter().all(|record| record.id.parse::<u64>().unwrap() >= 41));
}

#[tokio::test]
async fn a_volume_of_a_later_version_is_used_and_its_additions_stay() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let commit = site.repo.head();
    site.sidecar().terminate();
    assert_eq!(site.sidecar().exited(PATIENCE).await.code(), Some(143));
    let before = inode(&site.link().join("index.html"));

    let state = site.root().join(".pushsync");
    let mut later: Value = serde_json::from_str(&RECORD.replace("COMMIT", &commit)).unwrap();
    later["schema"] = json!(2);
    later["outcome"] = json!("quarantined");
    later["trigger"]["kind"] = json!("calendar");
    later["approved_by"] = json!(["grace"]);
    let history = fs::read_to_string(state.join("history.jsonl")).unwrap();
    // The second line has none of the fields that a record needs.
    fs::write(state.join("history.jsonl"), format!("{history}{later}\n{{\"schema\":3,\"event\":\"moved\"}}\n"))
        .unwrap();
    let pinned = json!({ "schema": 2, "pinned": commit, "pinned_by": "ada@laptop", "pinned_because": "a rollback" });
    fs::write(state.join("state.json"), pinned.to_string()).unwrap();
    fs::write(state.join("of-a-later-version"), "kept").unwrap();

    site.start().await;
    let unknown = site.wait_record(|record| record.id == "41").await;
    assert_eq!((unknown.outcome, unknown.trigger.kind), (Outcome::Unknown, TriggerKind::Unknown));
    let snapshot = site.snapshot().await;
    assert_eq!((snapshot.state, snapshot.pinned.as_deref()), (State::Pinned, Some(commit.as_str())));
    let (status, answer) = site.post("unpin", &json!({})).await;
    assert_eq!(status, 202, "{answer}");
    let next = site.push_and_ring("index.html", "two\n").await;
    site.wait_published(&next).await;
    site.assert_whole(&next);
    assert_eq!(inode(&site.root().join(".worktrees").join(&commit).join("index.html")), before, "the tree was kept");
    assert_eq!(fs::read_to_string(state.join("of-a-later-version")).unwrap(), "kept");
}
