//! Pushes that change many files of a tree: several threads bring the spare, and past a point a fresh tree is written.

use std::fs;
use std::thread;
use std::time::Duration;

use git2::Oid;
use pushsync::publish::{Built, Prepared, Verdict, Volume};
use pushsync::worker::Cancel;

use super::fixture::{Site, listing};
use super::model::{FILE, LINK, Model, archived, commit};

/// Folders, and files in each.
const FOLDERS: usize = 20;
const FILES: usize = 60;

fn of(number: usize) -> String {
    format!("d{}/f{}", number % FOLDERS, number / FOLDERS)
}

fn build(site: &Site, volume: &Volume, commit: Oid) -> Built {
    let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
    volume.publish(commit).unwrap();
    built
}

fn prepare(site: &Site, volume: &Volume) {
    assert_eq!(volume.verify_live(&site.store(), &Cancel::default()).unwrap(), Verdict::Whole);
    assert_eq!(volume.prepare(&site.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
}

/// A volume with a tree of 1,200 files, and a spare of it.
fn ready(site: &Site) -> (Volume, Model) {
    let model: Model = (0..FOLDERS * FILES).map(|n| (of(n), (FILE, n.to_string().into_bytes()))).collect();
    let volume = site.volume();
    build(site, &volume, commit(site, &model));
    prepare(site, &volume);
    (volume, model)
}

#[test]
fn what_several_threads_bring_is_what_git_archive_unpacks() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    for number in 0..400 {
        model.insert(of(number), (FILE, format!("changed {number}").into_bytes()));
    }
    // Files, links and folders change places, names come and go.
    model.insert(of(0), (LINK, b"elsewhere".to_vec()));
    model.insert(of(1), (0o100_755, b"run".to_vec()));
    model.remove(&of(2));
    model.insert(format!("{}/inside", of(2)), (FILE, b"now a folder".to_vec()));
    for number in 410..430 {
        model.remove(&of(number));
        model.insert(format!("new{}/f{number}", number % 3), (FILE, b"new".to_vec()));
    }
    model.retain(|path, _| !path.starts_with("d19/"));
    model.insert("d19".to_owned(), (FILE, b"a file where a folder was".to_vec()));
    let commit = commit(&site, &model);
    let built = build(&site, &volume, commit);
    assert!(built.standby.is_some(), "{built:?}");
    assert!(built.files > 400 && built.files < 430, "{built:?}");
    assert_eq!(listing(&site.tree_path(commit)), archived(&site, commit));
    prepare(&site, &volume);
}

#[test]
fn a_push_of_most_files_writes_a_fresh_tree_and_keeps_the_spare() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    for number in 0..FOLDERS * FILES * 4 / 5 {
        model.insert(of(number), (FILE, format!("changed {number}").into_bytes()));
    }
    let second = commit(&site, &model);
    let built = build(&site, &volume, second);
    assert_eq!((built.standby, built.note.as_deref()), (None, Some("too much differs")));
    assert_eq!(listing(&site.tree_path(second)), archived(&site, second));
    assert!(volume.has_standby());
    prepare(&site, &volume);
    model.insert(of(7), (FILE, b"one".to_vec()));
    let third = commit(&site, &model);
    assert_eq!(build(&site, &volume, third).standby, Some(second), "the spare was brought along meanwhile");
}

#[test]
fn a_folder_that_somebody_worked_in_ends_the_threads_and_a_fresh_tree_is_published() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    thread::sleep(Duration::from_millis(30));
    let spare = site.worktrees().into_iter().find(|name| name.starts_with(".spare-")).unwrap();
    fs::write(site.root().join(".worktrees").join(&spare).join("d9/added"), "X").unwrap();
    for number in 0..400 {
        model.insert(of(number), (FILE, format!("changed {number}").into_bytes()));
    }
    let commit = commit(&site, &model);
    let built = build(&site, &volume, commit);
    assert_eq!(built.standby, None);
    assert!(built.note.as_ref().is_some_and(|note| note.contains("d9")), "{built:?}");
    assert_eq!(listing(&site.tree_path(commit)), archived(&site, commit));
    assert!(!site.worktrees().contains(&spare));
}

#[test]
fn a_cancelled_push_of_many_files_leaves_nothing_behind() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    for number in 0..400 {
        model.insert(of(number), (FILE, format!("changed {number}").into_bytes()));
    }
    let next = commit(&site, &model);
    let cancel = Cancel::default();
    cancel.cancel();
    assert!(volume.build(&site.store(), next, &cancel).is_err());
    let unfinished = |name: &String| name.starts_with(".tmp-") || *name == next.to_string();
    assert_eq!(site.worktrees().into_iter().filter(unfinished).count(), 0);
    build(&site, &volume, next);
    assert_eq!(listing(&site.tree_path(next)), archived(&site, next));
}
