//! Locks and halves of packs that a killed process left in the store: none of them stops a sync. And the store of the whole
//! program stays small.

use std::fs;
use std::path::PathBuf;

use pushsync::api::Phase;

use super::site::Site;
use crate::support::{PATIENCE, eventually};

/// What git, libgit2 and we lock or write half: the peer is stopped by the first two for ever.
const LEFT: [&str; 14] = [
    "HEAD.lock",
    "index.lock",
    "shallow.lock",
    "config.lock",
    "packed-refs.lock",
    "refs/heads/main.lock",
    "refs/pushsync/head.lock",
    "refs/pushsync/previous.lock",
    "refs/pushsync/incoming.lock",
    "refs/pushsync/pin.lock",
    "objects/pack/tmp_pack_abc123",
    "objects/pack/tmp_idx_abc123",
    "objects/pack/pack_git2_abc123",
    "objects/tmp_obj_abc123",
];

fn store(site: &Site) -> PathBuf {
    site.root().join(".pushsync/repo.git")
}

fn leave(site: &Site, name: &str) {
    let path = store(site).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "left by somebody who died").unwrap();
}

async fn failures(site: &Site) -> usize {
    site.history().await.iter().filter(|record| record.error.is_some()).count()
}

/// A folder is no lock that somebody left: it is not ours to remove.
#[tokio::test]
async fn what_the_store_cannot_keep_is_not_published_until_it_can() {
    let mut site = Site::new();
    site.set("period", "1s");
    site.start_in_sync().await;
    let first = site.push_and_ring("a", "1").await;
    site.wait_published(&first).await;
    let in_the_way = store(&site).join("refs/pushsync/head.lock");
    fs::create_dir_all(in_the_way.join("folder")).unwrap();
    let second = site.push_and_ring("a", "2").await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    assert_eq!(record.error.as_ref().map(|error| error.phase), Some(Phase::Fetch), "{record:?}");
    assert_eq!(site.published().as_ref(), Some(&first));
    site.assert_whole(&first);
    fs::remove_dir_all(in_the_way).unwrap();
    site.wait_published(&second).await;
    site.assert_whole(&second);
}

#[tokio::test]
async fn a_lock_left_before_the_start_or_while_it_runs_stops_no_sync() {
    for scheme in ["http", "file"] {
        let mut site = Site::new();
        if scheme == "file" {
            let url = site.repo.file_url();
            site.set("repo", &url);
        }
        site.start_in_sync().await;
        for (number, name) in LEFT.into_iter().enumerate() {
            leave(&site, name);
            let commit = site.push_and_ring("a", &format!("{scheme} {number}")).await;
            site.wait_published(&commit).await;
            site.assert_whole(&commit);
        }
        site.sidecar().kill();
        for name in LEFT {
            leave(&site, name);
        }
        let next = site.repo.push_file("a", format!("{scheme} next"), "next");
        site.start().await;
        site.wait_published(&next).await;
        site.assert_whole(&next);
        assert_eq!(failures(&site).await, 0, "{scheme}");
        let left: Vec<_> = LEFT.into_iter().filter(|name| store(&site).join(name).exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn store_bytes(metrics: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with("pushsync_volume_bytes{kind=\"store\"}"))?;
    line.split_whitespace().last()?.parse().ok()
}

#[tokio::test]
async fn the_store_shrinks_when_its_garbage_is_dropped_and_the_metric_says_so() {
    let mut site = Site::new();
    site.set("git-gc", "always").set("stale-worktree-timeout", "300ms").set("spare-trees", "0").set("verbose", "5");
    site.start_in_sync().await;
    site.repo.write("large", (0..3_000_000).map(|_| fastrand::u8(..)).collect::<Vec<_>>());
    let large = site.push_and_ring("a", "with the large file").await;
    site.wait_published(&large).await;
    let store = store(&site);
    let measured = || async { store_bytes(&site.probe("/metrics").await.1) };
    let end = std::time::Instant::now() + PATIENCE;
    while measured().await.is_none_or(|bytes| bytes < 3_000_000.0) {
        assert!(std::time::Instant::now() < end, "the metric does not rise");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    site.repo.remove("large");
    for number in 0..3 {
        let commit = site.push_and_ring("a", &format!("without it {number}")).await;
        site.wait_published(&commit).await;
        // Until the grace of the replaced tree is over.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
    let end = std::time::Instant::now() + PATIENCE * 3;
    while measured().await.is_none_or(|bytes| bytes > 1_000_000.0) {
        assert!(std::time::Instant::now() < end, "the metric does not fall: {:?}", measured().await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    eventually(PATIENCE, || {
        let packs = fs::read_dir(store.join("objects/pack")).unwrap().flatten();
        packs.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "pack")).count() == 1
    })
    .await;
    let log = site.sidecar().log().join("\n");
    assert!(log.contains("the object store was compacted") && log.contains("\"packs_before\""), "{log}");
    let head = site.repo.head();
    site.assert_whole(&head);
}

#[tokio::test]
async fn with_gc_off_nothing_is_compacted_and_a_wrong_word_is_told() {
    let mut site = Site::new();
    site.set("git-gc", "off").set("stale-worktree-timeout", "0s").set("verbose", "5");
    site.start_in_sync().await;
    for number in 0..30 {
        let commit = site.push_and_ring("a", &number.to_string()).await;
        site.wait_published(&commit).await;
    }
    let packs = fs::read_dir(store(&site).join("objects/pack")).unwrap().count();
    assert_eq!(packs, 2 * 31);
    assert!(!site.sidecar().log().iter().any(|line| line.contains("compacted")));
}
