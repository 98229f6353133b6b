//! What hooks and apps write into a published tree: it stays while the commit is published, and is in no other commit.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Script;
use crate::app::site::Site;
use crate::support::{PATIENCE, eventually};

/// Files in the repository: few, and more than a standby tree is looked at for as a whole.
const SIZES: [usize; 2] = [3, 1_200];

fn site(files: usize) -> Site {
    let mut site = Site::new();
    for number in 0..files {
        site.repo.write(&format!("d{}/f{number}", number % 30), "as committed\n");
    }
    site.repo.commit("files");
    site.repo.push();
    site.set("stale-worktree-timeout", "300ms").set("verbose", "5");
    site
}

async fn restart(site: &mut Site) {
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    site.start().await;
}

/// The files of a tree that its commit does not have, or has otherwise.
fn added(site: &Site, commit: &str) -> Vec<String> {
    let tracked = site.repo.git(&["ls-tree", "-r", "--name-only", commit]);
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(site.link().join(&folder)).unwrap().flatten() {
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
            } else if !tracked.lines().any(|line| Path::new(line) == path) {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// The tree that is published: one that was rebuilt has another inode.
fn inode(site: &Site) -> u64 {
    fs::metadata(site.link()).unwrap().ino()
}

fn read(path: PathBuf) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[tokio::test]
async fn what_hooks_build_is_there_after_each_push_and_each_restart() {
    for files in SIZES {
        let mut site = site(files);
        // Each says for which commit it ran: what is left of another one would be seen.
        let gate = Script::new(&site, "gate", r#"mkdir -p out && printf "$PUSHSYNC_HASH" > out/before"#);
        let hook = Script::new(&site, "hook", r#"printf "$PUSHSYNC_HASH" > d1/after; echo run >> "$HERE/runs""#);
        site.set("pre-publish-exechook-command", &gate.command()).set("exechook-command", &hook.command());
        site.start_in_sync().await;
        let is_built = |site: &Site, commit: &str| {
            let after = read(site.link().join("d1/after"));
            after.as_deref() == Some(commit) && read(site.link().join("out/before")).as_deref() == Some(commit)
        };
        for number in 0..20 {
            let commit = site.push_and_ring(&format!("d{}/f{}", number % 3, number % 3), &number.to_string()).await;
            site.wait_published(&commit).await;
            // The link never names a tree without the output of the pre-publish hook.
            assert_eq!(read(site.link().join("out/before")).as_deref(), Some(commit.as_str()), "push {number}");
            eventually(PATIENCE, || is_built(&site, &commit)).await;
            assert_eq!(added(&site, &commit), ["d1/after", "out/before"], "push {number}");
        }
        let commit = site.published().unwrap();
        for number in 0..5 {
            let runs = hook.lines("runs").len();
            restart(&mut site).await;
            assert!(is_built(&site, &commit), "restart {number}");
            eventually(PATIENCE, || hook.lines("runs").len() > runs).await;
            assert!(is_built(&site, &commit), "restart {number}");
            assert_eq!(site.history().await[0].new.as_deref(), Some(commit.as_str()));
        }
        let log = site.sidecar().log().join("\n");
        assert!(!log.contains("rebuilt") && !log.contains("wrote a new tree"), "{log}");
    }
}

#[tokio::test]
async fn what_a_hook_makes_of_tracked_files_counts_as_published_and_is_in_no_other_commit() {
    for (name, flag) in [("gate", "pre-publish-exechook-command"), ("hook", "exechook-command")] {
        let mut site = site(3);
        let script = Script::new(
            &site,
            name,
            r#"printf "made for $PUSHSYNC_HASH" > d0/f0; rm -f d1/f1; chmod +x d2/f2; echo run >> "$HERE/runs""#,
        );
        site.set(flag, &script.command());
        site.start_in_sync().await;
        let is_made = |site: &Site, commit: &str| {
            let link = site.link();
            read(link.join("d0/f0")) == Some(format!("made for {commit}")) && !link.join("d1/f1").exists()
        };
        let mut commit = site.repo.head();
        eventually(PATIENCE, || is_made(&site, &commit)).await;
        for number in 0..4 {
            commit = site.push_and_ring("a", &number.to_string()).await;
            site.wait_published(&commit).await;
            eventually(PATIENCE, || is_made(&site, &commit)).await;
        }
        // It is accepted when the hook has ended, so a moment after the files are there.
        let kept = site.root().join(".pushsync/hook-changes");
        eventually(PATIENCE, || read(kept.clone()).is_some_and(|text| text.starts_with(&commit))).await;
        let log = site.sidecar().log();
        let said = log.iter().filter(|line| line.contains("what it made of them counts as published")).count();
        assert_eq!(said, 1, "{log:#?}");
        // Not a damage to the next process, either: it keeps the tree. There the hook runs again, and writes the file anew.
        let before = inode(&site);
        for _ in 0..2 {
            restart(&mut site).await;
            site.wait_record(|record| record.new.as_deref() == Some(commit.as_str())).await;
            eventually(PATIENCE, || is_made(&site, &commit)).await;
            assert_eq!(inode(&site), before, "it was rebuilt");
        }
        // Without the hook the next commits are as committed, whatever tree they are made from.
        script.become_("exit 0");
        for number in 10..14 {
            commit = site.push_and_ring("a", &number.to_string()).await;
            site.wait_published(&commit).await;
            site.assert_whole(&commit);
        }
        let log = site.sidecar().log().join("\n");
        assert!(!log.contains("rebuilt"), "{log}");
    }
}

#[tokio::test]
async fn after_a_repair_the_hooks_run_again() {
    let mut site = site(3);
    let gate = Script::new(&site, "gate", "printf before > before");
    let hook = Script::new(&site, "hook", r#"printf after > after; echo "$PUSHSYNC_HASH" >> "$HERE/runs""#);
    site.set("pre-publish-exechook-command", &gate.command()).set("exechook-command", &hook.command());
    site.set("period", "200ms");
    site.start_in_sync().await;
    let commit = site.repo.head();
    eventually(PATIENCE, || hook.lines("runs").len() == 1).await;
    for repair in 1..4 {
        fs::remove_dir_all(site.root().join(".worktrees").join(&commit)).unwrap();
        eventually(PATIENCE, || hook.lines("runs").len() > repair).await;
        eventually(PATIENCE, || read(site.link().join("after")).is_some()).await;
        assert_eq!(read(site.link().join("before")).as_deref(), Some("before"));
    }
    assert!(hook.lines("runs").iter().all(|run| *run == commit));
}

#[tokio::test]
async fn a_cache_that_an_app_writes_makes_no_restart_rebuild_and_is_in_no_other_commit() {
    for files in SIZES {
        let mut site = site(files);
        site.start_in_sync().await;
        let first = site.repo.head();
        let cache = site.link().join("d1/__pycache__");
        fs::create_dir(&cache).unwrap();
        fs::write(cache.join("f1.pyc"), "compiled").unwrap();
        let before = inode(&site);
        for _ in 0..2 {
            restart(&mut site).await;
            site.wait_record(|record| record.new.as_deref() == Some(first.as_str())).await;
            assert_eq!((inode(&site), read(cache.join("f1.pyc")).as_deref()), (before, Some("compiled")));
        }
        for number in 0..6 {
            let commit = site.push_and_ring("d0/f0", &number.to_string()).await;
            site.wait_published(&commit).await;
            site.assert_whole(&commit);
            // Each tree is written into by the app.
            fs::write(site.link().join("d1/added"), "by the app").unwrap();
        }
        let log = site.sidecar().log().join("\n");
        assert!(!log.contains("rebuilt"), "{log}");
    }
}
