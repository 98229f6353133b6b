//! Reading commits, trees and blobs from the store, checked.
//!
//! libgit2 compares the hash of every object that it reads with its name (its default, which nothing here turns off), so
//! a flipped bit on the disk is an error and not a published file. Trees are parsed here, not by libgit2, because what is
//! wrong with a hostile tree has to be told apart from a damaged store. It must not know of files.
//!
//! A known hole: libgit2 1.9.7 never returns from a loose object whose compressed data ends early (its inflate loop makes
//! no progress and does not notice). Fetched objects are in packs; should it happen, the watchdog abandons the thread.

use std::collections::HashSet;
use std::path::Path;

use git2::{ObjectType, Odb, Oid, Repository};

use super::Error;
use super::path::{Refused, check_name, printable};

/// How deep folders may be nested. Each level holds a file descriptor while a tree is written; readers give up at
/// `PATH_MAX` (4096 bytes) long before.
pub(super) const MAX_DEPTH: usize = 256;

/// How many entries a tree may have in all, so that a few kilobytes of nested trees cannot fill a volume with names.
pub(super) const MAX_ENTRIES: u64 = 5_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Executable,
    Link,
    Folder,
    /// A submodule: an empty folder here.
    Submodule,
}

/// One line of a tree object whose name is safe to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: Vec<u8>,
    pub kind: EntryKind,
    pub id: Oid,
}

/// A handle to the store. Each thread opens its own: libgit2's handles are not for sharing.
pub(super) struct Objects {
    repository: Repository,
}

impl Objects {
    /// `open_bare`, because it does not ask who owns the folder: with fsGroup that is often somebody else.
    pub(super) fn open(store: &Path) -> Result<Self, Error> {
        let what = || printable(store.as_os_str().as_encoded_bytes());
        let repository = Repository::open_bare(store).map_err(|source| Error::Store { what: what(), source })?;
        Ok(Self { repository })
    }

    pub(super) fn root(&self, commit: Oid) -> Result<Oid, Error> {
        let read = || Ok(self.repository.find_commit(commit)?.tree_id());
        read().map_err(|source| Error::Store { what: format!("commit {commit}"), source })
    }

    pub(super) fn odb(&self) -> Result<Odb<'_>, Error> {
        self.repository.odb().map_err(|source| Error::Store { what: "its index".to_owned(), source })
    }
}

/// Reads the folder `path` (without a slash at its end; empty for the root). No order of the entries is promised.
pub(super) fn read_tree(odb: &Odb<'_>, id: Oid, path: &[u8]) -> Result<Vec<Entry>, Error> {
    let object = read(odb, id, "tree", path)?;
    if object.kind() != ObjectType::Tree {
        return Err(hostile(path, b"", "it is not a folder, though its entry says so"));
    }
    let entries = parse_tree(object.data(), path)?;
    // Names are compared without allocation; the same name twice would make the second write into the first.
    let mut names = HashSet::with_capacity(entries.len());
    match entries.iter().find(|entry| !names.insert(entry.name.as_slice())) {
        Some(twice) => Err(hostile(path, &twice.name, "the name stands twice in one folder")),
        None => Ok(entries),
    }
}

/// Hands the content of a blob to `use_it`. The whole blob is in memory meanwhile: libgit2 can stream only loose objects,
/// and without comparing the hash.
pub(super) fn with_blob<T>(
    odb: &Odb<'_>,
    id: Oid,
    path: &[u8],
    use_it: impl FnOnce(&[u8]) -> Result<T, Error>,
) -> Result<T, Error> {
    let object = read(odb, id, "blob", path)?;
    if object.kind() != ObjectType::Blob {
        return Err(hostile(path, b"", "it is not a file, though its entry says so"));
    }
    use_it(object.data())
}

fn read<'odb>(odb: &'odb Odb<'_>, id: Oid, kind: &str, path: &[u8]) -> Result<git2::OdbObject<'odb>, Error> {
    odb.read(id)
        .map_err(|source| Error::Store { what: format!("{kind} {id} ({})", printable(&join(path, b""))), source })
}

/// A tree object is a run of `mode SP name NUL hash`.
fn parse_tree(mut rest: &[u8], path: &[u8]) -> Result<Vec<Entry>, Error> {
    const HASH: usize = 20;
    let cut_off = || hostile(path, b"", "the tree object is cut off");
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let space = rest.iter().position(|&byte| byte == b' ').ok_or_else(cut_off)?;
        let (mode, after) = (&rest[..space], &rest[space + 1..]);
        let end = after.iter().position(|&byte| byte == 0).ok_or_else(cut_off)?;
        let (name, after) = (&after[..end], &after[end + 1..]);
        let hash = after.get(..HASH).ok_or_else(cut_off)?;
        rest = &after[HASH..];
        let kind = kind_of(mode).ok_or_else(|| hostile(path, name, "its mode is none that git knows"))?;
        check_name(name, kind == EntryKind::Link).map_err(|refused| match refused {
            Refused::Hostile(why) => hostile(path, name, why),
            Refused::TooLong => Error::NameTooLong { path: printable(&join(path, name)) },
        })?;
        let id = Oid::from_bytes(hash).map_err(|_| cut_off())?;
        entries.push(Entry { name: name.to_vec(), kind, id });
    }
    Ok(entries)
}

/// Old repositories have other permission bits (100664); like git, only the owner's execute bit is looked at.
fn kind_of(mode: &[u8]) -> Option<EntryKind> {
    let mode = u32::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()?;
    match mode >> 12 {
        0o04 => Some(EntryKind::Folder),
        0o10 if mode & 0o100 != 0 => Some(EntryKind::Executable),
        0o10 => Some(EntryKind::File),
        0o12 => Some(EntryKind::Link),
        0o16 => Some(EntryKind::Submodule),
        _ => None,
    }
}

pub(super) fn hostile(path: &[u8], name: &[u8], why: &'static str) -> Error {
    Error::Hostile { path: printable(&join(path, name)), why }
}

pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if !path.is_empty() && !name.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    if joined.is_empty() {
        joined.extend_from_slice(b"the top folder");
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::EntryKind::{Executable, File, Folder, Link, Submodule};
    use super::*;

    fn line(mode: &str, name: &[u8]) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &[7; 20]].concat()
    }

    #[test]
    fn modes_are_read_as_git_reads_them() {
        let raw = [
            line("100644", b"a"),
            line("100755", b"b"),
            line("100664", b"c"),
            line("120000", b"d"),
            line("40000", b"e"),
            line("160000", b"f"),
            line("040000", b"g"),
        ]
        .concat();
        let kinds: Vec<_> = parse_tree(&raw, b"").unwrap().into_iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [File, Executable, File, Link, Folder, Submodule, Folder]);
    }

    #[test]
    fn broken_trees_are_refused_with_their_path() {
        for raw in [
            line("10644x", b"a"),
            line("060000", b"a"),
            line("100644", b".."),
            line("100644", b"a")[..20].to_vec(),
            b"1".to_vec(),
        ] {
            let error = parse_tree(&raw, b"some/folder").unwrap_err();
            assert_eq!(error.kind(), "hostile_path");
            assert!(error.to_string().contains("some/folder"), "{error}");
        }
        let error = parse_tree(&line("100644", &[b'x'; 300]), b"").unwrap_err();
        assert_eq!(error.kind(), "name_too_long");
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entries) = parse_tree(&raw, b"") {
                for entry in entries {
                    prop_assert!(check_name(&entry.name, entry.kind == EntryKind::Link).is_ok());
                }
            }
        }
    }
}
