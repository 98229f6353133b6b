//! A disk on which every change of a file takes long, so that no sync ends in its time: git-sync wipes its root then
//! (PEER.md 4.5). The delay is real: a tracer holds each such call of the running program back. And calls that hold up the
//! removal of old trees: a flush that does not end, a rename that does not return in time.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pushsync::api::{Outcome, Record};

use super::faults::Tmpfs;
use super::site::{Site, assert_same, published};
use crate::support::tracer::{Plan, Traced, permitted};
use crate::support::{PATIENCE, entries_below, eventually, eventually_while_fewer, skip};

/// A file of the tree is some four calls, so 400 of them take some ten times the timeout, also by two writers.
const PER_CALL: Duration = Duration::from_millis(60);
const FILES: usize = 400;
const TIMEOUT: &str = "6s";

fn traced(site: &Site) -> Traced {
    Traced::start(plan(site))
}

fn plan(site: &Site) -> Plan {
    Plan {
        program: env!("CARGO_BIN_EXE_pushsync").into(),
        arguments: site.arguments().into_iter().map(Into::into).collect(),
        log: site.path("log"),
        under: site.folder.path().canonicalize().unwrap().join("root"),
        kill_before: None,
        armed: false,
    }
}

fn history(site: &Site) -> Vec<Record> {
    let text = fs::read_to_string(site.root().join(".pushsync/history.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What readers have, for some time: one tree of one commit, all of it.
async fn stays(site: &Site, commit: &str, for_long: Duration) {
    let end = Instant::now() + for_long;
    while Instant::now() < end {
        assert_eq!(published(&site.link()).as_deref(), Some(commit), "{}", log(site));
        assert_same(&site.link(), &site.repo, commit);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn log(site: &Site) -> String {
    fs::read_to_string(site.path("log")).unwrap_or_default()
}

fn change_all(site: &Site, what: &str) -> String {
    for file in 0..FILES {
        site.repo.write(&format!("dir{}/file{file}", file % 20), format!("{what} {file}\n"));
    }
    let commit = site.repo.commit(what);
    site.repo.push();
    commit
}

fn worktrees(root: &Path) -> usize {
    names(root).len()
}

/// The names in `.worktrees`.
fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".worktrees")).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn on_a_disk_that_is_too_slow_for_every_sync_the_published_tree_stays_and_a_faster_one_heals_all() {
    if let Err(why) = permitted() {
        return skip(&why);
    }
    let mut site = Site::new();
    // In memory: the machine's own disk, which other tests use too, may be slower than the timeout for a minute.
    let Some(_volume) = Tmpfs::mount(&site.root(), "size=64m") else { return };
    site.set("period", "300ms").set("sync-timeout", TIMEOUT).set("stale-worktree-timeout", "0s");
    let first = change_all(&site, "first");
    site.start_in_sync().await;
    site.sidecar().kill();
    assert_same(&site.link(), &site.repo, &first);

    // While it runs.
    let program = traced(&site);
    program.slow_down(PER_CALL);
    let second = change_all(&site, "second");
    let failed = || history(&site).into_iter().find(|record| record.outcome == Outcome::Failed);
    stays(&site, &first, Duration::from_secs(7)).await;
    eventually(PATIENCE, || failed().is_some()).await;
    let error = failed().unwrap().error.expect("why");
    assert!(error.kind.contains("timeout") && error.hint.is_some(), "{error:?}");
    stays(&site, &first, Duration::from_secs(4)).await;
    assert!(!program.has_ended(), "{}", log(&site));
    assert!(!site.root().join(".worktrees").join(&second).exists());

    // From the start: what is there is vouched for, and not wiped because a check of it takes too long. What the process
    // before left half-written takes longer to remove than a sync may: that ends no process either.
    drop(program);
    let left = site.root().join(".worktrees/.tmp-left");
    fs::create_dir(&left).unwrap();
    (0..FILES).for_each(|file| fs::write(left.join(file.to_string()), "x").unwrap());
    let program = traced(&site);
    program.slow_down(PER_CALL);
    stays(&site, &first, Duration::from_secs(10)).await;
    let still_there = fs::read_dir(site.root().join(".worktrees")).unwrap().flatten().any(|entry| {
        let name = entry.file_name();
        [".tmp-left", ".trash-"].iter().any(|begins| name.to_string_lossy().starts_with(begins))
    });
    assert!(!program.has_ended() && still_there, "{}", log(&site));

    program.let_go();
    eventually(2 * PATIENCE, || published(&site.link()).as_deref() == Some(second.as_str())).await;
    assert_same(&site.link(), &site.repo, &second);

    // A disk that is slow, but not for a timeout of two minutes: pushes arrive late, and whole.
    drop(program);
    site.set("sync-timeout", "120s");
    let program = traced(&site);
    program.slow_down(Duration::from_millis(2));
    let third = change_all(&site, "third");
    eventually(4 * PATIENCE, || published(&site.link()).as_deref() == Some(third.as_str())).await;
    assert_same(&site.link(), &site.repo, &third);
    program.let_go();
    // Nothing that was given up stays: the tree, its predecessor for a moment, and two standby trees that take turns.
    let trees = site.root().join(".worktrees");
    eventually_while_fewer(|| entries_below(&trees), || worktrees(&site.root()) <= 3).await;
    assert!(!program.has_ended(), "{}", log(&site));
}

#[tokio::test]
async fn leftovers_are_removed_while_the_disk_is_busy_with_a_flush() {
    if let Err(why) = permitted() {
        return skip(&why);
    }
    let mut site = Site::new();
    site.set("period", "300ms");
    site.start_in_sync().await;
    site.sidecar().kill();
    let left = site.root().join(".worktrees/.tmp-left");
    fs::create_dir(&left).unwrap();
    (0..FILES).for_each(|file| fs::write(left.join(file.to_string()), "x").unwrap());
    let second = site.repo.push_file("page", "second", "second");
    // `syncfs` waits for what all programs have written to the file system, which may be minutes of work.
    let program = Traced::start_hanging(plan(&site), |name, _| name == "syncfs");
    eventually(PATIENCE, || published(&site.link()).as_deref() == Some(second.as_str())).await;
    eventually(PATIENCE, || program.hanging() > 0).await;
    let is_left = |name: &String| [".tmp-left", ".trash-"].iter().any(|begins| name.starts_with(begins));
    let trees = site.root().join(".worktrees");
    eventually_while_fewer(|| entries_below(&trees), || !names(&site.root()).iter().any(is_left)).await;
    assert!(program.hanging() > 0 && !program.has_ended(), "{}", log(&site));
    assert_same(&site.link(), &site.repo, &second);
}

#[tokio::test]
async fn a_push_does_not_wait_for_a_flush_that_hangs() {
    if let Err(why) = permitted() {
        return skip(&why);
    }
    let mut site = Site::new();
    site.set("period", "300ms").set("sync-timeout", "4s").set("stale-worktree-timeout", "0s");
    let program = Traced::start_hanging(plan(&site), |name, _| name == "syncfs");
    let first = site.repo.head();
    eventually(PATIENCE, || published(&site.link()).as_deref() == Some(first.as_str())).await;
    for round in 1..=3 {
        // The removal of the replaced tree has given up one flush, and something calls it once more.
        let before = program.hanging();
        eventually(PATIENCE, || program.hanging() > before.max(1)).await;
        let pushed = site.repo.push_file("page", round.to_string(), "next");
        eventually(PATIENCE, || published(&site.link()).as_deref() == Some(pushed.as_str())).await;
    }
    let failed: Vec<_> = history(&site).into_iter().filter(|record| record.outcome == Outcome::Failed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn a_sweep_that_the_disk_ended_is_taken_up_again_soon() {
    if let Err(why) = permitted() {
        return skip(&why);
    }
    let mut site = Site::new();
    site.set("period", "300ms").set("sync-timeout", "2s").set("stale-worktree-timeout", "0s").set("spare-trees", "0");
    // A sweep ends with a compaction, and its log says so.
    site.set("git-gc", "always").set("verbose", "5");
    let first = site.repo.head();
    let program = traced(&site);
    eventually(PATIENCE, || published(&site.link()).as_deref() == Some(first.as_str())).await;
    // A tree loses its name before it is removed.
    program.hang(|name, path| name.starts_with("rename") && path.to_string_lossy().contains("/.trash-"));
    let second = site.repo.push_file("page", "second", "second");
    eventually(PATIENCE, || published(&site.link()).as_deref() == Some(second.as_str())).await;
    let has_ended = || {
        let log = log(&site);
        log.split_once("old trees could not be removed")
            .is_some_and(|(_, after)| after.contains("the object store was compacted"))
    };
    eventually(PATIENCE, has_ended).await;
    assert!(program.hanging() > 0 && names(&site.root()).len() > 1, "{:?}", names(&site.root()));
    program.release();
    // Without another push.
    eventually(PATIENCE, || names(&site.root()) == [second.as_str()]).await;
    assert_same(&site.link(), &site.repo, &second);
}
