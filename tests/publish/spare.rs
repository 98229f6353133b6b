//! Trees brought from one commit to the next: the same bytes as a fresh one, whatever changes and whoever interferes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use git2::Oid;
use pushsync::publish::{Built, CheckoutOptions, Durability, Live, Prepared, Verdict, Volume, VolumeOptions};
use pushsync::worker::Cancel;

use super::fixture::{LONG, Mount, Site, StopAtEnd, listing, names, until};
use super::model::{FILE, LINK, Model, archived, change, commit};

fn build(site: &Site, volume: &Volume, commit: Oid) -> Built {
    let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
    volume.publish(commit).unwrap();
    built
}

fn prepare(site: &Site, volume: &Volume) -> Prepared {
    assert_eq!(volume.verify_live(&site.store(), &Cancel::default()).unwrap(), Verdict::Whole);
    volume.prepare(&site.store(), &[], &Cancel::default()).unwrap()
}

fn is_whole(site: &Site, volume: &Volume, commit: Oid) -> bool {
    volume.verify(&site.store(), commit, &Cancel::default()).unwrap() == Verdict::Whole
}

fn spares(site: &Site) -> Vec<PathBuf> {
    let found = site.worktrees().into_iter().filter(|name| name.starts_with(".spare-"));
    found.map(|name| site.root().join(".worktrees").join(name)).collect()
}

#[test]
fn after_any_sequence_of_commits_the_tree_is_what_git_archive_unpacks() {
    const COMMITS: usize = 150;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    // At first without grace, so that replaced trees come back as spares; then fresh ones.
    for grace in [Duration::ZERO, LONG] {
        let volume = site.volume_with("current", grace);
        let mut model: Model = (0..30).map(|n| (format!("f{n}"), (FILE, n.to_string().into_bytes()))).collect();
        let mut incremental = 0;
        for round in 0..COMMITS {
            for _ in 0..random.usize(1..6) {
                change(&mut random, &mut model);
            }
            let commit = commit(&site, &model);
            let built = build(&site, &volume, commit);
            incremental += usize::from(built.standby.is_some());
            assert_eq!(listing(&site.tree_path(commit)), archived(&site, commit), "round {round}, {built:?}");
            assert_eq!(fs::metadata(site.tree_path(commit)).unwrap().mode() & 0o777, 0o755);
            // Sometimes the next push is faster than the spare.
            if random.u8(..10) > 0 {
                assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
            }
            volume.sweep(|_| false, || true).unwrap();
        }
        println!("{incremental} of {COMMITS} trees were brought from the one before");
        assert!(incremental > COMMITS * 3 / 4, "{incremental}");
        drop(volume);
        fs::remove_dir_all(site.root()).unwrap();
    }
}

/// A volume with a hundred files published and a spare ready.
fn ready(site: &Site) -> (Volume, Model) {
    let mut model: Model = (0..100).map(|n| (format!("d{}/f{n}", n % 7), (FILE, n.to_string().into_bytes()))).collect();
    model.insert("d0/link".to_owned(), (LINK, b"f0".to_vec()));
    let volume = site.volume();
    build(site, &volume, commit(site, &model));
    assert_eq!(prepare(site, &volume), Prepared::Ready(1));
    (volume, model)
}

fn next(site: &Site, model: &mut Model) -> Oid {
    model.insert("d1/f1".to_owned(), (FILE, fastrand::u64(..).to_string().into_bytes()));
    commit(site, model)
}

#[test]
fn a_changed_file_is_a_new_file_and_the_others_are_left_alone() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    let spare = &spares(&site)[0];
    assert_eq!(fs::metadata(spare).unwrap().mode() & 0o777, 0o700, "others cannot look into it");
    fs::hard_link(spare.join("d1/f1"), site.path().join("linked")).unwrap();
    let before: Vec<u64> = ["d1/f1", "d1/f8"].map(|path| fs::metadata(spare.join(path)).unwrap().ino()).into();
    let commit = next(&site, &mut model);
    let built = build(&site, &volume, commit);
    assert!(built.standby.is_some(), "{built:?}");
    assert_eq!(built.files, 1);
    let after = ["d1/f1", "d1/f8"].map(|path| fs::metadata(site.tree_path(commit).join(path)).unwrap().ino());
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    assert_eq!(fs::read(site.path().join("linked")).unwrap(), b"1", "nothing is written into what others may have");
    assert!(is_whole(&site, &volume, commit));
}

