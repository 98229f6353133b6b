//! A whole installation for one test: repository, smart HTTP remote, volume, secret and the running program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pushsync::api::{HistoryPage, Record, Snapshot, SyncDetail};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::delivery::{Answer, Delivery};
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

pub const SECRET: &[u8] = b"a secret of the tests, long enough";

pub struct Site {
    pub repo: Repo,
    pub remote: GitHttp,
    pub folder: TempDir,
    /// Flags besides the ones that every test needs; the last one given wins.
    flags: BTreeMap<String, String>,
    pub sidecar: Option<Sidecar>,
}

impl Site {
    /// A repository with one commit, served over smart HTTP; nothing runs yet. The poll is out of the way.
    pub fn new() -> Self {
        let repo = Repo::new();
        let remote = GitHttp::start(&repo.root());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        let bare = repo.bare().file_name().unwrap().to_string_lossy().into_owned();
        let mut site = Self { folder, flags: BTreeMap::new(), sidecar: None, repo, remote };
        let url = site.remote.url(&bare);
        site.set("repo", &url);
        site.set("ref", "main");
        site.set("root", &site.root().display().to_string());
        site.set("link", "current");
        site.set("period", "1h");
        site.set("hook-bind", "127.0.0.1:0");
        site.set("hook-secret-file", &site.path("secret").display().to_string());
        site.set("http-bind", "127.0.0.1:0");
        site.set("http-metrics", "true");
        site.set("admin-bind", "127.0.0.1:0");
        site.set("log-format", "json");
        site
    }

    pub fn set(&mut self, flag: &str, value: &str) -> &mut Self {
        self.flags.insert(flag.to_owned(), value.to_owned());
        self
    }

    /// The program's own default, which `new` put something in place of.
    pub fn unset(&mut self, flag: &str) -> &mut Self {
        self.flags.remove(flag);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub fn link(&self) -> PathBuf {
        self.root().join("current")
    }

    pub fn arguments(&self) -> Vec<String> {
        self.flags.iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
    }

    /// Starts the program and waits until its listeners are open.
    pub async fn start(&mut self) -> &mut Self {
        self.started(Sidecar::start(self.arguments())).await
    }

    /// The same around a program that was started in another way: under a limit, as somebody else.
    pub async fn started(&mut self, mut sidecar: Sidecar) -> &mut Self {
        sidecar.wait_for_line(PATIENCE, |line| listening(line, "admin").is_some()).await;
        self.sidecar = Some(sidecar);
        self
    }

    /// Starts it and waits until what the repository has is published.
    pub async fn start_in_sync(&mut self) -> &mut Self {
        self.start().await;
        let head = self.repo.head();
        self.wait_published(&head).await;
        self
    }

    pub fn sidecar(&mut self) -> &mut Sidecar {
        self.sidecar.as_mut().expect("the program was started")
    }

    fn address(&self, listener: &str) -> String {
        self.listens(listener).expect("it listens")
    }

    /// Where a listener is, if the program said so in its log: its standard error, or the file `log` of one that was started
    /// in another way.
    pub fn listens(&self, listener: &str) -> Option<String> {
        let lines = match &self.sidecar {
            Some(sidecar) => sidecar.log(),
            None => fs::read_to_string(self.path("log")).ok()?.lines().map(str::to_owned).collect(),
        };
        lines.iter().find_map(|line| listening(line, listener))
    }

    pub fn hook(&self) -> String {
        format!("http://{}/webhook", self.address("hook"))
    }

    /// Delivers a push of our ref from one commit to another.
    pub async fn ring(&self, before: &str, after: &str) -> Answer {
        let url = self.flags["repo"].clone();
        Delivery::push(&url, "refs/heads/main", before, after).send(&self.hook(), SECRET).await
    }

    /// Commits, pushes and rings; returns the new commit.
    pub async fn push_and_ring(&self, path: &str, contents: &str) -> String {
        let before = self.repo.head();
        let after = self.repo.push_file(path, contents, &format!("change {path}"));
        assert_eq!(self.ring(&before, &after).await.status, 202);
        after
    }

    /// The commit that the link names, if it names one.
    pub fn published(&self) -> Option<String> {
        published(&self.link())
    }

    pub async fn wait_published(&self, commit: &str) {
        eventually(PATIENCE, || self.published().as_deref() == Some(commit)).await;
    }

    pub async fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.address("admin"));
        client().get(url).send().await.unwrap().text().await.unwrap()
    }

    /// Status and body of a request to the http listener.
    pub async fn probe(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address("http"));
        let response = client().get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A change, as the dashboard asks for it.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}/api/v1/{path}", self.address("admin"));
        let request = client().post(url).header("content-type", "application/json").header("x-pushsync", "1");
        let response = request.body(body.to_string()).send().await.unwrap();
        (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    pub async fn snapshot(&self) -> Snapshot {
        serde_json::from_str(&self.get("/api/v1/snapshot").await).unwrap()
    }

    /// Records, newest first.
    pub async fn history(&self) -> Vec<Record> {
        let page: HistoryPage = serde_json::from_str(&self.get("/api/v1/history?limit=1000").await).unwrap();
        page.records
    }

    pub async fn detail(&self, id: &str) -> SyncDetail {
        serde_json::from_str(&self.get(&format!("/api/v1/syncs/{id}")).await).unwrap()
    }

    /// Waits for a record that fits and returns it.
    pub async fn wait_record(&self, fits: impl Fn(&Record) -> bool) -> Record {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let history = self.history().await;
            if let Some(record) = history.iter().find(|record| fits(record)) {
                return record.clone();
            }
            assert!(std::time::Instant::now() < end, "no such record in {history:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has the program look at its remote once more, and waits for the record of that: all that was asked for before has been
    /// done by then, since there is one sync at a time. Fails if a request from before had not been taken yet, because the two
    /// would be one sync then. Costs one request at the remote and one record.
    pub async fn barrier(&self) -> Record {
        let record = self.barrier_with_the_rest().await;
        assert_eq!(record.trigger.merged, 1, "something else was asked for: {record:#?}");
        record
    }

    /// The same where a request from before may still be waiting for its turn.
    pub async fn barrier_with_the_rest(&self) -> Record {
        let (status, answer) = self.post("sync", &serde_json::json!({})).await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["sync"].as_str().expect("a sync is promised").to_owned();
        self.wait_record(|record| record.id == id).await
    }

    /// Waits until the sync loop of a paused program has nothing to do: it comes round for each command, also for one that it
    /// refuses, and takes what waits for it then.
    pub async fn idle_while_paused(&self) {
        let end = std::time::Instant::now() + PATIENCE;
        let mut in_a_row = 0;
        while in_a_row < 3 {
            let (status, answer) = self.post("sync", &serde_json::json!({})).await;
            assert_eq!((status, &answer["code"]), (409, &Value::from("paused")));
            in_a_row = if self.snapshot().await.running.is_none() { in_a_row + 1 } else { 0 };
            assert!(std::time::Instant::now() < end, "{:#?}", self.snapshot().await);
        }
    }

    /// How many of the recorded publishes brought a spare to their commit, and how many wrote a whole tree.
    pub async fn incremental_and_fresh(&self) -> (usize, usize) {
        let mut counted = (0, 0);
        for record in self.history().await {
            let lines = self.detail(&record.id).await.detail.log;
            counted.0 +=
                usize::from(lines.iter().any(|line| line.message.starts_with("updated the standby tree from ")));
            counted.1 += usize::from(lines.iter().any(|line| line.message.starts_with("wrote a new tree")));
        }
        counted
    }

    /// How many published trees lie on the volume.
    pub fn trees(&self) -> usize {
        let trees = fs::read_dir(self.root().join(".worktrees")).unwrap();
        trees.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().len() == 40)).count()
    }

    /// Fails unless the link names a complete tree of `commit`, byte for byte as git would write it.
    pub fn assert_whole(&self, commit: &str) {
        assert_eq!(self.published().as_deref(), Some(commit));
        assert_same(&self.link(), &self.repo, commit);
    }
}

