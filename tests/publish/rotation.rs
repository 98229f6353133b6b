//! Replaced trees that are used again: nothing that an app wrote into one reaches the next commit, and what a push did not
//! change keeps its inode and its times.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use git2::Oid;
use pushsync::publish::{Built, CheckoutOptions, Durability, Live, Prepared, Verdict, Volume, VolumeOptions};
use pushsync::worker::Cancel;

use super::fixture::{Site, listing};
use super::model::{FILE, LINK, Model, archived, change, commit};

/// The clock that counts goes in steps of some milliseconds.
const TICK: Duration = Duration::from_millis(30);

fn volume(site: &Site, spares: usize, durability: Durability) -> Volume {
    let (root, link, shape) = (site.root(), "current".into(), CheckoutOptions::default());
    Volume::open(VolumeOptions {
        root,
        link,
        grace: Duration::ZERO,
        standby_trees: spares,
        checkout: shape,
        durability,
    })
    .unwrap()
}

fn build(site: &Site, volume: &Volume, commit: Oid) -> Built {
    let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
    volume.publish(commit).unwrap();
    built
}

fn prepare(site: &Site, volume: &Volume) -> Prepared {
    volume.prepare(&site.store(), &[], &Cancel::default()).unwrap()
}

/// Folders of trees by their inodes, with their names.
fn folders(site: &Site) -> BTreeMap<u64, String> {
    let trees = site.root().join(".worktrees");
    let of = |name: String| (fs::metadata(trees.join(&name)).unwrap().ino(), name);
    site.worktrees().into_iter().map(of).collect()
}

/// Inode and modification time of each file and link.
fn identities(tree: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let of = |path: PathBuf| {
        let stat = fs::symlink_metadata(tree.join(&path)).unwrap();
        (path, (stat.ino(), stat.mtime(), stat.mtime_nsec()), stat.is_dir())
    };
    let all = listing(tree).into_keys().map(of);
    all.filter(|(_, _, is_folder)| !is_folder).map(|(path, identity, _)| (path, identity)).collect()
}

fn small() -> Model {
    let mut model: Model =
        (0..60).map(|n| (format!("d{}/e{}/f{n}", n % 7, n % 14), (FILE, n.to_string().into_bytes()))).collect();
    model.insert("d0/link".to_owned(), (LINK, b"e0".to_vec()));
    model
}

/// More entries than a push looks at as a whole.
fn large() -> Model {
    (0..1_100).map(|n| (format!("d{}/e{}/f{n}", n % 7, n % 35), (FILE, n.to_string().into_bytes()))).collect()
}

fn next(site: &Site, model: &mut Model) -> Oid {
    let at = fastrand::usize(..model.len());
    let path = model.keys().nth(at).unwrap().clone();
    model.insert(path, (FILE, fastrand::u64(..).to_string().into_bytes()));
    commit(site, model)
}

#[test]
fn trees_take_turns_and_no_other_is_written() {
    for (spares, durability) in [(1, Durability::Normal), (2, Durability::Normal), (2, Durability::Full)] {
        let site = Site::new();
        let volume = volume(&site, spares, durability);
        let mut model = large();
        build(&site, &volume, commit(&site, &model));
        prepare(&site, &volume);
        build(&site, &volume, next(&site, &mut model));
        prepare(&site, &volume);
        volume.sweep(|_| false, || true).unwrap();
        let trees = folders(&site);
        for round in 0..6 {
            let commit = next(&site, &mut model);
            let built = build(&site, &volume, commit);
            assert!(built.standby.is_some() && built.files <= 5, "round {round}: {built:?}");
            assert_eq!(listing(&site.tree_path(commit)), archived(&site, commit), "round {round}");
            assert!(matches!(prepare(&site, &volume), Prepared::Ready(1..)));
            volume.sweep(|_| false, || true).unwrap();
            let now = folders(&site);
            assert!(now.keys().eq(trees.keys()), "round {round}: {trees:?} became {now:?}");
        }
        assert!(trees.len() <= 1 + spares, "{trees:?}");
    }
}

