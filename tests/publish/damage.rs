//! Stores that lost something, trees that somebody edited, builds that nobody waits for any more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use git2::Oid;
use pushsync::publish::{Built, Live, Verdict};
use pushsync::worker::Cancel;

use super::fixture::{Site, StopAtEnd, until};

/// What somebody does to a published tree.
type Edit = fn(&std::path::Path);

fn object(site: &Site, id: &str) -> std::path::PathBuf {
    site.store().join("objects").join(&id[..2]).join(&id[2..])
}

#[test]
fn a_missing_empty_or_exchanged_object_is_damage_and_the_tree_before_stays() {
    let site = Site::new();
    let volume = site.volume();
    let good = site.commit_file("a", "good");
    site.put(&volume, good);
    let other = site.commit_file("folder/b", "other");
    let (blob, tree) = (site.git(&["rev-parse", "HEAD:folder/b"]), site.git(&["rev-parse", "HEAD:folder"]));
    let stranger = object(&site, &site.git(&["rev-parse", "HEAD:a"]));
    for id in [&blob, &tree, &other.to_string()] {
        let path = object(&site, id);
        let content = fs::read(&path).unwrap();
        // One that ends early is left out: libgit2 1.9.7 never returns from it (see `objects`).
        for spoilt in
            [None, Some(Vec::new()), Some(b"not deflated at all".to_vec()), Some(fs::read(&stranger).unwrap())]
        {
            fs::remove_file(&path).unwrap();
            if let Some(spoilt) = &spoilt {
                fs::write(&path, spoilt).unwrap();
            } else {
                // A fresh handle must not find it anywhere else.
                assert!(!path.exists());
            }
            let error = volume.build(&site.store(), other, &Cancel::default()).unwrap_err();
            assert!(error.store_is_damaged(), "{id} {spoilt:?}: {error}");
            assert_eq!(error.kind().as_str(), "store_damaged");
            let _ = fs::remove_file(&path);
            fs::write(&path, &content).unwrap();
            assert_eq!(site.worktrees(), [good.to_string()]);
        }
    }
    site.put(&volume, other);
    let error = volume.build(&site.path().join("no-such-store"), good, &Cancel::default());
    assert_eq!(error.map_err(|error| error.store_is_damaged()), Err(true));
}

#[test]
fn what_was_noted_of_a_tree_on_the_disk_does_not_outlive_it() {
    let site = Site::new();
    let commit = site.commit_file("a", "as committed");
    let mark = site.root().join(".pushsync/flushed");
    let volume = site.volume();
    site.put(&volume, commit);
    volume.write_through().unwrap();
    drop(volume);
    // The machine was down since, and what was written through is believed.
    fs::write(&mark, format!("another-boot {commit}\n")).unwrap();
    let volume = site.volume();
    assert!(volume.survived(commit));
    // Put back as it is: nothing new was written.
    site.put(&volume, commit);
    assert!(volume.survived(commit) && mark.exists());
    // Another tree of the same commit was not written through so far, and the machine may be down again at any time.
    fs::write(site.tree_path(commit).join("a"), "edited").unwrap();
    site.put(&volume, commit);
    assert!(!volume.survived(commit) && !mark.exists());
    volume.write_through().unwrap();
    assert!(volume.survived(commit) && fs::read_to_string(&mark).unwrap().contains(&commit.to_string()));
}

