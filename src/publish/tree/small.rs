//! Reads small files from the store's packs without libgit2, for threads that write many of them at once.
//!
//! libgit2 protects all open packs of a process by one lock, which it takes several times for each object: two threads that
//! read small files through it mostly wait for each other. Here each thread reads independently, with shared indexes. Only
//! undeltified objects are read this way. Anything missing, large, deltified or invalid is left to libgit2, which reports
//! the right error. Nothing is trusted: the hash is compared. It must not know of trees.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use git2::Oid;
use rustix::fs::OFlags;
use sha1::{Digest as _, Sha1};

use crate::pack_index::{self, PackIndex};

/// The largest file that is read.
const SMALL: usize = 128 * 1024;
/// The most memory for indexes: half a million objects. Larger ones are left to libgit2.
const MOST_INDEX: u64 = 16 * 1024 * 1024;
/// The most packs, each of which takes a descriptor.
const MOST_PACKS: usize = 32;
/// The bytes of a pack that are read first, which contain most small files as a whole.
const FIRST: usize = 4096;

/// The packs of a store, as they were when they were opened.
pub(crate) struct Packs(Vec<Pack>);

struct Pack {
    /// The whole index, in memory.
    index: PackIndex<Vec<u8>>,
    file: File,
}

/// The buffers of one thread.
pub(crate) struct SmallFileReader {
    packs: Arc<Packs>,
    inflate: Decompress,
    packed: Vec<u8>,
    content: Vec<u8>,
}

impl Packs {
    /// Opens the packs that can be read this way, possibly none.
    pub(crate) fn open(store: &Path) -> Arc<Self> {
        let length = |path: PathBuf| Some((std::fs::symlink_metadata(&path).ok()?.len(), path));
        let indexes = pack_index::list(&store.join("objects/pack")).unwrap_or_default();
        let mut indexes: Vec<_> = indexes.into_iter().filter_map(length).collect();
        // The largest pack contains most of the files, so it is searched first.
        indexes.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        let (mut packs, mut left) = (Vec::new(), MOST_INDEX);
        for (_, path) in indexes.into_iter().take(MOST_PACKS) {
            if let Some(pack) = Pack::open(&path, left) {
                left -= pack.index.source().len() as u64;
                packs.push(pack);
            }
        }
        Arc::new(Self(packs))
    }
}

impl Pack {
    fn open(index: &Path, most: u64) -> Option<Self> {
        let open = |path: &Path| {
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            File::options().read(true).custom_flags(flags).open(path).ok()
        };
        let file = open(index)?;
        let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
        if length > most {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).ok()?);
        file.take(length).read_to_end(&mut bytes).ok()?;
        Some(Self { index: PackIndex::open(bytes).ok()??, file: open(&index.with_extension("pack"))? })
    }

    /// Reads up to `most` bytes from an offset on; fewer at the end of the pack.
    fn bytes(&self, offset: u64, most: usize, into: &mut Vec<u8>) -> Option<()> {
        into.resize(most, 0);
        let mut got = 0;
        while got < most {
            match self.file.read_at(&mut into[got..], offset.checked_add(got as u64)?) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        into.truncate(got);
        Some(())
    }
}

impl SmallFileReader {
    pub(crate) fn new(packs: Arc<Packs>) -> Self {
        Self { packs, inflate: Decompress::new(true), packed: Vec::new(), content: Vec::new() }
    }

    /// Returns the content of a file. `None` if libgit2 has to read it.
    pub(crate) fn read(&mut self, id: Oid) -> Option<&[u8]> {
        let Self { packs, inflate, packed, content } = self;
        let (pack, offset) = packs.0.iter().find_map(|pack| Some((pack, pack.index.find(id).ok()??)))?;
        pack.bytes(offset, FIRST, packed)?;
        let (size, head) = blob(packed)?;
        if !unpack(inflate, packed.get(head..)?, size, content)? {
            // Deflate makes no content much larger than it was.
            pack.bytes(offset, head + size + size / 512 + 64, packed)?;
            if !unpack(inflate, packed.get(head..)?, size, content)? {
                return None;
            }
        }
        let mut hash = Sha1::new();
        hash.update(format!("blob {size}\0"));
        hash.update(&*content);
        (hash.finalize().as_slice() == id.as_bytes()).then_some(content.as_slice())
    }
}

