//! A process that runs once, again and again on one volume: an init container, or a job that comes by the clock.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::hooks::Script;
use super::site::Site;
use crate::support::PATIENCE;
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;

async fn once(site: &Site, code: i32) -> String {
    let mut sidecar = Sidecar::start(site.arguments());
    let ended = sidecar.exited(PATIENCE).await.code();
    let log = sidecar.log().join("\n");
    assert_eq!(ended, Some(code), "{log}");
    log
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn trees(site: &Site) -> Vec<String> {
    names(&site.root().join(".worktrees"))
}

fn packs(site: &Site) -> usize {
    let packs = names(&site.root().join(".pushsync/repo.git/objects/pack"));
    packs.iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "pack")).count()
}

#[tokio::test]
async fn without_grace_each_run_leaves_one_tree_and_a_store_of_few_packs() {
    let mut site = Site::new();
    site.set("one-time", "true").set("stale-worktree-timeout", "0").set("git-gc", "always");
    for run in 0..6 {
        let head = site.repo.push_file("index.html", format!("{run}\n"), "again");
        once(&site, 0).await;
        site.assert_whole(&head);
        assert_eq!(trees(&site), [head], "run {run}");
    }
    assert!(packs(&site) <= 2, "{}", packs(&site));
    // Nothing new: nothing goes, nothing comes.
    once(&site, 0).await;
    site.assert_whole(&site.repo.head());
    assert_eq!(trees(&site).len(), 1);
}

#[tokio::test]
async fn what_is_over_its_grace_goes_with_the_next_run_whatever_that_finds() {
    let mut site = Site::new();
    site.set("one-time", "true").set("stale-worktree-timeout", "1h");
    let mut heads = vec![site.repo.head()];
    once(&site, 0).await;
    for run in 0..3 {
        heads.push(site.repo.push_file("index.html", format!("{run}\n"), "again"));
        once(&site, 0).await;
    }
    let mut all = heads.clone();
    all.sort();
    assert_eq!(trees(&site), all, "readers may still be in them");
    let live = heads.pop().unwrap();
    for old in &heads {
        let tree = site.root().join(".worktrees").join(old);
        assert!(Command::new("touch").args(["-d", "3 days ago"]).arg(tree).status().unwrap().success());
    }
    once(&site, 0).await;
    assert_eq!(trees(&site), std::slice::from_ref(&live));
    site.assert_whole(&live);
}

#[tokio::test]
async fn a_tree_that_a_hook_writes_into_is_rebuilt_by_each_run_and_does_not_pile_up() {
    let mut site = Site::new();
    let hook = Script::new(&site, "hook", "date > generated");
    site.set("one-time", "true").set("stale-worktree-timeout", "0").set("exechook-command", &hook.command());
    for run in 0..3 {
        once(&site, 0).await;
        assert_eq!(trees(&site), [site.repo.head()], "run {run}");
        assert!(site.link().join("generated").exists());
    }
}

#[tokio::test]
async fn what_the_gate_refused_is_gone_two_runs_later() {
    let mut site = Site::new();
    site.set("one-time", "true").set("stale-worktree-timeout", "0");
    once(&site, 0).await;
    let live = site.repo.head();
    let gate = Script::new(&site, "gate", "exit 1");
    site.set("pre-publish-exechook-command", &gate.command());
    for run in 0..4 {
        site.repo.push_file("index.html", format!("{run}\n"), "refused");
        once(&site, 1).await;
        assert_eq!(site.published().as_ref(), Some(&live));
        assert!(trees(&site).len() <= 2 && trees(&site).contains(&live), "run {run}: {:?}", trees(&site));
    }
}

#[tokio::test]
async fn an_outage_counts_once_for_each_period_though_it_is_tried_more_often() {
    let mut site = Site::new();
    site.remote.set(Mode::Refuse);
    site.set("max-failures", "2").set("period", "3s");
    let started = Instant::now();
    let mut sidecar = Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(1));
    let log = sidecar.log();
    // Tried after one second and after two more; the second of these is the first poll that git-sync would have made.
    assert!(started.elapsed() >= Duration::from_millis(2700), "{:?}", started.elapsed());
    assert!(log.iter().filter(|line| line.contains("sync failed")).count() >= 3, "{}", log.join("\n"));
}

