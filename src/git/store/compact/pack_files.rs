//! The files that a compaction deals with: packs, their indexes and loose objects.
//!
//! It reads and removes files; other modules decide which.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use git2::Oid;

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
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().filter(|_| path.extension().is_some_and(|ending| ending == "idx")) else {
            continue;
        };
        let stem = stem.to_owned();
        if fs::symlink_metadata(file(&folder, &stem, "keep")).is_ok() {
            continue;
        }
        let Ok(pack) = fs::metadata(file(&folder, &stem, "pack")) else { continue };
        let objects = u64::try_from(ids_of(&path, true)?.0).unwrap_or(u64::MAX);
        packs.push(Pack { stem, bytes: pack.len() + fs::metadata(&path)?.len(), objects });
    }
    Ok(packs)
}

/// Returns the objects in an index (gitformat-pack, version 2), in the order of their hashes.
pub(crate) fn ids(index: &Path) -> io::Result<Vec<Oid>> {
    ids_of(index, false).map(|(_, ids)| ids)
}

fn ids_of(index: &Path, only_count: bool) -> io::Result<(usize, Vec<Oid>)> {
    const HEADER: [u8; 8] = *b"\xfftOc\0\0\0\x02";
    const FANOUT: usize = 256 * 4;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "an index of a pack is none of version 2");
    let mut file = fs::File::open(index)?;
    let size = file.metadata()?.len();
    let mut head = [0; HEADER.len() + FANOUT];
    file.read_exact(&mut head)?;
    // The last entry of the fan-out table is the number of objects.
    let last = head.last_chunk().ok_or_else(wrong)?;
    let count = u32::from_be_bytes(*last) as usize;
    // The count is trusted only as far as the file is long.
    if head[..HEADER.len()] != HEADER || (count as u64).saturating_mul(20) > size {
        return Err(wrong());
    }
    if only_count {
        return Ok((count, Vec::new()));
    }
    let mut ids = Vec::with_capacity(count);
    let mut reader = io::BufReader::new(file);
    let mut hash = [0; 20];
    for _ in 0..count {
        reader.read_exact(&mut hash)?;
        ids.push(Oid::from_bytes(&hash).map_err(|_| wrong())?);
    }
    Ok((count, ids))
}

/// Returns the objects of a pack, each with the bytes that it takes in there, in the order of their hashes.
pub(crate) fn sizes(folder: &Path, pack: &Pack) -> io::Result<Vec<(Oid, u64)>> {
    const BEFORE_IDS: u64 = 8 + 256 * 4;
    const CHECKSUM: u64 = 20;
    // With the highest bit an offset is an entry of the table of large offsets.
    const LARGE: u64 = 1 << 31;
    let index = file(folder, &pack.stem, "idx");
    let ids = ids(&index)?;
    let count = ids.len() as u64;
    let mut reader = fs::File::open(&index)?;
    // The hashes are followed by a CRC and then an offset for each object.
    reader.seek(io::SeekFrom::Start(BEFORE_IDS + count * (20 + 4)))?;
    let mut reader = io::BufReader::new(reader);
    let mut offsets = Vec::with_capacity(ids.len());
    let mut word = [0; 4];
    for _ in 0..ids.len() {
        reader.read_exact(&mut word)?;
        offsets.push(u64::from(u32::from_be_bytes(word)));
    }
    let mut large = Vec::new();
    for _ in 0..offsets.iter().filter(|offset| **offset >= LARGE).count() {
        let mut word = [0; 8];
        reader.read_exact(&mut word)?;
        large.push(u64::from_be_bytes(word));
    }
    for offset in &mut offsets {
        if *offset >= LARGE {
            let at = usize::try_from(*offset - LARGE).unwrap_or(usize::MAX);
            *offset = *large.get(at).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        }
    }
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
