//! The gate gates: what it refuses is never seen by a reader, and is tried again when it should be and not before.

use std::time::{Duration, Instant};

use pushsync::api::{Outcome, Phase, Record, Snapshot, State, TriggerKind};
use serde_json::json;

use super::{Script, metric};
use crate::app::site::{Site, published};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

const RUNS: &str = "git_sync_hook_run_count_total{name=\"pre-publish-exechook\",status=\"error\"}";
const PASSES: &str = "git_sync_hook_run_count_total{name=\"pre-publish-exechook\",status=\"success\"}";
/// Notes each run, where it ran and what was published meanwhile; refuses a tree with the file `bad`.
const CHECK: &str = r#"echo "$GITSYNC_HASH $PUSHSYNC_HASH $(pwd -P) $(readlink ../../current)" >> "$HERE/runs"
if [ -e bad ]; then echo "checking"; echo "bad is in the tree" >&2; exit 3; fi"#;

fn gated(body: &str) -> (Site, Script) {
    let mut site = Site::new();
    let gate = Script::new(&site, "gate", body);
    site.set("pre-publish-exechook-command", &gate.command());
    site.set("pre-publish-exechook-backoff", "1h");
    (site, gate)
}

async fn refusal(site: &Site, commit: &str) -> Record {
    site.wait_record(|record| record.outcome == Outcome::Refused && record.new.as_deref() == Some(commit)).await
}

#[tokio::test]
async fn what_the_gate_refuses_is_not_published_and_the_record_has_its_last_words() {
    let (mut site, gate) = gated(CHECK);
    site.start_in_sync().await;
    let first = site.repo.head();
    let bad = site.push_and_ring("bad", "1").await;
    let record = refusal(&site, &bad).await;
    site.assert_whole(&first);
    assert_eq!((record.old.as_deref(), record.phases.publish_ms), (Some(first.as_str()), None));
    assert!(record.phases.gate_ms.is_some() && record.phases.build_ms.is_some());
    let error = record.error.expect("why");
    assert_eq!((error.phase, error.kind.as_str()), (Phase::Gate, "refused"));
    for words in ["exit code 3", "checking | bad is in the tree"] {
        assert!(error.message.contains(words), "{}", error.message);
    }
    let told = site.detail(&record.id).await.detail.log;
    assert!(told.iter().any(|line| line.message == "the pre-publish hook printed: bad is in the tree"), "{told:?}");
    let line = site.sidecar().wait_for_text(PATIENCE, "the pre-publish hook refused").await;
    assert!(line.contains("bad is in the tree") && line.contains(&first[..7]), "{line}");
    // The record is on the disk before the board is told.
    let snapshot = eventually_shown(&site, |now| now.running.is_none()).await;
    assert_eq!((snapshot.state, snapshot.failures_in_row), (State::Failed, 1));
    for path in ["/", "/readyz", "/livez"] {
        assert_eq!(site.probe(path).await.0, 200, "{path}");
    }

    // It ran in the tree that was to be published, while the old one was, with the hash under both names.
    let runs = gate.lines("runs");
    let tree = std::fs::canonicalize(site.root().join(".worktrees")).unwrap().join(&bad);
    assert_eq!(runs[1], format!("{bad} {bad} {} .worktrees/{first}", tree.display()));
    assert_eq!(runs.len(), 2, "{runs:?}");

    // Another commit is tried at once, and passes.
    site.repo.remove("bad");
    let good = site.repo.commit("without it");
    site.repo.push();
    assert_eq!(site.ring(&bad, &good).await.status, 202);
    site.wait_published(&good).await;
    site.assert_whole(&good);
    assert_eq!((metric(&site, RUNS).await, metric(&site, PASSES).await), (Some(1), Some(2)));
    assert_eq!(site.snapshot().await.failures_in_row, 0);
}

