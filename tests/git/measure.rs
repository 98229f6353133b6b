//! The size of the store after many syncs. Not run by default; `scripts/measure-store` prints the table.

use std::time::{Duration, Instant};

use pushsync::git::Effort;

use super::compact::packs;
use super::{Volume, assert_whole, oid, options, shallow_lines, sync};
use crate::support::git_http::GitHttp;
use crate::support::pushes::{made, show, size};
use crate::support::repo::Repo;

/// Syncs every commit, compacts after each as the sidecar does, and prints the lines of a table.
async fn measure(pushes: u32, depth: u32, compacts: bool) {
    let repo = Repo::empty();
    let commits = made(&repo, pushes);
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let mut options = options(&server.url("site.git"));
    options.depth = depth;
    let engine = volume.engine(options);
    let (mut most_bytes, mut most_packs, mut most_lines, mut done, mut full) = (0, 0, 0, 0, 0);
    let (mut spent, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut first = 0;
    let started = Instant::now();
    for (number, commit) in commits.iter().enumerate() {
        show(&repo, commit);
        assert_eq!(sync(&engine).await.unwrap().commit, oid(commit));
        if number == 0 {
            first = size(engine.store());
        }
        most_bytes = most_bytes.max(size(engine.store()));
        most_packs = most_packs.max(packs(engine.store()));
        most_lines = most_lines.max(shallow_lines(engine.store()));
        if compacts {
            let keep = commits[number.saturating_sub(1)..number].iter().map(|commit| oid(commit)).collect();
            if let Some(compacted) = engine.compact(Effort::Worthwhile, keep).await.unwrap() {
                done += 1;
                full += u32::from(compacted.full);
                spent += compacted.took;
                longest = longest.max(compacted.took);
            }
        }
    }
    let store = engine.store();
    assert_whole(store, commits.last().unwrap());
    let kib = |bytes: u64| bytes / 1024;
    println!(
        "depth {depth}, {pushes} pushes{}: first {} KiB, end {} KiB (peak {}), packs {} (peak {most_packs}), shallow lines {} (peak {most_lines}); \
         {done} compactions ({full} full), {spent:.0?} in all, longest {longest:.0?}; {:.0?} for everything",
        if compacts { "" } else { ", never compacted" },
        kib(first),
        kib(size(store)),
        kib(most_bytes),
        packs(store),
        shallow_lines(store),
        started.elapsed(),
    );
    if compacts && depth > 0 {
        assert!(most_packs <= 25 && most_lines <= 2);
        assert!(most_bytes < 4 * first + 16 * 1024 * 1024);
    }
}

#[tokio::test]
#[ignore = "takes minutes; run by scripts/measure-store"]
async fn store_over_2000_pushes_at_depth_1() {
    measure(2000, 1, true).await;
}

#[tokio::test]
#[ignore = "takes minutes; run by scripts/measure-store"]
async fn store_over_2000_pushes_never_compacted() {
    measure(2000, 1, false).await;
}

#[tokio::test]
#[ignore = "takes minutes; run by scripts/measure-store"]
async fn store_over_300_pushes_with_all_history() {
    measure(300, 0, true).await;
}

#[tokio::test]
#[ignore = "takes minutes; run by scripts/measure-store"]
async fn store_over_300_pushes_at_depth_5() {
    measure(300, 5, true).await;
}
