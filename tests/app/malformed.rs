//! Commits that libgit2 cannot parse, in the running program: published, kept and compacted as any other, over restarts.

use std::fs;

use super::site::Site;
use crate::support::repo::git_command;
use crate::support::{PATIENCE, eventually};

/// What git says of the store.
fn fsck(site: &Site) -> String {
    let store = site.root().join(".pushsync/repo.git");
    let mut command = git_command(site.folder.path());
    let output = command.arg("-C").arg(&store).args(["fsck", "--no-dangling", "--connectivity-only"]).output().unwrap();
    String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.contains("missing")).collect()
}

fn packs(site: &Site) -> usize {
    let folder = fs::read_dir(site.root().join(".pushsync/repo.git/objects/pack")).unwrap().flatten();
    folder.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "pack")).count()
}

#[tokio::test]
async fn broken_commits_are_published_and_compacted_over_pushes_and_restarts() {
    for depth in ["1", "0"] {
        let mut site = Site::new();
        site.set("git-gc", "always").set("stale-worktree-timeout", "50ms").set("depth", depth);
        site.start_in_sync().await;
        for round in 0..3 {
            for number in 0..3 {
                let before = site.repo.head();
                let broken = site.repo.push_malformed("index.html", &format!("{round}.{number}\n"));
                assert_eq!(site.ring(&before, &broken).await.status, 202);
                site.wait_published(&broken).await;
                site.assert_whole(&broken);
            }
            // A sweep of the replaced trees has the store compacted.
            eventually(PATIENCE, || packs(&site) <= 2).await;
            assert_eq!(fsck(&site), "", "depth {depth}, round {round}");
            let broken = site.repo.head();
            if round == 1 {
                site.sidecar().kill();
            } else {
                site.sidecar().terminate();
                site.sidecar().exited(PATIENCE).await;
            }
            site.start_in_sync().await;
            site.assert_whole(&broken);
            let sound = site.push_and_ring("index.html", &format!("sound {round}\n")).await;
            site.wait_published(&sound).await;
            site.assert_whole(&sound);
        }
        assert!(!site.root().join(".pushsync/repo.git.damaged").exists());
        let failed: Vec<_> = site.history().await.into_iter().filter(|record| record.error.is_some()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        let log = site.sidecar().log().join("\n");
        assert!(!log.contains("damaged"), "{log}");
    }
}
