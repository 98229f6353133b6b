//! What the tree holds, over the whole program: sparse patterns, modes, attributes, a `.git` file, and what is said of LFS.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::site::Site;
use crate::support::repo::run_git;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn patterns_modes_attributes_and_git_inside_hold_over_pushes_and_restarts() {
    let mut site = Site::new();
    let patterns = site.path("patterns");
    fs::write(&patterns, "/*\n!/*/\n/docs/\n").unwrap();
    site.set("sparse-checkout-file", &patterns.display().to_string());
    site.set("group-write", "true");
    site.set("worktree-git", "true");
    site.set("stale-worktree-timeout", "0s");
    site.repo.write(".gitattributes", "*.txt eol=crlf\n");
    site.repo.write("docs/a.txt", "one\n");
    site.repo.write("src/main.c", "int main;\n");
    site.repo.commit("more");
    site.repo.push();
    site.start_in_sync().await;
    let link = site.link();
    assert_eq!(names(&link.join(".")), [".git", ".gitattributes", "docs", "index.html"]);
    assert_eq!(fs::read(link.join("docs/a.txt")).unwrap(), b"one\r\n");
    assert_eq!(fs::metadata(link.join("docs/a.txt")).unwrap().mode() & 0o777, 0o664);
    assert_eq!(fs::metadata(link.join("docs")).unwrap().mode() & 0o777, 0o775);

    // Another push, and a look at the tree with git.
    let second = site.push_and_ring("docs/a.txt", "two\n").await;
    site.wait_published(&second).await;
    assert_eq!(fs::read(link.join("docs/a.txt")).unwrap(), b"two\r\n");
    let home = site.folder.path();
    assert_eq!(run_git(home, &link, &["rev-parse", "HEAD"]), second);
    assert_eq!(run_git(home, &link, &["status", "--porcelain"]), "");
    assert_eq!(run_git(home, &link, &["log", "--format=%s"]), "change docs/a.txt", "as deep as was fetched");

    // Other patterns count from the next commit on. Cone mode always keeps the files of the top folder.
    fs::write(&patterns, "/src/\n").unwrap();
    let third = site.push_and_ring("src/main.c", "int other;\n").await;
    site.wait_published(&third).await;
    assert_eq!(names(&link.join(".")), [".git", ".gitattributes", "index.html", "src"]);
    assert_eq!(run_git(site.folder.path(), &link, &["status", "--porcelain"]), "");

    // A process that is asked for another shape rebuilds what the one before published.
    site.sidecar = None;
    site.set("group-write", "false");
    site.set("worktree-git", "false");
    site.start().await;
    let rebuilt = || {
        let mode = fs::metadata(link.join("src/main.c")).map(|file| file.mode() & 0o777).ok();
        mode == Some(0o644) && names(&link.join(".")) == [".gitattributes", "index.html", "src"]
    };
    crate::support::eventually(crate::support::PATIENCE, rebuilt).await;
    assert_eq!(site.published(), Some(third));
}

#[tokio::test]
async fn pointers_of_lfs_are_told_in_the_log_and_in_the_record() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "ab".repeat(32));
    let commit = site.push_and_ring("media/film.mp4", &pointer).await;
    let record = site.wait_record(|record| record.new.as_deref() == Some(&commit)).await;
    let lines = site.detail(&record.id).await.detail.log;
    let told =
        |text: &str| text.contains("1 of the files written are pointers of Git LFS") && text.contains("media/film.mp4");
    assert!(lines.iter().any(|line| line.level == "warn" && told(&line.message)), "{lines:?}");
    assert!(site.sidecar().log().iter().any(|line| told(line)));
}

#[tokio::test]
async fn a_pattern_file_that_is_not_there_ends_the_start_with_its_name() {
    let mut site = Site::new();
    site.set("sparse-checkout-file", "/nowhere/patterns");
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_pushsync")).env_clear().args(site.arguments()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--sparse-checkout-file") && said.contains("/nowhere/patterns"), "{said}");
}
