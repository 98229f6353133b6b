//! What others do for the same push: git itself, the tutorial's sidecar, and another program with git-sync's flags.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ours::{check, wait};
use crate::remote::{Changed, Remote};
use crate::support::repo::{git_command, run_git};

pub fn git(home: &Path, args: &[&str]) -> Duration {
    let mut command = git_command(home);
    let started = Instant::now();
    let status = command.args(args).status().unwrap();
    let took = started.elapsed();
    assert!(status.success(), "git {args:?}");
    took
}

/// Repositories of git's own, each kept up to date in its own way.
pub struct Git {
    full: String,
    shallow: String,
    pulled: String,
    tree: String,
}

impl Git {
    pub fn clone(remote: &Remote) -> Self {
        let (home, url) = (remote.home(), remote.url());
        let [full, shallow, pulled, tree] = ["full.git", "shallow.git", "pulled", "tree"].map(|name| remote.at(name));
        git(home, &["clone", "-q", "--bare", &url, &full]);
        git(home, &["clone", "-q", "--bare", "--depth", "1", &url, &shallow]);
        git(home, &["clone", "-q", &url, &pulled]);
        Self { full, shallow, pulled, tree }
    }

    /// The repository that [`Git::fetch`] fetches into.
    pub fn bare(&self) -> &str {
        &self.full
    }

    pub fn fetch(&self, remote: &Remote) -> Duration {
        let took = git(remote.home(), &["-C", &self.full, "fetch", "-q", "origin", "main:main"]);
        assert_eq!(run_git(remote.home(), Path::new(&self.full), &["rev-parse", "main"]), remote.head);
        took
    }

    pub fn fetch_shallow(&self, remote: &Remote) -> Duration {
        let took = git(remote.home(), &["-C", &self.shallow, "fetch", "-q", "--depth", "1", "origin", "main"]);
        assert_eq!(run_git(remote.home(), Path::new(&self.shallow), &["rev-parse", "FETCH_HEAD"]), remote.head);
        took
    }

    pub fn pull(&self, remote: &Remote, changed: &Changed) -> Duration {
        let took = git(remote.home(), &["-C", &self.pulled, "pull", "-q"]);
        check(Path::new(&self.pulled), changed);
        took
    }

    /// The processor time of a pull, programs that it runs included.
    pub fn pull_cpu(&self, remote: &Remote, changed: &Changed) -> Duration {
        let git = git_command(remote.home());
        // bash counts milliseconds, other shells ticks of ten.
        let mut shell = Command::new("bash");
        shell.env_clear().envs(git.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = shell.args(["-c", "git pull -q >&2; times"]).current_dir(&self.pulled).output().unwrap();
        check(Path::new(&self.pulled), changed);
        // Two lines of user and system time: the shell's own, and that of what it ran.
        let text = String::from_utf8(output.stdout).unwrap();
        let seconds = |time: &str| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        };
        Duration::from_secs_f64(text.lines().nth(1).unwrap().split_whitespace().map(seconds).sum())
    }

    /// Only the tree; the commit was fetched before.
    pub fn worktree_add(&self, remote: &Remote, changed: &Changed) -> Duration {
        let took =
            git(remote.home(), &["-C", &self.full, "worktree", "add", "-q", "--detach", &self.tree, &remote.head]);
        check(Path::new(&self.tree), changed);
        git(remote.home(), &["-C", &self.full, "worktree", "remove", "--force", &self.tree]);
        took
    }
}

/// The tutorial's sidecar with a second instead of a minute between two pulls.
pub struct Loop {
    child: Child,
    tree: PathBuf,
}

impl Loop {
    pub fn start(remote: &Remote) -> Self {
        let tree = PathBuf::from(remote.at("looped"));
        git(remote.home(), &["clone", "-q", &remote.url(), &tree.display().to_string()]);
        let pull = git_command(remote.home());
        let mut shell = Command::new("sh");
        shell.env_clear().envs(pull.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell
            .current_dir(&tree)
            .args(["-c", "while :; do git pull -q; sleep 1; done"])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        Self { child: shell.spawn().unwrap(), tree }
    }

    pub fn wait(&self, changed: &Changed, since: Instant) -> Duration {
        let path = self.tree.join(&changed.path);
        while std::fs::read_to_string(&path).ok().as_ref() != Some(&changed.contents) {
            assert!(since.elapsed() < crate::ours::PATIENCE, "the loop does not pull");
            std::thread::sleep(Duration::from_millis(1));
        }
        since.elapsed()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another program with git-sync's flags, which polls as often as it is told.
pub struct Peer {
    child: Child,
    link: PathBuf,
}

impl Peer {
    pub fn start(program: &Path, remote: &Remote, period: &str) -> Self {
        let root = PathBuf::from(remote.at("peer"));
        let command = git_command(remote.home());
        let mut peer = Command::new(program);
        peer.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        peer.args([
            &format!("--repo={}", remote.url()),
            "--ref=main",
            &format!("--root={}", root.display()),
            "--link=current",
            &format!("--period={period}"),
        ]);
        let child = peer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let peer = Self { child, link: root.join("current") };
        wait(&peer.link, &remote.head);
        peer
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn wait(&self, commit: &str, changed: &Changed, since: Instant) -> Duration {
        wait(&self.link, commit);
        let took = since.elapsed();
        check(&self.link, changed);
        took
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
