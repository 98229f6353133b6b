//! `--group-write`: the group may write what the owner may write, in fresh trees and in those that are brought along.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use pushsync::publish::{CheckoutOptions, Prepared, Verdict, Volume};
use pushsync::worker::Cancel;

use super::fixture::{LONG, Site, listing};

fn volume(site: &Site, group_write: bool) -> Volume {
    site.volume_of(CheckoutOptions { group_write, ..CheckoutOptions::default() }, LONG)
}

fn modes(tree: &Path) -> Vec<(String, u32)> {
    let found = listing(tree).into_iter().filter(|(_, (mode, _))| mode & 0o170_000 != 0o120_000);
    let mut modes: Vec<_> = found.map(|(path, (mode, _))| (path.display().to_string(), mode & 0o777)).collect();
    modes.push((".".to_owned(), fs::metadata(tree).unwrap().mode() & 0o777));
    modes
}

#[test]
fn modes_are_those_of_a_shared_group_also_on_the_way_by_a_spare() {
    let site = Site::new();
    site.write("folder/run", "#!/bin/sh\n");
    fs::set_permissions(site.work().join("folder/run"), fs::Permissions::from_mode(0o755)).unwrap();
    let first = site.commit_file("folder/file", "one");
    let volume = volume(&site, true);
    site.put(&volume, first);
    assert_eq!(volume.prepare(&site.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
    site.write("new/deep/file", "x");
    let second = site.commit_file("folder/file", "two");
    let built = volume.build(&site.store(), second, &Cancel::default()).unwrap();
    assert_eq!(built.standby, Some(first));
    for commit in [first, second] {
        for (path, mode) in modes(&site.tree_path(commit)) {
            let wanted = if path.ends_with("file") { 0o664 } else { 0o775 };
            assert_eq!(mode, wanted, "{path} of {commit}");
        }
        assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
    }
}

#[test]
fn a_process_with_other_modes_rebuilds_and_trusts_no_spare_of_the_one_before() {
    let site = Site::new();
    let first = site.commit_file("folder/file", "one");
    for group_write in [false, true] {
        let volume = volume(&site, group_write);
        let built = volume.build(&site.store(), first, &Cancel::default()).unwrap();
        assert_eq!((built.files, built.standby), (1, None), "not believed, though it is there");
        volume.publish(first).unwrap();
        assert_eq!(volume.prepare(&site.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
        let folder = if group_write { 0o775 } else { 0o755 };
        assert_eq!(fs::metadata(site.tree_path(first).join("folder")).unwrap().mode() & 0o777, folder);
        let spare = site.worktrees().into_iter().find(|name| name.starts_with(".spare-")).unwrap();
        let inside = site.root().join(".worktrees").join(spare).join("folder");
        assert_eq!(fs::metadata(inside).unwrap().mode() & 0o777, folder, "the spare is of this shape");
    }
    // The other way round only bits for the group are there that were not asked for, as after the kubelet's pass.
    let volume = volume(&site, false);
    let built = volume.build(&site.store(), first, &Cancel::default()).unwrap();
    assert_eq!(built.files, 0, "added bits for the group are no damage");
}
