//! The link, from the first publish to the last: what readers see, what stays, what goes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use git2::Oid;
use pushsync::publish::Live;
use pushsync::worker::Cancel;

use super::fixture::{LONG, Site, StopAtEnd, names, until};

#[test]
fn readers_of_resolved_trees_never_see_a_mixture() {
    const FILES: usize = 40;
    const PUBLISHES: usize = 200;
    let site = Site::new();
    let trees: Vec<Oid> = (0..PUBLISHES)
        .map(|n| {
            let blob = site.blob(format!("{n}").as_bytes());
            let names: Vec<String> = (0..FILES).map(|file| format!("f{file:02}")).collect();
            let lines: Vec<_> = names.iter().map(|name| ("100644", name.as_bytes(), blob)).collect();
            site.commit_of(site.tree(&lines))
        })
        .collect();
    let volume = site.volume();
    site.put(&volume, trees[0]);
    let (stop, walks) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let target = fs::read_link(site.root().join("current")).expect("there is always a link");
                    let tree = site.root().join(&target);
                    let expected =
                        trees.iter().position(|commit| target.ends_with(commit.to_string())).expect("a commit");
                    let files = names(&tree);
                    assert_eq!(files.len(), FILES, "{}", tree.display());
                    for file in files {
                        assert_eq!(fs::read_to_string(tree.join(file)).unwrap(), expected.to_string());
                    }
                    walks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for &commit in &trees {
            site.put(&volume, commit);
            assert_eq!(volume.live().unwrap(), Live::Tree(commit));
            volume.sweep(|_| false, || true).unwrap();
        }
        until("a reader to look", || walks.load(Ordering::Relaxed) > 2);
    });
    println!(
        "{} files read in {} walks during {PUBLISHES} publishes",
        walks.load(Ordering::Relaxed) * FILES as u64,
        walks.load(Ordering::Relaxed)
    );
    assert_eq!(names(&site.root()), [".pushsync", ".worktrees", "current"], "no temporary link is left");
    assert_eq!(volume.trees().unwrap().len(), PUBLISHES);
}

#[test]
fn the_link_may_stand_anywhere() {
    for place in ["current", "sub/folder/current", "ABSOLUTE/out/side/current", "ROOT/inside"] {
        let site = Site::new();
        let place = place.replace("ABSOLUTE", site.path().to_str().unwrap());
        let link = PathBuf::from(place.replace("ROOT", site.root().to_str().unwrap()));
        let volume = site.volume_with(&link, LONG);
        assert_eq!(volume.live().unwrap(), Live::Nothing);
        let commit = site.commit_file("file", "1");
        site.put(&volume, commit);
        let link = site.root().join(link);
        let target = fs::read_link(&link).unwrap();
        assert!(target.is_relative());
        assert_eq!(target.file_name().unwrap().to_str().unwrap(), commit.to_string());
        assert_eq!(fs::read(link.join("file")).unwrap(), b"1");
        assert_eq!(volume.live().unwrap(), Live::Tree(commit));
        assert_eq!(names(link.parent().unwrap()).iter().filter(|name| name.starts_with(".pushsync-link")).count(), 0);
    }
}

#[test]
fn the_way_is_counted_from_where_the_folder_really_is() {
    let site = Site::new();
    fs::create_dir_all(site.path().join("far/away/www")).unwrap();
    symlink("far/away/www", site.path().join("www")).unwrap();
    let volume = site.volume_with(site.path().join("www/site"), LONG);
    let commit = site.commit_file("file", "1");
    site.put(&volume, commit);
    assert_eq!(fs::read(site.path().join("www/site/file")).unwrap(), b"1");
    assert_eq!(
        fs::read_link(site.path().join("www/site")).unwrap(),
        Path::new("../../..").join(site.root().file_name().unwrap()).join(".worktrees").join(commit.to_string())
    );
}