#[tokio::test]
async fn a_refused_commit_is_left_alone_by_polls_and_tried_when_somebody_asks() {
    let (mut site, gate) = gated(CHECK);
    site.set("period", "100ms").set("sync-on-signal", "SIGHUP");
    site.start_in_sync().await;
    let (first, runs) = (site.repo.head(), gate.lines("runs").len());
    // Nobody rings: the poll finds it.
    let bad = site.repo.push_file("bad", "1", "bad");
    refusal(&site, &bad).await;
    let looks = site.remote.requests();
    eventually(PATIENCE, || site.remote.requests() > looks + 5).await;
    assert_eq!(gate.lines("runs").len(), runs + 1, "polls do not ask the gate again");
    assert_eq!(site.snapshot().await.failures_in_row, 1);
    assert_eq!(site.history().await.iter().filter(|record| record.outcome == Outcome::Refused).count(), 1);

    for (asked, times) in [("manual", 2), ("signal", 3), ("webhook", 4)] {
        match asked {
            "manual" => assert_eq!(site.post("sync", &json!({})).await.0, 202),
            "signal" => site.sidecar().signal(rustix::process::Signal::HUP),
            _ => assert_eq!(site.ring(&first, &bad).await.status, 202),
        }
        eventually(PATIENCE, || gate.lines("runs").len() == runs + times).await;
        site.wait_record(|record| record.outcome == Outcome::Refused && record.trigger.kind.to_string() == asked).await;
    }
    assert_eq!(site.published(), Some(first));

    // The program is mended, and somebody asks.
    gate.become_("exit 0");
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    site.wait_published(&bad).await;
    site.assert_whole(&bad);
}

#[tokio::test]
async fn a_repair_does_not_make_the_gate_forget_what_it_refused() {
    for rung in [true, false] {
        let (mut site, gate) = gated(CHECK);
        site.set("period", "100ms").set("pre-publish-exechook-backoff", "1h");
        site.start_in_sync().await;
        let first = site.repo.head();
        // Who rings about a refused commit asks for it anew, so a poll must not find it before the ring does.
        site.remote.hold();
        let bad = site.repo.push_file("bad", "1", "bad");
        if rung {
            assert_eq!(site.ring(&first, &bad).await.status, 202);
            eventually_shown(&site, |now| now.running.as_ref().is_some_and(|it| it.trigger == TriggerKind::Webhook))
                .await;
        }
        site.remote.release();
        refusal(&site, &bad).await;
        let runs = gate.lines("runs").len();
        std::fs::remove_file(site.link()).unwrap();
        site.wait_published(&first).await;
        site.wait_record(|record| record.old == record.new && record.outcome == Outcome::Published).await;
        let looks = site.remote.requests();
        eventually(PATIENCE, || site.remote.requests() > looks + 5).await;
        // From here on nothing happens but polls, of which nothing is to be seen.
        let looks = site.remote.requests();
        while site.remote.requests() <= looks + 5 {
            let now = site.snapshot().await;
            let log = || site.sidecar.as_ref().unwrap().log().join("\n");
            assert_eq!((now.state, now.failures_in_row), (State::Failed, 1), "{:?}\n{}", now.last_error, log());
            assert!(now.last_error.is_some_and(|error| error.phase == Phase::Gate));
        }
        assert_eq!(gate.lines("runs").len(), runs);
    }
}

