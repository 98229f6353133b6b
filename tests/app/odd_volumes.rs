//! Volumes that lack something, as real file systems beside the running program: no exchange of names, modes that are fixed
//! or added to, no flock, no fsync on folders, no symbolic links, no shared maps; and what others leave in `.worktrees`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pushsync::api::Outcome;

use super::faults::Tmpfs;
use super::site::{Site, published};
use crate::support::odd_volume::{Lacks, OddVolume};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually, skip};

fn odd(site: &Site, lacks: Lacks) -> Option<OddVolume> {
    OddVolume::mount(&site.root(), &site.path("behind"), lacks)
}

/// Runs it with `--one-time`; the exit code and the log.
pub(super) async fn once(site: &Site) -> (i32, String) {
    let mut arguments = site.arguments();
    arguments.push("--one-time".to_owned());
    let mut sidecar = Sidecar::start(arguments);
    let status = sidecar.exited(PATIENCE * 2).await;
    (status.code().unwrap_or(-1), sidecar.log().join("\n"))
}

/// The folder that the link leads to, by its inode: a tree that was rebuilt has another.
fn tree(site: &Site) -> u64 {
    fs::metadata(site.link()).unwrap().ino()
}

async fn restart(site: &mut Site) {
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    site.start().await;
    let head = site.repo.head();
    site.wait_published(&head).await;
    let mut ready = false;
    for _ in 0..600 {
        ready = site.probe("/readyz").await.0 == 200;
        if ready {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ready, "it is not ready:\n{}", site.sidecar().log().join("\n"));
}

/// Fails if anything of the published tree was rebuilt, or any sync failed.
async fn assert_no_repair(site: &Site) {
    for record in site.history().await {
        assert_ne!(record.outcome, Outcome::Failed, "{record:?}");
        assert!(record.outcome != Outcome::Published || record.old != record.new, "a repair: {record:?}");
    }
}

#[tokio::test]
async fn a_damaged_tree_is_replaced_where_names_cannot_be_exchanged() {
    let mut site = Site::new();
    site.set("stale-worktree-timeout", "500ms");
    let Some(_volume) = odd(&site, Lacks { exchange: true, ..Lacks::default() }) else { return };
    site.repo.push_file("sub/file", "content", "a file to damage");
    assert_eq!(once(&site).await.0, 0);
    let head = site.repo.head();
    fs::write(site.link().join("sub/file"), "CONTENT").unwrap();
    let (code, log) = once(&site).await;
    assert_eq!(code, 0, "{log}");
    site.assert_whole(&head);
    let text = fs::read_link(site.link()).unwrap();
    assert!(text.starts_with(".worktrees"), "{text:?}");
    assert_eq!(once(&site).await.0, 0);
    assert_eq!(fs::read_link(site.link()).unwrap(), text, "a tree that is whole stays where it is");

    // A process that stays, which finds other damage at its start.
    fs::remove_file(site.link().join("sub/file")).unwrap();
    site.set("period", "300ms");
    site.start().await;
    eventually(PATIENCE, || site.link().join("sub/file").exists()).await;
    site.assert_whole(&head);
    for number in 0..4 {
        let commit = site.push_and_ring("a", &number.to_string()).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
        assert_eq!(fs::read_link(site.link()).unwrap(), Path::new(".worktrees").join(&commit), "a push is as usual");
    }
    eventually(PATIENCE, || !names(&site).iter().any(|name| name.starts_with(".beside-") || name.starts_with(".old-")))
        .await;
    eventually(PATIENCE, || site.trees() == 1).await;
}

fn names(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.root().join(".worktrees")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn git_works_inside_a_tree_that_was_replaced_without_an_exchange() {
    let mut site = Site::new();
    site.set("worktree-git", "true");
    let Some(_volume) = odd(&site, Lacks { exchange: true, ..Lacks::default() }) else { return };
    site.repo.push_file("file", "content", "a file to damage");
    assert_eq!(once(&site).await.0, 0);
    fs::write(site.link().join("file"), "CONTENT").unwrap();
    assert_eq!(once(&site).await.0, 0);
    let git = |words: &[&str]| {
        let run = Command::new("git").arg("-C").arg(site.link()).args(["-c", "safe.directory=*"]).args(words).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{words:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(git(&["rev-parse", "HEAD"]), site.repo.head());
    assert_eq!(git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn modes_that_the_volume_decides_on_are_no_damage() {
    let fixed = Lacks { fixed_mode: Some(0o777), exchange: true, ..Lacks::default() };
    for lacks in [fixed, Lacks { chmod: true, ..fixed }] {
        let mut site = Site::new();
        let Some(_volume) = odd(&site, lacks) else { return };
        site.repo.write("program", "#!/bin/sh\n");
        site.repo.make_executable("program");
        site.repo.push_file("file", "content", "two files");
        site.start_in_sync().await;
        let before = tree(&site);
        for _ in 0..2 {
            restart(&mut site).await;
            assert_eq!(tree(&site), before, "{lacks:?}: it was rebuilt");
        }
        for number in 0..3 {
            let commit = site.push_and_ring("file", &number.to_string()).await;
            site.wait_published(&commit).await;
            site.assert_whole(&commit);
        }
        assert_no_repair(&site).await;
        let log = site.sidecar().log();
        let said = log.iter().filter(|line| line.contains("does not keep permission bits")).count();
        assert_eq!(said, 1, "{log:?}");
        site.sidecar().kill();
        let before = tree(&site);
        assert_eq!(once(&site).await.0, 0);
        assert_eq!(tree(&site), before);
    }
}

/// What the kubelet does with `fsGroup` and without `fsGroupChangePolicy`, at each start of a pod.
fn fs_group_pass(path: &Path) {
    let stat = fs::symlink_metadata(path).unwrap();
    std::os::unix::fs::lchown(path, None, Some(4242)).unwrap();
    if stat.is_symlink() {
        return;
    }
    let mask = if stat.is_dir() { 0o2770 } else { 0o660 };
    fs::set_permissions(path, fs::Permissions::from_mode(stat.permissions().mode() & 0o7777 | mask)).unwrap();
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            fs_group_pass(&entry.unwrap().path());
        }
    }
}

#[tokio::test]
async fn the_pass_of_the_kubelet_for_fs_group_is_no_damage() {
    if !rustix::process::geteuid().is_root() {
        return skip("to be root, who may give files to any group");
    }
    let mut site = Site::new();
    site.repo.push_file("folder/file", "content", "a file");
    site.start_in_sync().await;
    let before = tree(&site);
    for _ in 0..2 {
        site.sidecar().terminate();
        site.sidecar().exited(PATIENCE).await;
        fs_group_pass(&site.root());
        restart_after_end(&mut site).await;
        assert_eq!(tree(&site), before, "it was rebuilt");
    }
    for number in 0..3 {
        let commit = site.push_and_ring("folder/file", &number.to_string()).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
    }
    assert_no_repair(&site).await;
    site.sidecar().kill();
    fs_group_pass(&site.root());
    let before = tree(&site);
    let (code, log) = once(&site).await;
    assert_eq!((code, tree(&site)), (0, before), "{log}");
}

async fn restart_after_end(site: &mut Site) {
    site.start().await;
    let head = site.repo.head();
    site.wait_published(&head).await;
    // The comparison with the commit is behind it then.
    let next = site.push_and_ring("beside", &fastrand::u64(..).to_string()).await;
    site.wait_published(&next).await;
    let back = site.repo.git(&["rev-parse", "HEAD~1"]);
    assert_eq!(back, head);
    site.repo.git(&["reset", "-q", "--hard", &back]);
    site.repo.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    assert_eq!(site.ring(&next, &back).await.status, 202);
    site.wait_published(&back).await;
}

#[tokio::test]
async fn a_volume_without_locks_is_used_and_told_once() {
    let mut site = Site::new();
    let Some(_volume) = odd(&site, Lacks { flock: true, ..Lacks::default() }) else { return };
    site.start_in_sync().await;
    for number in 0..3 {
        let commit = site.push_and_ring("file", &number.to_string()).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
    }
    let log = site.sidecar().log();
    assert_eq!(log.iter().filter(|line| line.contains("has no file locks")).count(), 1, "{log:?}");
    assert_no_repair(&site).await;
}

#[tokio::test]
async fn folders_that_cannot_be_flushed_fail_nothing() {
    for durability in ["normal", "full"] {
        let mut site = Site::new();
        site.set("durability", durability).set("stale-worktree-timeout", "200ms").set("git-gc", "always");
        let Some(_volume) = odd(&site, Lacks { fsync_on_folders: true, ..Lacks::default() }) else { return };
        works(&mut site).await;
    }
}

/// Pushes, pauses, and waits until old trees are gone; no warning may be left in the log.
async fn works(site: &mut Site) {
    site.start_in_sync().await;
    for number in 0..3 {
        let commit = site.push_and_ring("file", &number.to_string()).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
    }
    assert_eq!(site.post("pause", &serde_json::json!({"minutes": 1})).await.0, 202);
    assert_eq!(site.post("resume", &serde_json::json!({})).await.0, 202);
    eventually(PATIENCE, || site.trees() == 1).await;
    let log = site.sidecar().log();
    assert!(!log.iter().any(|line| line.contains("\"WARN\"") || line.contains("\"warn\"")), "{}", log.join("\n"));
    assert_no_repair(site).await;
}

/// A program that starts another one for which some system calls are refused (seccomp(2)).
pub(super) fn refusing(site: &Site, call: &str, errno: &str) -> Option<PathBuf> {
    let (source, program) = (site.path("refuse.c"), site.path("refuse"));
    let code = REFUSE.replace("@CALL@", call).replace("@ERRNO@", errno);
    fs::write(&source, code).unwrap();
    let built = Command::new("cc").arg("-o").arg(&program).arg(&source).output();
    if built.as_ref().is_ok_and(|built| built.status.success()) {
        return Some(program);
    }
    let said = built.map(|built| String::from_utf8_lossy(&built.stderr).into_owned());
    assert!(said.is_err(), "cc is there and refuses the program: {said:?}");
    skip("a C compiler (cc)");
    None
}

const REFUSE: &str = r"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **words) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_@CALL@, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | @ERRNO@),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 99;
    execv(words[1], words + 1);
    return 98;
}
";

#[tokio::test]
async fn a_syncfs_that_is_missing_or_forbidden_fails_nothing() {
    for (errno, durability) in [("ENOSYS", "normal"), ("EPERM", "normal"), ("EPERM", "full")] {
        let mut site = Site::new();
        site.set("durability", durability).set("stale-worktree-timeout", "200ms").set("verbose", "5");
        (0..100).for_each(|file| site.repo.write(&format!("many/{file}"), "x"));
        site.repo.push_file("file", "first", "more files than are flushed one by one");
        let Some(program) = refusing(&site, "syncfs", errno) else { return };
        let mut command = Command::new(program);
        command.arg(env!("CARGO_BIN_EXE_pushsync")).args(site.arguments());
        site.started(Sidecar::spawn(command)).await;
        let head = site.repo.head();
        site.wait_published(&head).await;
        for number in 0..3 {
            let commit = site.push_and_ring("file", &number.to_string()).await;
            site.wait_published(&commit).await;
            site.assert_whole(&commit);
        }
        let old = Instant::now() + PATIENCE;
        while site.trees() > 1 {
            let log = site.sidecar().log();
            assert!(Instant::now() < old, "{errno}, {durability}: {:?}\n{}", names(&site), log.join("\n"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = site.sidecar().log();
        assert!(!log.iter().any(|line| line.contains("could not") || line.contains("cannot")), "{}", log.join("\n"));
        site.assert_whole(&site.repo.head());
    }
}

#[tokio::test]
async fn a_volume_without_symbolic_links_is_told_as_what_it_is() {
    let mut site = Site::new();
    let Some(_volume) = odd(&site, Lacks { symlinks: true, ..Lacks::default() }) else { return };
    site.start().await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    let error = record.error.unwrap();
    assert_eq!(error.kind, "no_symlinks", "{error:?}");
    assert!(error.hint.is_some_and(|hint| hint.contains("symbolic links")));
    assert!(site.sidecar().is_running());
}

#[tokio::test]
async fn a_volume_without_shared_maps_is_told_as_what_it_is() {
    let mut site = Site::new();
    let Some(_volume) = odd(&site, Lacks { shared_maps: true, ..Lacks::default() }) else { return };
    site.start().await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    let error = record.error.unwrap();
    assert_eq!(error.kind, "no_shared_maps", "{error:?}");
    assert!(error.hint.is_some_and(|hint| hint.contains("cache=")));
}

#[tokio::test]
async fn readers_get_into_a_worktrees_folder_whose_mode_was_narrowed() {
    let mut site = Site::new();
    site.start_in_sync().await;
    site.sidecar().kill();
    let trees = site.root().join(".worktrees");
    fs::set_permissions(&trees, fs::Permissions::from_mode(0o700)).unwrap();
    site.start_in_sync().await;
    eventually(PATIENCE, || fs::metadata(&trees).unwrap().permissions().mode() & 0o777 == 0o755).await;
}

/// A spec of git-sync v3 without `--root` publishes where no other container looks.
#[tokio::test]
async fn a_root_that_is_on_no_volume_is_warned_of_once_with_the_volumes_that_there_are() {
    let mut site = Site::new();
    let Some(_volume) = Tmpfs::mount(&site.path("volume"), "size=1m") else { return };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let above = |line: &str| line.split(' ').nth(4).is_some_and(|at| at != "/" && site.folder.path().starts_with(at));
    if mounts.lines().any(above) {
        return skip("a folder for temporary files (TMPDIR) on the root file system");
    }
    let sidecar = Sidecar::start_with(site.arguments(), &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
    site.started(sidecar).await;
    site.wait_published(&site.repo.head()).await;
    let volume = site.path("volume").display().to_string();
    let log = site.sidecar().log();
    let told: Vec<_> = log.iter().filter(|line| line.contains("is on no volume")).collect();
    assert!(told.len() == 1 && told[0].contains(&volume), "{told:?}");
}

#[tokio::test]
async fn trees_whose_link_could_not_be_set_and_names_of_others_go_with_a_sweep() {
    let mut site = Site::new();
    site.set("stale-worktree-timeout", "300ms").set("period", "500ms");
    site.start_in_sync().await;
    let first = site.repo.head();
    fs::remove_file(site.link()).unwrap();
    eventually(PATIENCE, || {
        let _ = fs::remove_file(site.link());
        fs::write(site.link(), "somebody's").is_ok()
    })
    .await;
    let mut before = first.clone();
    for number in 0..4 {
        let after = site.repo.push_file("file", number.to_string(), "a change");
        assert_eq!(site.ring(&before, &after).await.status, 202);
        site.wait_record(|record| record.new.as_deref() == Some(&after) && record.error.is_some()).await;
        before = after;
    }
    // The last one is tried again by each poll.
    eventually(PATIENCE, || site.trees() <= 1).await;
    let trees = site.root().join(".worktrees");
    fs::write(trees.join("a-file"), "x").unwrap();
    fs::create_dir_all(trees.join("a-folder/inner")).unwrap();
    fs::write(trees.join("0123456789012345678901234567890123456789"), "x").unwrap();
    fs::remove_file(site.link()).unwrap();
    site.wait_published(&before).await;
    let last = site.push_and_ring("file", "last").await;
    site.wait_published(&last).await;
    eventually(PATIENCE, || {
        names(&site).iter().all(|name| *name == last || name.starts_with(".spare-") || name.starts_with(".standby-"))
    })
    .await;
    assert_eq!(published(&site.link()), Some(last));
}

/// Makes a file that cannot be removed; undone when dropped. `None`: not here.
struct Immutable(PathBuf);

impl Immutable {
    fn make(path: PathBuf) -> Option<Self> {
        let made = Command::new("chattr").arg("+i").arg(&path).output();
        if made.as_ref().is_ok_and(|made| made.status.success()) {
            return Some(Self(path));
        }
        skip("chattr +i on the volume's file system, and to be root");
        None
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let name = self.0.file_name().unwrap().to_owned();
        // It was renamed with its tree.
        let found =
            Command::new("find").arg(self.0.ancestors().nth(2).unwrap()).arg("-name").arg(name).output().unwrap();
        for path in String::from_utf8_lossy(&found.stdout).lines() {
            let _ = Command::new("chattr").args(["-i", path]).status();
        }
    }
}

#[tokio::test]
async fn one_file_that_cannot_be_removed_keeps_nothing_else_and_is_told_once() {
    let mut site = Site::new();
    site.set("stale-worktree-timeout", "300ms").set("spare-trees", "0");
    for file in 0..40 {
        site.repo.write(&format!("d{}/f{file}", file % 4), "x".repeat(1000));
    }
    site.repo.push_file("file", "first", "40 files");
    site.start_in_sync().await;
    assert!(site.link().join("d1/f5").exists());
    let Some(_immutable) = Immutable::make(site.link().canonicalize().unwrap().join("d1/f5")) else { return };
    for number in 0..4 {
        let commit = site.push_and_ring("file", &number.to_string()).await;
        site.wait_published(&commit).await;
        // Until the grace of the replaced tree is over.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let left = || {
        let mut find = Command::new("find");
        let found = find.arg(site.root().join(".worktrees")).args(["-path", "*/.trash-*", "-type", "f"]).output();
        let found = found.unwrap();
        String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually(PATIENCE, || left().len() == 1 && site.trees() == 1).await;
    assert!(left()[0].ends_with("/d1/f5"), "{:?}", left());
    let log = site.sidecar().log();
    let told: Vec<_> = log.iter().filter(|line| line.contains("could not be removed")).collect();
    assert!(told.len() == 1 && told[0].contains("d1/f5"), "{told:?}");
}
