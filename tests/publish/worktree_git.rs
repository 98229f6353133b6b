//! `--worktree-git`: git works inside a published tree, wherever the volume is mounted, and nothing else changes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use git2::Oid;
use pushsync::publish::{CheckoutOptions, Prepared, Verdict, Volume};
use pushsync::worker::Cancel;

use super::checkout::git;
use super::fixture::{LONG, Site, listing, names};

fn volume(site: &Site, grace: Duration) -> Volume {
    let volume = site.volume_of(CheckoutOptions { worktree_git: true, ..CheckoutOptions::default() }, grace);
    if !volume.store().exists() {
        git(site, &site.path(), &["clone", "--quiet", "--bare", "work", volume.store().to_str().unwrap()]);
    }
    volume
}

/// Commits and brings the commit to the volume's own store, as a fetch would.
fn push(site: &Site, volume: &Volume, path: &str, content: &str) -> Oid {
    let commit = site.commit_file(path, content);
    git(
        site,
        &volume.store(),
        &["fetch", "--quiet", site.work().to_str().unwrap(), "+refs/heads/main:refs/heads/main"],
    );
    commit
}

fn put(volume: &Volume, commit: Oid) -> pushsync::publish::Built {
    let built = volume.build(&volume.store(), commit, &Cancel::default()).unwrap();
    volume.publish(commit).unwrap();
    built
}

fn is_at(site: &Site, root: &Path, commit: Oid, commits: usize) {
    let tree = root.join("current");
    assert_eq!(git(site, &tree, &["rev-parse", "HEAD"]), commit.to_string());
    assert_eq!(git(site, &tree, &["status", "--porcelain"]), "");
    assert_eq!(git(site, &tree, &["log", "--format=%H"]).lines().count(), commits);
    assert_eq!(git(site, &tree, &["archive", "--format=tar", "-o", "/dev/null", "HEAD"]), "");
    assert_eq!(git(site, &tree, &["rev-parse", "--show-toplevel"]), fs::canonicalize(&tree).unwrap().to_str().unwrap());
}

