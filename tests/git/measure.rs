//! How large the store gets when commit after commit is synced. Not run by default; `scripts/measure-store` prints the table.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pushsync::git::Effort;

use super::compact::packs;
use super::{Volume, assert_whole, oid, options, shallow_lines, sync};
use crate::support::git_http::GitHttp;
use crate::support::repo::{Repo, git_command, run_git};

const FILES: u32 = 400;

/// A repository with one commit of 400 files and then one commit for each push, none of them visible yet. The hashes.
fn made(repo: &Repo, pushes: u32) -> Vec<String> {
    let text = |at: u32| format!("<p>{at} {}</p>\n", "lorem ipsum ".repeat(40 + fastrand::usize(..80)));
    let mut stream = String::new();
    let mut add = |mark: u32, files: &mut dyn Iterator<Item = u32>| {
        let who = "Ada Lovelace <ada@example.test>";
        let time = 1_700_000_000 + mark;
        writeln!(stream, "commit refs/heads/made\nmark :{mark}\ncommitter {who} {time} +0000\ndata 6\nA push").unwrap();
        for file in files {
            let text = format!("{}{}", text(mark), text(file));
            writeln!(stream, "M 100644 inline d{}/f{file}.html\ndata {}\n{text}", file % 20, text.len()).unwrap();
        }
    };
    add(1, &mut (0..FILES));
    for push in 0..pushes {
        add(push + 2, &mut std::iter::once(push * 7 % FILES));
    }
    let mut import = git_command(&repo.root());
    let mut child =
        import.current_dir(repo.bare()).args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let hashes = run_git(&repo.root(), &repo.bare(), &["rev-list", "--reverse", "refs/heads/made"]);
    run_git(&repo.root(), &repo.bare(), &["update-ref", "-d", "refs/heads/made"]);
    hashes.lines().map(str::to_owned).collect()
}

fn size(folder: &Path) -> u64 {
    let meta = fs::symlink_metadata(folder).unwrap();
    let inside = |entry: fs::DirEntry| size(&entry.path());
    let more = if meta.is_dir() { fs::read_dir(folder).unwrap().flatten().map(inside).sum() } else { 0 };
    meta.blocks() * 512 + more
}

/// Syncs every commit, and compacts after each as a sidecar does, and prints the line of a table.
async fn measure(pushes: u32, depth: u32, compacts: bool) {
    let repo = Repo::empty();
    let commits = made(&repo, pushes);
    let main = repo.bare().join("refs/heads/main");
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
        fs::write(&main, format!("{commit}\n")).unwrap();
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
