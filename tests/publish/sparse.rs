//! `--sparse-checkout-file`: exactly the files that git would leave in the tree, and no folder without one.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use pushsync::publish::{CheckoutOptions, Prepared, Verdict, Volume};
use pushsync::worker::Cancel;

use super::checkout::checked_out;
use super::fixture::{LONG, Site, listing};
use super::model::{FILE, Model, change, commit};
use super::patterns;

fn volume(site: &Site) -> Volume {
    let shape = CheckoutOptions { sparse_file: Some(file(site)), ..CheckoutOptions::default() };
    site.volume_of(shape, LONG)
}

fn file(site: &Site) -> PathBuf {
    site.path().join("sparse-checkout")
}

#[test]
fn a_sparse_tree_is_what_git_leaves_for_200_random_pattern_files() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut files, mut left_out, mut partial) = (0, 0, 0);
    for _ in 0..20 {
        let site = Site::new();
        let paths = patterns::paths(&mut random);
        let model: Model = paths.iter().map(|path| (path.clone(), (FILE, path.clone().into_bytes()))).collect();
        let commit = commit(&site, &model);
        fs::write(file(&site), "").unwrap();
        let volume = volume(&site);
        for round in 0..10 {
            let text = if round % 2 == 0 { patterns::patterns(&mut random) } else { patterns::cone(&mut random) };
            fs::write(file(&site), &text).unwrap();
            // The same commit with other patterns is another tree: what stands there is not believed.
            volume.build(&site.store(), commit, &Cancel::default()).unwrap();
            let ours = listing(&site.tree_path(commit));
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(ours, checked_out(&site, commit, Some(&text)), "{shown}");
            assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole, "{shown}");
            let kept = ours.keys().filter(|path| paths.contains(path.to_str().unwrap())).count();
            files += kept;
            left_out += paths.len() - kept;
            partial += usize::from(kept > 0 && kept < paths.len());
        }
    }
    println!("{files} files kept, {left_out} left out, {partial} of 200 trees with some of each");
    assert!(files > 500 && left_out > 500 && partial > 60);
}

#[test]
fn pushes_into_a_sparse_tree_bring_the_spare_along() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for text in ["/*\n!/*/\n/a/\n!/a/*/\n/a/b/\n", "*\n!b\n!*.b\n/deep/\n"] {
        let site = Site::new();
        fs::write(file(&site), text).unwrap();
        let volume = volume(&site);
        let mut model: Model = (0..30).map(|n| (format!("f{n}"), (FILE, n.to_string().into_bytes()))).collect();
        let mut incremental = 0;
        for _ in 0..20 {
            for _ in 0..random.usize(1..5) {
                change(&mut random, &mut model);
            }
            let commit = commit(&site, &model);
            let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
            volume.publish(commit).unwrap();
            incremental += usize::from(built.standby.is_some());
            assert_eq!(
                listing(&site.tree_path(commit)),
                checked_out(&site, commit, Some(text.as_bytes())),
                "{built:?}"
            );
            assert_eq!(volume.prepare(&site.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
        }
        println!("{incremental} of 20 trees were brought from the one before");
        assert!(incremental > 14, "{incremental}");
    }
}

#[test]
fn a_spare_of_other_patterns_is_not_used() {
    let site = Site::new();
    for name in ["a/one", "b/one"] {
        site.write(name, name);
    }
    let first = site.commit();
    fs::write(file(&site), "/a/\n").unwrap();
    let volume = volume(&site);
    site.put(&volume, first);
    assert_eq!(volume.prepare(&site.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
    fs::write(file(&site), "/b/\n").unwrap();
    let second = site.commit_file("b/two", "two");
    let built = volume.build(&site.store(), second, &Cancel::default()).unwrap();
    assert_eq!((built.files, built.standby), (2, None));
    volume.publish(second).unwrap();
    let names: BTreeSet<_> = listing(&site.tree_path(second)).into_keys().collect();
    assert_eq!(names, ["b", "b/one", "b/two"].into_iter().map(PathBuf::from).collect());
    // The one of the patterns before is compared as a whole and comes back with the patterns of today.
    assert_eq!(volume.prepare(&site.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
    let third = site.commit_file("b/three", "three");
    let built = volume.build(&site.store(), third, &Cancel::default()).unwrap();
    assert!(built.standby.is_some(), "{built:?}");
    let names: BTreeSet<_> = listing(&site.tree_path(third)).into_keys().collect();
    assert_eq!(names, ["b", "b/one", "b/three", "b/two"].into_iter().map(PathBuf::from).collect());
    assert_eq!(volume.verify(&site.store(), third, &Cancel::default()).unwrap(), Verdict::Whole);
}

#[test]
fn a_pattern_file_that_is_gone_fails_the_build_and_leaves_what_is_published() {
    let site = Site::new();
    let first = site.commit_file("a", "one");
    fs::write(file(&site), "/*\n").unwrap();
    let volume = volume(&site);
    site.put(&volume, first);
    fs::remove_file(file(&site)).unwrap();
    let second = site.commit_file("a", "two");
    let error = volume.build(&site.store(), second, &Cancel::default()).unwrap_err();
    assert_eq!(error.kind().as_str(), "sparse_file");
    assert!(error.hint().unwrap().contains("--sparse-checkout-file"));
    assert_eq!(fs::read(site.root().join("current/a")).unwrap(), b"one");
}