#[test]
fn git_works_in_fresh_trees_and_in_those_that_are_brought_along_also_elsewhere() {
    let site = Site::new();
    site.write(".gitattributes", "*.txt eol=crlf ident\n");
    site.write("a.txt", "$Id$\none\n");
    site.write("folder/file", "one");
    site.commit();
    let volume = volume(&site, LONG);
    let first = push(&site, &volume, "folder/file", "first");
    put(&volume, first);
    is_at(&site, &site.root(), first, 2);
    assert_eq!(volume.prepare(&volume.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));

    let second = push(&site, &volume, "folder/file", "second");
    let built = put(&volume, second);
    assert_eq!((built.files, built.standby), (1, Some(first)), "only the file that differs, and .git");
    is_at(&site, &site.root(), second, 3);
    assert_eq!(volume.verify(&volume.store(), second, &Cancel::default()).unwrap(), Verdict::Whole);
    // The tree before still stands for its readers, with a git of its own.
    assert_eq!(git(&site, &site.tree_path(first), &["rev-parse", "HEAD"]), first.to_string());
    // What follows the publish looks at the tree as a whole, and makes the next spare, which has no .git.
    assert_eq!(volume.prepare(&volume.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
    let spare = site.worktrees().into_iter().find(|name| name.starts_with(".spare-")).unwrap();
    assert!(!site.root().join(".worktrees").join(spare).join(".git").exists());

    // git's own housekeeping does not take it away.
    git(&site, &volume.store(), &["worktree", "prune", "--expire", "now"]);
    git(&site, &volume.store(), &["gc", "--quiet", "--prune=now"]);
    is_at(&site, &site.root(), second, 3);
    // Mounted elsewhere.
    let elsewhere = site.path().join("elsewhere");
    fs::rename(site.root(), &elsewhere).unwrap();
    is_at(&site, &elsewhere, second, 3);
}

#[test]
fn what_a_killed_process_left_stands_in_gits_way_no_longer_than_to_the_next_start() {
    let site = Site::new();
    site.write("a", "one");
    site.commit();
    let first = {
        let volume = volume(&site, LONG);
        let first = push(&site, &volume, "a", "first");
        put(&volume, first);
        let inside = volume.store().join(format!("worktrees/{first}"));
        // libgit2 links the index to its place before it removes the lock.
        fs::hard_link(inside.join("index"), inside.join("index.lock")).unwrap();
        fs::write(inside.join("HEAD.new"), "half").unwrap();
        first
    };
    let volume = volume(&site, LONG);
    let inside = volume.store().join(format!("worktrees/{first}"));
    assert_eq!(names(&inside), ["HEAD", "commondir", "gitdir", "index", "locked"]);
    assert_eq!(volume.verify(&volume.store(), first, &Cancel::default()).unwrap(), Verdict::Whole);
    is_at(&site, &site.root(), first, 2);
    // git takes the lock for this.
    git(&site, &site.tree_path(first), &["update-index", "--really-refresh"]);
}

#[test]
fn files_that_are_left_out_are_no_changes() {
    let site = Site::new();
    site.write("in/a", "a");
    site.write("out/b", "b");
    site.commit();
    let patterns = site.path().join("patterns");
    fs::write(&patterns, "/in/\n").unwrap();
    let shape = CheckoutOptions { worktree_git: true, sparse_file: Some(patterns), ..CheckoutOptions::default() };
    let volume = site.volume_of(shape, LONG);
    git(&site, &site.path(), &["clone", "--quiet", "--bare", "work", volume.store().to_str().unwrap()]);
    let commit = push(&site, &volume, "in/a", "again");
    put(&volume, commit);
    is_at(&site, &site.root(), commit, 2);
    assert_eq!(names(&site.tree_path(commit)), [".git", "in"]);
    assert_eq!(git(&site, &site.tree_path(commit), &["ls-files", "-t"]), "H in/a\nS out/b");
}

#[test]
fn exactly_this_file_is_accepted_and_it_goes_with_its_tree() {
    let site = Site::new();
    site.write("a", "one");
    site.commit();
    let volume = volume(&site, Duration::ZERO);
    let first = push(&site, &volume, "a", "two");
    put(&volume, first);
    let file = site.tree_path(first).join(".git");
    let good = fs::read(&file).unwrap();
    for bad in [&b""[..], b"gitdir: /etc\n", &[&good[..], b"x"].concat(), &good.to_ascii_uppercase()] {
        fs::write(&file, bad).unwrap();
        let verdict = volume.verify(&volume.store(), first, &Cancel::default()).unwrap();
        assert!(matches!(&verdict, Verdict::Differs(how) if how.contains(".git")), "{verdict:?}");
    }
    fs::write(&file, &good).unwrap();
    assert_eq!(volume.verify(&volume.store(), first, &Cancel::default()).unwrap(), Verdict::Whole);
    let inside = volume.store().join("worktrees");
    assert_eq!(names(&inside), [first.to_string()]);
    // What it leads to is lost: the next build makes it again.
    fs::remove_dir_all(&inside).unwrap();
    assert_ne!(volume.verify(&volume.store(), first, &Cancel::default()).unwrap(), Verdict::Whole);
    put(&volume, first);
    is_at(&site, &site.root(), first, 2);

    let second = push(&site, &volume, "a", "three");
    put(&volume, second);
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(names(&inside), [second.to_string()], "nothing of a tree that is gone stays");
    drop(volume);

    // Without the flag the file is not ours, and what it led to goes.
    let plain = site.volume();
    assert_ne!(plain.verify(&plain.store(), second, &Cancel::default()).unwrap(), Verdict::Whole);
    plain.build(&plain.store(), second, &Cancel::default()).unwrap();
    assert_eq!(listing(&site.tree_path(second)).len(), 1);
}