#[test]
fn a_sweep_between_build_and_publish_spares_a_tree_whose_folder_is_old() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    let aged = Command::new("touch").args(["-d", "2 hours ago"]).arg(&spares(&site)[0]).status().unwrap();
    assert!(aged.success());
    let commit = next(&site, &mut model);
    assert!(volume.build(&site.store(), commit, &Cancel::default()).unwrap().standby.is_some());
    volume.sweep(|_| false, || true).unwrap();
    volume.publish(commit).unwrap();
    assert!(is_whole(&site, &volume, commit));
}

#[test]
fn whatever_others_do_to_a_small_spare_is_not_published() {
    type Act = fn(&std::path::Path, &std::path::Path);
    let acts: [(&str, Act); 8] = [
        ("edited in place, same length, old times", |spare, _| {
            let file = fs::OpenOptions::new().write(true).open(spare.join("d2/f2")).unwrap();
            let times = fs::FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
            fs::write(spare.join("d2/f2"), "X").unwrap();
            file.set_times(times).unwrap();
        }),
        ("added", |spare, _| fs::write(spare.join("d3/added"), "X").unwrap()),
        ("added at the top", |spare, _| fs::write(spare.join("added"), "X").unwrap()),
        ("removed", |spare, _| fs::remove_file(spare.join("d4/f4")).unwrap()),
        ("made executable", |spare, _| {
            fs::set_permissions(spare.join("d2/f2"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("a touched folder is a link out of the tree", |spare, outside| {
            fs::rename(spare.join("d1"), spare.join("away")).unwrap();
            symlink(outside, spare.join("d1")).unwrap();
        }),
        ("a touched file is a link out of the tree", |spare, outside| {
            fs::remove_file(spare.join("d1/f1")).unwrap();
            symlink(outside.join("f1"), spare.join("d1/f1")).unwrap();
        }),
        ("the spare itself is a link out of the volume", |spare, outside| {
            fs::remove_dir_all(spare).unwrap();
            symlink(outside, spare).unwrap();
        }),
    ];
    // Also if it is looked at while the push is still on its way.
    for (expected, (what, act)) in [false, true].into_iter().flat_map(|expected| acts.map(|act| (expected, act))) {
        let site = Site::new();
        let (volume, mut model) = ready(&site);
        let outside = site.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("f1"), "precious").unwrap();
        // The clock that counts goes in steps of some milliseconds.
        thread::sleep(Duration::from_millis(30));
        act(&spares(&site)[0], &outside);
        let commit = next(&site, &mut model);
        if expected {
            let _ = volume.expect_push(&site.store(), &Cancel::default());
        }
        let built = build(&site, &volume, commit);
        assert_eq!(built.standby, None, "{what}");
        assert!(built.note.is_some(), "{what}");
        assert!(is_whole(&site, &volume, commit), "{what}");
        assert_eq!(names(&outside), ["f1"], "{what}");
        assert_eq!(fs::read(outside.join("f1")).unwrap(), b"precious", "{what}");
        assert_eq!(prepare(&site, &volume), Prepared::Ready(1), "{what}");
        assert!(build(&site, &volume, next(&site, &mut model)).standby.is_some(), "{what}");
    }
}

#[test]
fn what_a_spare_was_looked_at_for_counts_for_a_second_and_a_later_edit_is_found_right_after_the_publish() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    for (pause, is_found_before) in [(Duration::ZERO, false), (Duration::from_millis(1_100), true)] {
        let in_time = (0..20).any(|_| {
            let looked = Instant::now();
            volume.expect_push(&site.store(), &Cancel::default()).unwrap();
            thread::sleep(Duration::from_millis(30) + pause);
            fs::write(spares(&site)[0].join("d2/f2"), "X").unwrap();
            let commit = next(&site, &mut model);
            let built = build(&site, &volume, commit);
            // A busy machine may take the second for itself: then this round says nothing.
            let in_time = is_found_before || looked.elapsed() < Duration::from_secs(1);
            assert!(built.standby.is_none() == is_found_before || !in_time, "{built:?}");
            let found_after = volume.verify_live(&site.store(), &Cancel::default()).unwrap() != Verdict::Whole;
            assert_eq!(found_after, built.standby.is_some());
            build(&site, &volume, commit);
            assert!(is_whole(&site, &volume, commit));
            assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
            in_time
        });
        assert!(in_time, "the machine was never fast enough");
    }
}

#[test]
fn what_only_looks_changed_is_read_and_believed() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    thread::sleep(Duration::from_millis(30));
    // As a change of ownership for a new group of the volume does.
    for file in ["d1/f8", "d2/f2"] {
        fs::set_permissions(spares(&site)[0].join(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let commit = next(&site, &mut model);
    assert!(build(&site, &volume, commit).standby.is_some());
    assert!(is_whole(&site, &volume, commit));
}

#[test]
fn in_a_large_spare_an_edit_is_found_right_after_the_publish_and_repaired() {
    let site = Site::new();
    let mut model: Model =
        (0..3_000).map(|n| (format!("d{}/f{n}", n % 50), (FILE, n.to_string().into_bytes()))).collect();
    let volume = site.volume();
    build(&site, &volume, commit(&site, &model));
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    thread::sleep(Duration::from_millis(30));
    fs::write(spares(&site)[0].join("d7/f7"), "X").unwrap();
    let second = next(&site, &mut model);
    assert!(build(&site, &volume, second).standby.is_some());
    match volume.verify_live(&site.store(), &Cancel::default()).unwrap() {
        Verdict::Differs(difference) => assert_eq!(difference, "d7/f7 has other content"),
        Verdict::Whole => panic!("the edit was not seen"),
    }
    assert!(!is_whole(&site, &volume, second));
    build(&site, &volume, second);
    assert!(is_whole(&site, &volume, second));
    assert_eq!(volume.live().unwrap(), Live::Tree(second));
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));

    // A folder that the push touches is looked at before.
    thread::sleep(Duration::from_millis(30));
    fs::write(spares(&site)[0].join("d1/added"), "X").unwrap();
    let third = next(&site, &mut model);
    let built = build(&site, &volume, third);
    assert_eq!(built.standby, None);
    assert!(built.note.unwrap().contains("d1"));
    assert!(is_whole(&site, &volume, third));
}

#[test]
fn the_next_process_takes_a_whole_spare_up_and_throws_the_others_away() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    let spare = spares(&site)[0].clone();
    let ino = fs::metadata(&spare).unwrap().ino();
    drop(volume);

    let volume = site.volume();
    assert_eq!(spares(&site), std::slice::from_ref(&spare));
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    let second = next(&site, &mut model);
    assert!(build(&site, &volume, second).standby.is_some());
    assert_eq!(fs::metadata(site.tree_path(second)).unwrap().ino(), ino);
    assert!(is_whole(&site, &volume, second));
    prepare(&site, &volume);
    drop(volume);

    // One that was being worked on has the name of what is unfinished; one that was changed is found out.
    fs::rename(&spares(&site)[0], site.root().join(".worktrees/.tmp-1-1")).unwrap();
    let volume = site.volume();
    volume.remove_marked(|| true).unwrap();
    assert_eq!(site.worktrees().iter().filter(|name| name.starts_with('.')).count(), 0);
    prepare(&site, &volume);
    drop(volume);
    fs::write(spares(&site)[0].join("d2/f2"), "X").unwrap();
    let volume = site.volume();
    let third = next(&site, &mut model);
    let built = build(&site, &volume, third);
    assert_eq!((built.standby, built.note), (None, None), "not looked at yet, so not used");
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    let fourth = next(&site, &mut model);
    assert!(build(&site, &volume, fourth).standby.is_some());
    assert!(is_whole(&site, &volume, fourth));
    drop(volume);

    let options = VolumeOptions {
        root: site.root(),
        link: "current".into(),
        grace: LONG,
        standby_trees: 0,
        checkout: CheckoutOptions::default(),
        durability: Durability::default(),
    };
    let volume = Volume::open(options).unwrap();
    assert!(spares(&site).is_empty());
    assert_eq!(prepare(&site, &volume), Prepared::Nothing);
    assert!(spares(&site).is_empty());
}

#[test]
fn a_process_killed_anywhere_leaves_a_spare_that_is_whole_or_nothing() {
    let site = Site::new();
    let (volume, mut model) = ready(&site);
    let mut used = 0;
    for round in 0..60_u64 {
        // Cancelled at any moment, a job leaves what a killed one leaves, if its clean-up is taken away.
        let cancel = Cancel::default();
        let path = format!("d1/n{}", round % 5);
        model.insert(path, (FILE, vec![b'x'; 100 + usize::try_from(round).unwrap()]));
        let commit = commit(&site, &model);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let built = volume.build(&site.store(), commit, &cancel);
                if built.is_ok() {
                    volume.publish(commit).unwrap();
                    let _ = volume.prepare(&site.store(), &[], &cancel);
                }
                built.is_ok_and(|built| built.standby.is_some())
            });
            thread::sleep(Duration::from_micros(fastrand::u64(..fastrand::u64(2_000..60_000))));
            cancel.cancel();
            used += usize::from(worker.join().unwrap());
        });
        for spare in spares(&site) {
            let name = spare.file_name().unwrap().to_string_lossy().into_owned();
            let of = Oid::from_str(&name[7..47]).unwrap();
            assert_eq!(listing(&spare), archived(&site, of), "round {round}");
        }
        build(&site, &volume, commit);
        assert!(is_whole(&site, &volume, commit));
        assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
        assert!(spares(&site).len() == 1);
    }
    println!("{used} of 60 disturbed builds used the spare");
}

