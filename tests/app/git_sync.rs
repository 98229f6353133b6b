//! What git-sync's users know of places: link, root, modes, leftovers. Most of it is what its own binary was seen to get
//! wrong (a leftover link that ends every publish, a wiped root, a temp folder that must be writable).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::site::{Site, assert_same, published};
use crate::support::repo::run_git;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, copy_program, eventually, skip};

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs it once and expects that it publishes what the remote has.
async fn once(site: &mut Site) -> Sidecar {
    site.set("one-time", "true");
    let mut sidecar = Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(0), "{}", sidecar.log().join("\n"));
    sidecar
}

#[tokio::test]
async fn a_temporary_link_that_somebody_left_beside_the_link_stops_nobody() {
    let mut site = Site::new();
    fs::create_dir_all(site.root()).unwrap();
    fs::write(site.root().join("tmp-link"), "a file").unwrap();
    symlink(".worktrees/gone", site.root().join("current.tmp")).unwrap();
    site.start_in_sync().await;
    let second = site.push_and_ring("a", "2").await;
    site.wait_published(&second).await;
    site.assert_whole(&second);
    assert_eq!(fs::read(site.root().join("tmp-link")).unwrap(), b"a file", "it is not ours");
    assert!(site.root().join("current.tmp").is_symlink());
}

#[tokio::test]
async fn a_link_that_dangles_at_the_start_is_replaced() {
    for target in [format!(".worktrees/{}", "1".repeat(40)), "/nowhere".to_owned(), "current".to_owned()] {
        let mut site = Site::new();
        fs::create_dir_all(site.root()).unwrap();
        symlink(&target, site.link()).unwrap();
        once(&mut site).await;
        site.assert_whole(&site.repo.head());
    }
}

#[tokio::test]
async fn a_root_with_other_peoples_files_keeps_them_and_may_lie_behind_a_link_or_in_another_repository() {
    let mut site = Site::new();
    let outer = site.path("outer");
    fs::create_dir_all(outer.join("volume/lost+found")).unwrap();
    run_git(site.folder.path(), &outer, &["init", "--quiet"]);
    fs::write(outer.join("volume/data"), "precious").unwrap();
    symlink("outer/volume", site.root()).unwrap();
    once(&mut site).await;
    let head = site.repo.head();
    site.assert_whole(&head);
    assert_eq!(published(&outer.join("volume/current")).as_deref(), Some(head.as_str()));
    assert_eq!(fs::read(outer.join("volume/data")).unwrap(), b"precious");
    assert!(outer.join("volume/lost+found").is_dir());
}

#[tokio::test]
async fn the_link_may_be_absolute_or_in_a_sub_folder_and_survives_another_mount_point() {
    let mut site = Site::new();
    let head = site.repo.head();
    let absolute = site.root().join("served/here");
    let home = site.root().file_name().unwrap().to_str().unwrap().to_owned();
    let climbing = ["../outside/current".to_owned(), "a/../c/current".to_owned(), format!("../{home}/d")];
    for link in
        ["a/b/current".to_owned(), absolute.display().to_string(), "site.git".to_owned()].into_iter().chain(climbing)
    {
        site.set("link", &link);
        once(&mut site).await;
        let path = pushsync::publish::tidy(&site.root().join(&link));
        let target = fs::read_link(&path).unwrap();
        assert!(target.is_relative(), "{}", target.display());
        assert_eq!(target.file_name().unwrap().to_str(), Some(head.as_str()), "the contract of basename");
        assert_same(&path, &site.repo, &head);
    }
    // The volume, seen at another place.
    let elsewhere = site.path("elsewhere");
    fs::rename(site.root(), &elsewhere).unwrap();
    assert_same(&elsewhere.join("a/b/current"), &site.repo, &head);
    assert_same(&elsewhere.join("served/here"), &site.repo, &head);
}

