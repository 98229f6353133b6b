//! Several real repositories side by side, so that one can be a submodule of another.
//!
//! `git submodule add` runs on the folders; the address that is committed may be any, since it is written afterwards.
#![allow(
    clippy::format_collect,
    clippy::format_push_string,
    clippy::unused_self,
    reason = "a tool of tests, said shortly"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::repo::run_git;

/// The bare repositories are `root()/NAME.git`; each has a work tree elsewhere.
pub struct Forge {
    home: TempDir,
}

impl Forge {
    pub fn new() -> Self {
        let forge = Self { home: TempDir::new().unwrap() };
        fs::create_dir_all(forge.root()).unwrap();
        fs::write(forge.home.path().join(".gitconfig"), "[protocol \"file\"]\n\tallow = always\n").unwrap();
        forge
    }

    /// The folder to serve.
    pub fn root(&self) -> PathBuf {
        self.home.path().join("served")
    }

    pub fn bare(&self, name: &str) -> PathBuf {
        self.root().join(format!("{name}.git"))
    }

    pub fn work(&self, name: &str) -> PathBuf {
        self.home.path().join("work").join(name)
    }

    /// A repository with one commit: the file `NAME.txt`.
    pub fn make(&self, name: &str) -> String {
        let (bare, work) = (self.bare(name), self.work(name));
        for folder in [&bare, &work] {
            fs::create_dir_all(folder).unwrap();
        }
        run_git(self.home.path(), &bare, &["init", "--quiet", "--bare"]);
        run_git(self.home.path(), &work, &["init", "--quiet"]);
        self.git(name, &["remote", "add", "origin", bare.to_str().unwrap()]);
        self.push_file(name, &format!("{name}.txt"), &format!("the first of {name}\n"))
    }

    #[track_caller]
    pub fn git(&self, name: &str, args: &[&str]) -> String {
        run_git(self.home.path(), &self.work(name), args)
    }

    pub fn push_file(&self, name: &str, path: &str, contents: &str) -> String {
        self.write(name, path, contents);
        self.push(name, path)
    }

    pub fn write(&self, name: &str, path: &str, contents: &str) {
        let path = self.work(name).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Commits everything and pushes it; returns the hash.
    pub fn push(&self, name: &str, message: &str) -> String {
        self.git(name, &["add", "--all"]);
        self.git(name, &["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(name, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
        self.git(name, &["rev-parse", "HEAD"])
    }

    /// Makes `inner` a submodule of `outer` by this address, without a commit yet. Its name is `PATH of INNER`.
    pub fn add(&self, outer: &str, inner: &str, path: &str, url: &str) {
        let (bare, name) = (self.bare(inner), format!("{path} of {inner}"));
        let bare = bare.to_str().unwrap();
        self.git(outer, &["submodule", "add", "--quiet", "--force", "--name", &name, bare, path]);
        self.set(outer, &name, "url", url);
    }

    pub fn set(&self, outer: &str, name: &str, key: &str, value: &str) {
        self.git(outer, &["config", "--file", ".gitmodules", &format!("submodule.{name}.{key}"), value]);
    }

    /// Takes a submodule away, without a commit yet.
    pub fn remove(&self, outer: &str, path: &str) {
        self.git(outer, &["submodule", "deinit", "--quiet", "--force", path]);
        self.git(outer, &["rm", "--quiet", path]);
    }

    /// Commits and pushes a `.gitmodules` and folders of submodules that git would not make; the work tree is not looked at.
    pub fn push_links(&self, name: &str, gitmodules: &str, links: &[(&str, &str)]) {
        self.write(name, ".gitmodules", gitmodules);
        self.git(name, &["add", ".gitmodules"]);
        let index: String = links.iter().map(|(path, commit)| format!("160000 {commit} 0\t{path}\n")).collect();
        let file = self.home.path().join("index-info");
        fs::write(&file, index).unwrap();
        let mut command = super::repo::git_command(self.home.path());
        let stdin = fs::File::open(&file).unwrap();
        let done = command.args(["update-index", "--index-info"]).current_dir(self.work(name)).stdin(stdin).status();
        assert!(done.unwrap().success());
        self.push_index(name);
    }

    /// Commits what is in the index and pushes it.
    pub fn push_index(&self, name: &str) {
        self.git(name, &["commit", "--quiet", "--allow-empty", "--message", "by hand"]);
        self.git(name, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
    }

    /// Changes a submodule in the work tree to another commit of its repository.
    pub fn bump(&self, outer: &str, path: &str, commit: &str) {
        let module = self.work(outer).join(path);
        run_git(self.home.path(), &module, &["fetch", "--quiet", "origin"]);
        run_git(self.home.path(), &module, &["checkout", "--quiet", commit]);
    }

    /// Fails unless the folder is what git itself checks out, with submodules. `here` are addresses that git shall look for
    /// in a folder of this machine.
    #[track_caller]
    pub fn assert_cloned(&self, url: &str, tree: &Path, here: &[(&str, &Path)], more: &[&str]) {
        let home = TempDir::new().unwrap();
        let mut config = "[protocol \"file\"]\n\tallow = always\n".to_owned();
        for (there, here) in here {
            config.push_str(&format!("[url \"{}/\"]\n\tinsteadOf = {there}\n", here.display()));
        }
        fs::write(home.path().join(".gitconfig"), config).unwrap();
        let mut args = vec!["clone", "--quiet"];
        args.extend(more);
        args.extend([url, "copy"]);
        run_git(home.path(), home.path(), &args);
        let copy = home.path().join("copy");
        let diff = Command::new("diff")
            .args(["-r", "--no-dereference", "--exclude=.git"])
            .args([&copy, &tree.join(".")])
            .output()
            .unwrap();
        assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    }
}
