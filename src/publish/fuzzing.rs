//! Properties of the parsers of tree objects, names in them, and packs (see src/fuzzing.rs).

use std::fs;
use std::io;
use std::path::PathBuf;

use git2::Oid;

use crate::publish::path::{NAME_MAX, check_name, printable};
use crate::publish::tree::packed;
use crate::publish::tree::view::{EntryKind, TreeEntry, parse_tree};

/// A parsed tree has only names that are safe to create; written again it is the same; an error can be shown.
pub(crate) fn tree_object(data: &[u8]) {
    let entries = match parse_tree(data, b"folder") {
        Ok(entries) => entries,
        Err(error) => return assert_harmless(&error.to_string()),
    };
    for entry in &entries {
        assert_safe(&entry.name, entry.kind == EntryKind::Link);
    }
    let written: Vec<u8> = entries.iter().flat_map(write).collect();
    assert_eq!(parse_tree(&written, b"folder").ok().as_ref(), Some(&entries));
    // Old modes are written as new ones, which are never longer except for a leading zero.
    assert!(written.len() <= data.len());
    // Git's modes consist of digits: no other text may be accepted as one.
    assert!(mode_is_octal(data, &entries), "a mode that git would not read");
}

fn mode_is_octal(mut data: &[u8], entries: &[TreeEntry]) -> bool {
    entries.iter().all(|entry| {
        let digits = data.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let rest = data.get(digits + 1 + entry.name.len() + 21..).unwrap_or_default();
        data.get(digits) == Some(&b' ') && {
            data = rest;
            digits > 0
        }
    })
}

fn write(entry: &TreeEntry) -> Vec<u8> {
    let mode: &[u8] = match entry.kind {
        EntryKind::File => b"100644",
        EntryKind::Executable => b"100755",
        EntryKind::Link => b"120000",
        EntryKind::Folder => b"40000",
        EntryKind::Submodule => b"160000",
    };
    [mode, b" ", &entry.name, b"\0", entry.id.as_bytes()].concat()
}

/// Compares the check of one name with the name that a file system could make of it.
pub(crate) fn tree_name(data: &[u8]) {
    for link in [false, true] {
        if check_name(data, link).is_ok() {
            assert_safe(data, link);
            assert!(check_name(data, false).is_ok(), "a link's name is no freer than a file's");
        }
    }
    let shown = printable(data);
    assert_harmless(&shown);
    assert!(shown.chars().count() <= 400 * 10 + 1, "{} characters", shown.chars().count());
    if std::str::from_utf8(data).is_ok_and(|text| text.len() < 400 && text.chars().all(|c| c.is_ascii_graphic())) {
        assert_eq!(shown.as_bytes(), data, "what is harmless is shown as it is");
    }
}

fn assert_safe(name: &[u8], link: bool) {
    assert!(!name.is_empty() && name.len() <= NAME_MAX && name != b"." && name != b"..", "{name:?}");
    assert!(!name.contains(&b'/') && !name.contains(&0), "{name:?}");
    // As a path it is one component, and leads to no other folder.
    let path = std::path::Path::new(std::ffi::OsStr::new(std::str::from_utf8(name).unwrap_or("x")));
    let mut components = path.components();
    assert!(matches!((components.next(), components.next()), (Some(std::path::Component::Normal(_)), None)));
    // The name on a careless file system: without case, invisible characters, the part after a colon, and dots or spaces at
    // the end.
    let text = String::from_utf8_lossy(name);
    let careless: String = text
        .chars()
        .filter(
            |c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'),
        )
        .collect();
    let stem = text.split(':').next().unwrap_or_default().trim_end_matches([' ', '.']);
    let is = |spelling: &str| careless.eq_ignore_ascii_case(spelling) || stem.eq_ignore_ascii_case(spelling);
    assert!(!is(".git") && !stem.eq_ignore_ascii_case("git~1"), "{name:?}");
    assert!(!link || !is(".gitmodules"), "{name:?}");
}

fn assert_harmless(text: &str) {
    assert!(!text.chars().any(crate::text::is_deceptive), "{text:?}");
}

/// A store, in memory if possible. It is removed when it is dropped.
struct Store(PathBuf);

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn store() -> Store {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let store = base.join(format!("pushsync-fuzz-pack-{}-{thread}", std::process::id()));
    fs::create_dir_all(store.join("objects/pack")).expect("a folder for the store");
    Store(store)
}

/// The number of places of the pack that the index names.
const PLACES: u16 = 1024;
/// The most bytes that are taken of one blob.
const MOST: usize = 1 << 20;

fn place(offset: u16) -> Oid {
    let mut name = [0; 20];
    name[..2].copy_from_slice(&offset.to_be_bytes());
    Oid::from_bytes(&name).expect("20 bytes")
}

/// The input is a pack, with the offset of an object in its last two bytes. Any content is read or refused,
/// deterministically, without more output than was taken, and without leftovers. Deltas by name reach other objects.
pub(crate) fn packed_blob(data: &[u8]) {
    let Some((pack, offset)) = data.split_last_chunk::<2>() else { return };
    let store = store();
    let folder = store.0.join("objects/pack");
    fs::write(folder.join("pack-a.pack"), pack).expect("written");
    fs::write(folder.join("pack-a.idx"), index()).expect("written");
    let read = |offset: u16| {
        let mut found = Vec::new();
        let outcome = packed::read(&store.0, place(offset), &mut |piece| {
            found.extend_from_slice(piece);
            if found.len() > MOST { Err(io::Error::other("enough")) } else { Ok(()) }
        });
        assert!(found.len() <= MOST + 64 * 1024, "handed out after it was refused");
        (outcome.is_ok_and(|read| read.is_some()), found)
    };
    for offset in [12, u16::from_be_bytes(*offset)] {
        let first = read(offset);
        assert_eq!(read(offset), first, "the same each time");
        assert!(offset < PLACES || !first.0, "an object that no index names");
    }
    let left = fs::read_dir(&store.0).expect("ours").count();
    assert_eq!(left, 1, "scratch files are left behind");
}

fn index() -> Vec<u8> {
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=255u32 {
        index.extend(((first + 1) * 256).min(u32::from(PLACES)).to_be_bytes());
    }
    (0..PLACES).for_each(|offset| index.extend(place(offset).as_bytes()));
    index.extend(vec![0; usize::from(PLACES) * 4]);
    (0..PLACES).for_each(|offset| index.extend(u32::from(offset).to_be_bytes()));
    index
}
