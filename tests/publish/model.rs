//! Commits made from a map of paths, random changes to it, and what `git archive` says a commit holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use git2::{IndexEntry, IndexTime, Oid, Repository};

use super::fixture::{Site, listing};

pub const FILE: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
pub const LINK: u32 = 0o120_000;
const SUBMODULE: u32 = 0o160_000;

/// Path to mode and content.
pub type Model = BTreeMap<String, (u32, Vec<u8>)>;

/// Writes the tree and a commit of it.
pub fn commit(site: &Site, model: &Model) -> Oid {
    let repository = Repository::open_bare(site.store()).unwrap();
    let mut index = git2::Index::new().unwrap();
    for (path, (mode, content)) in model {
        let id = match *mode {
            SUBMODULE => Oid::hash_object(git2::ObjectType::Commit, content).unwrap(),
            _ => repository.blob(content).unwrap(),
        };
        let none = IndexTime::new(0, 0);
        let (dev, ino, uid, gid, file_size, flags, flags_extended) = (0, 0, 0, 0, 0, 0, 0);
        let (ctime, mtime, mode, path) = (none, none, *mode, path.as_bytes().to_vec());
        let entry = IndexEntry { ctime, mtime, dev, ino, mode, uid, gid, file_size, id, flags, flags_extended, path };
        index.add(&entry).unwrap();
    }
    site.commit_of(index.write_tree_to(&repository).unwrap())
}

/// What `git archive` unpacks.
pub fn archived(site: &Site, commit: Oid) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let expected = site.path().join("expected");
    fs::create_dir(&expected).unwrap();
    let mut archive = Command::new("git")
        .args(["-c", "tar.umask=0022", "archive", "--format=tar", &commit.to_string()])
        .current_dir(site.work())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let unpacked =
        Command::new("tar").args(["xp", "-C"]).arg(&expected).stdin(archive.stdout.take().unwrap()).status().unwrap();
    assert!(unpacked.success() && archive.wait().unwrap().success());
    let found = listing(&expected);
    fs::remove_dir_all(expected).unwrap();
    found
}

fn pick(random: &mut fastrand::Rng, model: &Model) -> String {
    let at = random.usize(..model.len());
    model.keys().nth(at).unwrap().clone()
}

/// True if the path can stand beside the others: no file where another needs a folder.
fn fits(model: &Model, path: &str) -> bool {
    let below = format!("{path}/");
    let above = path.match_indices('/').any(|(at, _)| model.contains_key(&path[..at]));
    !above && !model.keys().any(|other| other.starts_with(&below))
}

/// One change of any kind that a push can bring.
pub fn change(random: &mut fastrand::Rng, model: &mut Model) {
    let folder = |random: &mut fastrand::Rng| -> String {
        (0..random.usize(..4)).map(|_| random.choice(["a/", "b/", "a.b/", "deep/"]).unwrap()).collect()
    };
    let fresh = format!("{}{}", folder(random), random.choice(["a", "b", "a.b", "x", "y", "z z", "\u{e9}"]).unwrap());
    let content = || fastrand::u64(..).to_string().into_bytes();
    match random.u8(..10) {
        0..=2 if fits(model, &fresh) => {
            let mode = random.choice([FILE, FILE, EXECUTABLE, LINK, SUBMODULE]).unwrap();
            model.insert(fresh, (mode, content()));
        }
        3 if model.len() > 8 => drop(model.remove(&pick(random, model))),
        4 => {
            let path = pick(random, model);
            let (mode, content) = model[&path].clone();
            if fits(model, &fresh) {
                model.remove(&path);
                model.insert(fresh, (mode, content));
            }
        }
        5 => {
            let entry = model.get_mut(&pick(random, model)).unwrap();
            entry.0 = random.choice([FILE, EXECUTABLE, LINK, SUBMODULE]).unwrap();
        }
        6 => {
            // A file becomes a folder, or a folder a file.
            let path = pick(random, model);
            match path.rsplit_once('/') {
                Some((above, _)) if random.bool() => {
                    let (above, below) = (above.to_owned(), format!("{above}/"));
                    model.retain(|other, _| !other.starts_with(&below));
                    model.insert(above, (random.choice([FILE, LINK]).unwrap(), content()));
                }
                _ => {
                    model.remove(&path);
                    model.insert(format!("{path}/inside"), (FILE, content()));
                }
            }
        }
        7 => {
            // A whole folder moves.
            let from = format!("{}/", random.choice(["a", "b", "a.b", "deep"]).unwrap());
            let to = folder(random);
            let moved: Vec<_> = model.keys().filter(|path| path.starts_with(&from)).cloned().collect();
            for path in moved {
                let target = format!("{to}{}", &path[from.len()..]);
                if fits(model, &target) {
                    let entry = model.remove(&path).unwrap();
                    model.insert(target, entry);
                }
            }
        }
        _ => model.get_mut(&pick(random, model)).unwrap().1 = content(),
    }
}
