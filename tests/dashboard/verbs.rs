//! The verbs against real sidecars: what each replica did, what is printed, and the exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pushsync::api::{Action, Outcome, Record, Snapshot, TriggerKind};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::kubectl::Kubectl;
use super::site::{Site, published};
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

/// What a run of the program gave.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn last(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

pub fn run(mut command: Command, args: &[&str]) -> Ran {
    let output = command.args(args).env("USER", "ada").stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Real sidecars of one repository, each with a volume of its own, at 127.0.77.1, 127.0.77.2 and so on.
pub struct Fleet {
    pub site: Site,
    folder: TempDir,
    pub replicas: Vec<(Sidecar, String)>,
}

impl Fleet {
    /// `kubectl`: at 127.0.0.1, where a port-forward ends.
    pub async fn start(count: u8, kubectl: bool) -> Self {
        let site = Site::new();
        let mut fleet = Self { site, folder: tempfile::tempdir().unwrap(), replicas: Vec::new() };
        for number in 1..=count {
            let host = if kubectl { "127.0.0.1".to_owned() } else { format!("127.0.77.{number}") };
            fleet.add(&host).await;
        }
        let head = fleet.site.repo.head();
        fleet.wait_all(&head).await;
        fleet
    }

    pub async fn add(&mut self, host: &str) {
        let number = self.replicas.len() + 1;
        let ours = ["--root=", "--admin-bind=", "--period="];
        let mut arguments: Vec<String> = self.site.arguments();
        arguments.retain(|argument| !ours.iter().any(|start| argument.starts_with(start)));
        arguments.push(format!("--root={}", self.root(number).display()));
        arguments.push(format!("--admin-bind={host}:0"));
        arguments.push("--period=1h".to_owned());
        let mut sidecar = Sidecar::start(arguments);
        let line = sidecar.wait_for_line(PATIENCE, |line| line.contains("\"listener\":\"admin\"")).await;
        let line: Value = serde_json::from_str(&line).unwrap();
        self.replicas.push((sidecar, line["address"].as_str().unwrap().to_owned()));
    }

    /// Stops a replica and removes its volume, as when its pod is deleted.
    pub async fn remove(&mut self, number: usize) {
        let sidecar = &mut self.replicas[number - 1].0;
        sidecar.terminate();
        sidecar.exited(PATIENCE).await;
        std::fs::remove_dir_all(self.root(number)).unwrap();
    }

    fn root(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("root-{number}"))
    }

    pub fn published(&self, number: usize) -> Option<String> {
        published(&self.root(number).join("current"))
    }

    pub async fn wait_all(&self, commit: &str) {
        for number in 1..=self.replicas.len() {
            eventually(PATIENCE, || self.published(number).as_deref() == Some(commit)).await;
        }
    }

    /// Runs the program with the addresses of all replicas.
    pub fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
        command.args(args);
        for (_, address) in &self.replicas {
            command.args(["--url", address]);
        }
        run(command, &[])
    }

    /// A kubectl whose pods web-1, web-2 and so on are the replicas.
    pub fn kubectl(&self) -> Kubectl {
        let kubectl = Kubectl::new();
        let names: Vec<String> = (1..=self.replicas.len()).map(|number| format!("web-{number}")).collect();
        kubectl.pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
        self.forward(&kubectl);
        kubectl
    }

    /// Lets port-forwards lead to the replicas that there are now.
    pub fn forward(&self, kubectl: &Kubectl) {
        let names: Vec<String> = (1..=self.replicas.len()).map(|number| format!("web-{number}")).collect();
        let mut script = "case \"$*\" in\n".to_owned();
        for (name, (_, address)) in names.iter().zip(&self.replicas) {
            let port = address.rsplit(':').next().unwrap();
            let arm = format!("*pod/{name}\\ :9180) echo 'Forwarding from 127.0.0.1:{port} -> 9180' ;;\n");
            script.push_str(&arm);
        }
        kubectl.forward(&(script + "esac\nexec sleep 600\n"));
    }

    pub async fn snapshot(&self, number: usize) -> Snapshot {
        let url = format!("http://{}/api/v1/snapshot", self.replicas[number - 1].1);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub async fn newest(&self, number: usize) -> Record {
        self.snapshot(number).await.recent.first().cloned().expect("a record")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_several_replicas_needs_all_and_counts_when_each_has_done_it() {
    let fleet = Fleet::start(2, true).await;
    let kubectl = fleet.kubectl();
    let verb = |args: &[&str]| run(kubectl.program(), args);

    let refused = verb(&["sync", "deploy/web", "-n", "prod"]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{}", refused.err);
    assert!(refused.err.contains("prod/web has 2 replicas (web-1, web-2): give --all to sync all of them"));
    assert_eq!(kubectl.port_forwards(), 0, "nobody was asked");

    let second = fleet.site.repo.push_file("a", "2", "Rework the checkout page");
    let synced = verb(&["sync", "deploy", "web", "-n", "prod", "--all"]);
    assert_eq!(synced.code, Some(0), "{}\n{}", synced.out, synced.err);
    assert_eq!(synced.last(), "synced: 2 of 2 ok");
    for name in ["web-1", "web-2"] {
        let expected = format!("{name}  published {} Rework the checkout page", &second[..7]);
        assert!(synced.out.contains(&expected), "{}", synced.out);
    }
    // They had done it when the program ended.
    for number in [1, 2] {
        assert_eq!(fleet.published(number).as_ref(), Some(&second));
        let record = fleet.newest(number).await;
        assert_eq!((record.outcome, record.trigger.action), (Outcome::Published, Some(Action::Sync)));
        assert!(record.trigger.by.as_ref().unwrap().starts_with("ada@"), "{record:#?}");
    }
    let again = verb(&["sync", "deployments.apps/web", "--all"]);
    assert_eq!(again.code, Some(0));
    assert!(again.out.contains(&format!("web-1  {} is live already", &second[..7])), "{}", again.out);
    kubectl.assert_none_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_merged_with_a_webhook_has_a_record_of_its_own() {
    let mut site = Site::new();
    // Five deliveries are looked at, the sixth waits for its time, and is merged with what comes meanwhile.
    site.set("hook-rate", "0.001").start_in_sync().await;
    let head = site.repo.head();
    site.barrier().await;
    for number in 0..6 {
        assert_eq!(site.ring(&"0".repeat(40), &head).await.status, 202);
        let end = std::time::Instant::now() + PATIENCE;
        // The first one leaves a record. The others found the same nothing, and are only counted.
        while number < 5 && site.snapshot().await.poll.unchanged < number {
            assert!(std::time::Instant::now() < end, "delivery {number}: {:#?}", site.snapshot().await);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if number == 0 {
            site.wait_record(|record| record.trigger.kind == TriggerKind::Webhook).await;
        }
    }
    let address = site.listens("admin").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.args(["sync", "--url", &address, "--timeout", "20s", "-o", "json"]);
    let synced = tokio::task::spawn_blocking(move || run(command, &[])).await.unwrap();
    assert_eq!(synced.code, Some(0), "{}{}", synced.out, synced.err);
    let record = site.snapshot().await.recent.first().cloned().unwrap();
    assert_eq!(synced.document()["replicas"][0]["sync"], json!(record.id));
    assert_eq!((record.trigger.action, record.outcome), (Some(Action::Sync), Outcome::Unchanged));
    assert!(record.trigger.by.as_ref().unwrap().starts_with("ada@"), "{record:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_pin_and_their_ends_are_verbs_and_the_verdict_follows() {
    let fleet = Fleet::start(2, false).await;
    let first = fleet.site.repo.head();
    let second = fleet.site.repo.push_file("a", "2", "Bad deploy");
    assert_eq!(fleet.run(&["sync", "--all"]).code, Some(0));

    let status = fleet.run(&["status"]);
    assert_eq!(status.code, Some(0));
    assert!(
        status.last().starts_with(&format!("LIVE EVERYWHERE  {} Bad deploy  2 of 2", &second[..7])),
        "{}",
        status.last()
    );

    let pinned = fleet.run(&["pin", &first[..7], "--all"]);
    assert_eq!(pinned.code, Some(0), "{}", pinned.out);
    assert_eq!(pinned.last(), format!("pinned at {}: 2 of 2 ok", &first[..7]));
    assert!(pinned.out.contains(&format!("pinned at {0}, published {0}", &first[..7])), "{}", pinned.out);
    for number in [1, 2] {
        assert_eq!(fleet.published(number).as_ref(), Some(&first));
        assert!(fleet.snapshot(number).await.pinned_by.unwrap().starts_with("ada@"));
    }
    let status = fleet.run(&["status"]);
    assert_eq!(status.code, Some(3));
    assert!(status.last().contains(&format!("2 pinned at {}", &first[..7])), "{}", status.last());
    assert_eq!(fleet.run(&["status", "--commit", &first]).code, Some(0));
    let waited = fleet.run(&["wait", "--commit", &second, "--timeout", "1s"]);
    assert_eq!(waited.code, Some(3));
    assert!(waited.err.contains("waiting for ") && waited.last().starts_with("NOT LIVE EVERYWHERE"), "{}", waited.err);

    let unpinned = fleet.run(&["unpin", "--all", "-o", "json"]);
    assert_eq!(unpinned.code, Some(0));
    let document = unpinned.document();
    assert_eq!((&document["verb"], &document["all_ok"], &document["ok"]), (&json!("unpin"), &json!(true), &json!(2)));
    assert_eq!(
        (&document["replicas"][0]["answer"], &document["replicas"][1]["commit"]),
        (&json!("done"), &json!(second))
    );
    assert_eq!(fleet.published(2).as_ref(), Some(&second));
    assert_eq!(fleet.run(&["wait"]).code, Some(0));
    let unpinned = fleet.run(&["unpin", "--all"]);
    assert_eq!((unpinned.code, unpinned.last()), (Some(0), "unpinned: 2 of 2 ok"));
    assert!(unpinned.out.contains("nothing to do: it is not pinned"), "{}", unpinned.out);

    let paused = fleet.run(&["pause", "--all", "--for", "2h"]);
    assert_eq!((paused.code, paused.last()), (Some(0), "paused for 2h: 2 of 2 ok"));
    let until = fleet.snapshot(1).await.paused_until.expect("paused");
    assert!((100..=120).contains(&until.duration_since(jiff::Timestamp::now()).as_mins()), "{until}");
    let synced = fleet.run(&["sync", "--all", "-o", "json"]);
    assert_eq!(synced.code, Some(3));
    let document = synced.document();
    assert_eq!((&document["all_ok"], &document["replicas"][0]["code"]), (&json!(false), &json!("paused")));
    let status = fleet.run(&["status"]);
    assert!(status.code == Some(3) && status.last().contains("2 paused (1h"), "{}", status.last());
    assert_eq!(fleet.run(&["resume", "--all"]).code, Some(0));
    assert_eq!(fleet.run(&["status"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_fails_or_is_gone_is_no_success() {
    let mut fleet = Fleet::start(2, false).await;
    fleet.site.remote.set(Mode::Refuse);
    let failed = fleet.run(&["sync", "--all"]);
    assert_eq!(failed.code, Some(3));
    assert!(failed.last().starts_with("synced: 0 of 2 ok   127.0.77."), "{}", failed.out);
    assert!(failed.out.contains("its sync failed: "), "{}", failed.out);
    fleet.site.remote.set(Mode::Serve);

    fleet.replicas[1].0.kill();
    let half = fleet.run(&["sync", "--all"]);
    assert_eq!(half.code, Some(3));
    assert!(half.last().starts_with("synced: 1 of 2 ok   127.0.77.2:"), "{}", half.out);
    assert!(half.last().contains("cannot be reached"), "{}", half.out);
    fleet.replicas[0].0.kill();
    let none = fleet.run(&["sync", "--all", "-o", "json"]);
    assert_eq!(none.code, Some(2));
    assert_eq!(none.document()["replicas"][0]["answer"], "unreachable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abbreviated_commit_that_only_one_replica_knows_is_pinned_on_all() {
    let mut fleet = Fleet::start(1, false).await;
    let first = fleet.site.repo.head();
    let second = fleet.site.repo.push_file("a", "2", "second");
    assert_eq!(fleet.run(&["sync"]).code, Some(0));
    // A new replica: its history and, at depth 1, its store have never seen the first commit.
    fleet.add("127.0.77.2").await;
    fleet.wait_all(&second).await;
    let pinned = fleet.run(&["pin", &first[..7], "--all"]);
    assert_eq!(pinned.code, Some(0), "{}", pinned.out);
    fleet.wait_all(&first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_ends_before_it_has_done_it_is_not_a_success() {
    let mut fleet = Fleet::start(1, false).await;
    // The sync begins and cannot end.
    fleet.site.remote.set(Mode::Silent);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.args(["sync", "--timeout", "8s", "--url", &fleet.replicas[0].1]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while fleet.snapshot(1).await.running.is_none() {
        assert!(std::time::Instant::now() < end, "the sync does not begin");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    fleet.replicas[0].0.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.contains("not known: it accepted the change, and the sync for it did not end in time"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_kubectl_plugin_the_verbs_and_the_dashboard_have_the_same_words() {
    let fleet = Fleet::start(1, true).await;
    let kubectl = fleet.kubectl();
    let plugin = kubectl.path().join("kubectl-pushsync");
    std::os::unix::fs::symlink(Path::new(env!("CARGO_BIN_EXE_pushsync")), &plugin).unwrap();
    let called = |args: &[&str]| {
        let mut command = Command::new(&plugin);
        command.env("PATH", kubectl.search_path());
        run(command, args)
    };
    for args in [
        &["status", "deploy/web"][..],
        &["deploy/web", "--once", "--check"],
        &["dashboard", "deploy/web", "--once", "--check"],
        &["sync", "deploy", "web"],
    ] {
        let ran = called(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}\n{}", ran.out, ran.err);
    }
    assert!(called(&["status", "-h"]).out.contains("Usage: kubectl pushsync status"));
    kubectl.assert_none_left();
}
