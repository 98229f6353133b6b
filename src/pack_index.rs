//! Reads indexes of packs (`.idx`, version 2): which objects a pack has, and where.
//!
//! The format is that of git's documentation (gitformat-pack): 8 bytes of signature and version, the fan-out table (256
//! numbers; each says how many names begin with at most that byte), the sorted names, a CRC of four bytes for each, an
//! offset of four bytes for each, and the offsets of eight bytes that did not fit. Nothing in an index is trusted: any
//! content gives an answer or an error. A leaf: it knows neither packs nor stores.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use git2::Oid;

/// The signature, and version 2. Git writes no other version since 2007.
const SIGNATURE: [u8; 8] = *b"\xfftOc\0\0\0\x02";
const FAN_OUT: usize = 256 * 4;
/// The place of the first name.
const NAMES: u64 = (SIGNATURE.len() + FAN_OUT) as u64;
const NAME: usize = 20;
/// The bytes that each object takes: its name, its CRC and its offset.
const PER_OBJECT: u64 = NAME as u64 + 4 + 4;
/// An offset with this bit is an entry of the table of large offsets.
const LARGE: u32 = 1 << 31;
/// How many entries of a table are read at once.
const AT_ONCE: usize = 1024;

/// Bytes that are read by their place: an open file, or a file's content.
pub(crate) trait Source {
    /// Returns the number of bytes.
    ///
    /// # Errors
    /// The error of asking the file system.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer with the bytes at a place.
    ///
    /// # Errors
    /// `UnexpectedEof` if the bytes end before, and errors of reading.
    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, into, at)
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)).ok_or_else(end)?;
        into.copy_from_slice(from.get(..into.len()).ok_or_else(end)?);
        Ok(())
    }
}

/// An index of version 2.
#[derive(Debug)]
pub(crate) struct PackIndex<S> {
    source: S,
    fan_out: Box<[u8; FAN_OUT]>,
}

