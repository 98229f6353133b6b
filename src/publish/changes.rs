//! Which files differ between two commits: a walk through the folders that differ, and no others.
//!
//! libgit2's own diff reads every tree; comparing the hashes of folders first makes the cost follow the change. It must
//! not read file contents, nor the volume.

use std::path::Path;

use git2::{Odb, Oid};

use super::objects::{Entry, EntryKind, MAX_DEPTH, MAX_ENTRIES, Objects, hostile, join, read_tree};
use super::path::printable;
use super::{Changes, Error, Kind};

/// How many changed files are named.
const NAMED: usize = 500;

/// Compares two commits by walking only the subtrees that differ. `old` = `None`, or not (or not wholly) in the store:
/// everything is added.
///
/// # Errors
/// If an object of `new` is missing or damaged, or if its tree is hostile.
pub fn changes(store: &Path, old: Option<Oid>, new: Oid) -> Result<Changes, Error> {
    let objects = Objects::open(store)?;
    let odb = objects.odb()?;
    let new = objects.root(new)?;
    if let Some(old) = old.and_then(|commit| objects.root(commit).ok())
        && let Ok(changes) = walk(&odb, Some(old), Some(new))
    {
        return Ok(changes);
    }
    // Objects of the old commit may have been pruned; if the new ones are at fault this fails again.
    walk(&odb, None, Some(new))
}

/// The same name in both commits; at least one is there.
type Pair = (Option<Entry>, Option<Entry>);

struct Frame {
    path: Vec<u8>,
    pairs: std::vec::IntoIter<Pair>,
}

fn walk(odb: &Odb<'_>, old: Option<Oid>, new: Option<Oid>) -> Result<Changes, Error> {
    let mut changes = Changes::default();
    let mut seen = 0;
    let mut stack = vec![frame(odb, old, new, Vec::new(), &mut seen)?];
    while let Some(top) = stack.last_mut() {
        let Some((before, after)) = top.pairs.next() else {
            stack.pop();
            continue;
        };
        let Some(entry) = before.as_ref().or(after.as_ref()) else { continue };
        let path = join(&top.path, &entry.name);
        // The order of git's trees keeps a file and a folder of one name apart, so either both are folders or none is.
        if entry.kind == EntryKind::Folder {
            if stack.len() == MAX_DEPTH {
                return Err(hostile(&path, b"", "folders are nested more than 256 deep"));
            }
            let id = |entry: Option<Entry>| entry.map(|entry| entry.id);
            stack.push(frame(odb, id(before), id(after), path, &mut seen)?);
            continue;
        }
        let (count, kind) = match (&before, &after) {
            (None, _) => (&mut changes.added, Kind::Added),
            (_, None) => (&mut changes.deleted, Kind::Deleted),
            _ => (&mut changes.modified, Kind::Modified),
        };
        *count += 1;
        if changes.first.len() < NAMED {
            changes.first.push((printable(&path), kind));
        }
    }
    Ok(changes)
}

fn frame(odb: &Odb<'_>, old: Option<Oid>, new: Option<Oid>, path: Vec<u8>, seen: &mut u64) -> Result<Frame, Error> {
    let read = |id: Option<Oid>| id.map_or_else(|| Ok(Vec::new()), |id| read_tree(odb, id, &path));
    let (old, new) = if old == new { (Vec::new(), Vec::new()) } else { (read(old)?, read(new)?) };
    *seen += (old.len() + new.len()) as u64;
    if *seen > 2 * MAX_ENTRIES {
        return Err(hostile(&path, b"", "there are more than 5,000,000 entries to compare"));
    }
    Ok(Frame { path, pairs: differing(old, new).into_iter() })
}

/// Merges two folders in git's order, without what is the same in both.
fn differing(mut old: Vec<Entry>, mut new: Vec<Entry>) -> Vec<Pair> {
    // A hostile tree may be out of order; for any other this costs one pass.
    old.sort_by(|a, b| key(a).cmp(key(b)));
    new.sort_by(|a, b| key(a).cmp(key(b)));
    let mut pairs = Vec::new();
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let pair = match (old.peek(), new.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => (old.next(), None),
            (None, Some(_)) => (None, new.next()),
            (Some(a), Some(b)) => match key(a).cmp(key(b)) {
                std::cmp::Ordering::Less => (old.next(), None),
                std::cmp::Ordering::Greater => (None, new.next()),
                std::cmp::Ordering::Equal => (old.next(), new.next()),
            },
        };
        if pair.0 != pair.1 {
            pairs.push(pair);
        }
    }
}

/// git orders a folder as if its name ended with a slash.
fn key(entry: &Entry) -> impl Iterator<Item = u8> + '_ {
    let slash = (entry.kind == EntryKind::Folder).then_some(b'/');
    entry.name.iter().copied().chain(slash)
}