/// Inflates an object. Returns false if it does not end within the bytes that were read, and `None` if it is invalid.
fn unpack(inflate: &mut Decompress, packed: &[u8], size: usize, content: &mut Vec<u8>) -> Option<bool> {
    inflate.reset(true);
    content.clear();
    // One byte more than its size, so that a longer content is noticed.
    content.reserve(size + 1);
    let status = inflate.decompress_vec(packed, content, FlushDecompress::Finish).ok()?;
    Some(status == Status::StreamEnd && content.len() == size)
}

/// Returns the size of a small undeltified blob, and the length of its header.
fn blob(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    let mut size = usize::from(first & 0x0f);
    let (mut shift, mut more, mut head) = (4, first & 0x80 != 0, 1);
    while more {
        let next = *bytes.get(head)?;
        // A size of more than 28 bits is larger than `SMALL` in any case.
        size |= usize::from(next & 0x7f).checked_shl(shift).filter(|_| shift < 28)?;
        (shift, more, head) = (shift + 7, next & 0x80 != 0, head + 1);
    }
    ((first >> 4) & 0x07 == 3 && size <= SMALL).then_some((size, head))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use git2::Repository;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// Creates a store with these files in one pack.
    fn store(files: &[Vec<u8>]) -> (TempDir, Vec<Oid>) {
        let folder = TempDir::new().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        let mut pack = repository.packbuilder().unwrap();
        let ids: Vec<Oid> = files.iter().map(|file| repository.blob(file).unwrap()).collect();
        for id in &ids {
            pack.insert_object(*id, None).unwrap();
        }
        let packs = folder.path().join("objects/pack");
        fs::create_dir_all(&packs).unwrap();
        pack.write(&packs, 0).unwrap();
        (folder, ids)
    }

    fn random(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(length as u64);
        std::iter::repeat_with(|| random.u8(..)).take(length).collect()
    }

    #[test]
    fn files_of_all_small_sizes_are_read_and_the_others_are_left_to_libgit2() {
        let sizes = [0, 1, 15, 16, 17, 4000, 4096, 5000, SMALL - 1, SMALL, SMALL + 1];
        let files: Vec<Vec<u8>> = sizes.iter().map(|size| random(*size)).collect();
        let (folder, ids) = store(&files);
        let mut reader = SmallFileReader::new(Packs::open(folder.path()));
        for (file, id) in files.iter().zip(&ids) {
            let read = reader.read(*id);
            assert_eq!(read, Some(file.as_slice()).filter(|file| file.len() <= SMALL), "{} bytes", file.len());
        }
        assert_eq!(reader.read(Oid::from_bytes(&[7; 20]).unwrap()), None);
        assert_eq!(SmallFileReader::new(Packs::open(Path::new("/nowhere"))).read(ids[0]), None);
    }

    #[test]
    fn no_flipped_byte_of_a_pack_is_ever_content() {
        let (folder, ids) = store(&[random(300), b"some text\n".repeat(40)]);
        let mut files = fs::read_dir(folder.path().join("objects/pack")).unwrap().flatten().map(|entry| entry.path());
        let pack = files.find(|path| path.extension().is_some_and(|ending| ending == "pack")).unwrap();
        let whole = fs::read(&pack).unwrap();
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&pack, flipped).unwrap();
            let mut reader = SmallFileReader::new(Packs::open(folder.path()));
            for id in &ids {
                if let Some(content) = reader.read(*id) {
                    assert_eq!(Oid::hash_object(git2::ObjectType::Blob, content).unwrap(), *id, "byte {at}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_head_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some((size, head)) = blob(&bytes) {
                prop_assert!(size <= SMALL && head <= bytes.len());
            }
        }
    }
}
