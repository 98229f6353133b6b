//! Trees that git would not make: none may write outside of its own folder, and the tree before stays.

use std::fs;

use git2::Oid;
use pushsync::publish::{Live, Verdict};
use pushsync::worker::Cancel;

use super::fixture::{LONG, Site, listing};

/// Builds a tree over a published one and expects a refusal that changed nothing.
fn refused(site: &Site, tree: Oid, kind: &str, named: &str) {
    let volume = site.volume();
    let before = match volume.live().unwrap() {
        Live::Tree(commit) => commit,
        Live::Nothing => {
            let good = site.commit_file("good", "good");
            site.put(&volume, good);
            good
        }
        other => panic!("{other:?}"),
    };
    let everything = || {
        let mut all = listing(&site.path());
        all.retain(|path, _| !path.starts_with("work/.git"));
        all
    };
    let around = everything();
    let error = volume.build(&site.store(), site.commit_of(tree), &Cancel::default()).unwrap_err();
    assert_eq!(error.kind().as_str(), kind, "{error}");
    assert!(error.to_string().contains(named), "{error} should name {named}");
    assert!(error.hint().is_some() && !error.store_is_damaged());
    assert_eq!(everything(), around, "after {error}");
    assert_eq!(volume.live().unwrap(), Live::Tree(before));
}

#[test]
fn names_that_git_refuses() {
    let site = Site::new();
    let blob = site.blob(b"evil");
    let inner = site.tree(&[("100644", b"config", blob)]);
    for name in [
        &b".."[..],
        b".",
        b"",
        b"a/b",
        b"/etc/x",
        b"../x",
        b".git",
        b".GIT",
        b"git~1",
        b".git ",
        b".git...",
        b".g\xe2\x80\x8cit",
    ] {
        refused(&site, site.tree(&[("100644", b"ok", blob), ("100644", name, blob)]), "hostile_path", "");
        let folder = site.tree(&[("40000", name, inner)]);
        refused(&site, folder, "hostile_path", "");
        refused(
            &site,
            site.tree(&[("40000", b"some", site.tree(&[("40000", b"folder", folder)]))]),
            "hostile_path",
            "some/folder",
        );
    }
    let escape = site.tree(&[("100644", b"a\x1b[2J/b", blob)]);
    refused(&site, escape, "hostile_path", r"a\u{1b}[2J/b");
    refused(&site, site.tree(&[("100644", &[b'n'; 256], blob)]), "name_too_long", "nnn");
    refused(&site, site.tree(&[("120000", b".GitModules", blob)]), "hostile_path", ".GitModules");
}

#[test]
fn a_link_is_never_written_through() {
    let site = Site::new();
    let outside = site.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = site.blob(outside.to_str().unwrap().as_bytes());
    let file = site.blob(b"evil");
    let folder = site.tree(&[("100644", b"file", file)]);
    for lines in [
        [("120000", &b"a"[..], target), ("40000", b"a", folder)],
        [("40000", b"a", folder), ("120000", b"a", target)],
        [("120000", b"a", target), ("100644", b"a", file)],
        [("100644", b"a", file), ("100644", b"a", file)],
        [("160000", b"a", target), ("40000", b"a", folder)],
    ] {
        refused(&site, site.tree(&lines), "hostile_path", "a: the name appears twice");
    }
    refused(&site, site.tree(&[("120000", b"a", target), ("100644", b"a/file", file)]), "hostile_path", "a/file");
    assert!(listing(&outside).is_empty());
}

#[test]
fn objects_of_the_wrong_kind_and_broken_trees() {
    let site = Site::new();
    let blob = site.blob(b"a blob");
    let tree = site.tree(&[("100644", b"x", blob)]);
    refused(&site, site.tree(&[("40000", b"folder", blob)]), "hostile_path", "folder");
    refused(&site, site.tree(&[("100644", b"file", tree)]), "hostile_path", "file");
    refused(&site, site.tree(&[("60000", b"device", blob)]), "hostile_path", "device");
    refused(&site, site.tree(&[("120000", b"void", site.blob(b""))]), "hostile_path", "void");
    refused(&site, site.tree(&[("120000", b"zero", site.blob(b"a\0b"))]), "hostile_path", "zero");
    refused(&site, site.tree(&[("120000", b"long", site.blob(&[b'x'; 5000]))]), "hostile_path", "long");
    refused(&site, site.raw(git2::ObjectType::Tree, b"100644 cut\0short"), "hostile_path", "cut off");
}

#[test]
fn a_few_kilobytes_cannot_fill_the_volume() {
    let site = Site::new();
    let mut tree = site.tree(&[("100644", b"x", site.blob(b"x"))]);
    for _ in 0..12 {
        let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
        let lines: Vec<_> = names.iter().map(|name| ("40000", name.as_bytes(), tree)).collect();
        tree = site.tree(&lines);
    }
    refused(&site, tree, "hostile_path", "5,000,000");
    let mut tree = site.tree(&[("100644", b"x", site.blob(b"x"))]);
    for _ in 0..256 {
        tree = site.tree(&[("40000", b"d", tree)]);
    }
    refused(&site, tree, "hostile_path", "256 deep");
    // The same, entered a second time by a shorter way, through a folder that is known already.
    let mut high = site.tree(&[("100644", b"x", site.blob(b"x"))]);
    for _ in 0..200 {
        high = site.tree(&[("40000", b"d", high)]);
    }
    let mut low = high;
    for _ in 0..100 {
        low = site.tree(&[("40000", b"e", low)]);
    }
    refused(&site, site.tree(&[("40000", b"a", high), ("40000", b"z", low)]), "hostile_path", "256 deep");
}

#[test]
fn a_path_longer_than_path_max_is_built_compared_and_removed() {
    let site = Site::new();
    let mut tree = site.tree(&[("100755", b"x", site.blob(b"x")), ("120000", b"y", site.blob(b"../../x"))]);
    for _ in 0..250 {
        tree = site.tree(&[("40000", &[b'd'; 200], tree)]);
    }
    let deep = site.commit_of(tree);
    let volume = site.volume_with("current", std::time::Duration::ZERO);
    assert_eq!(volume.build(&site.store(), deep, &Cancel::default()).unwrap().files, 2);
    assert_eq!(volume.verify(&site.store(), deep, &Cancel::default()).unwrap(), Verdict::Whole);
    volume.sweep(|_| false, || true).unwrap();
    assert!(site.worktrees().is_empty());
}

#[test]
fn twins_by_case_are_two_files_on_a_file_system_that_can_tell() {
    let site = Site::new();
    let tree = site.tree(&[("100644", b"A", site.blob(b"1")), ("100644", b"a", site.blob(b"2"))]);
    let commit = site.commit_of(tree);
    let volume = site.volume_with("current", LONG);
    match volume.build(&site.store(), commit, &Cancel::default()) {
        Ok(_) => {
            assert_eq!(fs::read(site.tree_path(commit).join("A")).unwrap(), b"1");
            assert_eq!(fs::read(site.tree_path(commit).join("a")).unwrap(), b"2");
        }
        Err(error) => assert_eq!(error.kind().as_str(), "case_twins", "{error}"),
    }
}