/// Waits for a state of the replica and returns it.
async fn eventually_shown(site: &Site, fits: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = site.snapshot().await;
        if fits(&now) {
            return now;
        }
        assert!(Instant::now() < end, "{now:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_backoff_tries_again_by_itself_ever_more_rarely() {
    let (mut site, gate) = gated("date +%s%N >> \"$HERE/runs\"; exit 1");
    site.set("pre-publish-exechook-backoff", "200ms").set("period", "800ms");
    site.start().await;
    eventually(PATIENCE, || gate.lines("runs").len() >= 6).await;
    let times: Vec<u64> = gate.lines("runs").iter().map(|line| line.parse().unwrap()).collect();
    let pauses: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    println!("pauses between tries of one commit, in ms: {pauses:?}");
    for (pause, least) in pauses.iter().zip([200, 400, 800, 800, 800]) {
        assert!(*pause >= least, "{pauses:?}");
    }
    // The first publish has to pass as well.
    assert_eq!(site.published(), None);
    for path in ["/", "/startupz", "/readyz"] {
        assert_eq!(site.probe(path).await.0, 503, "{path}");
    }
    gate.become_("exit 0");
    let head = site.repo.head();
    site.wait_published(&head).await;
    site.assert_whole(&head);
}

#[tokio::test]
async fn a_pin_passes_the_gate_and_a_repair_does_not() {
    let (mut site, gate) = gated(CHECK);
    // A poll that finds the push before its delivery arrives would run the gate once more.
    site.set("period", "1h");
    site.start_in_sync().await;
    let first = site.repo.head();
    let bad = site.push_and_ring("bad", "1").await;
    refusal(&site, &bad).await;
    let runs = gate.lines("runs").len();
    assert_eq!(site.post("pin", &json!({ "commit": bad })).await.0, 202);
    eventually(PATIENCE, || gate.lines("runs").len() == runs + 1).await;
    site.assert_whole(&first);
    assert_eq!(site.post("pin", &json!({ "commit": first })).await.0, 202);

    // What passed once is put back, even if the program, which runs in the new tree, would refuse everything now.
    let runs = gate.lines("runs").len();
    gate.become_(r#"echo >> "$HERE/runs"; exit 1"#);
    std::fs::remove_dir_all(site.root().join(".worktrees").join(&first)).unwrap();
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    let record = site.wait_record(|record| record.old == record.new && record.outcome == Outcome::Published).await;
    assert_eq!(record.phases.gate_ms, None);
    assert_eq!(gate.lines("runs").len(), runs + 1);
    site.assert_whole(&first);
}

#[tokio::test]
async fn a_decision_ends_a_gate_that_is_still_running() {
    let (mut site, gate) = gated("[ ! -e slow ] || { echo $$ >> \"$HERE/pids\"; exec sleep 1000; }");
    site.set("pre-publish-exechook-timeout", "20m");
    site.start_in_sync().await;
    let first = site.repo.head();
    let slow = site.push_and_ring("slow", "1").await;
    eventually(PATIENCE, || gate.lines("pids").len() == 1).await;
    let started = Instant::now();
    assert_eq!(site.post("pin", &json!({ "commit": first })).await.0, 202);
    let pid = gate.lines("pids")[0].clone();
    eventually(PATIENCE, || !super::is_alive(&pid)).await;
    println!("ended {:?} after the decision", started.elapsed());
    site.assert_whole(&first);
    assert!(!site.history().await.iter().any(|r| r.outcome == Outcome::Published && r.new.as_ref() == Some(&slow)));
}

#[tokio::test]
async fn what_the_gate_leaves_in_the_tree_is_published_with_it() {
    let (mut site, gate) =
        gated("echo made > made-by-the-gate; rm -f README.md; echo x >> page; echo >> \"$HERE/runs\"");
    site.repo.push_file("page", "as committed\n", "a page");
    site.start_in_sync().await;
    let second = site.push_and_ring("page", "as committed later\n").await;
    site.wait_published(&second).await;
    let read = |name: &str| std::fs::read_to_string(site.link().join(name)).ok();
    assert_eq!(read("made-by-the-gate").as_deref(), Some("made\n"));
    assert_eq!(read("page").as_deref(), Some("as committed later\nx\n"));
    assert_eq!(read("README.md"), None);
    assert_eq!(gate.lines("runs").len(), 2);
    // A tree that it takes away is not published without its files.
    gate.become_("rm -rf \"$PWD\"");
    let third = site.push_and_ring("page", "and last\n").await;
    site.wait_published(&third).await;
    site.assert_whole(&third);
}

#[tokio::test]
async fn with_one_time_a_refusal_publishes_nothing_and_exits_with_1() {
    // PEER.md 4.2: git-sync publishes here.
    for (body, code) in [("exit 1", 1), ("exit 0", 0)] {
        let (mut site, _gate) = gated(body);
        site.set("one-time", "true");
        let mut sidecar = Sidecar::start(site.arguments());
        assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(code), "{}", sidecar.log().join("\n"));
        assert_eq!(published(&site.link()).is_some(), code == 0);
    }
    // Each run of the gate counts as a failure, the looks between them do not.
    let (mut site, gate) = gated("echo >> \"$HERE/runs\"; exit 1");
    site.set("max-failures", "3").set("pre-publish-exechook-backoff", "300ms").set("period", "20ms");
    let mut sidecar = Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(1));
    assert_eq!(gate.lines("runs").len(), 3);
}

#[tokio::test]
async fn the_tree_of_a_refused_commit_is_kept_for_its_next_try_and_swept_when_it_is_history() {
    let (mut site, gate) = gated(CHECK);
    site.set("stale-worktree-timeout", "0s").set("verbose", "1");
    site.start_in_sync().await;
    let bad = site.push_and_ring("bad", "1").await;
    refusal(&site, &bad).await;
    let tree = site.root().join(".worktrees").join(&bad);
    site.sidecar().wait_for_text(PATIENCE, "looked for trees whose grace is over").await;
    assert!(tree.exists(), "a sweep must not take it away");
    // The gate was asked, so a spare for the next push is there again.
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    eventually(PATIENCE, || gate.lines("runs").len() == 3).await;
    site.repo.remove("bad");
    let good = site.repo.commit("without it");
    site.repo.push();
    assert_eq!(site.ring(&bad, &good).await.status, 202);
    site.wait_published(&good).await;
    eventually(PATIENCE, || !tree.exists()).await;
    site.assert_whole(&good);
    let third = site.push_and_ring("c", "3").await;
    site.wait_published(&third).await;
    site.assert_whole(&third);
    eventually(PATIENCE, || site.trees() <= 2).await;
}