#[test]
fn every_kind_of_edit_is_found() {
    let site = Site::new();
    site.write("file", "content");
    site.write("folder/run", "x");
    fs::set_permissions(site.work().join("folder/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("file", site.work().join("link")).unwrap();
    site.write("large", vec![1; 6 * 1024 * 1024]);
    site.git(&["update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,module"]);
    // `git add -A` would drop the submodule again, which has no folder.
    fs::create_dir(site.work().join("module")).unwrap();
    site.git(&["add", "file", "folder", "link", "large"]);
    site.git(&["commit", "-q", "-m", "x"]);
    let commit = Oid::from_str(&site.git(&["rev-parse", "HEAD"])).unwrap();
    let volume = site.volume();
    let tree = site.tree_path(commit);
    let edits: [(&str, Edit); 12] = [
        ("file has other content", |tree| fs::write(tree.join("file"), "c0ntent").unwrap()),
        ("large has other content", |tree| {
            let mut content = vec![1; 6 * 1024 * 1024];
            content[5_000_000] = 2;
            fs::write(tree.join("large"), content).unwrap();
        }),
        ("file is missing", |tree| fs::remove_file(tree.join("file")).unwrap()),
        ("folder is missing", |tree| fs::remove_dir_all(tree.join("folder")).unwrap()),
        ("folder/run has another mode", |tree| {
            fs::set_permissions(tree.join("folder/run"), fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("file has another mode", |tree| {
            fs::set_permissions(tree.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("folder has another mode", |tree| {
            fs::set_permissions(tree.join("folder"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("the top folder has another mode", |tree| {
            fs::set_permissions(tree, fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("link has other content", |tree| {
            fs::remove_file(tree.join("link")).unwrap();
            symlink("elsewhere", tree.join("link")).unwrap();
        }),
        ("file is of another type", |tree| {
            fs::remove_file(tree.join("file")).unwrap();
            symlink("large", tree.join("file")).unwrap();
        }),
        ("folder is of another type", |tree| {
            fs::rename(tree.join("folder"), tree.join("../moved")).unwrap();
            symlink("../moved", tree.join("folder")).unwrap();
        }),
        ("module is a submodule and not empty", |tree| fs::write(tree.join("module/x"), "").unwrap()),
    ];
    for (difference, edit) in edits {
        site.put(&volume, commit);
        assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
        edit(&tree);
        let verdict = volume.verify(&site.store(), commit, &Cancel::default()).unwrap();
        assert_eq!(verdict, Verdict::Differs(difference.to_owned()));
    }
}

#[test]
fn what_hooks_and_apps_add_to_a_published_tree_is_no_damage() {
    let site = Site::new();
    site.write("folder/file", "content");
    let commit = site.commit();
    let volume = site.volume();
    site.put(&volume, commit);
    let tree = site.tree_path(commit);
    fs::create_dir_all(tree.join("folder/__pycache__")).unwrap();
    fs::write(tree.join("folder/__pycache__/file.pyc"), "compiled").unwrap();
    fs::write(tree.join("built"), "by a hook").unwrap();
    assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
    // Also for the next process, which builds what differs anew.
    drop(volume);
    let volume = site.volume();
    site.put(&volume, commit);
    assert_eq!(fs::read(tree.join("built")).unwrap(), b"by a hook");
    assert_eq!(fs::read(tree.join("folder/__pycache__/file.pyc")).unwrap(), b"compiled");
}

#[test]
fn a_damaged_live_tree_is_exchanged_without_a_moment_in_between() {
    let site = Site::new();
    site.write("other", "never touched");
    let commit = site.commit_file("file", "right");
    let volume = site.volume();
    site.put(&volume, commit);
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let text = fs::read_to_string(site.root().join("current/other")).expect("the link never dangles");
                assert_eq!(text, "never touched");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..30 {
            fs::write(site.tree_path(commit).join("file"), "wrong").unwrap();
            let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
            assert_eq!(built, Built { commit, files: 2, bytes: 18, standby: None, note: None, remarks: Vec::new() });
            assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
            let seen = reads.load(Ordering::Relaxed);
            until("the reader to look", || reads.load(Ordering::Relaxed) > seen);
        }
    });
    assert_eq!(volume.live().unwrap(), Live::Tree(commit));
    let old = site.worktrees().iter().filter(|name| name.starts_with(".old-")).count();
    assert_eq!(old, 30, "readers of the damaged trees get their grace");
    drop(volume);
    site.volume_with("current", Duration::ZERO).sweep(|_| false, || true).unwrap();
    assert_eq!(site.worktrees(), [commit.to_string()]);
}

#[test]
fn a_damaged_tree_that_is_not_live_is_replaced() {
    let site = Site::new();
    let volume = site.volume();
    let first = site.commit_file("file", "1");
    let second = site.commit_file("file", "2");
    site.put(&volume, first);
    // Neither a file nor a link of that name is believed to be a tree.
    fs::write(site.tree_path(second), "a file").unwrap();
    site.put(&volume, second);
    fs::write(site.tree_path(first).join("file"), "0").unwrap();
    site.put(&volume, first);
    assert_eq!(volume.verify(&site.store(), first, &Cancel::default()).unwrap(), Verdict::Whole);
    let mut both = [first.to_string(), second.to_string()];
    both.sort();
    // The one that was published before has readers, perhaps, until its grace is over.
    let named = |name: &String| !name.starts_with(".old-");
    assert_eq!(site.worktrees().into_iter().filter(named).collect::<Vec<_>>(), both);
    fs::remove_dir_all(site.tree_path(second)).unwrap();
    symlink(first.to_string(), site.tree_path(second)).unwrap();
    assert_eq!(volume.trees().unwrap(), [first]);
    assert_eq!(
        volume.verify(&site.store(), second, &Cancel::default()).unwrap(),
        Verdict::Differs("it is not a folder".to_owned())
    );
    site.put(&volume, second);
    assert_eq!(fs::read(site.root().join("current/file")).unwrap(), b"2");
    assert_eq!(fs::read(site.tree_path(first).join("file")).unwrap(), b"1");
}

#[test]
fn a_cancelled_build_leaves_nothing() {
    let site = Site::new();
    let volume = site.volume();
    let first = site.commit_file("first", "1");
    site.put(&volume, first);
    // The sweep below would wait for the disk, and the build could come to its end meanwhile.
    volume.write_through().unwrap();
    let cancelled = Cancel::default();
    cancelled.cancel();
    let second = site.commit_file("second", "2");
    assert_eq!(volume.build(&site.store(), second, &cancelled).unwrap_err().kind().as_str(), "cancelled");
    assert_eq!(site.worktrees(), [first.to_string()]);

    let blob = site.blob(b"x");
    let names: Vec<String> = (0..50_000).map(|n| format!("{n:06}")).collect();
    let lines: Vec<_> = names.iter().map(|name| ("100644", name.as_bytes(), blob)).collect();
    let large = site.commit_of(site.tree(&lines));
    let cancel = Cancel::default();
    thread::scope(|scope| {
        let build = scope.spawn(|| volume.build(&site.store(), large, &cancel));
        let writing = |name: &String| {
            name.starts_with(".tmp-")
                && fs::read_dir(site.root().join(".worktrees").join(name)).is_ok_and(|mut files| files.next().is_some())
        };
        until("the first file", || site.worktrees().iter().any(writing));
        // A sweep takes leftovers, and not what is being built.
        volume.sweep(|_| false, || true).unwrap();
        assert!(site.worktrees().iter().any(|name| name.starts_with(".tmp-")));
        cancel.cancel();
        assert_eq!(build.join().unwrap().unwrap_err().kind().as_str(), "cancelled");
    });
    assert_eq!(site.worktrees(), [first.to_string()]);
    assert_eq!(volume.live().unwrap(), Live::Tree(first));
}
