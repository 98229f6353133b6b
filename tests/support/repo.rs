//! A real git repository, made by the `git` program: a bare "remote" and a work tree that pushes to it.
//!
//! Every call runs with an environment of its own, so the machine's git configuration cannot change what a test sees.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The bare repository is `root()/site.git`; the work tree lies elsewhere, so `root()` can be served as it is.
pub struct Repo {
    home: TempDir,
}

impl Repo {
    /// A bare repository without a commit and an empty work tree on the branch `main`.
    pub fn empty() -> Self {
        let repo = Self { home: TempDir::new().unwrap() };
        fs::create_dir(repo.root()).unwrap();
        let (bare, work) = (repo.bare(), repo.work());
        repo.git_in(repo.home.path(), &["init", "--quiet", "--bare", text(&bare)]);
        repo.git_in(repo.home.path(), &["init", "--quiet", text(&work)]);
        repo.git(&["remote", "add", "origin", text(&bare)]);
        repo
    }

    /// With one commit on `main`, pushed: `index.html` = "one\n".
    pub fn new() -> Self {
        let repo = Self::empty();
        repo.push_file("index.html", "one\n", "First page");
        repo
    }

    /// The folder to serve.
    pub fn root(&self) -> PathBuf {
        self.home.path().join("served")
    }

    pub fn bare(&self) -> PathBuf {
        self.root().join("site.git")
    }

    pub fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// A bare repository beside the served one that has so many commits of its history.
    pub fn shallow_copy(&self, depth: u32) -> PathBuf {
        let copy = self.root().join(format!("shallow-{depth}.git"));
        let _ = fs::remove_dir_all(&copy);
        let depth = depth.to_string();
        self.git_in(
            self.home.path(),
            &["clone", "--quiet", "--bare", "--depth", &depth, &self.file_url(), text(&copy)],
        );
        copy
    }

    /// Stores a commit on top of `main` whose author line breaks git's rules, and moves `main` to it. Git checks it out.
    pub fn push_malformed(&self, path: &str, contents: &str) -> String {
        let before = self.head();
        self.write(path, contents);
        self.git(&["add", "--all"]);
        let tree = self.git(&["write-tree"]);
        let file = self.home.path().join("commit");
        let committer = "Ada <ada@example.com> 1700000000 +0000";
        let commit = format!("tree {tree}\nparent {before}\nauthor Ada Lovelace\ncommitter {committer}\n\nImported\n");
        fs::write(&file, commit).unwrap();
        let commit = self.git(&["hash-object", "-t", "commit", "-w", "--literally", text(&file)]);
        self.git(&["update-ref", "refs/heads/main", &commit]);
        self.push();
        commit
    }

    pub fn file_url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    /// Writes a file of the work tree, with its folders.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub fn remove(&self, path: &str) {
        let path = self.work().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    pub fn symlink(&self, target: &str, path: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    pub fn make_executable(&self, path: &str) {
        fs::set_permissions(self.work().join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Commits everything in the work tree (also nothing) and returns the hash.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Replaces the last commit.
    pub fn amend(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--amend", "--message", message]);
        self.head()
    }

    /// Pushes the current branch under its own name.
    pub fn push(&self) {
        self.git(&["push", "--quiet", "origin", "HEAD"]);
    }

    pub fn force_push(&self) {
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
    }

    /// Writes one file, commits and pushes it; returns the hash.
    pub fn push_file(&self, path: &str, contents: impl AsRef<[u8]>, message: &str) -> String {
        self.write(path, contents);
        let commit = self.commit(message);
        self.push();
        commit
    }

    /// Makes a branch at the current commit and changes to it.
    pub fn branch(&self, name: &str) {
        self.git(&["checkout", "--quiet", "-b", name]);
    }

    pub fn checkout(&self, name: &str) {
        self.git(&["checkout", "--quiet", name]);
    }

    /// Changes to a new branch without history; the files stay in the work tree.
    pub fn orphan(&self, name: &str) {
        self.git(&["checkout", "--quiet", "--orphan", name]);
    }

    /// Sets a light tag on the current commit, here and at the remote, moving it if it exists.
    pub fn tag(&self, name: &str) {
        self.git(&["tag", "--force", name]);
        self.push_tag(name);
    }

    /// The same with an annotated tag; returns the hash of the tag object.
    pub fn annotated_tag(&self, name: &str) -> String {
        self.git(&["tag", "--force", "--annotate", "--message", "a release", name]);
        self.push_tag(name);
        self.git(&["rev-parse", &format!("refs/tags/{name}")])
    }

    fn push_tag(&self, name: &str) {
        self.git(&["push", "--quiet", "--force", "origin", &format!("refs/tags/{name}")]);
    }

    /// Deletes a full ref at the remote.
    pub fn delete_remote(&self, full_ref: &str) {
        self.bare_git(&["update-ref", "-d", full_ref]);
    }

    /// Points the remote's HEAD at another branch.
    pub fn set_remote_head(&self, full_ref: &str) {
        self.bare_git(&["symbolic-ref", "HEAD", full_ref]);
    }

    /// The hash of the work tree's current commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Returns the content of a path at a commit of the remote, read by git.
    pub fn show(&self, commit: &str, path: &str) -> String {
        self.bare_git(&["show", &format!("{commit}:{path}")])
    }

    /// Runs git in the work tree and returns what it printed, without the last newline.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.work(), args)
    }

    /// Runs git in the bare repository.
    #[track_caller]
    pub fn bare_git(&self, args: &[&str]) -> String {
        self.git_in(&self.bare(), args)
    }

    #[track_caller]
    fn git_in(&self, folder: &Path, args: &[&str]) -> String {
        run_git(self.home.path(), folder, args)
    }
}

/// Runs git without any user's configuration; panics with its message if it fails.
#[track_caller]
pub fn run_git(home: &Path, folder: &Path, args: &[&str]) -> String {
    let output = git_command(home).current_dir(folder).args(args).output().expect("the git program starts");
    assert!(
        output.status.success(),
        "git {args:?} in {}: {}{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr),
        // fsck prints its findings here.
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
}

/// The git program with a fixed author, time zone and configuration.
pub fn git_command(home: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .env("HOME", home)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Ada Lovelace")
        .env("GIT_AUTHOR_EMAIL", "ada@example.test")
        .env("GIT_COMMITTER_NAME", "Ada Lovelace")
        .env("GIT_COMMITTER_EMAIL", "ada@example.test")
        .args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(["-c", "advice.detachedHead=false", "-c", "core.fsync=none"]);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have UTF-8 names")
}
