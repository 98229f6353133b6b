//! One scenario's world: a real repository and server, a prepared `ROOT` that is copied for each kill, and the program
//! under the tracer. It must not know what is to be checked afterwards.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pushsync::signature::sign;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::delivery::Delivery;
use crate::support::git_http::GitHttp;
use crate::support::lfs::LfsServer;
use crate::support::repo::Repo;
use crate::support::tracer::{Plan, Report, Traced};

const SECRET: &[u8] = b"a secret of the tests, long enough";

/// Nobody changes a file for so long: it has done what it had to do.
const QUIET: Duration = Duration::from_millis(250);

/// What takes longer hangs. A machine that is busy with other things needs more (`KILL_PATIENCE`, seconds).
fn patience() -> Duration {
    let seconds = std::env::var("KILL_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    seconds.map_or(crate::support::PATIENCE, Duration::from_secs)
}

pub struct Stage {
    pub repo: Repo,
    pub remote: GitHttp,
    pub folder: TempDir,
    flags: BTreeMap<String, String>,
    /// What a run brings; empty: nothing but its start.
    pub act: Act,
    /// What the link may name after a kill; the last one is what it has to come to.
    pub commits: Vec<String>,
    /// True if the link named a tree before.
    pub published: bool,
    /// True if what the link named was no whole tree before: it may still be as it was.
    pub broken: bool,
    /// What a run of [`Act::Start`] has to remove before it counts as done: paths from `.worktrees` on.
    pub doomed: Vec<String>,
    /// True if a gate refuses everything until `ROOT/refused` is there.
    pub refuses: bool,
    /// Only these paths are written (`--sparse-checkout-file`); none: all.
    pub only: Vec<&'static str>,
    /// The repository of the submodule at [`MODULE`].
    pub module: Option<Repo>,
    /// Who has the objects of LFS; the remote is behind it then.
    pub kept: Option<LfsServer>,
}

/// Where a submodule lies.
pub const MODULE: &str = "vendor/lib";

/// What happens in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `--one-time`, counted from its start.
    Once,
    /// The sidecar, counted from its start until it is quiet.
    Start,
    /// The sidecar, counted from a signed delivery on.
    Push,
    Pin,
    Unpin,
    Pause,
}

/// The build that is tested.
pub fn program() -> PathBuf {
    std::env::var_os("KILL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_pushsync").into()).into()
}

/// How a run ended.
pub struct Run {
    pub report: Report,
    /// True if somebody was told that it is done.
    pub accepted: bool,
    /// Why the run itself is no good.
    pub fault: Option<String>,
}

impl Stage {
    /// A repository with a few folders and kinds of entries, and nothing on the volume.
    pub fn new(act: Act) -> Self {
        let repo = Repo::empty();
        for file in 0..12 {
            repo.write(&format!("d{}/f{file}", file % 4), format!("{file}\n").repeat(40));
        }
        repo.write("run.sh", "#!/bin/sh\n");
        repo.make_executable("run.sh");
        repo.write("deep/er/and/deeper/file", "deep\n");
        repo.write("empty", "");
        repo.symlink("d1/f1", "a-link");
        let first = repo.commit("first");
        repo.push();
        let remote = GitHttp::start(&repo.root());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        fs::create_dir(folder.path().join("template")).unwrap();
        let mut stage = Self {
            repo,
            remote,
            folder,
            flags: BTreeMap::new(),
            act,
            commits: vec![first],
            published: false,
            broken: false,
            doomed: Vec::new(),
            refuses: false,
            only: Vec::new(),
            module: None,
            kept: None,
        };
        let url = stage.remote.url("site.git");
        stage.set("repo", &url).set("ref", "main").set("link", "current").set("log-format", "json").set("period", "1h");
        stage.set("stale-worktree-timeout", "1h");
        stage
    }

    pub fn set(&mut self, flag: &str, value: &str) -> &mut Self {
        self.flags.insert(flag.to_owned(), value.to_owned());
        self
    }

    /// Makes a submodule, or a new commit of it, and names it in the work tree.
    pub fn set_module(&mut self, contents: &str) {
        let served = self.repo.root().join("lib.git");
        let module = self.module.get_or_insert_with(|| {
            self.repo.write(".gitmodules", format!("[submodule \"lib\"]\n\tpath = {MODULE}\n\turl = ../lib.git\n"));
            // An empty folder, as git leaves it without `--recurse-submodules`.
            fs::create_dir_all(self.repo.work().join(MODULE)).unwrap();
            Repo::empty()
        });
        module.write("inner/file", contents);
        module.write(&format!("inner/{}", contents.len()), "another\n");
        let commit = module.commit("of the library");
        module.push();
        let _ = fs::remove_dir_all(&served);
        let copied = std::process::Command::new("cp").arg("-a").arg(module.bare()).arg(&served).status().unwrap();
        assert!(copied.success());
        self.repo.git(&["add", "--all"]);
        self.repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{MODULE}")]);
    }

