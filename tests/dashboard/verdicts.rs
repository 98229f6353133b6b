//! The table of verdicts in docs/dashboard.md, each cell seen on the real program against real sidecars.
//!
//! A state of a replica is brought about by a real push, pause, pin, outage or force push; then the program is asked in
//! each of its ways. `UPDATE=1` writes the table.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::site::{Site, published};
use crate::support::git_http::Mode;
use crate::support::pty::Pty;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

const BEGIN: &str = "<!-- verdicts: written by tests/dashboard/verdicts.rs -->";
const END: &str = "<!-- end of verdicts -->";

/// What one state is expected to give: exit codes of `--check`, `--check --commit`, `--check --wait`, the words of JSON
/// and of the header.
struct Expected {
    check: i32,
    commit: i32,
    wait: i32,
    json: (bool, &'static str),
    header: &'static str,
    /// In the last line of `--check`.
    says: &'static str,
}

struct Table {
    rows: Vec<String>,
}

fn dashboard(urls: &[String], args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.arg("dashboard").args(args).stdin(Stdio::null());
    for url in urls {
        command.args(["--url", url]);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

impl Table {
    /// Asks in every way, compares, and keeps the row.
    fn row(&mut self, state: &str, urls: &[String], commit: (&str, &str), expected: &Expected) {
        let (code, out, _) = dashboard(urls, &["--check", "--timeout", "5s"]);
        let last = out.lines().last().unwrap_or_default();
        assert_eq!(code, Some(expected.check), "{state}, --check: {out}");
        assert!(last.contains(expected.says), "{state}, --check: {out}");

        let (asked, what) = commit;
        let (code, out, _) = dashboard(urls, &["--check", "--timeout", "5s", "--commit", asked]);
        assert_eq!(code, Some(expected.commit), "{state}, --commit: {out}");
        let last = out.lines().last().unwrap_or_default();
        assert!(last.contains(&asked[..7]), "{state}, --commit names the commit: {out}");

        let (code, out, err) =
            dashboard(urls, &["--check", "--wait", if expected.wait == 0 { "20s" } else { "1500ms" }]);
        assert_eq!(code, Some(expected.wait), "{state}, --wait: {out}\n{err}");
        if expected.wait != 0 {
            assert!(err.contains("waiting for ") && err.contains("/1s"), "{state}, --wait says on stderr: {err}");
        }

        let (_, out, _) = dashboard(urls, &["--once", "-o", "json", "--timeout", "5s"]);
        let document: Value = serde_json::from_str(&out).unwrap();
        let (in_sync, word) = expected.json;
        assert_eq!(
            (&document["in_sync"], &document["verdict"]),
            (&json!(in_sync), &json!(word)),
            "{state}: {document:#}"
        );

        let arguments: Vec<String> = urls.iter().flat_map(|url| ["--url".to_owned(), url.clone()]).collect();
        let pty = Pty::start(120, 32, &arguments, &[]);
        pty.shows(expected.header);
        let row = format!(
            "| {state} | {} {} | {what}: {} | {} | `{in_sync}`, `{word}` | {} |",
            expected.check,
            last_words(&out, &document),
            expected.commit,
            expected.wait,
            expected.header
        );
        println!("{row}");
        self.rows.push(row);
    }
}

/// The verdict without hashes, subjects and times, which differ from run to run.
fn last_words(_: &str, document: &Value) -> String {
    let words = document["words"].as_str().unwrap_or_default();
    words.split("  ").next().unwrap_or_default().to_owned()
}

fn admin(sidecar: &Sidecar) -> Option<String> {
    sidecar.log().iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_it = line["msg"].as_str()?.starts_with("listening") && line["listener"] == "admin";
        is_it.then(|| format!("http://{}", line["address"].as_str().unwrap_or_default()))
    })
}

fn url(site: &mut Site) -> String {
    admin(site.sidecar()).expect("it listens")
}

/// A second replica of the same repository, which nothing tells of pushes.
async fn second(site: &Site, root: &Path) -> Sidecar {
    let mut arguments: Vec<String> =
        site.arguments().into_iter().filter(|argument| !argument.starts_with("--root=")).collect();
    arguments.push(format!("--root={}", root.display()));
    let mut sidecar = Sidecar::start(arguments);
    sidecar.wait_for_line(PATIENCE, |line| line.contains("\"listener\":\"admin\"")).await;
    sidecar
}

/// Waits until a snapshot holds.
async fn settled(site: &Site, holds: impl Fn(&pushsync::api::Snapshot) -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let snapshot = site.snapshot().await;
        if holds(&snapshot) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{snapshot:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn idle(site: &Site, commit: &str) {
    let is = |snapshot: &pushsync::api::Snapshot| {
        snapshot.running.is_none() && snapshot.published.as_ref().is_some_and(|it| it.commit == commit)
    };
    settled(site, is).await;
}

const LIVE: &str = "✓ LIVE EVERYWHERE";
const NOT_LIVE: &str = "✗ NOT LIVE EVERYWHERE";

fn green(says: &'static str) -> Expected {
    Expected { check: 0, commit: 0, wait: 0, json: (true, "live"), header: LIVE, says }
}

fn red(commit: i32, says: &'static str) -> Expected {
    Expected { check: 3, commit, wait: 3, json: (false, "not_live"), header: NOT_LIVE, says }
}

fn unknown(commit: i32, says: &'static str) -> Expected {
    Expected { check: 3, commit, wait: 3, json: (false, "unknown"), header: "? UNKNOWN", says }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_in_every_way() {
    let mut table = Table { rows: Vec::new() };
    let mut site = Site::new();
    site.start_in_sync().await;
    let first = site.repo.head();
    idle(&site, &first).await;
    let one = vec![url(&mut site)];

    table.row("in sync", &one, (&first, "what is live"), &green("LIVE EVERYWHERE"));

    let newer = site.push_and_ring("a", "2").await;
    idle(&site, &newer).await;
    table.row(
        "in sync, and the question is about an older commit of its history",
        &one,
        (&first, "contained in what is live"),
        &green("1 of 1"),
    );

    // Behind: the second replica hears of no push.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let other = second(&site, &root).await;
    eventually(PATIENCE, || published(&root.join("current")).as_deref() == Some(newer.as_str())).await;
    let two = vec![one[0].clone(), admin(&other).unwrap()];
    let third = site.push_and_ring("a", "3").await;
    idle(&site, &third).await;
    table.row("one of two behind", &two, (&third, "the newest"), &red(3, "1 of 2  1 behind"));
    drop(other);
    table.row("one of two cannot be reached", &two, (&third, "the newest"), &unknown(3, "1 of 2  1 cannot be reached"));

    assert_eq!(site.post("pause", &json!({"minutes": 60})).await.0, 202);
    table.row("paused", &one, (&third, "what is live"), &unknown(0, "1 paused (59m)"));
    let news = site.push_and_ring("a", "4").await;
    settled(&site, |snapshot| snapshot.announced.is_some()).await;
    table.row(
        "paused, and a newer commit was announced",
        &one,
        (&news, "the announced one"),
        &red(3, "0 of 1  1 paused (59m, a newer commit is known)"),
    );
    assert_eq!(site.post("resume", &json!({})).await.0, 202);
    idle(&site, &news).await;

    assert_eq!(site.post("pin", &json!({"commit": news})).await.0, 202);
    settled(&site, |snapshot| snapshot.pinned.is_some() && snapshot.running.is_none()).await;
    table.row("pinned at the newest", &one, (&news, "the newest"), &green("(1 pinned to it)"));
    assert_eq!(site.post("pin", &json!({"commit": third})).await.0, 202);
    idle(&site, &third).await;
    table.row("pinned elsewhere", &one, (&news, "the newest"), &red(3, "0 of 1  1 pinned at"));
    table.row(
        "pinned elsewhere, and the question is about that",
        &one,
        (&third, "what it is pinned to"),
        &red(0, "1 pinned at"),
    );
    assert_eq!(site.post("pause", &json!({"minutes": 60})).await.0, 202);
    table.row("paused and pinned elsewhere", &one, (&news, "the newest"), &red(3, "0 of 1  1 paused (59m), pinned at"));
    assert_eq!(site.post("resume", &json!({})).await.0, 202);
    assert_eq!(site.post("unpin", &json!({})).await.0, 202);
    idle(&site, &news).await;

    site.remote.set(Mode::Refuse);
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    settled(&site, |snapshot| snapshot.failures_in_row > 0 && snapshot.running.is_none()).await;
    table.row("failed (the remote is down)", &one, (&news, "what is live"), &unknown(0, "1 of 1  1 failed"));
    site.remote.set(Mode::Serve);
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    settled(&site, |snapshot| snapshot.failures_in_row == 0 && snapshot.running.is_none()).await;

    // B is pushed, published, and taken back by a force push.
    let taken = site.push_and_ring("a", "5").await;
    idle(&site, &taken).await;
    site.repo.write("a", "6");
    let forced = site.repo.amend("instead");
    site.repo.force_push();
    assert_eq!(site.ring(&taken, &forced).await.status, 202);
    idle(&site, &forced).await;
    let expected = Expected { commit: 3, ..green("1 of 1") };
    table.row("force-pushed away", &one, (&taken, "what was taken back"), &expected);

    // Two repositories in one view.
    let mut elsewhere = Site::new();
    elsewhere.start_in_sync().await;
    let its = elsewhere.repo.head();
    idle(&elsewhere, &its).await;
    let both = vec![one[0].clone(), url(&mut elsewhere)];
    let expected = Expected { commit: 3, ..green("2 of 2 repositories and refs") };
    table.row("two repositories, each at its newest", &both, (&forced, "the newest of one"), &expected);
    assert_eq!(elsewhere.post("pause", &json!({"minutes": 60})).await.0, 202);
    elsewhere.push_and_ring("b", "1").await;
    settled(&elsewhere, |snapshot| snapshot.announced.is_some()).await;
    table.row(
        "two repositories, one of them behind",
        &both,
        (&forced, "the newest of one"),
        &red(3, "1 of 2 repositories and refs"),
    );

    // Nothing is published yet: the remote takes the connection and says nothing.
    let mut starting = Site::new();
    starting.remote.set(Mode::Silent);
    starting.start().await;
    let new = vec![url(&mut starting)];
    let head = starting.repo.head();
    table.row("starting", &new, (&head, "the newest"), &red(3, "1 starting"));

    // An address that takes connections and never answers, beside one that does.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let never = format!("http://{}", silent.local_addr().unwrap());
    table.row(
        "no answer yet from one of two",
        &[one[0].clone(), never],
        (&forced, "the newest"),
        &unknown(3, "1 of 2  1 without an answer yet"),
    );

    // Nothing listens at all.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = vec![format!("http://{}", closed.local_addr().unwrap())];
    drop(closed);
    let expected = Expected {
        check: 2,
        commit: 2,
        wait: 2,
        json: (false, "unreachable"),
        header: "○ NOT REACHABLE",
        says: "NOT REACHABLE",
    };
    table.row("unreachable", &gone, (&forced, "any"), &expected);
    table.compare();
}

impl Table {
    /// The table in the documentation is the one that was seen.
    fn compare(self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboard.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let head = "| state | `--check` | `--check --commit` | `--check --wait` | JSON: `in_sync`, `verdict` | header |\n\
                    | --- | --- | --- | --- | --- | --- |";
        let seen = format!("{BEGIN}\n{head}\n{}\n{END}", self.rows.join("\n"));
        let (start, end) = (text.find(BEGIN).expect("the marker"), text.find(END).expect("the marker") + END.len());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, [&text[..start], &seen, &text[end..]].concat()).unwrap();
        } else {
            assert_eq!(&text[start..end], seen, "docs/dashboard.md: write it with UPDATE=1");
        }
    }
}
