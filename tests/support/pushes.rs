//! Thousands of pushes to a real repository, made at once and shown one after the other; and how large a folder got.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use super::repo::{Repo, git_command, run_git};

const FILES: u32 = 400;

/// A repository with one commit of 400 files and then one commit for each push, none of them visible yet. The hashes.
pub fn made(repo: &Repo, pushes: u32) -> Vec<String> {
    let text = |at: u32| format!("<p>{at} {}</p>\n", "lorem ipsum ".repeat(40 + fastrand::usize(..80)));
    let mut stream = String::new();
    let mut add = |mark: u32, files: &mut dyn Iterator<Item = u32>| {
        let who = "Ada Lovelace <ada@example.test>";
        let time = 1_700_000_000 + mark;
        writeln!(stream, "commit refs/heads/made\nmark :{mark}\ncommitter {who} {time} +0000\ndata 6\nA push").unwrap();
        for file in files {
            let text = format!("{}{}", text(mark), text(file));
            writeln!(stream, "M 100644 inline d{}/f{file}.html\ndata {}\n{text}", file % 20, text.len()).unwrap();
        }
    };
    add(1, &mut (0..FILES));
    for push in 0..pushes {
        add(push + 2, &mut std::iter::once(push * 7 % FILES));
    }
    let mut import = git_command(&repo.root());
    let mut child =
        import.current_dir(repo.bare()).args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let hashes = run_git(&repo.root(), &repo.bare(), &["rev-list", "--reverse", "refs/heads/made"]);
    run_git(&repo.root(), &repo.bare(), &["update-ref", "-d", "refs/heads/made"]);
    hashes.lines().map(str::to_owned).collect()
}

/// Makes the remote's `main` name a commit that is there already, as git does: no reader sees half a hash.
pub fn show(repo: &Repo, commit: &str) {
    let (beside, main) = (repo.bare().join("main.new"), repo.bare().join("refs/heads/main"));
    fs::write(&beside, format!("{commit}\n")).unwrap();
    fs::rename(beside, main).unwrap();
}

/// Returns the space of a folder on the disk, including itself. Files that disappear meanwhile do not count.
pub fn size(path: &Path) -> u64 {
    sum(path, |meta| meta.blocks() * 512)
}

/// Names in a folder and below it, itself included.
pub fn inodes(path: &Path) -> u64 {
    sum(path, |_| 1)
}

fn sum(path: &Path, of: fn(&fs::Metadata) -> u64) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let inside = || fs::read_dir(path).into_iter().flatten().flatten().map(|entry| sum(&entry.path(), of)).sum();
    of(&meta) + if meta.is_dir() { inside() } else { 0 }
}
