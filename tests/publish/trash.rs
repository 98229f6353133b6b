//! Taking trees away in two halves: the names at once, the files when there is time, in parts if need be.

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use pushsync::publish::Verdict;
use pushsync::worker::Cancel;

use super::fixture::{Mount, Site};

fn trash(site: &Site) -> Vec<String> {
    site.worktrees().into_iter().filter(|name| name.starts_with(".trash-")).collect()
}

#[test]
fn names_go_first_and_files_when_there_is_time() {
    let site = Site::new();
    let volume = site.volume_with("current", Duration::ZERO);
    let commits: Vec<_> = (0..3).map(|n| site.commit_file("file", &n.to_string())).collect();
    for &commit in &commits {
        site.put(&volume, commit);
    }
    // Whether a tree is kept is asked of each.
    volume.mark_expired(|commit| commit == commits[0]).unwrap();
    assert_eq!(volume.trees().unwrap().len(), 2, "the live one and the kept one");
    assert_eq!(trash(&site).len(), 1);
    assert!(fs::exists(site.root().join(".worktrees").join(&trash(&site)[0]).join("file")).unwrap());
    // Nobody has time.
    assert_eq!(volume.remove_marked(|| false).unwrap_err().kind().as_str(), "cancelled");
    assert_eq!(trash(&site).len(), 1);
    assert_eq!(volume.remove_marked(|| true).unwrap(), 1);
    assert!(trash(&site).is_empty());
    assert_eq!(volume.remove_marked(|| true).unwrap(), 0);
    assert_eq!(volume.verify(&site.store(), commits[2], &Cancel::default()).unwrap(), Verdict::Whole);
}

#[test]
fn what_is_still_to_be_removed_makes_room_for_a_push() {
    let site = Site::new();
    let Some(_mount) = Mount::tmpfs(&site.root(), "size=4m,mode=0755") else { return };
    let volume = site.volume_with("current", Duration::ZERO);
    site.write("large", vec![7; 5 << 19]);
    let large = site.commit();
    site.put(&volume, large);
    fs::remove_file(site.work().join("large")).unwrap();
    let small = site.commit_file("small", "1");
    site.put(&volume, small);
    volume.mark_expired(|_| false).unwrap();
    assert_eq!(trash(&site).len(), 1);
    site.write("other", vec![8; 5 << 19]);
    let other = site.commit();
    site.put(&volume, other);
    assert!(trash(&site).is_empty());
    assert_eq!(volume.verify(&site.store(), other, &Cancel::default()).unwrap(), Verdict::Whole);
}

#[test]
fn what_trees_take_is_measured_once_and_told_as_they_come_and_go() {
    let site = Site::new();
    let volume = site.volume_with("current", Duration::ZERO);
    site.write("large", vec![7; 1 << 20]);
    let first = site.commit();
    site.put(&volume, first);
    let trees = || volume.usage(|| true).unwrap().1;
    let one = trees();
    assert!((1 << 20..3 << 20).contains(&one), "{one}");
    let second = site.commit_file("small", "1");
    site.put(&volume, second);
    let two = trees();
    assert!((2 * one..2 * one + (1 << 16)).contains(&two), "{one}, then {two}");
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(trees(), two - one);
    site.put(&volume, first);
    assert_eq!(volume.usage(|| false).unwrap_err().kind().as_str(), "cancelled");
    // Before each file that has to be looked at it may have to let a push go first.
    let counted = || {
        let asked = Cell::new(0);
        let go_on = || asked.replace(asked.get() + 1) < u32::MAX;
        (volume.usage(go_on).unwrap().1, asked.get())
    };
    let (measured, known) = (counted(), counted());
    assert!(measured.0 == two && known.0 == two && measured.1 > known.1, "{measured:?}, then {known:?}");
}