#[test]
fn a_replaced_tree_becomes_the_spare_once_its_grace_is_over_and_the_pinned_one_does_not() {
    let site = Site::new();
    let mut model: Model = (0..100).map(|n| (format!("f{n}"), (FILE, n.to_string().into_bytes()))).collect();
    let volume = site.volume_with("current", Duration::ZERO);
    let first = commit(&site, &model);
    build(&site, &volume, first);
    let ino = fs::metadata(site.tree_path(first)).unwrap().ino();
    let second = next(&site, &mut model);
    build(&site, &volume, second);
    assert_eq!(volume.prepare(&site.store(), &[first], &Cancel::default()).unwrap(), Prepared::Ready(1));
    assert!(is_whole(&site, &volume, first), "somebody is pinned to it");
    let third = next(&site, &mut model);
    assert!(build(&site, &volume, third).standby.is_some());
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    let fourth = next(&site, &mut model);
    build(&site, &volume, fourth);
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    volume.sweep(|_| false, || true).unwrap();
    assert_eq!(volume.trees().unwrap(), [fourth]);
    let inodes: Vec<u64> = site
        .worktrees()
        .iter()
        .map(|name| fs::metadata(site.root().join(".worktrees").join(name)).unwrap().ino())
        .collect();
    assert_eq!(inodes.len(), 2, "live and one spare");
    assert!(inodes.contains(&ino), "the first tree is still in use");
}

