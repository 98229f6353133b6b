//! kill -9 at random moments of a compaction: the store is usable each time, and tidy after the next start.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pushsync::git::{Effort, Engine, Want};

use super::compact::{assert_tidy, packs};
use super::{Volume, assert_whole, oid, options, sync};
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;

const ROUNDS: usize = 30;
const STORE: &str = "PUSHSYNC_TEST_STORE";

/// Not a test: the process that the test below starts and kills.
#[tokio::test]
#[ignore = "started by the test that kills it"]
async fn child_compacts_the_store() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let engine = Engine::new(options("/nowhere"), PathBuf::from(store));
    // Cleans up after the process before, which is not measured here.
    let _ = engine.resolve_prefix("0000").await;
    println!("\nBEGIN");
    let done = engine.compact(Effort::Full, vec![]).await.unwrap().expect("there is something to do");
    println!("END {done:?}");
}

#[tokio::test]
async fn thirty_kills_in_the_middle_of_a_compaction_leave_a_whole_store_each_time() {
    let repo = Repo::new();
    for file in 0..400 {
        repo.write(&format!("d{}/f{file}", file % 11), format!("{file} {}", fastrand::u64(..)).repeat(60));
    }
    repo.push_file("index.html", "many files\n", "Many files");
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let store = volume.engine(options(&server.url("site.git"))).store().to_owned();
    let mut typical = Duration::from_millis(100);
    let (mut killed, mut left) = (0, 0);
    for round in 0..ROUNDS {
        // A new engine cleans up like a new process.
        let engine = volume.engine(options(&server.url("site.git")));
        for push in 0..4 {
            repo.write(&format!("d{push}/more"), format!("{round} {}", fastrand::u64(..)).repeat(500));
            let commit = repo.push_file("index.html", format!("{round} {push}\n"), "Another");
            assert_eq!(sync(&engine).await.unwrap().commit, oid(&commit));
        }
        assert_tidy(&store);
        assert!(packs(&store) > 1);
        drop(engine);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "git::compact_kill::child_compacts_the_store", "--ignored", "--nocapture"])
            .env(STORE, &store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.by_ref().any(|line| line == "BEGIN"), "it begins");
        let begun = Instant::now();
        if round > 0 {
            let most = u64::try_from(typical.as_micros()).unwrap();
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..most)));
            child.kill().unwrap();
        }
        let ended = lines.any(|line| line.starts_with("END"));
        child.wait().unwrap();
        if ended {
            typical = typical.min(begun.elapsed()).max(Duration::from_millis(2));
        }
        if round == 0 {
            assert!(ended, "an undisturbed one ends");
            typical = begun.elapsed();
        }
        killed += usize::from(!ended);
        let untidy = std::fs::read_dir(&store)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("pushsync-compact-"));
        left += usize::from(untidy);

        let requests = server.requests();
        let engine = volume.engine(options(&server.url("site.git")));
        assert_eq!(engine.fetch(Want::Commit(oid(&repo.head()))).await.unwrap().objects, 0);
        assert_eq!(server.requests(), requests, "nothing of what is published was lost");
        assert_tidy(&store);
        assert_whole(&store, &repo.head());
    }
    println!(
        "{killed} of {ROUNDS} killed before the end, {left} left something to clear; the store was whole each time"
    );
    assert!(killed >= ROUNDS / 3, "{killed}");
}