#[test]
fn a_link_is_replaced_an_empty_folder_gives_way_and_data_stays() {
    let site = Site::new();
    let volume = site.volume();
    let link = site.root().join("current");
    let commit = site.commit_file("file", "1");
    volume.build(&site.store(), commit, &Cancel::default()).unwrap();

    symlink("/etc", &link).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Foreign);
    volume.publish(commit).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Tree(commit));
    assert!(Path::new("/etc/passwd").exists());

    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Foreign);
    volume.publish(commit).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Tree(commit));

    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    fs::write(link.join("data"), "precious").unwrap();
    let error = volume.publish(commit).unwrap_err();
    assert_eq!(error.kind().as_str(), "foreign_link");
    assert!(error.hint().is_some());
    assert_eq!(fs::read(link.join("data")).unwrap(), b"precious");

    fs::remove_dir_all(&link).unwrap();
    fs::write(&link, "precious").unwrap();
    assert_eq!(volume.live().unwrap(), Live::Foreign);
    assert_eq!(volume.publish(commit).unwrap_err().kind().as_str(), "foreign_link");
    assert_eq!(fs::read(&link).unwrap(), b"precious");
    assert_eq!(names(&site.root()), [".pushsync", ".worktrees", "current"], "no temporary link is left");
}

#[test]
fn what_was_not_built_is_not_published() {
    let site = Site::new();
    let volume = site.volume();
    let first = site.commit_file("file", "1");
    site.put(&volume, first);
    let second = site.commit_file("file", "2");
    let error = volume.publish(second).unwrap_err();
    assert_eq!(error.kind().as_str(), "not_built");
    assert_eq!(volume.live().unwrap(), Live::Tree(first));
    fs::remove_dir_all(site.tree_path(first)).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Dangling(first));
}

#[test]
fn a_replaced_tree_is_kept_for_its_grace_and_the_live_one_for_ever() {
    let site = Site::new();
    let commits: Vec<Oid> = (0..4).map(|n| site.commit_file("file", &n.to_string())).collect();
    let volume = site.volume();
    for &commit in &commits {
        site.put(&volume, commit);
    }
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(volume.trees().unwrap().len(), 4, "the grace is an hour");
    drop(volume);

    // The next process knows when they were replaced, and still owes them the rest.
    let volume = site.volume_with("current", LONG);
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(volume.trees().unwrap().len(), 4);
    // Two hours ago, says the file system: one tree's time is over. A clock that was in the future is no reason to hurry.
    let set = |commit: Oid, when: &str| {
        let done = std::process::Command::new("touch").args(["-d", when]).arg(site.tree_path(commit)).status().unwrap();
        assert!(done.success());
    };
    drop(volume);
    set(commits[0], "2 hours ago");
    set(commits[1], "2 hours ago");
    set(commits[2], "2 hours");
    set(commits[3], "2 hours ago");
    let volume = site.volume_with("current", LONG);
    volume.sweep(|commit| commit == commits[1], || true).unwrap();
    let mut left = volume.trees().unwrap();
    left.sort();
    let mut expected = commits[1..].to_vec();
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(volume.live().unwrap(), Live::Tree(commits[3]));
    drop(volume);

    let volume = site.volume_with("current", Duration::ZERO);
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(site.worktrees(), [commits[3].to_string()]);
    // Back to an older one, and then the newer one goes.
    site.put(&volume, commits[0]);
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(site.worktrees(), [commits[0].to_string()]);
}

#[test]
fn a_tree_that_was_replaced_and_is_live_again_starts_a_new_grace() {
    let site = Site::new();
    let volume = site.volume_with("current", Duration::from_millis(1));
    let first = site.commit_file("file", "1");
    let second = site.commit_file("file", "2");
    site.put(&volume, first);
    site.put(&volume, second);
    site.put(&volume, first);
    thread::sleep(Duration::from_millis(20));
    volume.sweep(|commit| commit == second, || true).unwrap();
    assert_eq!(volume.trees().unwrap().len(), 2);
    assert_eq!(fs::read(site.root().join("current/file")).unwrap(), b"1");
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(volume.trees().unwrap(), [first]);
}

#[test]
fn a_sweep_spares_the_tree_behind_a_link_spelt_otherwise_and_no_other_name() {
    let site = Site::new();
    let volume = site.volume_with("current", Duration::ZERO);
    let commit = site.commit_file("file", "1");
    site.put(&volume, commit);
    fs::remove_file(site.root().join("current")).unwrap();
    symlink(site.tree_path(commit), site.root().join("current")).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Foreign, "it would break where the volume is mounted elsewhere");
    fs::create_dir(site.root().join(".worktrees/theirs")).unwrap();
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(site.worktrees(), [commit.to_string()]);
    volume.publish(commit).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Tree(commit));
}