#[test]
fn a_spare_gives_way_to_a_push_that_needs_the_space_and_is_not_made_on_a_tight_volume() {
    let site = Site::new();
    let Some(_mount) = Mount::tmpfs(&site.root(), "size=64m,mode=0755") else { return };
    let volume = site.volume();
    let mut model: Model = (0..40).map(|n| (format!("f{n}"), (FILE, vec![n; 256 * 1024]))).collect();
    let first = commit(&site, &model);
    build(&site, &volume, first);
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1), "three trees of 10 MiB fit");
    // A push that changes everything and is larger: the spare is of no use, and in the way.
    model = (0..200).map(|n| (format!("g{n}"), (FILE, vec![n + 1; 225 * 1024]))).collect();
    let second = commit(&site, &model);
    let built = build(&site, &volume, second);
    assert_eq!((built.standby, built.note.as_deref()), (None, Some("too much differs")));
    assert!(spares(&site).is_empty(), "it gave way");
    assert!(is_whole(&site, &volume, second));
    assert_eq!(prepare(&site, &volume), Prepared::NoRoom);
    assert!(spares(&site).is_empty());
    assert!(is_whole(&site, &volume, first), "its readers have their grace");
}

#[test]
fn readers_never_see_a_mixture_while_trees_are_brought_from_commit_to_commit() {
    const FILES: usize = 40;
    const PUBLISHES: usize = 200;
    let site = Site::new();
    let generation = |n: usize| -> Model {
        (0..FILES).map(|file| (format!("d{}/f{file}", file % 5), (FILE, n.to_string().into_bytes()))).collect()
    };
    let commits: Vec<Oid> = (0..PUBLISHES).map(|n| commit(&site, &generation(n))).collect();
    let volume = site.volume_with("current", Duration::from_secs(5));
    build(&site, &volume, commits[0]);
    let (stop, walks) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut incremental = 0;
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let tree = site.root().join(fs::read_link(site.root().join("current")).expect("a link"));
                    let wanted = commits.iter().position(|commit| tree.ends_with(commit.to_string())).unwrap();
                    for file in 0..FILES {
                        let found = fs::read_to_string(tree.join(format!("d{}/f{file}", file % 5))).expect("a file");
                        assert_eq!(found, wanted.to_string());
                    }
                    walks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for &commit in &commits[1..] {
            prepare(&site, &volume);
            incremental += usize::from(build(&site, &volume, commit).standby.is_some());
            volume.sweep(|_| false, || true).unwrap();
        }
        until("a reader to look", || walks.load(Ordering::Relaxed) > 2);
    });
    println!("{} walks during {incremental} incremental publishes, 0 torn", walks.load(Ordering::Relaxed));
    assert!(incremental > PUBLISHES / 2, "{incremental}");
}

