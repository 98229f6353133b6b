//! How long a push takes to reach readers, beside what git itself needs for the same commit, in one interleaved run.
//!
//! Ratios are what counts: absolute times belong to the machine. No part of this is a test.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::delivery::Delivery;
use support::git_http::GitHttp;
use support::repo::{Repo, git_command};
use support::sidecar::Sidecar;

const SECRET: &[u8] = b"only for this benchmark";
/// The first rounds warm the caches of both sides.
const WARM_UP: usize = 2;

fn main() {
    // cargo passes `--bench`; ours are `--rounds N`, `--files N` (repeatable) and `--pause MILLISECONDS` between rounds.
    let args: Vec<String> = std::env::args().skip(1).collect();
    let values = |flag: &str| {
        let pairs = args.windows(2).filter(|pair| pair[0] == flag);
        pairs.map(|pair| pair[1].parse().expect("a number")).collect::<Vec<usize>>()
    };
    let rounds = values("--rounds").first().copied().unwrap_or(15);
    let mut sizes = values("--files");
    if sizes.is_empty() {
        sizes = vec![100, 20_000];
    }
    let pause = Duration::from_millis(values("--pause").first().copied().unwrap_or(0) as u64);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!(
        "one changed file a push, {rounds} rounds interleaved, medians in ms (min-max), {pause:?} between rounds; smart HTTP over loopback"
    );
    println!(
        "| files | push -> published | git fetch | git fetch --depth 1 | git pull (the tutorial) | published / fetch |"
    );
    println!("|---|---|---|---|---|---|");
    for files in sizes {
        runtime.block_on(bench(files, rounds, pause));
    }
    println!("A tutorial's sidecar also waits for its turn: 30 s on average at `watch -n 60`.");
}

async fn bench(files: usize, rounds: usize, pause: Duration) {
    let repo = Repo::empty();
    fill(&repo, files);
    let remote = GitHttp::start(&repo.root());
    let url = remote.url("site.git");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    git(folder.path(), &["clone", "-q", "--bare", &url, &at("full.git")]);
    git(folder.path(), &["clone", "-q", "--bare", "--depth", "1", &url, &at("shallow.git")]);
    git(folder.path(), &["clone", "-q", &url, &at("pulled")]);
    std::fs::write(at("secret"), SECRET).unwrap();

    let mut sidecar = Sidecar::start([
        format!("--repo={url}"),
        "--ref=main".to_owned(),
        format!("--root={}", at("root")),
        "--link=current".to_owned(),
        "--period=1h".to_owned(),
        "--hook-bind=127.0.0.1:0".to_owned(),
        "--hook-rate=0".to_owned(),
        format!("--hook-secret-file={}", at("secret")),
        "--admin-bind=off".to_owned(),
        "--log-format=json".to_owned(),
    ]);
    let line = sidecar.wait_for_line(Duration::from_secs(60), |line| line.contains("\"listener\":\"hook\"")).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let hook = format!("http://{}/webhook", line["address"].as_str().unwrap());
    let link = folder.path().join("root/current");
    let mut before = repo.head();
    wait(&link, &before).await;

    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..rounds + WARM_UP {
        let after = repo.push_file(&format!("d{}/f0", round % 10), format!("round {round}"), "one file");
        // Who goes first changes from round to round, so that nobody always finds the server's caches warm.
        for turn in 0..4 {
            let took = match (turn + round) % 4 {
                0 => {
                    let delivery = Delivery::push(&url, "refs/heads/main", &before, &after);
                    let started = Instant::now();
                    let ringing = delivery.send(&hook, SECRET);
                    let (answer, ()) = tokio::join!(ringing, wait(&link, &after));
                    assert_eq!(answer.status, 202);
                    (0, started.elapsed())
                }
                1 => (1, git(folder.path(), &["-C", &at("full.git"), "fetch", "-q", "origin", "main:main"])),
                2 => {
                    let fetch = ["-C", &at("shallow.git"), "fetch", "-q", "--depth", "1", "origin", "main"];
                    (2, git(folder.path(), &fetch))
                }
                _ => (3, git(folder.path(), &["-C", &at("pulled"), "pull", "-q"])),
            };
            if round >= WARM_UP {
                times[took.0].push(took.1.as_secs_f64() * 1000.0);
            }
        }
        before = after;
        // What the last push left to be done in the background is part of what a user finds, or not, as he pushes.
        tokio::time::sleep(pause).await;
    }
    let [ours, full, shallow, pull] = times.map(Summary::of);
    let fastest = full.median.min(shallow.median);
    println!("| {files} | {ours} | {full} | {shallow} | {pull} | {:.2} |", ours.median / fastest);
}

/// Returns as soon as the link names the commit; looks often, but lets the sidecar have the processor.
async fn wait(link: &Path, commit: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while std::fs::read_link(link).ok().and_then(|target| Some(target.file_name()? == commit)) != Some(true) {
        assert!(Instant::now() < end, "{commit} was not published");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

fn git(home: &Path, args: &[&str]) -> Duration {
    let started = Instant::now();
    let status = git_command(home).args(args).status().unwrap();
    assert!(status.success(), "git {args:?}");
    started.elapsed()
}

/// A history of one commit with many small files, made without writing them to disk first.
fn fill(repo: &Repo, files: usize) {
    let mut stream = b"commit refs/heads/main\ncommitter A <a@example.test> 1700000000 +0000\ndata 5\nfirst\n".to_vec();
    for file in 0..files {
        let contents = format!("file {file}\n").repeat(8);
        let path = format!("d{}/f{}", file % 200, file / 200);
        write!(stream, "M 100644 inline {path}\ndata {}\n{contents}\n", contents.len()).unwrap();
    }
    let mut import = git_command(&repo.root());
    let mut import =
        import.arg("-C").arg(repo.work()).args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(import.wait().unwrap().success());
    repo.git(&["reset", "-q", "--hard", "main"]);
    repo.push();
}

struct Summary {
    median: f64,
    least: f64,
    most: f64,
}

impl Summary {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self { median: times[times.len() / 2], least: times[0], most: times[times.len() - 1] }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ({:.1}-{:.1})", self.median, self.least, self.most)
    }
}
