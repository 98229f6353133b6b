//! Two incidents, by the keys that they take: an old page is reported, and a bad commit is live.
//!
//! The dashboard's keys are pressed in a real terminal against real sidecars. The commands beside them are those that an
//! experienced user types for git-sync, as few as possible; they are counted, not run, since there is no cluster here.
//! `UPDATE=1` writes the table in docs/dashboard.md.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::verbs::Fleet;
use crate::support::pty::Pty;

const BEGIN: &str = "<!-- keys: written by tests/dashboard/incident.rs -->";
const END: &str = "<!-- end of keys -->";

/// The start of the dashboard, and what it shows then without a key.
const START: &str = "kubectl pushsync deploy/web -n prod";
const PIN: &str = "kubectl pushsync pin deploy/web COMMIT7 -n prod --all";

/// Which commit does each pod serve, which one has the remote, and why does one lack it.
const GIT_SYNC_LOOK: [&str; 4] = [
    "git ls-remote origin main",
    "kubectl -n prod get pods -l app=web",
    "for p in $(kubectl -n prod get pods -l app=web -o name); do kubectl -n prod exec $p -c app -- readlink /git/current; done",
    "kubectl -n prod logs web-6f9c-zz81t -c git-sync --tail=50",
];
/// The same in k9s: the deployment, its pods, then in each of eight pods a shell in the container, the link, and back; and the
/// log of one.
const K9S_START: &str = "k9s -n prod";
const K9S_PODS: &str = ":deploy\n/web\n\n";
const K9S_POD: &str = "\ns readlink /git/current\nexit\n\u{1b}j";
const K9S_LOG: &str = "\njl\u{1b}\u{1b}";

/// Find the commit, have all pods replaced with its hash as their ref, wait, and see that they have it.
const GIT_SYNC_BACK: [&str; 4] = [
    "git log --oneline -5",
    "kubectl -n prod set env deploy/web -c git-sync GITSYNC_REF=$(git rev-parse COMMIT7)",
    "kubectl -n prod rollout status deploy/web",
    "for p in $(kubectl -n prod get pods -l app=web -o name); do kubectl -n prod exec $p -c app -- readlink /git/current; done",
];

/// Keys that a person types in a second.
const SPEED: usize = 5;

/// `36 keys (8 s)`
fn keys(count: usize) -> String {
    format!("{count} keys ({} s)", count.div_ceil(SPEED))
}

/// Characters, with Enter after each command.
fn typed(commands: &[&str]) -> usize {
    commands.iter().map(|command| command.chars().count() + 1).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_page_is_explained_without_a_key_and_a_bad_commit_rolled_back_with_nine() {
    let fleet = Fleet::start(3, false).await;
    let good = fleet.site.repo.head();
    let bad = fleet.site.repo.push_file("a", "2", "Bad deploy");
    let paused = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/api/v1/pause", fleet.replicas[2].1);
    let body = json!({"minutes": 60, "by": "ada@laptop"}).to_string();
    let answer = paused.post(url).header("x-pushsync", "1").header("content-type", "application/json").body(body);
    assert_eq!(answer.send().await.unwrap().status(), 202);
    for number in [1, 2] {
        let address = &fleet.replicas[number - 1].1;
        let synced = super::verbs::run(program(), &["sync", "--url", address]);
        assert_eq!(synced.code, Some(0), "{}", synced.out);
    }

    let arguments: Vec<String> =
        fleet.replicas.iter().flat_map(|(_, address)| ["--url".to_owned(), address.clone()]).collect();
    let begun = Instant::now();
    let mut pty = Pty::start(120, 32, &arguments, &[("USER", "ada")]);
    // The answer: which commit, on how many, who lacks it and why.
    pty.shows(&format!("NOT LIVE EVERYWHERE   {} Bad deploy   2 of 3   1 paused", &bad[..7]));
    pty.shows(&format!("not on {}: paused by ada@laptop", fleet.replicas[2].1));
    println!("from the start of the program to the answer: {:?}", begun.elapsed());

    let begun = Instant::now();
    let back = format!("B{}\r", &good[..7]);
    for (index, key) in back.chars().enumerate() {
        pty.press(&key.to_string());
        if index == 0 {
            pty.shows("Type the short sha to confirm");
        }
    }
    pty.shows(&format!("rolled back to {}: 3 of 3 ok", &good[..7]));
    println!("from B to rolled back on all, with a pause of 0.1 s before each key: {:?}", begun.elapsed());
    fleet.wait_all(&good).await;
    // The same from a script. The replica that is paused has nothing to do.
    let again = fleet.run(&["pin", &good, "--all", "--timeout", "20s"]);
    assert_eq!((again.code, again.last()), (Some(0), format!("pinned at {}: 3 of 3 ok", &good[..7]).as_str()));

    let pressed = back.chars().count();
    let k9s = |pods: usize| K9S_PODS.chars().count() + pods * K9S_POD.chars().count() + K9S_LOG.chars().count();
    let row = |what: &str, ours: &str, commands: &[&str], k9s: String| {
        format!("| {what} | {ours} | {} commands, {} | {k9s} |", commands.len(), keys(typed(commands)))
    };
    let table = [
        "| incident, eight replicas | pushsync | git-sync with kubectl | git-sync with k9s |".to_owned(),
        "| --- | --- | --- | --- |".to_owned(),
        row(
            "an old page is reported: which commit is live where, and why not everywhere",
            &format!("1 command, {}; then none", keys(typed(&[START]))),
            &GIT_SYNC_LOOK,
            format!("1 command, {}, and `git ls-remote`", keys(typed(&[K9S_START]) + k9s(8))),
        ),
        row(
            "a bad commit is live: rolled back on all, and seen to be",
            &format!("{} in the dashboard; or 1 command, {}", keys(pressed), keys(typed(&[PIN]))),
            &GIT_SYNC_BACK,
            "the same; then the links as above".to_owned(),
        ),
    ];
    compare(&table.join("\n"));
}

fn program() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_pushsync"))
}

/// The table in the documentation is the one that was counted.
fn compare(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboard.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let counted = format!("{BEGIN}\n{table}\n{END}");
    let (start, end) = (text.find(BEGIN).expect("the marker"), text.find(END).expect("the marker") + END.len());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, [&text[..start], &counted, &text[end..]].concat()).unwrap();
    } else {
        assert_eq!(&text[start..end], counted, "docs/dashboard.md: write it with UPDATE=1");
    }
}
