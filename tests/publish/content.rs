//! What is published is what git would have checked out, byte for byte.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Instant;

use pushsync::publish::{Built, Verdict};
use pushsync::worker::Cancel;

use super::fixture::{Site, listing};

/// A bit of everything.
fn varied() -> Site {
    let site = Site::new();
    site.write("index.html", "<h1>hello</h1>\n");
    site.write("empty", "");
    site.write("a/b/c/deep.txt", "deep");
    site.write("a.txt", "sorts between a and a/");
    site.write("bin/run", "#!/bin/sh\n");
    site.write("crlf", "one\r\ntwo\r\n$Id$\n");
    site.write(".gitattributes", "crlf text eol=lf ident\n");
    site.write(".gitmodules", "[submodule \"m\"]\n\tpath = sub/module\n\turl = https://git.test/m.git\n");
    site.write("na\u{ef}ve \u{1f980}/with space\nand newline", "x");
    site.write("large", vec![0xa5; 9 * 1024 * 1024]);
    fs::set_permissions(site.work().join("bin/run"), fs::Permissions::from_mode(0o777)).unwrap();
    for (target, name) in
        [("index.html", "inside"), ("../../../etc/passwd", "outside"), ("/etc", "absolute"), ("nowhere", "dangling")]
    {
        symlink(target, site.work().join(name)).unwrap();
    }
    site.git(&["add", "-A"]);
    site.git(&["update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,sub/module"]);
    site.git(&["commit", "-q", "-m", "x"]);
    site
}

fn head(site: &Site) -> git2::Oid {
    git2::Oid::from_str(&site.git(&["rev-parse", "HEAD"])).unwrap()
}

#[test]
fn a_tree_is_what_git_archive_unpacks_whatever_the_umask() {
    let site = varied();
    let commit = head(&site);
    let expected = site.path().join("expected");
    fs::create_dir(&expected).unwrap();
    let mut archive = Command::new("git")
        .args(["-c", "tar.umask=0022", "archive", "--format=tar", &commit.to_string()])
        .current_dir(site.work())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let unpacked =
        Command::new("tar").args(["xp", "-C"]).arg(&expected).stdin(archive.stdout.take().unwrap()).status().unwrap();
    assert!(unpacked.success() && archive.wait().unwrap().success());

    let volume = site.volume();
    let before = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let built = volume.build(&site.store(), commit, &Cancel::default());
    rustix::process::umask(before);
    let built = built.unwrap();

    let expected = listing(&expected);
    assert_eq!(listing(&site.tree_path(commit)), expected);
    let files: Vec<_> = expected.values().filter(|(mode, _)| mode & 0o170_000 != 0o040_000).collect();
    let bytes = files.iter().map(|(_, content)| content.len() as u64).sum();
    assert_eq!(
        built,
        Built { commit, files: files.len() as u64, bytes, standby: None, note: None, remarks: Vec::new() }
    );
    assert!(expected.len() > 15, "the fixture holds what it should: {:?}", expected.keys());
    assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
}

#[test]
fn packed_objects_give_the_same_tree() {
    let site = varied();
    let commit = head(&site);
    site.git(&["repack", "-adq"]);
    let volume = site.volume();
    site.put(&volume, commit);
    assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
    assert_eq!(fs::read(site.root().join("current/index.html")).unwrap(), b"<h1>hello</h1>\n");
}

#[test]
fn a_folder_group_of_the_volume_is_inherited_and_no_difference() {
    let site = varied();
    let commit = head(&site);
    fs::create_dir(site.root()).unwrap();
    std::os::unix::fs::chown(site.root(), None, Some(rustix::process::getgid().as_raw())).unwrap();
    fs::set_permissions(site.root(), fs::Permissions::from_mode(0o2777)).unwrap();
    let volume = site.volume();
    site.put(&volume, commit);
    assert_eq!(fs::metadata(site.tree_path(commit).join("a/b")).unwrap().mode() & 0o7777, 0o2755);
    assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
    assert_eq!(fs::metadata(site.root()).unwrap().mode() & 0o7777, 0o2777, "a root that exists keeps its mode");
}

#[test]
fn a_tree_that_is_there_is_used_as_it_is() {
    let site = varied();
    let commit = head(&site);
    let volume = site.volume();
    site.put(&volume, commit);
    let inode = fs::metadata(site.tree_path(commit)).unwrap().ino();
    let again = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
    assert_eq!(again, Built { commit, files: 0, bytes: 0, standby: None, note: None, remarks: Vec::new() });
    assert_eq!(fs::metadata(site.tree_path(commit)).unwrap().ino(), inode);
}

#[test]
fn an_empty_commit_is_an_empty_tree() {
    let site = Site::new();
    let commit = site.commit();
    let volume = site.volume();
    site.put(&volume, commit);
    assert!(listing(&site.tree_path(commit)).is_empty());
    assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
}

/// Also prints how long twenty thousand files take, beside `git worktree add`; a shared machine is no place to assert it.
#[test]
fn twenty_thousand_files() {
    let site = Site::new();
    for folder in 0..200 {
        for file in 0..100 {
            site.write(&format!("{folder:03}/{file:03}.txt"), format!("{folder} {file}\n").repeat(20));
        }
    }
    let commit = site.commit();
    site.git(&["repack", "-adq"]);
    let volume = site.volume();
    let start = Instant::now();
    let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
    let ours = start.elapsed();
    assert_eq!(built.files, 20_000);
    let start = Instant::now();
    assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
    let verified = start.elapsed();
    let start = Instant::now();
    site.git(&["worktree", "add", "-q", "--detach", "../worktree"]);
    println!("20,000 files: build {ours:?} with syncfs, verify {verified:?}, git worktree add {:?}", start.elapsed());
    let (store, trees) = volume.usage(|| true).unwrap();
    assert_eq!(store, 0, "the fixture's store is elsewhere");
    assert!(trees > built.bytes, "{trees} bytes in blocks for {} bytes of content", built.bytes);
}
