//! What the tree holds, over the whole program: sparse patterns, modes, attributes, a `.git` file, and what is said of LFS.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use pushsync::api::Outcome;

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::repo::{git_command, run_git};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, copy_program, eventually, skip};

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
    eventually(PATIENCE, rebuilt).await;
    assert_eq!(site.published(), Some(third));
}

/// The app's container: the volume is elsewhere and cannot be written, so git cannot refresh its index.
#[tokio::test]
async fn git_works_for_readers_that_mount_the_volume_elsewhere_and_read_only() {
    let mut site = Site::new();
    site.set("worktree-git", "true").set("depth", "0").set("period", "100ms");
    site.repo.write(".gitattributes", "*.txt eol=crlf ident\n");
    site.repo.push_file("docs/a.txt", "one\n$Id$\n", "attributes");
    site.start_in_sync().await;
    let readers = |script: &str| {
        let mount = format!(
            "mount --make-rprivate / && mount --bind '{}' /mnt && mount -o remount,bind,ro /mnt && ! touch /mnt/x 2>/dev/null && {script}",
            site.root().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &mount]).env_clear().env("HOME", site.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.output().unwrap()
    };
    if !readers("true").status.success() {
        return skip("to mount (unshare --mount)");
    }
    for number in 0..3 {
        let commit = site.repo.push_file("docs/a.txt", format!("{number}\n$Id$\n"), "another");
        site.wait_published(&commit).await;
        let commits = site.repo.git(&["rev-list", "--count", "HEAD"]);
        for (arguments, said) in [
            ("status --porcelain", ""),
            ("diff --stat HEAD", ""),
            ("rev-parse HEAD", commit.as_str()),
            ("rev-list --count HEAD", &commits),
            ("log -1 --format=%s", "another"),
            ("ls-files docs", "docs/a.txt"),
            ("rev-parse --show-toplevel", &format!("/mnt/.worktrees/{commit}")),
        ] {
            let output = readers(&format!("git -C /mnt/current {arguments}"));
            let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{arguments}: {error}");
            assert_eq!((out.trim(), error.trim()), (said, ""), "{arguments}");
        }
        let output = readers("git -C /mnt/current status && git -C /mnt/current archive -o /dev/null HEAD");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("nothing to commit, working tree clean"), "{output:?}");
    }
}

#[tokio::test]
async fn when_the_store_is_lost_git_works_again_as_soon_as_the_remote_can_be_asked() {
    let mut site = Site::new();
    site.set("worktree-git", "true").set("period", "100ms");
    site.start_in_sync().await;
    let head = site.repo.head();
    let (home, link) = (site.folder.path().to_owned(), site.link());
    let works = || {
        let mut git = git_command(&home);
        git.args(["-c", "safe.directory=*", "status", "--porcelain"]).current_dir(&link);
        git.output().is_ok_and(|output| output.status.success() && output.stdout.is_empty())
    };
    eventually(PATIENCE, works).await;
    let page = || fs::metadata(link.join("index.html")).map(|file| file.ino()).unwrap();
    let before = page();
    site.remote.set(Mode::Refuse);
    fs::remove_dir_all(site.root().join(".pushsync/repo.git")).unwrap();
    let failures = site.snapshot().await.failures_in_row;
    while site.snapshot().await.failures_in_row < failures + 3 {
        assert_eq!(site.probe("/readyz").await.0, 200, "the tree is whole all the same");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!works());
    site.remote.set(Mode::Serve);
    eventually(PATIENCE, works).await;
    site.sidecar().wait_for_text(PATIENCE, "git works in the published tree again").await;
    assert_eq!((site.published(), page()), (Some(head), before), "no file was written anew");
    let next = site.push_and_ring("index.html", "two\n").await;
    site.wait_published(&next).await;
    eventually(PATIENCE, works).await;
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
    // The log has a thread of its own.
    eventually(PATIENCE, || site.sidecar().log().iter().any(|line| told(line))).await;
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

/// As where each pod has another user and all of them the volume's group.
#[tokio::test]
async fn with_group_write_another_user_of_the_group_goes_on_where_the_first_one_ended() {
    const GROUP: u32 = 4242;
    let allowed = Command::new("setpriv").args(["--reuid", "1001", "--clear-groups", "true"]).status();
    if !rustix::process::geteuid().is_root() || !allowed.is_ok_and(|status| status.success()) {
        return skip("root, and setpriv to run as another user");
    }
    let mut site = Site::new();
    site.set("stale-worktree-timeout", "0s");
    let touched = site.root().join("touched").display().to_string();
    site.set("touch-file", &touched);
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = site.path("pushsync");
    copy_program(&program);
    fs::create_dir(site.root()).unwrap();
    std::os::unix::fs::chown(site.root(), None, Some(GROUP)).unwrap();
    fs::set_permissions(site.root(), fs::Permissions::from_mode(0o2775)).unwrap();
    std::os::unix::fs::chown(site.path("secret"), None, Some(GROUP)).unwrap();
    let start = |user: &str, site: &Site| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", "4242", "--clear-groups"]).arg(&program).args(site.arguments());
        Sidecar::spawn(command)
    };
    // The volume was filled by a pod that was not asked to share it.
    for (user, group_write, records) in
        [("1001", "false", 1), ("1001", "true", 2), ("1002", "true", 3), ("1001", "true", 4)]
    {
        site.set("group-write", group_write);
        site.started(start(user, &site)).await;
        let commit = site.repo.head();
        site.wait_published(&commit).await;
        // Two pushes: the second finds a spare that this user made.
        for contents in ["one", "two"] {
            let commit = site.push_and_ring("page", &format!("{contents} by {user}, {records}\n")).await;
            site.wait_published(&commit).await;
            site.assert_whole(&commit);
            site.wait_record(|record| record.new.as_deref() == Some(&commit)).await;
        }
        let kept = site.history().await.into_iter().filter(|record| record.outcome == Outcome::Published).count();
        assert!(kept >= 2 * records, "{user} has the records of the others: {kept}");
        let log = site.sidecar().log();
        let denied = ["ermission denied", "not permitted"];
        assert!(!log.iter().any(|line| denied.iter().any(|word| line.contains(word))), "{log:#?}");
        site.sidecar = None;
    }
    // What another user left half removed is not ours to remove, and no reason not to start.
    let foreign = site.root().join(".worktrees/.trash-foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("file"), "x").unwrap();
    site.started(start("1002", &site)).await;
    let commit = site.push_and_ring("page", "after all\n").await;
    site.wait_published(&commit).await;
    site.sidecar().wait_for_text(PATIENCE, "old trees could not be removed").await;
    assert!(foreign.join("file").exists());
    site.sidecar = None;
    for ours in
        [".pushsync", ".pushsync/lock", ".pushsync/history.jsonl", ".pushsync/repo.git/refs", ".worktrees", "touched"]
    {
        let mode = fs::metadata(site.root().join(ours)).unwrap().mode();
        assert_eq!(mode & 0o020, 0o020, "{ours}: {mode:o}");
    }
}