impl<S: Source> PackIndex<S> {
    /// Reads the head of an index. `None` if it has another version.
    ///
    /// # Errors
    /// Errors of reading, and `InvalidData` if it is too short for the number of its objects.
    pub(crate) fn open(source: S) -> io::Result<Option<Self>> {
        let mut signature = [0; SIGNATURE.len()];
        source.read_exact_at(&mut signature, 0)?;
        if signature != SIGNATURE {
            return Ok(None);
        }
        let mut fan_out = Box::new([0; FAN_OUT]);
        source.read_exact_at(fan_out.as_mut_slice(), SIGNATURE.len() as u64)?;
        let index = Self { source, fan_out };
        if NAMES + index.count() * PER_OBJECT > index.source.size()? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an index of a pack is too short"));
        }
        Ok(Some(index))
    }

    /// Returns the number of objects.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.up_to(255)
    }

    /// Returns the bytes of the index.
    #[must_use]
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// Returns the place of an object in the pack, in bytes. `None` if the pack does not contain it.
    ///
    /// # Errors
    /// Errors of reading.
    pub(crate) fn find(&self, id: Oid) -> io::Result<Option<u64>> {
        let first = id.as_bytes()[0];
        let (mut low, mut high) = (first.checked_sub(1).map_or(0, |before| self.up_to(before)), self.up_to(first));
        while low < high {
            let middle = u64::midpoint(low, high);
            let mut name = [0; NAME];
            self.source.read_exact_at(&mut name, NAMES + middle * NAME as u64)?;
            match name.as_slice().cmp(id.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => {
                    let mut offset = [0; 4];
                    self.source.read_exact_at(&mut offset, self.offsets_at() + middle * 4)?;
                    return self.offset(u32::from_be_bytes(offset)).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Returns the objects, in the order of their names.
    ///
    /// # Errors
    /// Errors of reading.
    pub(crate) fn ids(&self) -> io::Result<Vec<Oid>> {
        self.table(NAMES, |name: [u8; NAME]| Oid::from_bytes(&name).map_err(io::Error::other))
    }

    /// Returns the place of each object in the pack, in bytes, in the order of the names.
    ///
    /// # Errors
    /// Errors of reading, and a large offset that the index does not contain.
    pub(crate) fn offsets(&self) -> io::Result<Vec<u64>> {
        self.table(self.offsets_at(), |offset| self.offset(u32::from_be_bytes(offset)))
    }

    /// Returns the number of names that begin with at most this byte.
    fn up_to(&self, first: u8) -> u64 {
        let (numbers, _) = self.fan_out.as_chunks::<4>();
        u64::from(u32::from_be_bytes(numbers[usize::from(first)]))
    }

    fn offsets_at(&self) -> u64 {
        NAMES + self.count() * (NAME as u64 + 4)
    }

    /// Returns the place that an entry of the table of offsets stands for.
    fn offset(&self, entry: u32) -> io::Result<u64> {
        if entry & LARGE == 0 {
            return Ok(u64::from(entry));
        }
        let mut offset = [0; 8];
        let large = NAMES + self.count() * PER_OBJECT;
        self.source.read_exact_at(&mut offset, large + u64::from(entry & !LARGE) * 8)?;
        Ok(u64::from_be_bytes(offset))
    }

    /// Reads a table that has one entry of `N` bytes for each object.
    fn table<const N: usize, T>(&self, at: u64, read: impl Fn([u8; N]) -> io::Result<T>) -> io::Result<Vec<T>> {
        // Not more than the index was found to be long enough for.
        let count = usize::try_from(self.count()).map_err(io::Error::other)?;
        let mut entries = Vec::with_capacity(count);
        let mut buffer = vec![[0; N]; count.min(AT_ONCE)];
        for done in (0..count).step_by(AT_ONCE) {
            let piece = &mut buffer[..AT_ONCE.min(count - done)];
            self.source.read_exact_at(piece.as_flattened_mut(), at + (done * N) as u64)?;
            for entry in piece {
                entries.push(read(*entry)?);
            }
        }
        Ok(entries)
    }
}

/// Lists the indexes in a folder of packs.
///
/// # Errors
/// Errors of reading the folder.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(first: u8, last: u8) -> Oid {
        let mut name = [first; 20];
        name[19] = last;
        Oid::from_bytes(&name).unwrap()
    }

    /// Returns an index of these objects, which are sorted, with their entries for the offset, and the large offsets.
    fn index(objects: &[(Oid, u32)], large: &[u64]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        for first in 0..=255 {
            let count = objects.iter().filter(|(id, _)| id.as_bytes()[0] <= first).count();
            bytes.extend(u32::try_from(count).unwrap().to_be_bytes());
        }
        bytes.extend(objects.iter().flat_map(|(id, _)| id.as_bytes().to_vec()));
        bytes.extend(vec![0; objects.len() * 4]);
        bytes.extend(objects.iter().flat_map(|(_, offset)| offset.to_be_bytes()));
        bytes.extend(large.iter().flat_map(|offset| offset.to_be_bytes()));
        bytes
    }

    fn check<S: Source>(index: &PackIndex<S>, objects: &[(Oid, u32)]) {
        assert_eq!(index.count(), objects.len() as u64);
        let (ids, offsets): (Vec<_>, Vec<_>) = objects.iter().map(|(id, at)| (*id, u64::from(*at))).unzip();
        assert_eq!((index.ids().unwrap(), index.offsets().unwrap()), (ids, offsets));
        for (object, offset) in objects {
            assert_eq!(index.find(*object).unwrap(), Some(u64::from(*offset)), "{object}");
        }
        for (first, last) in [(0, 1), (0, 255), (249, 23), (250, 0), (255, 255)] {
            assert_eq!(index.find(id(first, last)).unwrap(), None, "{first} {last}");
        }
    }

    #[test]
    fn every_object_is_found_in_memory_and_in_a_file() {
        let names = (0..250).flat_map(|first| (0..12).map(move |last| id(first, 2 * last)));
        let objects: Vec<_> = names.zip(100..).collect();
        let bytes = index(&objects, &[]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack-a.idx");
        fs::write(&path, &bytes).unwrap();
        fs::write(folder.path().join("pack-a.pack"), "").unwrap();
        check(&PackIndex::open(bytes).unwrap().unwrap(), &objects);
        check(&PackIndex::open(File::open(&path).unwrap()).unwrap().unwrap(), &objects);
        assert_eq!(list(folder.path()).unwrap(), [path]);
    }

    #[test]
    fn large_offsets_are_read_from_their_own_table() {
        let objects = [(id(1, 0), LARGE | 1), (id(2, 0), LARGE - 1), (id(3, 0), LARGE), (id(4, 0), LARGE | 2)];
        let read = PackIndex::open(index(&objects[..3], &[1 << 40, 1 << 50])).unwrap().unwrap();
        assert_eq!(read.offsets().unwrap(), [1 << 50, u64::from(LARGE - 1), 1 << 40]);
        assert_eq!(read.find(id(3, 0)).unwrap(), Some(1 << 40));
        let short = PackIndex::open(index(&objects, &[1 << 40, 1 << 50])).unwrap().unwrap();
        assert_eq!(short.find(id(4, 0)).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(short.offsets().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn other_versions_and_short_indexes_are_refused() {
        let empty = index(&[], &[]);
        let read = PackIndex::open(empty.clone()).unwrap().unwrap();
        assert_eq!((read.count(), read.ids().unwrap(), read.find(id(0, 0)).unwrap()), (0, Vec::new(), None));
        for at in 0..8 {
            let mut other = empty.clone();
            other[at] ^= 1;
            assert!(PackIndex::open(other).unwrap().is_none(), "{at}");
        }
        let whole = index(&[(id(1, 0), 12), (id(2, 0), 40)], &[]);
        for length in 0..whole.len() {
            let error = PackIndex::open(whole[..length].to_vec()).unwrap_err().kind();
            assert!(matches!(error, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData), "{length}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_index_makes_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..9000), name in any::<[u8; 20]>()) {
            bytes.splice(0..8.min(bytes.len()), SIGNATURE);
            // Small numbers of objects: for others the index would be too short.
            for (at, byte) in bytes.iter_mut().skip(8).take(FAN_OUT).enumerate() {
                *byte *= u8::from(at % 4 == 3);
            }
            if let Ok(Some(index)) = PackIndex::open(bytes) {
                let _ = (index.find(Oid::from_bytes(&name).unwrap()), index.ids(), index.offsets());
            }
        }
    }
}
