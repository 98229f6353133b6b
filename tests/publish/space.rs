//! Volumes that are full, out of inodes or read-only: a clear word, the tree before stays, and recovery without a restart.

use std::fs;

use pushsync::publish::{CheckoutOptions, Durability, Live, Verdict, Volume, VolumeOptions};
use pushsync::worker::Cancel;

use super::fixture::{LONG, Mount, Site, listing};

#[test]
fn a_full_disk() {
    let site = Site::new();
    let Some(_mount) = Mount::tmpfs(&site.root(), "size=1m,mode=0755") else { return };
    let volume = site.volume();
    let small = site.commit_file("small", "1");
    site.put(&volume, small);
    let before = listing(&site.root());
    site.write("large", vec![7; 3 * 1024 * 1024]);
    let large = site.commit();
    let error = volume.build(&site.store(), large, &Cancel::default()).unwrap_err();
    assert_eq!(error.kind().as_str(), "disk_full", "{error}");
    assert!(error.to_string().contains("write large: "), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(listing(&site.root()), before, "what was half written is gone");
    assert_eq!(volume.verify(&site.store(), small, &Cancel::default()).unwrap(), Verdict::Whole);
    fs::remove_file(site.work().join("large")).unwrap();
    let third = site.commit_file("third", "3");
    site.put(&volume, third);
    assert_eq!(fs::read(site.root().join("current/third")).unwrap(), b"3");
}

/// What is used of a file system, in bytes, once it is written.
fn used(path: &std::path::Path) -> u64 {
    rustix::fs::syncfs(fs::File::open(path).unwrap()).unwrap();
    let state = rustix::fs::statvfs(path).unwrap();
    (state.f_blocks - state.f_bfree) * state.f_frsize
}

#[test]
fn a_spare_shares_its_content_with_the_live_tree_where_there_are_reflinks() {
    let site = Site::new();
    let Some(_mount) = Mount::btrfs(&site.root(), &site.path().join("image")) else { return };
    let volume = site.volume();
    let mut random = fastrand::Rng::with_seed(9);
    for file in 0..20 {
        let mut content = vec![0; 1 << 20];
        random.fill(&mut content);
        site.write(&format!("d{}/f{file}", file % 3), &content);
    }
    let commit = site.commit();
    site.put(&volume, commit);
    // A file that somebody touched is written instead, whatever is in it.
    let edited = site.tree_path(commit).join("d0/f0");
    let before = used(&site.root());
    let content = fs::read(&edited).unwrap();
    fs::write(&edited, b"edited by hand").unwrap();
    volume.prepare(&site.store(), &[], &Cancel::default()).unwrap();
    let spare = site.worktrees().into_iter().find(|name| name.starts_with(".spare-")).expect("a spare was made");
    let more = used(&site.root()).saturating_sub(before);
    assert!(more < 8 << 20, "a second tree of 20 MiB took {more} bytes");
    let spare = site.root().join(".worktrees").join(spare);
    assert!(fs::read(spare.join("d0/f0")).unwrap() == content);
    fs::write(&edited, &content).unwrap();
    // The next push works on the spare alone: what readers have does not change with it.
    let next = site.commit_file("d1/f1", "next");
    site.put(&volume, next);
    for commit in [commit, next] {
        assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
    }
}

#[test]
fn no_inodes() {
    let site = Site::new();
    let Some(_mount) = Mount::tmpfs(&site.root(), "size=10m,nr_inodes=60,mode=0755") else { return };
    let volume = site.volume();
    let small = site.commit_file("small", "1");
    site.put(&volume, small);
    for n in 0..200 {
        site.write(&format!("many/{n}"), "x");
    }
    let error = volume.build(&site.store(), site.commit(), &Cancel::default()).unwrap_err();
    assert_eq!(error.kind().as_str(), "no_inodes", "{error}");
    assert!(error.hint().is_some());
    assert_eq!(site.worktrees(), [small.to_string()]);
    assert_eq!(volume.live().unwrap(), Live::Tree(small));
}

#[test]
fn a_volume_that_becomes_read_only_and_writable_again() {
    let site = Site::new();
    let Some(mount) = Mount::tmpfs(&site.root(), "size=1m,mode=0755") else { return };
    let volume = site.volume();
    let first = site.commit_file("file", "1");
    site.put(&volume, first);
    // Remounting needs that nobody holds a file open for writing, as the lock is.
    drop(volume);
    let second = site.commit_file("file", "2");
    mount.remount("ro");
    let options = || VolumeOptions {
        root: site.root(),
        link: "current".into(),
        grace: LONG,
        standby_trees: 1,
        checkout: CheckoutOptions::default(),
        durability: Durability::default(),
    };
    let error = Volume::open(options()).unwrap_err();
    assert_eq!(error.kind().as_str(), "read_only", "{error}");
    assert!(error.hint().is_some());
    assert_eq!(fs::read(site.root().join("current/file")).unwrap(), b"1");
    mount.remount("rw");
    let volume = Volume::open(options()).unwrap();
    site.put(&volume, second);
    assert_eq!(fs::read(site.root().join("current/file")).unwrap(), b"2");
}

#[test]
fn a_link_on_a_read_only_volume_leaves_the_tree_and_says_so() {
    let site = Site::new();
    let www = site.path().join("www");
    let Some(mount) = Mount::tmpfs(&www, "size=1m,mode=0755") else { return };
    let volume = site.volume_with(www.join("site"), LONG);
    let first = site.commit_file("file", "1");
    let second = site.commit_file("file", "2");
    site.put(&volume, first);
    mount.remount("ro");
    volume.build(&site.store(), second, &Cancel::default()).unwrap();
    let error = volume.publish(second).unwrap_err();
    assert_eq!(error.kind().as_str(), "read_only", "{error}");
    assert_eq!(volume.live().unwrap(), Live::Tree(first));
    mount.remount("rw");
    volume.publish(second).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Tree(second));
}
