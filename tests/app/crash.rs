//! kill -9 at random moments of a sync: the link always names a complete tree of a real commit, the next start converges.

use std::time::Duration;

use super::site::{Site, assert_same};
use crate::support::{PATIENCE, entries_below, eventually, eventually_while_fewer};

const ROUNDS: usize = 50;

#[tokio::test]
async fn fifty_kills_in_the_middle_of_a_sync_leave_a_whole_tree_each_time() {
    let mut site = Site::new();
    for file in 0..200 {
        site.repo.write(&format!("d{}/f{file}", file % 7), "0".repeat(2000));
    }
    site.repo.commit("many files");
    site.repo.push();
    site.start_in_sync().await;
    let mut commits = vec![site.repo.head()];
    // How long an undisturbed sync takes here, so that the kills fall on all of it.
    let ringing = std::time::Instant::now();
    commits.push(site.push_and_ring("d0/f0", "warm up").await);
    site.wait_published(&commits[1]).await;
    let mut typical = ringing.elapsed();
    let mut caught_before = 0;
    for round in 0..ROUNDS {
        for file in 0..100 {
            site.repo.write(&format!("d{}/f{file}", file % 7), format!("{round}").repeat(900));
        }
        let before = site.repo.head();
        let after = site.repo.commit(&format!("round {round}"));
        site.repo.push();
        commits.push(after.clone());
        assert_eq!(site.ring(&before, &after).await.status, 202);
        let most = u64::try_from(typical.as_micros()).unwrap().max(1000) * 3 / 2;
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..most))).await;
        site.sidecar().kill();

        let live = site.published().expect("the link is there");
        assert!(commits.contains(&live), "{live} is no commit of ours");
        assert_same(&site.link(), &site.repo, &live);
        caught_before += usize::from(live != after);

        let starting = std::time::Instant::now();
        site.start().await;
        site.wait_published(&after).await;
        typical = (typical * 3 + starting.elapsed().min(typical * 4)) / 4;
        site.assert_whole(&after);
    }
    println!("{ROUNDS} kills, {caught_before} of them before the swap; the tree was whole each time");
    site.wait_record(|record| record.new.as_deref() == commits.last().map(String::as_str)).await;
    // A standby tree may be in the making now, under the name of what is unfinished. The trees of the killed processes are removed
    // at leisure, so the wait is as long as there are fewer and fewer files.
    let trees = site.root().join(".worktrees");
    let at_rest = || {
        let names = std::fs::read_dir(&trees).unwrap().map(|entry| entry.unwrap().file_name());
        let (spares, others): (Vec<_>, Vec<_>) =
            names.filter(|name| name.len() != 40).partition(|name| name.to_string_lossy().starts_with(".spare-"));
        (1..=2).contains(&spares.len()) && others.is_empty()
    };
    eventually_while_fewer(|| entries_below(&trees), at_rest).await;
    let (incremental, fresh) = site.incremental_and_fresh().await;
    println!("{incremental} publishes brought a spare, {fresh} wrote a whole tree");
    assert!(incremental > 0);
    site.sidecar().terminate();
    assert_eq!(site.sidecar().exited(PATIENCE).await.code(), Some(143));
}

#[tokio::test]
async fn a_tree_that_was_replaced_just_before_a_kill_goes_without_another_push() {
    let mut site = Site::new();
    site.set("spare-trees", "0");
    site.start_in_sync().await;
    let old = site.repo.head();
    let new = site.push_and_ring("index.html", "two").await;
    site.wait_published(&new).await;
    site.sidecar().kill();
    // Its grace is not over by the file system's clock when the first sweep comes: that clock may be ahead, and the times
    // are cut to seconds.
    let old = site.root().join(".worktrees").join(old);
    let ahead = std::time::SystemTime::from(pushsync::clock::Clock::real().now()) + Duration::from_secs(30);
    std::fs::File::open(&old).unwrap().set_modified(ahead).unwrap();

    site.set("stale-worktree-timeout", "200ms");
    site.start().await;
    eventually(PATIENCE, || !old.exists()).await;
    site.assert_whole(&new);
}