#[test]
fn what_a_push_does_not_change_keeps_its_times_and_in_a_tree_its_inodes() {
    let site = Site::new();
    let volume = volume(&site, 1, Durability::default());
    let mut model = small();
    let mut live = commit(&site, &model);
    build(&site, &volume, live);
    let mut by_tree: BTreeMap<u64, BTreeMap<PathBuf, (u64, i64, i64)>> = BTreeMap::new();
    let mut changed_since: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for round in 0..8 {
        if volume.verify_is_due() {
            assert_eq!(volume.verify_live(&site.store(), &Cancel::default()).unwrap(), Verdict::Whole);
        }
        prepare(&site, &volume);
        volume.sweep(|_| false, || true).unwrap();
        let times_before: BTreeMap<_, _> =
            identities(&site.tree_path(live)).into_iter().map(|(path, (_, s, n))| (path, (s, n))).collect();
        thread::sleep(TICK);
        // More than what is left to the next push.
        let before = model.clone();
        for _ in 0..if round % 2 == 0 { 1 } else { 9 } {
            next(&site, &mut model);
        }
        live = commit(&site, &model);
        assert!(build(&site, &volume, live).standby.is_some());
        let now = identities(&site.tree_path(live));
        let changed: Vec<PathBuf> = model
            .iter()
            .filter(|(path, entry)| before.get(*path) != Some(entry))
            .map(|(path, _)| path.into())
            .collect();
        for (path, (_, s, n)) in &now {
            assert_eq!(times_before[path] != (*s, *n), changed.contains(path), "round {round}: {}", path.display());
        }
        for paths in changed_since.values_mut() {
            paths.extend(changed.iter().cloned());
        }
        let inode = fs::metadata(site.tree_path(live)).unwrap().ino();
        if let Some(earlier) = by_tree.get(&inode) {
            for (path, identity) in &now {
                let same = earlier[path].0 == identity.0;
                let may_differ = changed_since[&inode].contains(path);
                assert!(same || may_differ, "round {round}: {} has another inode", path.display());
            }
        }
        by_tree.insert(inode, now);
        changed_since.insert(inode, Vec::new());
    }
    assert!(by_tree.len() < 8, "trees were used again");
}

#[test]
fn trees_of_any_shape_take_turns_and_keep_nothing_that_an_app_added() {
    let site = Site::new();
    let patterns = site.path().join("patterns");
    fs::write(&patterns, "/*\n!/d3/\n").unwrap();
    let shapes = [
        CheckoutOptions { group_write: true, ..CheckoutOptions::default() },
        CheckoutOptions { sparse_file: Some(patterns), ..CheckoutOptions::default() },
    ];
    for shape in shapes {
        let volume = site.volume_of(shape.clone(), Duration::ZERO);
        let mut model = small();
        site.put(&volume, commit(&site, &model));
        prepare(&site, &volume);
        site.put(&volume, next(&site, &mut model));
        prepare(&site, &volume);
        volume.sweep(|_| false, || true).unwrap();
        let trees = folders(&site);
        for round in 0..5 {
            thread::sleep(TICK);
            let live = Oid::from_str(
                &fs::read_link(site.root().join("current")).unwrap().file_name().unwrap().to_string_lossy(),
            );
            let tree = site.tree_path(live.unwrap());
            fs::write(tree.join("d1/added"), "app").unwrap();
            fs::write(tree.join("d2/e2/f2"), "app").unwrap();
            let commit = next(&site, &mut model);
            let built = build(&site, &volume, commit);
            assert!(built.standby.is_some(), "{shape:?}, round {round}: {built:?}");
            assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole, "{shape:?}");
            let tree = site.tree_path(commit);
            assert!(!tree.join("d1/added").exists(), "{shape:?}, round {round}");
            assert_eq!(tree.join("d3").exists(), shape.sparse_file.is_none(), "{shape:?}");
            assert_eq!(prepare(&site, &volume), Prepared::Ready(1), "{shape:?}");
            volume.sweep(|_| false, || true).unwrap();
            assert!(folders(&site).keys().eq(trees.keys()), "{shape:?}, round {round}");
        }
        drop(volume);
        fs::remove_dir_all(site.root()).unwrap();
    }
}