/// The consumer often runs as another user.
#[tokio::test]
async fn modes_are_the_same_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let mut site = Site::new();
        site.repo.push_file("folder/page", "x", "a folder");
        site.set("one-time", "true")
            .set("link", "pub/site")
            .set("touch-file", "told/touched")
            .set("worktree-git", "true");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_pushsync")).args(site.arguments());
        let mut sidecar = Sidecar::spawn(command);
        assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(0), "{}", sidecar.log().join("\n"));
        let paths = [
            ("", "775"),
            (".worktrees", "755"),
            ("pub", "755"),
            ("pub/site", "755"),
            ("pub/site/folder", "755"),
            ("pub/site/folder/page", "644"),
            ("told", "755"),
            ("told/touched", "644"),
            (".pushsync", "755"),
            (".pushsync/repo.git", "755"),
            (".pushsync/repo.git/HEAD", "644"),
        ];
        for (path, expected) in paths {
            assert_eq!(format!("{:o}", mode(site.root().join(path))), expected, "umask {umask}: {path}");
        }
    }
}

#[tokio::test]
async fn no_writable_temp_folder_is_needed() {
    let mut site = Site::new();
    site.set("one-time", "true").set("root", "/mnt/root").set("hook-secret-file", "/mnt/secret");
    // The test's own folder is below /tmp, so it is mounted elsewhere before /tmp is covered; the program may be, too.
    copy_program(&site.path("program"));
    let script = format!(
        "mount --make-rprivate / && mount --bind '{}' /mnt && mount -t tmpfs -o ro none /tmp && ! touch /tmp/x 2>/dev/null && exec \"$0\" \"$@\"",
        site.folder.path().display()
    );
    let mut probe = Command::new("unshare");
    let allowed = probe.args(["--mount", "sh", "-c", "mount --make-rprivate /"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return skip("to mount (unshare --mount)");
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "/mnt/program"]).args(site.arguments());
    command.env_remove("TMPDIR").env_remove("HOME");
    let mut sidecar = Sidecar::spawn(command);
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(0), "{}", sidecar.log().join("\n"));
    site.assert_whole(&site.repo.head());
}

/// The layout that git-sync v4 leaves on a volume, made by git itself.
fn left_by_git_sync(site: &Site) -> String {
    let (root, home) = (site.root(), site.folder.path());
    let head = site.repo.head();
    fs::create_dir_all(&root).unwrap();
    run_git(home, &root, &["init", "--quiet", "-b", "git-sync"]);
    let bare = site.repo.bare().display().to_string();
    run_git(home, &root, &["fetch", "--quiet", "--depth=1", &format!("file://{bare}"), "main"]);
    run_git(home, &root, &["reset", "--soft", "FETCH_HEAD"]);
    run_git(home, &root, &["worktree", "add", "--quiet", "--detach", &format!(".worktrees/{head}"), &head]);
    symlink(format!(".worktrees/{head}"), site.link()).unwrap();
    head
}

#[tokio::test]
async fn a_volume_that_git_sync_left_is_taken_over_without_a_moment_of_nothing() {
    let mut site = Site::new();
    let old = left_by_git_sync(&site);
    assert!(site.link().join(".git").is_file());
    let page: PathBuf = site.link().join("index.html");
    let watched = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let watcher = {
        let (page, watched) = (page.clone(), watched.clone());
        std::thread::spawn(move || {
            let mut reads = 0_u64;
            while watched.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(fs::read(&page).unwrap(), b"one\n");
                reads += 1;
            }
            reads
        })
    };
    site.start_in_sync().await;
    eventually(PATIENCE, || !site.link().join(".git").exists()).await;
    site.barrier().await;
    watched.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0);
    site.assert_whole(&old);
    let new = site.push_and_ring("a", "2").await;
    site.wait_published(&new).await;
    site.assert_whole(&new);
    assert!(site.root().join(".git").is_dir(), "it is not ours to remove");
}

#[tokio::test]
async fn another_repository_on_the_same_root_takes_its_place() {
    let mut site = Site::new();
    once(&mut site).await;
    let other = crate::support::repo::Repo::empty();
    other.write("other.html", "other\n");
    let head = other.commit("another history");
    other.push();
    site.set("repo", &other.file_url());
    once(&mut site).await;
    assert_eq!(site.published().as_deref(), Some(head.as_str()));
    assert_same(&site.link(), &other, &head);
    assert_eq!(fs::read(site.link().join("other.html")).unwrap(), b"other\n");
}
