//! The files that a compaction deals with: packs, their indexes and loose objects.
//!
//! It reads and removes files; other modules decide which.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::pack_index::{self, PackIndex};

/// The files of one pack, by their suffix (gitformat-pack, git-repack). The index is removed first: without it the
/// pack is not visible.
const COMPANIONS: [&str; 6] = ["idx", "pack", "rev", "bitmap", "mtimes", "promisor"];

/// One pack with its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pack {
    /// The file name without its suffix: `pack-…`.
    pub stem: OsString,
    /// Bytes of the pack and its index.
    pub bytes: u64,
    pub objects: u64,
}

pub(crate) fn pack_folder(store: &Path) -> PathBuf {
    store.join("objects/pack")
}

pub(crate) fn file(folder: &Path, stem: &OsString, ending: &str) -> PathBuf {
    let mut name = stem.clone();
    name.push(".");
    name.push(ending);
    folder.join(name)
}

/// Lists the packs that may be replaced. A `.keep` file protects a pack.
pub(crate) fn packs(store: &Path) -> io::Result<Vec<Pack>> {
    let folder = pack_folder(store);
    let mut packs = Vec::new();
    for path in pack_index::list(&folder)? {
        let Some(stem) = path.file_stem().map(OsStr::to_owned) else { continue };
        if fs::symlink_metadata(file(&folder, &stem, "keep")).is_ok() {
            continue;
        }
        let Ok(pack) = fs::metadata(file(&folder, &stem, "pack")) else { continue };
        let objects = index(&path)?.count();
        packs.push(Pack { stem, bytes: pack.len() + fs::metadata(&path)?.len(), objects });
    }
    Ok(packs)
}

/// Returns the objects in an index, in the order of their hashes.
pub(crate) fn ids(path: &Path) -> io::Result<Vec<Oid>> {
    index(path)?.ids()
}

fn index(path: &Path) -> io::Result<PackIndex<File>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "an index of a pack is none of version 2");
    PackIndex::open(File::open(path)?)?.ok_or_else(wrong)
}

/// Returns the objects of a pack, each with the bytes that it takes in there, in the order of their hashes.
pub(crate) fn sizes(folder: &Path, pack: &Pack) -> io::Result<Vec<(Oid, u64)>> {
    const CHECKSUM: u64 = 20;
    let index = index(&file(folder, &pack.stem, "idx"))?;
    let (ids, offsets) = (index.ids()?, index.offsets()?);
    let end = fs::metadata(file(folder, &pack.stem, "pack"))?.len().saturating_sub(CHECKSUM);
    let mut starts = offsets.clone();
    starts.push(end);
    starts.sort_unstable();
    let size = |offset: u64| {
        let next = starts.partition_point(|start| *start <= offset);
        starts.get(next).map_or(0, |next| next - offset)
    };
    Ok(ids.into_iter().zip(offsets).map(|(id, offset)| (id, size(offset))).collect())
}

/// Returns the object that is stored in a file of [`loose`].
pub(crate) fn loose_id(path: &Path) -> Option<Oid> {
    let folder = path.parent()?.file_name()?.to_str()?;
    format!("{folder}{}", path.file_name()?.to_str()?).parse().ok()
}

/// Lists the files of loose objects.
pub(crate) fn loose(store: &Path) -> io::Result<Vec<PathBuf>> {
    let hex = |name: &std::ffi::OsStr, length| {
        name.len() == length && name.as_encoded_bytes().iter().all(|byte| b"0123456789abcdef".contains(byte))
    };
    let mut found = Vec::new();
    for folder in fs::read_dir(store.join("objects"))? {
        let folder = folder?;
        if !hex(&folder.file_name(), 2) || !folder.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder.path())? {
            let entry = entry?;
            if hex(&entry.file_name(), 38) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Removes a pack, its index first. It stops at the first failure; the rest of the pack is not visible then.
pub(crate) fn remove_pack(store: &Path, stem: &OsString) -> io::Result<()> {
    let folder = pack_folder(store);
    for ending in COMPANIONS {
        match fs::remove_file(file(&folder, stem, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the bytes that the store takes on the volume.
pub(crate) fn store_bytes(store: &Path) -> u64 {
    let mut bytes = 0;
    let mut pending = vec![store.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        // `st_blocks` counts units of 512 bytes on every file system (inode(7)).
        bytes += meta.blocks() * 512;
        if meta.is_dir()
            && let Ok(entries) = fs::read_dir(&path)
        {
            pending.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    bytes
}
