//! Surveys a whole tree before any of it is written: every name, the depth, the number of entries.
//!
//! It must not touch the volume. Equal subtrees are read once, so that a few kilobytes which unfold to billions of entries
//! cost no more than their own size.

use std::collections::HashMap;

use git2::Oid;

use crate::publish::error::Error;
use crate::publish::tree::view::{EntryKind, MAX_DEPTH, MAX_ENTRIES, View, hostile};
use crate::worker::Cancel;

/// The size of a subtree.
#[derive(Clone, Copy)]
struct Extent {
    entries: u64,
    /// The levels of folders, including itself.
    height: usize,
}

struct Frame {
    id: Oid,
    /// The length of the path to the folder above.
    above: usize,
    folders: std::vec::IntoIter<(Vec<u8>, Oid)>,
    extent: Extent,
}

/// Reads every tree object below `root` once and returns the number of entries. Hostile trees are refused here.
pub(crate) fn survey(view: &View<'_>, root: Oid, cancel: &Cancel) -> Result<u64, Error> {
    let mut known: HashMap<Oid, Extent> = HashMap::new();
    let mut path = Vec::new();
    let mut stack = vec![frame(view, root, &path, 0)?];
    loop {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let depth = stack.len();
        let Some(top) = stack.last_mut() else { return Ok(known.get(&root).map_or(0, |extent| extent.entries)) };
        let Some((name, id)) = top.folders.next() else {
            known.insert(top.id, top.extent);
            path.truncate(top.above);
            let done = top.extent;
            stack.pop();
            if let Some(above) = stack.last_mut() {
                add(&mut above.extent, done);
            }
            continue;
        };
        match known.get(&id) {
            Some(&extent) => {
                if depth + extent.height > MAX_DEPTH {
                    return Err(hostile(&path, &name, "folders are nested more than 256 deep"));
                }
                add(&mut top.extent, extent);
            }
            None if depth == MAX_DEPTH => {
                return Err(hostile(&path, &name, "folders are nested more than 256 deep"));
            }
            None => {
                let above = path.len();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                stack.push(frame(view, id, &path, above)?);
            }
        }
        if stack.last().is_some_and(|top| top.extent.entries > MAX_ENTRIES) {
            return Err(hostile(&path, b"", "there are more than 5,000,000 entries below it"));
        }
    }
}

fn frame(view: &View<'_>, id: Oid, path: &[u8], above: usize) -> Result<Frame, Error> {
    // Read as stored, regardless of patterns: a hostile tree is always refused, and the counts are an upper bound.
    let entries = view.stored_tree(id, path)?;
    let extent = Extent { entries: entries.len() as u64, height: 1 };
    let folders: Vec<_> = entries
        .into_iter()
        .filter(|entry| entry.kind == EntryKind::Folder)
        .map(|entry| (entry.name, entry.id))
        .collect();
    Ok(Frame { id, above, folders: folders.into_iter(), extent })
}

fn add(to: &mut Extent, extent: Extent) {
    // A few kilobytes of nested trees describe more entries than the number can count.
    to.entries = to.entries.saturating_add(extent.entries);
    to.height = to.height.max(extent.height + 1);
}
