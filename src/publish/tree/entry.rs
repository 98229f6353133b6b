//! Parses a tree object into entries whose names are safe to create.
//!
//! Trees are parsed here and not by libgit2, because errors of a hostile tree have to be distinguished from a damaged
//! store. It must not know where the bytes come from.

use std::sync::Arc;

use git2::Oid;

use crate::publish::error::Error;
use crate::publish::path::{NameError, check_name, printable};
use crate::publish::tree::convert::Conversion;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Executable,
    Link,
    Folder,
    /// A submodule that is left out: an empty folder.
    Submodule,
}

/// One line of a tree object whose name is safe to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeEntry {
    pub name: Vec<u8>,
    pub kind: EntryKind,
    pub id: Oid,
    /// The conversion by `.gitattributes`; `None` if there is none.
    pub conversion: Option<Arc<Conversion>>,
}

impl EntryKind {
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::File | Self::Executable)
    }

    pub(crate) fn is_blob(self) -> bool {
        self.is_file() || self == Self::Link
    }
}

/// Parses a tree object, a sequence of `mode SP name NUL hash`.
pub(crate) fn parse_tree(mut rest: &[u8], path: &[u8]) -> Result<Vec<TreeEntry>, Error> {
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
            NameError::Hostile(why) => hostile(path, name, why),
            NameError::TooLong => Error::NameTooLong { path: printable(&join(path, name)) },
        })?;
        let id = Oid::from_bytes(hash).map_err(|_| cut_off())?;
        entries.push(TreeEntry { name: name.to_vec(), kind, id, conversion: None });
    }
    Ok(entries)
}

/// Parses the mode. Old repositories have other permission bits (100664); like git, only the owner's execute bit counts.
fn kind_of(mode: &[u8]) -> Option<EntryKind> {
    // `from_str_radix` would accept a sign.
    let digits = mode.iter().all(u8::is_ascii_digit);
    let mode = u32::from_str_radix(std::str::from_utf8(mode).ok().filter(|_| digits)?, 8).ok()?;
    match mode >> 12 {
        0o04 => Some(EntryKind::Folder),
        0o10 if mode & 0o100 != 0 => Some(EntryKind::Executable),
        0o10 => Some(EntryKind::File),
        0o12 => Some(EntryKind::Link),
        0o16 => Some(EntryKind::Submodule),
        _ => None,
    }
}

pub(crate) fn hostile(path: &[u8], name: &[u8], why: &'static str) -> Error {
    Error::Hostile { path: printable(&join(path, name)), why }
}

pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
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
    use crate::error::ErrorKind;

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
            line("+100644", b"a"),
            line("100644", b".."),
            line("100644", b"a")[..20].to_vec(),
            b"1".to_vec(),
        ] {
            let error = parse_tree(&raw, b"some/folder").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HostilePath);
            assert!(error.to_string().contains("some/folder"), "{error}");
        }
        let error = parse_tree(&line("100644", &[b'x'; 300]), b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NameTooLong);
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
