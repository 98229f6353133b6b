//! Compares two folders of two commits, leaving out equal entries.
//!
//! libgit2's own diff reads every tree. Comparing the hashes of folders first makes the cost proportional to the change. It
//! must not read file contents, nor the volume, nor know how the difference is used.

use std::cmp::Ordering;

use git2::Oid;

use crate::publish::error::Error;
use crate::publish::tree::view::{EntryKind, MAX_ENTRIES, TreeEntry, View, hostile};

/// An entry in both commits, which differs, or is missing on one side. Git's order of trees keeps a file and a folder of
/// one name apart, so either both are folders or neither is.
pub(crate) type Pair = (Option<TreeEntry>, Option<TreeEntry>);

/// Lists the differences of two folders, in git's order. `None` is an empty folder. `seen` counts all entries of a walk, so
/// that a few kilobytes which unfold to billions of entries end it.
pub(crate) fn folders(
    view: &View<'_>,
    old: Option<Oid>,
    new: Option<Oid>,
    path: &[u8],
    seen: &mut u64,
) -> Result<Vec<Pair>, Error> {
    if old == new {
        return Ok(Vec::new());
    }
    let read = |id: Option<Oid>| id.map_or_else(|| Ok(Vec::new()), |id| view.tree(id, path));
    let both = old.is_some() && new.is_some();
    let old = read(old)?;
    let attributes = view.attributes();
    let new = read(new)?;
    // A folder of only one commit is written or removed as a whole, so its attributes cannot mislead.
    if both && attributes != view.attributes() {
        view.attributes_differ.set(true);
    }
    *seen += (old.len() + new.len()) as u64;
    if *seen > 2 * MAX_ENTRIES {
        return Err(hostile(path, b"", "there are more than 5,000,000 entries to compare"));
    }
    Ok(differing(old, new))
}

fn differing(mut old: Vec<TreeEntry>, mut new: Vec<TreeEntry>) -> Vec<Pair> {
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
                Ordering::Less => (old.next(), None),
                Ordering::Greater => (None, new.next()),
                Ordering::Equal => (old.next(), new.next()),
            },
        };
        if pair.0 != pair.1 {
            pairs.push(pair);
        }
    }
}

/// git orders a folder as if its name ended with a slash.
fn key(entry: &TreeEntry) -> impl Iterator<Item = u8> + '_ {
    let slash = (entry.kind == EntryKind::Folder).then_some(b'/');
    entry.name.iter().copied().chain(slash)
}
