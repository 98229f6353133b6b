//! A repository that grows by pushes without a work tree, behind real smart HTTP.
#![allow(clippy::unused_self, reason = "the same call for each contestant")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use crate::process;
use crate::support::git_http::GitHttp;
use crate::support::repo::{git_command, run_git};

pub struct Remote {
    folder: TempDir,
    pub http: GitHttp,
    files: usize,
    pushes: usize,
    pub head: String,
}

/// A file that a push changed, and what it holds now.
pub struct Changed {
    pub path: String,
    pub contents: String,
}

impl Remote {
    /// With so many files in 200 folders, in one commit.
    pub fn new(files: usize) -> Self {
        let folder = tempfile::tempdir_in(process::place()).unwrap();
        let served = folder.path().join("served");
        std::fs::create_dir(&served).unwrap();
        run_git(folder.path(), folder.path(), &["init", "-q", "--bare", "served/site.git"]);
        let http = GitHttp::start(&served);
        let mut remote = Self { folder, http, files, pushes: 0, head: String::new() };
        let all: Vec<_> = (0..files).map(|file| remote.file(file, "first")).collect();
        remote.commit(&all);
        remote
    }

    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    pub fn bare(&self) -> PathBuf {
        self.home().join("served/site.git")
    }

    pub fn url(&self) -> String {
        self.http.url("site.git")
    }

    pub fn files(&self) -> usize {
        self.files
    }

    /// A path in the benchmark's folder, on the same file system as everything else.
    pub fn at(&self, name: &str) -> String {
        self.home().join(name).display().to_string()
    }

    /// Changes so many files in one commit. Returns the commit before, and the last of the files.
    pub fn push(&mut self, changed: usize) -> (String, Changed) {
        self.pushes += 1;
        let words = format!("push {}", self.pushes);
        let some: Vec<_> =
            (0..changed.min(self.files)).map(|file| self.file((file + self.pushes) % self.files, &words)).collect();
        let before = self.head.clone();
        self.commit(&some);
        let (path, contents) = some.into_iter().last().unwrap();
        (before, Changed { path, contents })
    }

    fn file(&self, number: usize, words: &str) -> (String, String) {
        (format!("d{}/f{}", number % 200, number / 200), format!("file {number}, {words}\n").repeat(8))
    }

    fn commit(&mut self, files: &[(String, String)]) {
        let time = 1_700_000_000 + self.pushes;
        let mut stream = format!("commit refs/heads/main\ncommitter A <a@example.test> {time} +0000\ndata 4\npush\n");
        if !self.head.is_empty() {
            writeln!(stream, "from {}", self.head).unwrap();
        }
        for (path, contents) in files {
            writeln!(stream, "M 100644 inline {path}\ndata {}\n{contents}", contents.len()).unwrap();
        }
        let mut import = git_command(self.home());
        import.arg("-C").arg(self.bare()).args(["fast-import", "--quiet", "--force"]).stdin(Stdio::piped());
        let mut import = import.spawn().unwrap();
        import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(import.wait().unwrap().success(), "git fast-import");
        self.head = run_git(self.home(), &self.bare(), &["rev-parse", "refs/heads/main"]);
    }

    /// Adds refs without a process for each.
    pub fn add_refs(&self, count: usize) {
        let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        let mut names: Vec<_> = (1..=count).map(|number| format!("refs/pull/{number}/head")).collect();
        names.sort();
        for name in names {
            writeln!(packed, "{} {name}", self.head).unwrap();
        }
        std::fs::write(self.bare().join("packed-refs"), packed).unwrap();
        let all = run_git(self.home(), &self.bare(), &["for-each-ref", "--format=%(refname)"]).lines().count();
        assert_eq!(all, count + 1);
    }
}