/// The commit that a link names.
/// Waits until there is nothing but the live tree and one standby tree, and answers the inodes of their folders: where trees
/// rotate, these are the same after each push. For a grace of nothing and one standby tree.
pub async fn resting_trees(root: &Path) -> BTreeSet<u64> {
    let inodes = std::cell::RefCell::default();
    eventually(PATIENCE, || {
        let (mut live, mut standby) = (0, 0);
        let mut inodes: std::cell::RefMut<'_, BTreeSet<u64>> = inodes.borrow_mut();
        inodes.clear();
        for entry in fs::read_dir(root.join(".worktrees")).unwrap() {
            let Ok((name, stat)) = entry.and_then(|entry| Ok((entry.file_name(), entry.metadata()?))) else {
                return false;
            };
            live += usize::from(name.len() == 40);
            standby += usize::from(name.to_string_lossy().starts_with(".spare-"));
            inodes.insert(stat.ino());
        }
        (live, standby, inodes.len()) == (1, 1, 2)
    })
    .await;
    inodes.into_inner()
}

pub fn published(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// Compares a published tree with git's own archive of the commit.
pub fn assert_same(tree: &Path, repo: &Repo, commit: &str) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("tree.tar");
    repo.git(&["archive", "--format=tar", "-o", &archive.display().to_string(), commit]);
    let expected = folder.path().join("expected");
    fs::create_dir(&expected).unwrap();
    let untar = std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&expected).status();
    assert!(untar.unwrap().success());
    let diff =
        std::process::Command::new("diff").args(["-r", "--no-dereference"]).arg(&expected).arg(tree.join(".")).output();
    let diff = diff.unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
}

/// The address in a log line that says where a listener is.
fn listening(line: &str, listener: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_it = line["msg"].as_str()?.starts_with("listening") && line["listener"] == listener;
    is_it.then(|| line["address"].as_str().map(str::to_owned))?
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}