    pub fn template(&self) -> PathBuf {
        self.folder.path().join("template")
    }

    /// A program for a hook; answers its path.
    pub fn program(&self, name: &str, script: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// Changes, adds and removes something of everything and pushes it.
    pub fn advance(&mut self) -> String {
        let round = self.commits.len();
        self.repo.write("d0/f0", format!("changed in round {round}\n"));
        self.repo.write("d1/f1", format!("changed in round {round}\n"));
        self.repo.write(&format!("new{round}/one/file"), "new\n");
        if round < 4 {
            self.repo.remove(&format!("d2/f{}", 4 * round - 2));
        }
        if round == 1 {
            self.repo.remove("d3");
            self.repo.write("d3", "a folder became a file\n");
        }
        let commit = self.repo.commit(&format!("round {round}"));
        self.repo.push();
        self.commits.push(commit.clone());
        commit
    }

    /// A commit that the remote has under no branch yet: what comes after all others.
    pub fn next_commit(&self) -> String {
        self.repo.bare_git(&["rev-parse", "refs/tags/next"])
    }

    /// Its tree, as git writes it.
    pub fn next_tree(&self) -> PathBuf {
        self.folder.path().join("next")
    }

    /// Makes that commit, on top of what the remote has.
    pub fn prepare_next(&mut self) {
        self.repo.write(
            "next",
            "the next push
",
        );
        self.repo.write(
            "d1/f5",
            "the next push
",
        );
        if self.kept.is_some() {
            self.write_object("film.bin", 80_000);
        }
        let next = self.repo.commit("next");
        self.repo.tag("next");
        fs::create_dir(self.next_tree()).unwrap();
        self.checkout(&next, &self.next_tree());
    }

    /// Publishes what the repository has on the template, once.
    pub fn publish(&mut self) {
        let traced = self.start(&self.template(), &["--one-time".into(), "--admin-bind=off".into()], None, false);
        let report = traced.wait(patience()).unwrap_or_else(|_| panic!("{}", self.log()));
        assert_eq!(report.code, Some(0), "{}", self.log());
        self.published = true;
    }

    /// Runs the sidecar on the template until it has published and prepared everything.
    pub fn settle(&mut self) {
        let head = self.commits.last().unwrap().clone();
        let template = self.template();
        let traced = self.start(&template, &self.listeners(), None, false);
        self.until(&traced, &template, &head);
        traced.signal(Signal::SIGTERM);
        traced.wait(patience()).unwrap_or_else(|_| panic!("{}", self.log()));
        self.published = true;
    }

    /// A copy of the prepared volume, as `cp -a` makes it.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir_in(self.folder.path()).unwrap();
        let from = self.template().join(".");
        let status = std::process::Command::new("cp").arg("-a").arg(from).arg(copy.path()).status().unwrap();
        assert!(status.success());
        copy
    }

    /// The scenario itself, on a copy.
    pub fn run(&self, root: &Path, kill_before: Option<usize>) -> Run {
        if self.act == Act::Once {
            let arguments = ["--one-time".into(), "--admin-bind=off".into()];
            let report = self.start(root, &arguments, kill_before, true).wait(patience());
            let fault = match &report {
                Err(_) => Some("it hangs".to_owned()),
                Ok(report) if !report.killed && report.code != Some(0) => Some("it fails".to_owned()),
                Ok(_) => None,
            };
            return Run { report: report.unwrap_or_else(|hung| hung), accepted: false, fault };
        }
        let (first, goal) = (self.commits.first().unwrap(), self.commits.last().unwrap());
        if self.act == Act::Push {
            self.repo.bare_git(&["update-ref", "refs/heads/main", first]);
        }
        let traced = self.start(root, &self.listeners(), kill_before, self.act == Act::Start);
        let mut accepted = false;
        if self.act != Act::Start {
            self.until(&traced, root, first);
            traced.arm();
            if self.act == Act::Push {
                self.repo.bare_git(&["update-ref", "refs/heads/main", goal]);
            }
            accepted = self.ask();
        }
        self.until(&traced, root, goal);
        traced.signal(Signal::SIGTERM);
        let report = traced.wait(patience());
        let fault = match &report {
            Err(_) => Some("it hangs".to_owned()),
            Ok(report) if !report.killed && super::check::named(root).as_ref() != Some(goal) => {
                Some(format!("it does not come to {goal}"))
            }
            Ok(_) => None,
        };
        Run { report: report.unwrap_or_else(|hung| hung), accepted, fault }
    }

