//! The touch file and the error file.

use std::fs;
use std::time::SystemTime;

use serde_json::Value;

use super::Script;
use crate::app::site::Site;
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

fn touched(site: &Site) -> Option<SystemTime> {
    fs::metadata(site.root().join("sub/touched")).ok()?.modified().ok()
}

#[tokio::test]
async fn the_touch_file_is_touched_at_each_publish_and_at_start() {
    let mut site = Site::new();
    site.set("touch-file", "sub/touched").set("period", "50ms");
    site.start_in_sync().await;
    eventually(PATIENCE, || touched(&site).is_some()).await;
    let first = touched(&site);
    let looks = site.remote.requests();
    eventually(PATIENCE, || site.remote.requests() > looks + 5).await;
    assert_eq!(touched(&site), first, "a poll that finds nothing does not touch it");
    site.push_and_ring("a", "2").await;
    eventually(PATIENCE, || touched(&site) > first).await;
    let second = touched(&site);
    site.sidecar().kill();
    site.start().await;
    eventually(PATIENCE, || touched(&site) > second).await;
}

#[tokio::test]
async fn the_error_file_says_what_is_wrong_and_goes_when_nothing_is() {
    let mut site = Site::new();
    let path = site.path("errors.json");
    let gate = Script::new(&site, "gate", "[ ! -e bad ] || { echo 'bad is here'; exit 7; }");
    site.set("error-file", &path.display().to_string()).set("period", "100ms");
    site.set("pre-publish-exechook-command", &gate.command()).set("pre-publish-exechook-backoff", "100ms");
    fs::write(&path, "of an earlier process").unwrap();
    site.start_in_sync().await;
    eventually(PATIENCE, || !path.exists()).await;
    site.remote.set(Mode::Refuse);
    eventually(PATIENCE, || path.exists()).await;
    let told: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((&told["Msg"], &told["Args"]["kind"]), (&"sync failed".into(), &"network".into()), "{told}");
    assert!(told["Err"].as_str().is_some_and(|text| !text.is_empty()) && told["Args"]["hint"].is_string(), "{told}");
    site.remote.set(Mode::Serve);
    eventually(PATIENCE, || !path.exists()).await;
    site.repo.push_file("bad", "1", "bad");
    eventually(PATIENCE, || fs::read_to_string(&path).is_ok_and(|text| text.contains("bad is here"))).await;
    gate.become_("exit 0");
    eventually(PATIENCE, || !path.exists()).await;
}

#[tokio::test]
async fn a_bad_command_line_is_told_there_in_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root/errors");
    let root = folder.path().join("root").display().to_string();
    for wrong in ["--period=soon", "--no-such-flag"] {
        let mut sidecar =
            Sidecar::start(["--repo=https://git.test/a/b", "--root", &root, "--error-file=errors", wrong]);
        assert!(!sidecar.exited(PATIENCE).await.success());
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), sidecar.log().join("\n"));
        fs::remove_file(&path).unwrap();
    }
}