type Act = (&'static str, fn(&Path, &Path));

/// What an app may do to the tree that it reads.
const ACTS: [Act; 13] = [
    ("adds a file", |tree, _| fs::write(tree.join("d1/added"), "app").unwrap()),
    ("adds a file at the top", |tree, _| fs::write(tree.join("added"), "app").unwrap()),
    ("adds a deep folder", |tree, _| {
        fs::create_dir_all(tree.join("d2/cache/deep")).unwrap();
        fs::write(tree.join("d2/cache/deep/file"), "app").unwrap();
    }),
    ("edits in place with the same length and old times", |tree, _| {
        let path = tree.join("d2/e2/f2");
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "X").unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_modified(before).unwrap();
    }),
    ("removes a file", |tree, _| fs::remove_file(tree.join("d3/e3/f3")).unwrap()),
    ("removes a folder", |tree, _| fs::remove_dir_all(tree.join("d4")).unwrap()),
    ("changes modes", |tree, _| {
        fs::set_permissions(tree.join("d5/e5/f5"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(tree.join("d5/e5"), fs::Permissions::from_mode(0o700)).unwrap();
    }),
    ("swaps two files", |tree, _| {
        fs::rename(tree.join("d5/e5/f5"), tree.join("d5/swap")).unwrap();
        fs::rename(tree.join("d6/e6/f6"), tree.join("d5/e5/f5")).unwrap();
        fs::rename(tree.join("d5/swap"), tree.join("d6/e6/f6")).unwrap();
    }),
    ("puts a link out of the tree in the place of a folder", |tree, outside| {
        fs::remove_dir_all(tree.join("d6")).unwrap();
        symlink(outside, tree.join("d6")).unwrap();
    }),
    ("puts a link out of the tree in the place of a file", |tree, outside| {
        fs::remove_file(tree.join("d1/e1/f1")).unwrap();
        symlink(outside.join("f1"), tree.join("d1/e1/f1")).unwrap();
    }),
    ("keeps a second name of a file", |tree, outside| {
        fs::hard_link(tree.join("d1/e8/f8"), outside.join("second")).unwrap();
    }),
    ("puts a folder in the place of a file", |tree, _| {
        fs::remove_file(tree.join("d0/e0/f0")).unwrap();
        fs::create_dir(tree.join("d0/e0/f0")).unwrap();
        fs::write(tree.join("d0/e0/f0/inside"), "app").unwrap();
    }),
    ("turns a link elsewhere", |tree, _| {
        fs::remove_file(tree.join("d0/link")).unwrap();
        symlink("/etc", tree.join("d0/link")).unwrap();
    }),
];

#[test]
fn nothing_that_an_app_did_to_a_tree_is_in_the_commit_that_it_is_used_for_next() {
    for (restart, looked) in [(false, false), (false, true), (true, false)] {
        for (what, act) in ACTS {
            let site = Site::new();
            let mut volume = volume(&site, 1, Durability::default());
            let outside = site.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("f1"), "precious").unwrap();
            let mut model = small();
            let first = commit(&site, &model);
            build(&site, &volume, first);
            prepare(&site, &volume);
            let inode = fs::metadata(site.tree_path(first)).unwrap().ino();
            thread::sleep(TICK);
            act(&site.tree_path(first), &outside);
            if looked {
                // What was added is no difference then, and must not be believed to be the commit's.
                thread::sleep(TICK);
                volume.verify_live(&site.store(), &Cancel::default()).unwrap();
            }
            let second = next(&site, &mut model);
            build(&site, &volume, second);
            if restart {
                drop(volume);
                volume = self::volume(&site, 1, Durability::default());
            }
            // The tree is used again: the only one whose grace is over.
            assert_eq!(prepare(&site, &volume), Prepared::Ready(1), "{what}");
            let third = next(&site, &mut model);
            assert!(build(&site, &volume, third).standby.is_some(), "{what}");
            assert_eq!(fs::metadata(site.tree_path(third)).unwrap().ino(), inode, "{what}");
            assert_eq!(
                listing(&site.tree_path(third)),
                archived(&site, third),
                "{what}, restart {restart}, looked {looked}"
            );
            assert_eq!(fs::read(outside.join("f1")).unwrap(), b"precious", "{what}");
            if let Ok(second_name) = fs::metadata(outside.join("second")) {
                assert_eq!(second_name.nlink(), 1, "its owner could write into the tree");
            }
        }
    }
}

#[test]
fn whatever_commits_and_apps_do_a_tree_that_takes_its_turn_is_what_git_archive_unpacks() {
    const ROUNDS: usize = 60;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (spares, durability) in [(1, Durability::Normal), (2, Durability::Normal), (2, Durability::Full)] {
        let site = Site::new();
        let mut volume = volume(&site, spares, durability);
        let mut model: Model = (0..60).map(|n| (format!("f{n}"), (FILE, n.to_string().into_bytes()))).collect();
        // Rounds before which a standby tree was ready, which a push then takes.
        let (mut is_ready, mut ready, mut brought) = (false, 0, 0);
        for round in 0..ROUNDS {
            for _ in 0..random.usize(1..12) {
                change(&mut random, &mut model);
            }
            let commit = commit(&site, &model);
            if matches!(volume.live().unwrap(), Live::Tree(live) if live == commit) {
                // The changes took each other back: the tree stays, with what the app added.
                continue;
            }
            let built = build(&site, &volume, commit);
            brought += usize::from(built.standby.is_some());
            assert!(built.standby.is_some() || !is_ready, "round {round}, {built:?}");
            ready += usize::from(is_ready);
            assert_eq!(listing(&site.tree_path(commit)), archived(&site, commit), "round {round}, {built:?}");
            if random.u8(..3) == 0 {
                scribble(&mut random, &site.tree_path(commit));
            }
            if random.u8(..15) == 0 {
                drop(volume);
                volume = self::volume(&site, spares, durability);
            }
            let cancel = Cancel::default();
            is_ready = false;
            if random.u8(..5) == 0 {
                // A push comes while the next tree is prepared.
                thread::scope(|scope| {
                    let worker = scope.spawn(|| drop(volume.prepare(&site.store(), &[], &cancel)));
                    thread::sleep(Duration::from_micros(random.u64(..20_000)));
                    cancel.cancel();
                    worker.join().unwrap();
                });
            } else if random.u8(..8) > 0 {
                is_ready = matches!(prepare(&site, &volume), Prepared::Ready(1..));
            }
            volume.sweep(|commit| volume.may_rotate(commit), || true).unwrap();
        }
        println!("{brought} of {ROUNDS} trees were brought from another one, {ready} of them had to be");
        // The rest were prepared for as long as the machine let them, or not at all.
        assert!(ready > ROUNDS / 3, "{ready}");
    }
}

/// What an app might do, anywhere.
fn scribble(random: &mut fastrand::Rng, tree: &Path) {
    let paths: Vec<PathBuf> = listing(tree).into_keys().collect();
    for _ in 0..random.usize(1..4) {
        let path = tree.join(&paths[random.usize(..paths.len())]);
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        match (random.u8(..5), stat.is_dir()) {
            (0, true) => drop(fs::write(path.join("added"), "app")),
            (1, true) => drop(fs::create_dir_all(path.join("new/folder"))),
            (0 | 1, false) if stat.is_file() => drop(fs::write(path, "edited by an app")),
            (2, false) => drop(fs::remove_file(path)),
            (2, true) => drop(fs::remove_dir_all(path)),
            (3, _) if !stat.is_symlink() => {
                drop(fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
            }
            _ => drop(fs::write(tree.join("at the top"), "app")),
        }
    }
}

#[test]
fn a_check_that_was_given_up_is_gone_on_with_and_the_tree_is_not_lost() {
    let site = Site::new();
    let volume = volume(&site, 1, Durability::default());
    let mut model = small();
    let first = commit(&site, &model);
    build(&site, &volume, first);
    prepare(&site, &volume);
    let inode = fs::metadata(site.tree_path(first)).unwrap().ino();
    build(&site, &volume, next(&site, &mut model));
    let cancel = Cancel::default();
    // Cancelled at the first look, after the tree has lost its name.
    let mut given_up = false;
    for _ in 0..200 {
        thread::scope(|scope| {
            let worker = scope.spawn(|| volume.prepare(&site.store(), &[], &cancel).is_err());
            thread::sleep(Duration::from_micros(fastrand::u64(..3_000)));
            cancel.cancel();
            given_up |= worker.join().unwrap();
        });
        if given_up {
            break;
        }
        build(&site, &volume, next(&site, &mut model));
    }
    assert!(given_up);
    // It may have been given up before the tree lost its name.
    volume.sweep(|commit| volume.may_rotate(commit), || true).unwrap();
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    let live = next(&site, &mut model);
    build(&site, &volume, live);
    assert_eq!(listing(&site.tree_path(live)), archived(&site, live));
    assert!(folders(&site).contains_key(&inode), "the tree is still in use");
    assert_eq!(volume.verify(&site.store(), live, &Cancel::default()).unwrap(), Verdict::Whole);
}

/// A tree that was published, replaced, and is the standby tree now.
fn rotated(site: &Site, model: &mut Model) -> Volume {
    let volume = volume(site, 1, Durability::default());
    build(site, &volume, commit(site, model));
    prepare(site, &volume);
    build(site, &volume, next(site, model));
    assert_eq!(prepare(site, &volume), Prepared::Ready(1));
    volume
}

fn standby(site: &Site) -> PathBuf {
    let name = site.worktrees().into_iter().find(|name| name.starts_with(".spare-")).unwrap();
    site.root().join(".worktrees").join(name)
}

type ActWithFile = (&'static str, fn(&Path, &mut fs::File));

#[test]
fn what_others_change_in_a_standby_tree_is_found_before_a_push_publishes_it() {
    let acts: [ActWithFile; 5] = [
        ("writes through a descriptor that it had before", |_, file| file.write_all(b"X").unwrap()),
        ("adds a name", |tree, _| fs::write(tree.join("d5/e5/added"), "X").unwrap()),
        ("removes a file", |tree, _| fs::remove_file(tree.join("d1/e1/f1")).unwrap()),
        ("adds a folder", |tree, _| fs::create_dir(tree.join("d6/added")).unwrap()),
        ("changes a mode", |tree, _| {
            fs::set_permissions(tree.join("d1/e1/f1"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
    ];
    let (site, mut model) = (Site::new(), large());
    let volume = rotated(&site, &mut model);
    for (what, act) in acts {
        let standby = standby(&site);
        let mut file = fs::OpenOptions::new().write(true).open(standby.join("d2/e2/f2")).unwrap();
        thread::sleep(TICK);
        act(&standby, &mut file);
        let live = next(&site, &mut model);
        let built = build(&site, &volume, live);
        assert_eq!(built.standby, None, "{what}");
        assert!(built.note.unwrap().contains("changed it"), "{what}");
        assert_eq!(listing(&site.tree_path(live)), archived(&site, live), "{what}");
        // Cleaned, it serves the next push.
        assert_eq!(prepare(&site, &volume), Prepared::Ready(1), "{what}");
        volume.sweep(|_| false, || true).unwrap();
        let live = next(&site, &mut model);
        assert!(build(&site, &volume, live).standby.is_some(), "{what}");
        assert_eq!(listing(&site.tree_path(live)), archived(&site, live), "{what}");
        assert_eq!(prepare(&site, &volume), Prepared::Ready(1), "{what}");
    }
}

#[test]
fn a_tree_that_was_watched_is_compared_later_and_what_apps_did_since_its_publish_is_theirs() {
    let (site, mut model) = (Site::new(), large());
    let volume = rotated(&site, &mut model);
    for round in 0..4 {
        let live = next(&site, &mut model);
        assert!(build(&site, &volume, live).standby.is_some());
        assert!(!volume.verify_is_due(), "round {round}: the walk of the check is the only one");
        assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
        volume.sweep(|_| false, || true).unwrap();
    }
    let standby = standby(&site);
    // Two names of one file, one of them outside of the tree: what is written there is not reported.
    let outside = site.path().join("second");
    fs::hard_link(standby.join("d2/e2/f2"), &outside).unwrap();
    thread::sleep(TICK);
    fs::write(&outside, "X").unwrap();
    let live = loop {
        let commit = next(&site, &mut model);
        if model["d2/e2/f2"].1 == b"2" {
            break commit;
        }
        model.insert("d2/e2/f2".to_owned(), (FILE, b"2".to_vec()));
    };
    assert!(build(&site, &volume, live).standby.is_some());
    assert!(!volume.verify_is_due());
    thread::sleep(TICK);
    let tree = site.tree_path(live);
    let look = || volume.verify_live(&site.store(), &Cancel::default()).unwrap();
    fs::write(tree.join("d1/e1/f1"), "app").unwrap();
    assert_eq!(look(), Verdict::Differs("d2/e2/f2 has other content".to_owned()));
    // As it should be, but for what the app did when it had the tree.
    fs::write(tree.join("d2/e2/f2"), "app").unwrap();
    fs::remove_file(tree.join("d3/e3/f3")).unwrap();
    fs::remove_dir_all(tree.join("d4/e4")).unwrap();
    fs::set_permissions(tree.join("d5/e5/f5"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(look(), Verdict::Whole);
    // Nothing of it is in the next commit that the tree is used for.
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    let inode = fs::metadata(&tree).unwrap().ino();
    build(&site, &volume, next(&site, &mut model));
    assert_eq!(prepare(&site, &volume), Prepared::Ready(1));
    let last = next(&site, &mut model);
    assert!(build(&site, &volume, last).standby.is_some());
    assert_eq!(fs::metadata(site.tree_path(last)).unwrap().ino(), inode);
    assert_eq!(listing(&site.tree_path(last)), archived(&site, last));
}