/// Printed, not asserted: `cargo test --release --test git publish::spare::what_one -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_one_changed_file_costs() {
    for files in [100, 20_000, 100_000] {
        let site = Site::new();
        let mut model: Model =
            (0..files).map(|n| (format!("d{}/e{}/f{n}", n % 20, n % 1000), (FILE, vec![b'x'; 200]))).collect();
        let none = VolumeOptions {
            root: site.root(),
            link: "current".into(),
            grace: Duration::ZERO,
            standby_trees: 1,
            checkout: CheckoutOptions::default(),
            durability: Durability::default(),
        };
        let volume = Volume::open(none).unwrap();
        build(&site, &volume, commit(&site, &model));
        let (mut fresh, mut spare, mut preparing, mut looking) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..7 {
            let commit = next(&site, &mut model);
            let started = Instant::now();
            assert_eq!(build(&site, &volume, commit).standby, None);
            fresh.push(started.elapsed());
            let started = Instant::now();
            prepare(&site, &volume);
            preparing.push(started.elapsed());
            let commit = next(&site, &mut model);
            let started = Instant::now();
            assert!(build(&site, &volume, commit).standby.is_some());
            spare.push(started.elapsed());
            let started = Instant::now();
            let looked = listing_of_times(&site.tree_path(commit));
            looking.push(started.elapsed());
            assert!(looked >= files);
            volume.sweep(|_| false, || true).unwrap();
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        println!(
            "{files} files: fresh {:?}, spare {:?}, preparing {:?}, lstat of all {:?}",
            median(&mut fresh),
            median(&mut spare),
            median(&mut preparing),
            median(&mut looking)
        );
    }
}

fn listing_of_times(folder: &std::path::Path) -> usize {
    let mut found = 0;
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            // Does not follow links.
            let metadata = entry.metadata().unwrap();
            found += usize::from(metadata.ctime() > 0 && !metadata.is_dir());
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found
}
