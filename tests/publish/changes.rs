//! What a push changed, as the dashboard tells it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use git2::Oid;
use pushsync::publish::{ChangeKind, Changes};

use super::fixture::Site;

fn told(site: &Site, old: Option<Oid>, new: Oid) -> (u64, u64, u64, Vec<(String, ChangeKind)>) {
    let Changes { added, modified, deleted, first } = site.volume().changes(&site.store(), old, new).unwrap();
    (added, modified, deleted, first)
}

#[test]
fn added_modified_deleted_and_nothing() {
    let site = Site::new();
    for path in ["a", "b/1", "b/2", "c/d/e", "mode", "gone", "same/x"] {
        site.write(path, path);
    }
    let old = site.commit();
    site.write("b/2", "other");
    site.write("b/3", "new");
    fs::remove_file(site.work().join("gone")).unwrap();
    fs::remove_dir_all(site.work().join("c")).unwrap();
    fs::set_permissions(site.work().join("mode"), fs::Permissions::from_mode(0o755)).unwrap();
    let new = site.commit();
    let named =
        |list: &[(&str, ChangeKind)]| list.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect::<Vec<_>>();
    let expected = named(&[
        ("b/2", ChangeKind::Modified),
        ("b/3", ChangeKind::Added),
        ("c/d/e", ChangeKind::Deleted),
        ("gone", ChangeKind::Deleted),
        ("mode", ChangeKind::Modified),
    ]);
    assert_eq!(told(&site, Some(old), new), (1, 2, 2, expected));
    assert_eq!(told(&site, Some(new), new), (0, 0, 0, Vec::new()));
    let everything = named(&[
        ("a", ChangeKind::Added),
        ("b/1", ChangeKind::Added),
        ("b/2", ChangeKind::Added),
        ("b/3", ChangeKind::Added),
        ("mode", ChangeKind::Added),
        ("same/x", ChangeKind::Added),
    ]);
    assert_eq!(told(&site, None, new), (6, 0, 0, everything.clone()));
    let unknown = Oid::from_str("1234567890123456789012345678901234567890").unwrap();
    assert_eq!(told(&site, Some(unknown), new), (6, 0, 0, everything));
}

#[test]
fn a_file_that_becomes_a_folder_is_deleted_and_added() {
    let site = Site::new();
    site.write("a", "file");
    site.write("a.b", "between");
    let old = site.commit();
    fs::remove_file(site.work().join("a")).unwrap();
    site.write("a/x", "inside");
    let new = site.commit();
    let expected = vec![("a".to_owned(), ChangeKind::Deleted), ("a/x".to_owned(), ChangeKind::Added)];
    assert_eq!(told(&site, Some(old), new), (1, 0, 1, expected));
}

#[test]
fn hostile_names_are_shown_harmlessly_and_the_list_is_bounded() {
    let site = Site::new();
    let blob = site.blob(b"x");
    let shown = site.tree(&[("100644", "a\x1b[2J\u{202e}b\n".as_bytes(), blob), ("100644", b"b\xff", blob)]);
    let first = told(&site, None, site.commit_of(shown)).3;
    assert_eq!(first[0].0, r"a\u{1b}[2J\u{202e}b\n");
    assert_eq!(first[1].0, r"b\xff");
    let many: Vec<String> = (0..700).map(|n| format!("{n:04}")).collect();
    let lines: Vec<_> = many.iter().map(|name| ("100644", name.as_bytes(), blob)).collect();
    let (added, _, _, first) = told(&site, None, site.commit_of(site.tree(&lines)));
    assert_eq!((added, first.len(), first[499].0.as_str()), (700, 500, "0499"));
}

#[test]
fn an_old_tree_that_was_pruned_makes_everything_new_and_a_missing_new_one_is_damage() {
    let site = Site::new();
    let old = site.commit_file("folder/a", "1");
    let old_folder = site.git(&["rev-parse", "HEAD:folder"]);
    let new = site.commit_file("folder/b", "2");
    let new_folder = site.git(&["rev-parse", "HEAD:folder"]);
    let remove = |id: &str| fs::remove_file(site.store().join("objects").join(&id[..2]).join(&id[2..])).unwrap();
    remove(&old_folder);
    assert_eq!(told(&site, Some(old), new).0, 2);
    remove(&new_folder);
    assert!(site.volume().changes(&site.store(), Some(old), new).unwrap_err().store_is_damaged());
}