    /// What comes after a kill: the program runs once to its end.
    pub fn restart(&self, root: &Path) -> Result<(), String> {
        if self.refuses {
            fs::write(root.join("refused"), "").unwrap();
        }
        let arguments = ["--one-time".into(), "--admin-bind=off".into()];
        match self.start(root, &arguments, None, false).wait(patience()) {
            Err(_) => Err("the next start hangs".to_owned()),
            Ok(report) if report.code != Some(0) => Err(format!("the next start ends with {:?}", report.code)),
            Ok(_) => Ok(()),
        }
    }

    /// The sidecar, with nobody owed any grace, until `done` or for a while.
    pub fn live_until(&self, root: &Path, mut done: impl FnMut() -> bool) -> bool {
        let mut arguments = self.listeners();
        arguments.push("--stale-worktree-timeout=100ms".into());
        let traced = self.start(root, &arguments, None, false);
        let end = Instant::now() + patience();
        while Instant::now() < end && !traced.has_ended() {
            if done() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn listeners(&self) -> Vec<OsString> {
        let secret = self.folder.path().join("secret");
        vec![
            "--admin-bind=127.0.0.1:0".into(),
            "--hook-bind=127.0.0.1:0".into(),
            format!("--hook-secret-file={}", secret.display()).into(),
        ]
    }

    fn start(&self, root: &Path, more: &[OsString], kill_before: Option<usize>, armed: bool) -> Traced {
        let mut arguments = vec![OsString::from(format!("--root={}", root.display()))];
        arguments.extend(self.flags.iter().map(|(flag, value)| format!("--{flag}={value}").into()));
        arguments.extend_from_slice(more);
        Traced::start(Plan {
            program: program(),
            arguments,
            log: self.folder.path().join("log"),
            under: root.canonicalize().unwrap(),
            kill_before,
            armed,
        })
    }

    /// Waits until the link names the commit and nothing is written any more, or the program has ended.
    fn until(&self, traced: &Traced, root: &Path, commit: &str) {
        let end = Instant::now() + patience();
        while !traced.has_ended() && Instant::now() < end {
            let doomed = self.act == Act::Start
                && self.doomed.iter().any(|name| root.join(".worktrees").join(name).symlink_metadata().is_ok());
            if super::check::named(root).as_deref() == Some(commit)
                && !doomed
                && traced.quiet_for() > QUIET
                && self.address("admin").is_some()
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks for what the scenario is about. True if that was accepted.
    fn ask(&self) -> bool {
        let (Some(hook), Some(admin)) = (self.address("hook"), self.address("admin")) else { return false };
        let url = &self.flags["repo"];
        let before = self.commits.first().unwrap();
        let after = self.commits.last().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().timeout(patience()).build().unwrap();
            let (what, request) = match self.act {
                Act::Push => {
                    let delivery = Delivery::push(url, "refs/heads/main", before, after);
                    let signature = sign(&pushsync::secret::Secret::new(SECRET), &delivery.body);
                    let request = client.post(format!("http://{hook}/webhook")).body(delivery.body);
                    let request =
                        request.header("x-github-event", delivery.event).header("x-github-delivery", delivery.id);
                    ("webhook", request.header("x-hub-signature-256", signature))
                }
                Act::Pin => (
                    "pin",
                    client.post(format!("http://{admin}/api/v1/pin")).body(format!("{{\"commit\":\"{after}\"}}")),
                ),
                Act::Unpin => ("unpin", client.post(format!("http://{admin}/api/v1/unpin")).body("{}")),
                _ => ("pause", client.post(format!("http://{admin}/api/v1/pause")).body("{\"minutes\":5}")),
            };
            let request = request.header("content-type", "application/json").header("x-pushsync", "1");
            let until = Instant::now() + patience();
            loop {
                // It was killed before it had answered.
                let Ok(answer) = request.try_clone().unwrap().send().await else { return false };
                // On a slow machine it is still at its first look, and says so.
                if answer.status() == 409 && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                assert_eq!(answer.status(), 202, "{what}: {}", self.log());
                return true;
            }
        })
    }

    fn address(&self, listener: &str) -> Option<String> {
        self.log().lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let is_it = line["msg"].as_str()?.starts_with("listening") && line["listener"] == listener;
            is_it.then(|| line["address"].as_str().map(str::to_owned))?
        })
    }
}
