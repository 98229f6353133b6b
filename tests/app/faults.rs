//! Things that fail while the program runs: it stays, the old tree stays whole, the record says why and what to do, and
//! it recovers without a restart.

use std::fs;
use std::process::Command;

use pushsync::api::{Outcome, Record};

use super::site::{Site, assert_same};
use crate::support::git_http::Mode;
use crate::support::skip;

/// Breaks something, pushes and rings; expects a failure of this kind with a hint, an untouched tree, and recovery.
pub(super) async fn survives(
    site: &mut Site,
    kinds: &[&str],
    break_it: impl FnOnce(&Site),
    mend_it: impl FnOnce(&Site),
) -> Record {
    let before = site.repo.head();
    break_it(site);
    let after = site.repo.push_file("change", fastrand::u64(..).to_string(), "a change");
    assert_eq!(site.ring(&before, &after).await.status, 202);
    let record = site.wait_record(|record| record.outcome == Outcome::Failed).await;
    let error = record.error.clone().expect("a failure says why");
    assert!(kinds.contains(&error.kind.as_str()), "{error:?}");
    assert!(error.hint.is_some(), "{error:?}");
    assert!(site.sidecar().is_running());
    assert_eq!(site.published(), Some(before.clone()));
    assert_same(&site.link(), &site.repo, &before);
    assert_eq!(site.probe("/readyz").await.0, 200, "a failing remote must not take the site down");

    mend_it(site);
    site.wait_published(&after).await;
    site.assert_whole(&after);
    record
}

#[tokio::test]
async fn the_remote_goes_down_and_comes_back() {
    let mut site = Site::new();
    site.set("period", "2s");
    site.start_in_sync().await;
    survives(&mut site, &["network"], |site| site.remote.set(Mode::Refuse), |site| site.remote.set(Mode::Serve)).await;
}

#[tokio::test]
async fn the_remote_answers_nonsense_and_errors() {
    for mode in [Mode::Status(500), Mode::Garbage, Mode::CutAfter(40)] {
        let mut site = Site::new();
        site.set("period", "2s");
        site.start_in_sync().await;
        let record = survives(
            &mut site,
            &["network", "protocol", "server_error", "not_found"],
            |site| site.remote.set(mode.clone()),
            |site| site.remote.set(Mode::Serve),
        )
        .await;
        println!("{mode:?}: {:?}", record.error);
    }
}

#[tokio::test]
async fn a_remote_that_drips_or_hangs_is_given_up_at_the_deadline() {
    for mode in [Mode::Drip, Mode::Silent] {
        let mut site = Site::new();
        site.set("period", "2s").set("sync-timeout", "2s");
        site.start_in_sync().await;
        survives(&mut site, &["timeout"], |site| site.remote.set(mode.clone()), |site| site.remote.set(Mode::Serve))
            .await;
    }
}

#[tokio::test]
async fn a_rotated_password_is_read_again() {
    let mut site = Site::new();
    fs::write(site.path("password"), "the old password\n").unwrap();
    site.remote.require(Some(("ada", "the old password")));
    let password = site.path("password").display().to_string();
    site.set("period", "2s").set("username", "ada").set("password-file", &password);
    site.start_in_sync().await;
    let record = survives(
        &mut site,
        &["auth"],
        |site| site.remote.require(Some(("ada", "the new password"))),
        |site| fs::write(site.path("password"), "the new password\n").unwrap(),
    )
    .await;
    let told = format!("{record:?}{}", site.sidecar().log().join("\n"));
    assert!(!told.contains("the old password") && !told.contains("the new password"), "{told}");
}