/// As after a loss of power before the network is up: what is there is not what was published, and cannot be put back yet.
#[tokio::test]
async fn nobody_vouches_for_a_tree_in_doubt_because_a_run_has_ended_since() {
    let mut site = Site::new();
    site.set("one-time", "true").set("stale-worktree-timeout", "100ms");
    once(&site, 0).await;
    let head = site.repo.head();
    let flushed = site.root().join(".pushsync/flushed");
    fs::write(site.link().join("index.html"), "half of it").unwrap();
    fs::remove_file(&flushed).unwrap();
    let store = site.root().join(".pushsync/repo.git/objects/pack");
    for name in names(&store) {
        fs::remove_file(store.join(name)).unwrap();
    }
    site.remote.set(Mode::Refuse);
    once(&site, 1).await;
    assert!(!flushed.exists(), "it is said to be on the disk as it should be");

    site.set("one-time", "false").set("period", "200ms").set("verbose", "1");
    site.start().await;
    site.wait_record(|record| record.error.is_some()).await;
    site.sidecar().wait_for_text(PATIENCE, "no old tree is removed").await;
    assert_eq!(site.probe("/readyz").await.0, 503);
    assert!(!flushed.exists());
    site.remote.set(Mode::Serve);
    let end = Instant::now() + PATIENCE;
    while site.probe("/readyz").await.0 != 200 {
        assert!(Instant::now() < end, "it heals by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.assert_whole(&head);
}

#[tokio::test]
async fn the_error_file_of_another_process_is_left_alone() {
    let mut site = Site::new();
    let file = site.path("error.json");
    site.set("error-file", file.to_str().unwrap());
    site.start_in_sync().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    site.set("http-bind", &taken.local_addr().unwrap().to_string());
    let log = once(&site, 1).await;
    assert!(log.contains("--http-bind") && !file.exists(), "{log}");
}

#[tokio::test]
async fn the_error_file_tells_why_nothing_was_started() {
    let mut site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = site.path("error.json");
    site.set("http-bind", &taken.local_addr().unwrap().to_string()).set("error-file", file.to_str().unwrap());
    once(&site, 1).await;
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(told["Msg"], "cannot start");
    assert!(told["Err"].as_str().unwrap().contains("--http-bind"), "{told}");
}

/// Objects in the store, and those that its refs reach.
fn objects(site: &Site) -> (usize, usize) {
    let store = site.root().join(".pushsync/repo.git");
    let count = |words: &[&str]| {
        let run = Command::new("git").arg("--git-dir").arg(&store).args(words).output().unwrap();
        assert!(run.status.success(), "{words:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).lines().count()
    };
    let all = ["cat-file", "--batch-check", "--batch-all-objects", "--unordered"];
    (count(&all), count(&["rev-list", "--objects", "--no-object-names", "--all"]))
}

#[tokio::test]
async fn another_depth_and_another_ref_leave_one_tree_and_no_object_that_nothing_needs() {
    let mut site = Site::new();
    site.set("one-time", "true").set("stale-worktree-timeout", "0").set("depth", "0");
    for number in 0..10 {
        site.repo.push_file("file", number.to_string(), "history");
    }
    let main = site.repo.head();
    site.repo.orphan("other");
    site.repo.write("only-here", "other");
    site.repo.commit("another branch");
    site.repo.git(&["push", "-q", "origin", "HEAD:refs/heads/other"]);
    let other = site.repo.head();
    once(&site, 0).await;
    let deep = objects(&site);
    assert!(deep.0 >= 30 && deep.0 == deep.1, "{deep:?}");
    site.set("depth", "1");
    once(&site, 0).await;
    let shallow = objects(&site);
    assert!(shallow.0 < 10 && shallow.0 == shallow.1, "{shallow:?}");
    assert_eq!(trees(&site), std::slice::from_ref(&main));
    for (reference, commit) in [("other", &other), ("main", &main), ("other", &other)] {
        site.set("ref", reference);
        once(&site, 0).await;
        let held = objects(&site);
        println!("{reference}: {held:?}");
        assert_eq!(held.0, held.1, "an object that no ref reaches stays");
        assert_eq!(trees(&site), std::slice::from_ref(commit));
        assert!(packs(&site) <= 1, "{}", packs(&site));
    }
}
