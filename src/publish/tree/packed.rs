//! Reads a large file from the store's packs piece by piece, because libgit2 can only read it as a whole.
//!
//! The format is that of git's documentation (gitformat-pack): an index gives the offset, and the object is a compressed
//! blob or a delta to another one. Deltas are applied from file to file, so that memory does not depend on the
//! file's size. Nothing is trusted: the caller compares the hash of the result. It must not know of trees.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;
use git2::Oid;

use crate::pack_index::{self, PackIndex};

/// The longest chain of deltas, slightly more than git itself makes (its `pack.depth` is at most 4095, and 50 by default).
const LONGEST_CHAIN: usize = 4096;
const PIECE: usize = 64 * 1024;

/// The place of an object.
struct PackOffset {
    pack: PathBuf,
    offset: u64,
}

/// The kind of an object in a pack.
enum Stored {
    Blob,
    Delta { base: PackOffset },
}

/// Passes the content of a blob to `take`, piece by piece. `None` if it is in no pack that can be read this way.
///
/// # Errors
/// Errors of reading the pack, invalid bytes in it, and errors of `take`.
pub(crate) fn read(store: &Path, id: Oid, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Option<()>> {
    let folder = store.join("objects/pack");
    let Some(mut place) = find(&folder, id)? else { return Ok(None) };
    // Follows the chain from the object to one that is not a delta.
    let mut deltas = Vec::new();
    loop {
        let (stored, data, size) = open(&folder, &place)?;
        match stored {
            Stored::Blob if deltas.is_empty() => return inflate(data, size, take).map(Some),
            Stored::Blob => {
                let mut base = scratch(store)?;
                inflate(data, size, &mut |piece| base.write_all(piece))?;
                return apply_all(store, &folder, base, deltas, take).map(Some);
            }
            Stored::Delta { base } => {
                // Opened again later: a chain may be longer than the number of available descriptors.
                deltas.push(std::mem::replace(&mut place, base));
            }
        }
        if deltas.len() > LONGEST_CHAIN {
            return Err(wrong("its chain of deltas has no end"));
        }
    }
}

type Data = ZlibDecoder<BufReader<File>>;

fn apply_all(
    store: &Path,
    folder: &Path,
    mut base: File,
    mut deltas: Vec<PackOffset>,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    while let Some(place) = deltas.pop() {
        let (_, delta, _) = open(folder, &place)?;
        if deltas.is_empty() {
            return apply(&base, delta, take);
        }
        let mut next = scratch(store)?;
        apply(&base, delta, &mut |piece| next.write_all(piece))?;
        base = next;
    }
    Ok(())
}

/// Applies a delta: its instructions copy a part of the base, or insert the following bytes.
fn apply(base: &File, delta: Data, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut delta = BufReader::new(delta);
    let (from, to) = (size(&mut delta)?, size(&mut delta)?);
    // Packs are not trusted: copies from another base would make other content.
    if base.metadata()?.len() != from {
        return Err(wrong("a delta is not for its base"));
    }
    let mut left = to;
    let mut buffer = vec![0; PIECE];
    while left > 0 {
        let op = byte(&mut delta)?;
        let mut done = 0;
        if op & 0x80 == 0 {
            // The format reserves it for later.
            if op == 0 {
                return Err(wrong("a delta has an unknown instruction"));
            }
            let piece = &mut buffer[..usize::from(op)];
            delta.read_exact(piece)?;
            take(piece)?;
            done = u64::from(op);
        } else {
            let number = |bits: u8, count: u8, delta: &mut dyn Read| -> io::Result<u64> {
                let mut value = 0;
                for at in 0..count {
                    if bits & (1 << at) != 0 {
                        value |= u64::from(byte(delta)?) << (8 * at);
                    }
                }
                Ok(value)
            };
            let offset = number(op & 0x0f, 4, &mut delta)?;
            let length = match number((op >> 4) & 0x07, 3, &mut delta)? {
                // A length of 0 stands for 64 KiB (gitformat-pack).
                0 => 0x1_0000,
                length => length,
            };
            if offset + length > from || length > left {
                return Err(wrong("a delta reaches beyond its base"));
            }
            while done < length {
                let piece = usize::try_from(length - done).unwrap_or(PIECE).min(PIECE);
                base.read_exact_at(&mut buffer[..piece], offset + done)?;
                take(&buffer[..piece])?;
                done += piece as u64;
            }
        }
        left = left.checked_sub(done).ok_or_else(|| wrong("a delta makes more than it says"))?;
    }
    Ok(())
}

fn inflate(mut data: Data, size: u64, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut left = size;
    loop {
        match data.read(&mut buffer)? {
            0 if left == 0 => return Ok(()),
            0 => return Err(wrong("a blob is shorter than it says")),
            got => {
                left = left.checked_sub(got as u64).ok_or_else(|| wrong("a blob is longer than it says"))?;
                take(&buffer[..got])?;
            }
        }
    }
}

/// Finds an object by searching each index of the folder.
fn find(folder: &Path, id: Oid) -> io::Result<Option<PackOffset>> {
    for path in pack_index::list(folder)? {
        // libgit2 reads what an index of another version names.
        let Some(index) = PackIndex::open(File::open(&path)?)? else { continue };
        if let Some(offset) = index.find(id)? {
            return Ok(Some(PackOffset { pack: path.with_extension("pack"), offset }));
        }
    }
    Ok(None)
}

/// Reads the header of an object, and returns its kind, its data and its inflated size.
fn open(folder: &Path, place: &PackOffset) -> io::Result<(Stored, Data, u64)> {
    let mut file = File::open(&place.pack)?;
    file.seek(SeekFrom::Start(place.offset))?;
    let mut file = BufReader::new(file);
    let first = byte(&mut file)?;
    let mut size = u64::from(first & 0x0f);
    let (mut shift, mut more) = (4, first & 0x80 != 0);
    while more {
        let next = byte(&mut file)?;
        size |= u64::from(next & 0x7f).checked_shl(shift).ok_or_else(|| wrong("a size has too many digits"))?;
        (shift, more) = (shift + 7, next & 0x80 != 0);
    }
    let stored = match (first >> 4) & 0x07 {
        3 => Stored::Blob,
        6 => {
            // In this encoding each further byte starts one above the largest number of fewer bytes.
            let mut next = byte(&mut file)?;
            let mut back = u64::from(next & 0x7f);
            while next & 0x80 != 0 {
                next = byte(&mut file)?;
                back =
                    back.checked_add(1).and_then(|back| back.checked_mul(128)).ok_or_else(|| wrong("no such base"))?;
                back |= u64::from(next & 0x7f);
            }
            let offset = place.offset.checked_sub(back).filter(|_| back > 0).ok_or_else(|| wrong("no such base"))?;
            Stored::Delta { base: PackOffset { pack: place.pack.clone(), offset } }
        }
        7 => {
            let mut base = [0; 20];
            file.read_exact(&mut base)?;
            let id = Oid::from_bytes(&base).map_err(io::Error::other)?;
            Stored::Delta { base: find(folder, id)?.ok_or_else(|| wrong("the base of a delta is missing"))? }
        }
        _ => return Err(wrong("it is no blob")),
    };
    Ok((stored, ZlibDecoder::new(file), size))
}

/// Creates a file without a name on the store's volume, which disappears when it is closed or the process ends.
fn scratch(store: &Path) -> io::Result<File> {
    let path = store.join(format!("tmp_large_{}_{:016x}", std::process::id(), fastrand::u64(..)));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Reads a number of a delta's header: seven bits a byte, the lowest first.
fn size(delta: &mut dyn Read) -> io::Result<u64> {
    let (mut size, mut shift) = (0, 0);
    loop {
        let next = byte(delta)?;
        size |= u64::from(next & 0x7f).checked_shl(shift).ok_or_else(|| wrong("a size has too many digits"))?;
        if next & 0x80 == 0 {
            return Ok(size);
        }
        shift += 7;
    }
}

fn byte(from: &mut (impl Read + ?Sized)) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