#[tokio::test]
async fn the_branch_is_deleted_and_comes_back() {
    let mut site = Site::new();
    site.set("period", "2s");
    site.start_in_sync().await;
    let head = site.repo.head();
    site.repo.branch("other");
    site.repo.set_remote_head("refs/heads/other");
    site.repo.git(&["push", "-q", "origin", "other"]);
    site.repo.delete_remote("refs/heads/main");
    let answer = site.ring(&head, crate::support::delivery::NO_COMMIT).await;
    assert!(answer.status == 202 && answer.body.contains("deleted"), "{answer:?}");
    let record = site.wait_record(|record| record.outcome == Outcome::Failed).await;
    let error = record.error.expect("why");
    assert_eq!(error.kind, "ref_missing");
    assert!(error.message.contains("main") && error.hint.is_some(), "{error:?}");
    site.assert_whole(&head);
    let back = site.repo.push_file("back", "1", "back again");
    site.repo.git(&["push", "-q", "origin", "HEAD:refs/heads/main"]);
    site.wait_published(&back).await;
}

#[tokio::test]
async fn a_damaged_or_removed_store_is_fetched_anew() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let store = site.root().join(".pushsync/repo.git");
    fs::remove_dir_all(&store).unwrap();
    let second = site.push_and_ring("a", "2").await;
    site.wait_published(&second).await;
    for entry in fs::read_dir(store.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        fs::write(path, b"not a pack").unwrap();
    }
    let third = site.push_and_ring("a", "3").await;
    site.wait_published(&third).await;
    site.assert_whole(&third);
}

/// A small file system of its own; `None` where mounting is not allowed.
pub(super) struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    pub(super) fn mount(path: &std::path::Path, options: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).status();
        if !mounted.is_ok_and(|status| status.success()) {
            skip("to mount a tmpfs");
            return None;
        }
        Some(Self(path.to_owned()))
    }

    /// Makes every path below read-only. The kernel refuses that for a file system with open writers, so the same files are
    /// mounted over themselves: what a container sees when its volume comes back read-only.
    fn cover_read_only(&self) -> Cover {
        mount(&["--bind"], &[&self.0, &self.0]);
        mount(&["-o", "remount,ro,bind"], &[&self.0]);
        Cover(self.0.clone())
    }

    fn make_writable(&self) {
        mount(&["-o", "remount,rw"], &[&self.0]);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A read-only view over a path; ends when it is dropped.
struct Cover(std::path::PathBuf);

impl Drop for Cover {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

fn mount(options: &[&str], paths: &[&std::path::PathBuf]) {
    assert!(Command::new("mount").args(options).args(paths).status().unwrap().success(), "mount {options:?}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let mut site = Site::new();
    site.set("period", "2s");
    let Some(_volume) = Tmpfs::mount(&site.root(), "size=3m") else { return };
    site.start_in_sync().await;
    let filler = site.root().join("somebody-elses-file");
    let record = survives(
        &mut site,
        &["disk_full"],
        |site| {
            site.repo.write("big", "0123456789abcdef".repeat(1 << 15));
            let mut file = fs::File::create(&filler).unwrap();
            while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
        },
        |_| fs::remove_file(&filler).unwrap(),
    )
    .await;
    println!("{:?}", record.error);
}

#[tokio::test]
async fn a_volume_that_turns_read_only_is_told_and_survived() {
    let mut site = Site::new();
    site.set("period", "2s");
    let Some(volume) = Tmpfs::mount(&site.root(), "size=16m") else { return };
    site.start_in_sync().await;
    let cover = std::cell::Cell::new(None);
    let cover_it = |_: &Site| cover.set(Some(volume.cover_read_only()));
    let record = survives(&mut site, &["read_only"], cover_it, |_| drop(cover.take())).await;
    println!("{:?}", record.error);
}

#[tokio::test]
async fn a_volume_that_is_read_only_at_start_is_waited_for() {
    let mut site = Site::new();
    site.set("period", "1s");
    let Some(volume) = Tmpfs::mount(&site.root(), "size=16m,ro") else { return };
    site.start().await;
    let record = site.wait_record(|record| record.outcome == Outcome::Failed).await;
    let error = record.error.expect("why");
    assert_eq!(error.kind, "read_only");
    assert!(error.hint.is_some());
    assert_eq!(site.probe("/startupz").await.0, 503);
    assert_eq!(site.probe("/livez").await.0, 200);
    volume.make_writable();
    let head = site.repo.head();
    site.wait_published(&head).await;
    site.assert_whole(&head);
}
