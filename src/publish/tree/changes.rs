//! Finds the files that differ between two commits, by walking only the folders that differ.
//!
//! It must not read file contents, nor the volume.

use std::path::Path;
use std::sync::Arc;

use git2::Oid;

use crate::publish::error::Error;
use crate::publish::path::printable;
use crate::publish::tree::diff;
use crate::publish::tree::diff::Pair;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::tree::view::{EntryKind, MAX_DEPTH, Objects, TreeEntry, View, hostile, join};
use crate::submodules::Submodules;

/// The most changed files that are listed by name.
const NAMED: usize = 500;

/// The numbers of files that differ between two commits, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: u64,
    /// Files with another content or mode. A file that became a folder, or the other way round, counts as deleted and
    /// added.
    pub modified: u64,
    pub deleted: u64,
    /// At most 500, in tree order; paths as text with control characters escaped, at most 400 characters each.
    pub first: Vec<(String, ChangeKind)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// Compares two commits by walking only the subtrees that differ. If `old` is `None`, or not completely in the store, all
/// files count as added.
///
/// # Errors
/// If an object of `new` is missing or damaged, or if its tree is hostile.
pub(crate) fn between(store: &Path, submodules: Submodules, old: Option<Oid>, new: Oid) -> Result<Changes, Error> {
    // The pushed content is compared, without conversions by attributes.
    let objects =
        Objects::open(store, &Arc::new(CheckoutOptions { raw: true, submodules, ..CheckoutOptions::default() }))?;
    let view = objects.view()?;
    let new = objects.root(new)?;
    if let Some(old) = old.and_then(|commit| objects.root(commit).ok())
        && let Ok(changes) = walk(&view, Some(old), Some(new))
    {
        return Ok(changes);
    }
    // Objects of the old commit may have been pruned. If the new ones are at fault, this fails again.
    walk(&view, None, Some(new))
}

struct Frame {
    path: Vec<u8>,
    pairs: std::vec::IntoIter<Pair>,
}

fn walk(view: &View<'_>, old: Option<Oid>, new: Option<Oid>) -> Result<Changes, Error> {
    let mut changes = Changes::default();
    let mut seen = 0;
    let mut stack = vec![frame(view, old, new, Vec::new(), &mut seen)?];
    while let Some(top) = stack.last_mut() {
        let Some((before, after)) = top.pairs.next() else {
            stack.pop();
            continue;
        };
        let Some(entry) = before.as_ref().or(after.as_ref()) else { continue };
        let path = join(&top.path, &entry.name);
        if entry.kind == EntryKind::Folder {
            if stack.len() == MAX_DEPTH {
                return Err(hostile(&path, b"", "folders are nested more than 256 deep"));
            }
            let id = |entry: Option<TreeEntry>| entry.map(|entry| entry.id);
            stack.push(frame(view, id(before), id(after), path, &mut seen)?);
            continue;
        }
        let (count, kind) = match (&before, &after) {
            (None, _) => (&mut changes.added, ChangeKind::Added),
            (_, None) => (&mut changes.deleted, ChangeKind::Deleted),
            _ => (&mut changes.modified, ChangeKind::Modified),
        };
        *count += 1;
        if changes.first.len() < NAMED {
            changes.first.push((printable(&path), kind));
        }
    }
    Ok(changes)
}

fn frame(view: &View<'_>, old: Option<Oid>, new: Option<Oid>, path: Vec<u8>, seen: &mut u64) -> Result<Frame, Error> {
    let pairs = diff::folders(view, old, new, &path, seen)?.into_iter();
    Ok(Frame { path, pairs })
}
