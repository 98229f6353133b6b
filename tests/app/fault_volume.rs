//! The rows of the fault matrix about the volume: somebody puts something in our place, takes a permission, takes the volume.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::fault_matrix::{newest, told};
use super::faults::{Tmpfs, survives};
use super::site::{Site, published};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, copy_program, eventually, skip};

#[tokio::test]
async fn a_file_or_a_full_folder_in_the_place_of_the_link_is_left_alone_and_told() {
    for folder in [false, true] {
        let mut site = Site::new();
        site.set("period", "500ms");
        site.start_in_sync().await;
        let before = site.repo.head();
        let last = newest(&site.history().await);
        fs::remove_file(site.link()).unwrap();
        // The poll may be quicker with a new link than we are with a folder.
        eventually(PATIENCE, || {
            let _ = fs::remove_file(site.link());
            if folder { fs::create_dir(site.link()).is_ok() } else { fs::write(site.link(), "mine").is_ok() }
        })
        .await;
        let mine = if folder { site.link().join("mine") } else { site.link() };
        fs::write(&mine, "mine").unwrap();
        let after = site.repo.push_file("a", "2", "a change");
        assert_eq!(site.ring(&before, &after).await.status, 202);
        let record = site
            .wait_record(|record| {
                record.id.parse::<u64>().unwrap() > last
                    && record.error.as_ref().is_some_and(|error| error.kind == "foreign_link")
            })
            .await;
        assert!(record.error.expect("told").hint.is_some());
        assert!(site.sidecar().is_running());
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
        // Kept beside: whoever put it there can have it back.
        fs::rename(site.link(), site.path("elsewhere")).unwrap();
        site.wait_published(&after).await;
        site.assert_whole(&after);
        let kept = if folder { site.path("elsewhere/mine") } else { site.path("elsewhere") };
        assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
    }
}

#[tokio::test]
async fn a_volume_that_is_swapped_for_an_empty_one_is_filled_and_the_old_one_is_left_alone() {
    let mut site = Site::new();
    site.set("period", "300ms");
    site.start_in_sync().await;
    let first = site.repo.head();
    site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
    let old = site.path("old-volume");
    fs::rename(site.root(), &old).unwrap();
    fs::create_dir(site.root()).unwrap();
    site.wait_published(&first).await;
    let second = site.push_and_ring("a", "2").await;
    site.wait_published(&second).await;
    site.assert_whole(&second);
    assert_eq!(published(&old.join("current")), Some(first));
    assert!(!old.join(".worktrees").join(&second).exists());
}

#[tokio::test]
async fn a_volume_without_free_inodes_is_told_and_survived() {
    let mut site = Site::new();
    site.set("period", "2s").set("spare-trees", "0");
    let Some(_volume) = Tmpfs::mount(&site.root(), "size=32m,nr_inodes=120") else { return };
    site.start_in_sync().await;
    let root = site.root();
    let many = |site: &Site| (0..200).for_each(|file| site.repo.write(&format!("many/{file}"), "x"));
    let more = |_: &Site| {
        let more = Command::new("mount").args(["-o", "remount,nr_inodes=5000"]).arg(&root).status();
        assert!(more.unwrap().success());
    };
    let record = survives(&mut site, &["no_inodes"], many, more).await;
    println!("{:?}", record.error);
}

/// A btrfs with quotas: the kernels at hand have no others.
struct Quota {
    root: PathBuf,
}

impl Quota {
    fn mount(site: &Site) -> Option<Self> {
        let (root, image) = (site.root(), site.path("image"));
        fs::create_dir_all(&root).unwrap();
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let run = |program: &str, words: &[&str], paths: &[&Path]| {
            let done =
                Command::new(program).args(words).args(paths).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
            done.is_ok_and(|done| done.status.success())
        };
        let mounted = run("mkfs.btrfs", &["-q"], &[&image]) && run("mount", &["-o", "loop"], &[&image, &root]);
        let quota = mounted.then(|| Self { root: root.clone() });
        if mounted && run("btrfs", &["quota", "enable"], &[&root]) {
            return quota;
        }
        skip("mkfs.btrfs, a kernel with btrfs, and to mount");
        None
    }

    fn set(&self, limit: &str) {
        let set = Command::new("btrfs").args(["qgroup", "limit", limit]).arg(&self.root).status();
        assert!(set.unwrap().success());
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.root).status();
    }
}

#[tokio::test]
async fn a_quota_that_is_reached_is_told_and_survived() {
    let mut site = Site::new();
    site.set("period", "2s").set("spare-trees", "0");
    let Some(quota) = Quota::mount(&site) else { return };
    site.start_in_sync().await;
    quota.set("4M");
    let noise = |length: usize| std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect::<Vec<u8>>();
    let record =
        survives(&mut site, &["quota"], |site| site.repo.write("large", noise(8 << 20)), |_| quota.set("none")).await;
    println!("{:?}: {:?}", record.phases, record.error);
}

/// Gives everything below a folder to a user.
pub(super) fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// Runs the program as a user to whom modes mean something. `None` where that cannot be.
fn unprivileged(site: &Site) -> Option<Sidecar> {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return Some(Sidecar::start(site.arguments()));
    }
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = site.path("pushsync");
    copy_program(&program);
    fs::create_dir_all(site.root()).unwrap();
    give(&site.root(), NOBODY);
    give(&site.path("secret"), NOBODY);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let allowed = Command::new("setpriv").args(["--reuid", "65534", "--clear-groups", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        skip("setpriv, to run as another user than root");
        return None;
    }
    Some(Sidecar::spawn({
        command.arg(program).args(site.arguments());
        command
    }))
}

#[tokio::test]
async fn a_permission_that_is_lost_is_told_and_survived() {
    for part in [".worktrees", ".pushsync/repo.git/objects/pack", ""] {
        let mut site = Site::new();
        site.set("period", "1s").set("spare-trees", "0");
        let Some(sidecar) = unprivileged(&site) else { return };
        site.started(sidecar).await;
        let before = site.repo.head();
        site.wait_published(&before).await;
        let last = newest(&site.history().await);
        let part = site.root().join(part);
        fs::set_permissions(&part, fs::Permissions::from_mode(0o555)).unwrap();
        let after = site.repo.push_file("a", "2", "a change");
        assert_eq!(site.ring(&before, &after).await.status, 202);
        let error = told(&mut site, last, &before).await.error.expect("told");
        println!("{}: {error:?}", part.display());
        assert!(["permission", "store_access"].contains(&error.kind.as_str()), "{error:?}");
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
        site.wait_published(&after).await;
        site.assert_whole(&after);
    }
}
