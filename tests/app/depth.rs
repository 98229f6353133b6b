//! A `--depth` that changes from one process to the next, while nobody pushes: what git sees in the published tree.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use pushsync::api::{Outcome, Record, TriggerKind};
use serde_json::json;
use tokio::time::sleep;

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::repo::git_command;
use crate::support::sshd::Sshd;
use crate::support::{PATIENCE, eventually};

/// Six commits, and a volume that a process with `--depth 1` has filled.
async fn filled(mut site: Site) -> Site {
    for number in 2..=6 {
        site.repo.push_file("index.html", format!("{number}\n"), &format!("change {number}"));
    }
    site.set("worktree-git", "true").set("depth", "1");
    site.start_in_sync().await;
    shows(&site, 1).await;
    site
}

/// How many commits git sees in the published tree, if git works there.
fn count(site: &Site) -> Option<u32> {
    let mut git = git_command(site.folder.path());
    git.args(["-c", "safe.directory=*", "rev-list", "--count", "HEAD"]).current_dir(site.link());
    let output = git.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

async fn shows(site: &Site, commits: u32) {
    eventually(PATIENCE, || count(site) == Some(commits)).await;
}

/// Waits for so many records, no more, and returns the newest.
async fn told(site: &Site, records: usize) -> Record {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut history = site.history().await;
        assert!(history.len() <= records && Instant::now() < end, "{history:#?}");
        if history.len() == records {
            return history.remove(0);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn restart(site: &mut Site, depth: &str) {
    site.sidecar = None;
    site.set("depth", depth);
    site.start().await;
}

/// Deeper, to the beginning, and back, each by the first sync of a process: the poll is an hour away.
async fn follows(site: Site) {
    let mut site = filled(site).await;
    let page = |site: &Site| fs::metadata(site.link().join("index.html")).unwrap().ino();
    let (head, before) = (site.repo.head(), page(&site));
    for (depth, commits) in [("3", 3), ("0", 6), ("2", 2), ("1", 1), ("4", 4), ("4", 4)] {
        let known = site.history().await.len();
        restart(&mut site, depth).await;
        shows(&site, commits).await;
        let told = told(&site, known + 1).await;
        assert_eq!((told.trigger.kind, told.outcome), (TriggerKind::Startup, Outcome::Unchanged), "depth {depth}");
        assert_eq!((site.published().as_deref(), page(&site)), (Some(head.as_str()), before), "no file was written");
        site.assert_git_is_sound();
    }
    // Nothing of it is in the way of the next push.
    let next = site.push_and_ring("index.html", "next\n").await;
    site.wait_published(&next).await;
    shows(&site, 4).await;
}

#[tokio::test]
async fn a_changed_depth_is_what_git_sees_after_the_first_sync_over_http() {
    follows(Site::new()).await;
}

#[tokio::test]
async fn and_from_a_folder() {
    let mut site = Site::new();
    let path = site.repo.bare().display().to_string();
    site.set("repo", &path);
    follows(site).await;
}

#[tokio::test]
async fn and_over_ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let mut site = Site::new();
    let url = sshd.url(&site.repo.bare());
    fs::write(site.path("known_hosts"), sshd.known_hosts()).unwrap();
    let known_hosts = site.path("known_hosts").display().to_string();
    site.set("repo", &url).set("ssh-key-file", &sshd.key().display().to_string());
    site.set("ssh-known-hosts-file", &known_hosts);
    follows(site).await;
}

#[tokio::test]
async fn a_history_that_fits_costs_no_request_and_one_that_does_not_costs_one() {
    let mut site = filled(Site::new()).await;
    for (depth, requests) in [("1", 1), ("3", 2), ("3", 1), ("2", 1)] {
        let (before, known) = (site.remote.requests(), site.history().await.len());
        restart(&mut site, depth).await;
        shows(&site, depth.parse().unwrap()).await;
        told(&site, known + 1).await;
        assert_eq!(site.remote.requests() - before, requests, "a look, and what is lacking at depth {depth}");
        // The next look has nothing to compare any more.
        let before = site.remote.requests();
        assert_eq!(site.post("sync", &json!({})).await.0, 202);
        told(&site, known + 2).await;
        assert_eq!(site.remote.requests() - before, 1, "depth {depth}");
    }
}

#[tokio::test]
async fn a_remote_that_gives_no_more_of_it_fails_no_sync_and_is_asked_again() {
    let mut site = filled(Site::new()).await;
    let head = site.repo.head();
    let answer = b"0013ERR not today".to_vec();
    site.remote.set(Mode::Lie { command: "command=fetch", answer, endless: Vec::new() });
    site.set("period", "100ms");
    let known = site.history().await.len();
    restart(&mut site, "3").await;
    site.sidecar().wait_for_text(PATIENCE, "the history could not be fetched as deep as --depth asks for").await;
    let told = told(&site, known + 1).await;
    assert_eq!((told.outcome, site.snapshot().await.failures_in_row), (Outcome::Unchanged, 0));
    assert_eq!((site.published().as_deref(), count(&site)), (Some(head.as_str()), Some(1)));
    assert_eq!(site.probe("/readyz").await.0, 200);
    site.remote.set(Mode::Serve);
    shows(&site, 3).await;
    assert_eq!(site.history().await.len(), known + 1, "polls that published nothing leave no record");
    site.assert_git_is_sound();
}

#[tokio::test]
async fn a_pinned_commit_shows_its_own_history_at_the_new_depth() {
    let mut site = filled(Site::new()).await;
    let pinned = site.repo.git(&["rev-parse", "HEAD~2"]);
    assert_eq!(site.post("pin", &json!({ "commit": pinned })).await.0, 202);
    site.wait_published(&pinned).await;
    shows(&site, 1).await;
    for (depth, commits) in [("3", 3), ("0", 4)] {
        restart(&mut site, depth).await;
        shows(&site, commits).await;
        assert_eq!(site.published().as_deref(), Some(pinned.as_str()));
        site.assert_git_is_sound();
    }
}

impl Site {
    /// Fails unless git finds nothing to complain of in the published tree and its store. The program may be joining packs
    /// under the hands of `git fsck`, which goes by the list of packs that it began with: it may look again.
    fn assert_git_is_sound(&self) {
        for (arguments, again) in [(&["status", "--porcelain"][..], 0), (&["fsck", "--no-dangling"], 4)] {
            let look = || {
                let mut git = git_command(self.folder.path());
                git.args(["-c", "safe.directory=*"]).args(arguments).current_dir(self.link());
                git.output().unwrap()
            };
            let is_sound = |output: &std::process::Output| output.status.success() && output.stdout.is_empty();
            let mut output = look();
            for _ in 0..again {
                if is_sound(&output) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(500));
                output = look();
            }
            assert!(is_sound(&output), "{arguments:?}: {output:?}");
        }
    }
}
