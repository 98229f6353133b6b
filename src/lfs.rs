//! Git LFS: pointer files, and the folder on the volume that contains the objects.
//!
//! A leaf module: `git` fills the folder and `publish` reads it, and both use only these definitions. An object is
//! named by its hash, so a wrong object is detected by its content. This module must not know servers or trees.

use std::fmt::{self, Display};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// Pointers are shorter than this (git-lfs, docs/spec.md).
pub(crate) const LONGEST_POINTER: usize = 1024;

/// The second one was used before git-lfs's first release; git-lfs accepts it, too.
const VERSIONS: [&str; 2] = ["https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1"];

/// The suffix of incomplete objects.
const UNFINISHED: &str = ".part";

/// The SHA-256 of an object's content, which is its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 32]);

impl ObjectId {
    /// Parses 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut id = [0; 32];
        for (byte, pair) in id.iter_mut().zip(pairs) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(id))
    }

    /// Returns the id of hashed content.
    #[must_use]
    pub fn of(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
}

impl Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text in the repository in place of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    pub id: ObjectId,
    pub size: u64,
}

impl Pointer {
    /// Parses a pointer as git-lfs does. Returns `None` if the content is no pointer, or one that requires an
    /// extension.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        if content.len() >= LONGEST_POINTER {
            return None;
        }
        let text = std::str::from_utf8(content).ok()?.trim();
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let version = value("version")?;
        let id = ObjectId::parse(value("oid")?.strip_prefix("sha256:")?)?;
        // `parse` would accept a sign.
        let size = value("size")?;
        // git-lfs reads the size as a signed number of 64 bits.
        let size = size.bytes().all(|byte| byte.is_ascii_digit()).then(|| size.parse::<i64>().ok()).flatten()?;
        let known = VERSIONS.contains(&version) && lines.next().is_none();
        known.then_some(Self { id, size: size.unsigned_abs() })
    }

    /// Returns true for the empty object, which needs no download.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0 && self.id == ObjectId::of(Sha256::new())
    }
}

/// An object that a tree needs and that is missing on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    pub pointer: Pointer,
    /// A file with that content, safe to display.
    pub path: String,
}

/// Returns the folder of objects, which is next to the object store.
#[must_use]
pub(crate) fn folder_beside(store: &Path) -> PathBuf {
    store.with_file_name("lfs")
}

/// The open folder of objects. Other containers may write to the volume, so symlinks are not followed and only
/// regular files are used.
#[derive(Debug)]
pub(crate) struct Objects(OwnedFd);

impl Objects {
    /// Opens the folder. Returns `None` if it does not exist.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(Self(folder))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens the folder, and creates it if it does not exist.
    pub(crate) fn open_or_make(folder: &Path) -> Result<Self, Errno> {
        match rustix::fs::mkdir(folder, Mode::from_raw_mode(0o775)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        Self::open(folder)?.ok_or(Errno::NOENT)
    }

    /// Returns the free bytes of the file system.
    pub(crate) fn room(&self) -> Result<u64, Errno> {
        let state = rustix::fs::fstatvfs(&self.0)?;
        Ok(state.f_bavail.saturating_mul(state.f_frsize))
    }

    /// Returns true if a file with that name and size exists. Its content is compared when it is used.
    pub(crate) fn holds(&self, pointer: &Pointer) -> Result<bool, Errno> {
        Ok(self.size(&pointer.id.to_string())? == Some(pointer.size))
    }

    /// Returns the size of an incomplete object.
    pub(crate) fn begun(&self, id: &ObjectId) -> Result<u64, Errno> {
        Ok(self.size(&unfinished(id))?.unwrap_or(0))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, Errno> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(u64::try_from(stat.st_size).ok())
            }
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens an object for reading; `None` if there is no file with that name and size.
    pub(crate) fn get(&self, pointer: &Pointer) -> Result<Option<File>, Errno> {
        if !self.holds(pointer)? {
            return Ok(None);
        }
        // Without `NONBLOCK`, opening a pipe would wait for a writer (fifo(7)).
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, pointer.id.to_string(), flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens an incomplete object for reading and writing; creates it if it does not exist.
    pub(crate) fn begin(&self, id: &ObjectId) -> Result<File, Errno> {
        let name = unfinished(id);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.0, &*name, flags, Mode::from_raw_mode(0o664));
        let is_ours = |file: &OwnedFd| {
            let stat = rustix::fs::fstat(file)?;
            // A file with a second link may belong to another program.
            Ok::<_, Errno>(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1)
        };
        match open() {
            Ok(file) if is_ours(&file)? => return Ok(File::from(file)),
            // A foreign file, a symlink (`ELOOP`) or a socket (`ENXIO`, open(2)) is replaced below.
            Ok(_) | Err(Errno::LOOP | Errno::NXIO) => {}
            Err(errno) => return Err(errno),
        }
        rustix::fs::unlinkat(&self.0, &*name, AtFlags::empty())?;
        let made = open()?;
        if is_ours(&made)? { Ok(File::from(made)) } else { Err(Errno::EXIST) }
    }

    /// Renames a completed object to its final name.
    pub(crate) fn finish(&self, id: &ObjectId) -> Result<(), Errno> {
        rustix::fs::renameat(&self.0, unfinished(id), &self.0, id.to_string())
    }

    /// Removes an object whose content does not match its name. A missing one is no error.
    pub(crate) fn remove(&self, id: &ObjectId) -> Result<(), Errno> {
        self.unlink(&id.to_string())
    }

    /// Removes an incomplete object. A missing one is no error.
    pub(crate) fn give_up(&self, id: &ObjectId) -> Result<(), Errno> {
        self.unlink(&unfinished(id))
    }

    /// Returns every object with its completeness and size.
    pub(crate) fn all(&self) -> Result<Vec<(ObjectId, bool, u64)>, Errno> {
        let mut all = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let (text, whole) = name.strip_suffix(UNFINISHED).map_or((name, true), |text| (text, false));
            if let Some(id) = ObjectId::parse(text) {
                all.push((id, whole, self.size(name)?.unwrap_or(0)));
            }
        }
        Ok(all)
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

fn unfinished(id: &ObjectId) -> String {
    format!("{id}{UNFINISHED}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn pointer(version: &str, oid: &str, size: &str) -> Option<Pointer> {
        Pointer::parse(format!("version {version}\noid {oid}\nsize {size}\n").as_bytes())
    }

    #[test]
    fn pointers_are_read_as_git_lfs_reads_them() {
        let found = pointer(VERSIONS[0], &format!("sha256:{HASH}"), "12345").unwrap();
        assert_eq!((found.id.to_string().as_str(), found.size), (HASH, 12345));
        assert_eq!(pointer(VERSIONS[1], &format!("sha256:{HASH}"), "12345"), Some(found));
        let crlf = format!("version {}\r\noid sha256:{HASH}\r\nsize 12345\r\n", VERSIONS[0]);
        assert_eq!(Pointer::parse(crlf.as_bytes()), Some(found));
        let open = crlf.replace('\r', "").trim_end().to_owned();
        assert_eq!(Pointer::parse(open.as_bytes()), Some(found), "no newline at its end");
        for (version, oid, size) in [
            ("https://git-lfs.github.com/spec/v2", format!("sha256:{HASH}"), "1"),
            (VERSIONS[0], format!("sha512:{HASH}"), "1"),
            (VERSIONS[0], format!("sha256:{}", HASH.to_uppercase()), "1"),
            (VERSIONS[0], format!("sha256:{}", &HASH[1..]), "1"),
            (VERSIONS[0], format!("sha256:../{}", &HASH[3..]), "1"),
            (VERSIONS[0], format!("sha256:{HASH}"), "-1"),
            (VERSIONS[0], format!("sha256:{HASH}"), "+1"),
            (VERSIONS[0], format!("sha256:{HASH}"), "9223372036854775808"),
            (VERSIONS[0], format!("sha256:{HASH}"), ""),
            (VERSIONS[0], format!("sha256:{HASH}"), "1\nmore 2"),
        ] {
            assert_eq!(pointer(version, &oid, size), None, "{version} {oid} {size}");
        }
        let extended = format!("version {}\next-0-x sha256:{HASH}\noid sha256:{HASH}\nsize 1\n", VERSIONS[0]);
        assert_eq!(Pointer::parse(extended.as_bytes()), None, "a program would have to make the file of it");
        let long = format!("{open}{}", "\n".repeat(LONGEST_POINTER));
        assert_eq!(Pointer::parse(long.as_bytes()), None);
        assert_eq!(Pointer::parse(b""), None);
    }

    #[test]
    fn links_are_not_followed_and_unexpected_entries_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, b"12345").unwrap();
        let place = folder_beside(&folder.path().join("repo.git"));
        assert!(Objects::open(&place).unwrap().is_none());
        let objects = Objects::open_or_make(&place).unwrap();
        let pointer = Pointer { id: ObjectId::parse(HASH).unwrap(), size: 5 };
        std::os::unix::fs::symlink(&elsewhere, place.join(HASH)).unwrap();
        assert!(!objects.holds(&pointer).unwrap() && objects.get(&pointer).unwrap().is_none());
        for plant in
            [std::os::unix::fs::symlink, std::fs::hard_link] as [fn(PathBuf, PathBuf) -> std::io::Result<()>; 2]
        {
            plant(elsewhere.clone(), place.join(unfinished(&pointer.id))).unwrap();
            let mut begun = objects.begin(&pointer.id).unwrap();
            std::io::Write::write_all(&mut begun, b"other").unwrap();
            assert_eq!(std::fs::read(&elsewhere).unwrap(), b"12345");
            assert_eq!(objects.begun(&pointer.id).unwrap(), 5);
            objects.give_up(&pointer.id).unwrap();
        }
        objects.begin(&pointer.id).unwrap().set_len(5).unwrap();
        assert_eq!(objects.all().unwrap().iter().filter(|(_, whole, _)| !whole).count(), 1);
        objects.finish(&pointer.id).unwrap();
        assert!(objects.get(&pointer).unwrap().is_some(), "the link gave way");
        assert_eq!(objects.all().unwrap(), [(pointer.id, true, 5)]);
        objects.remove(&pointer.id).unwrap();
        objects.remove(&pointer.id).unwrap();
        assert!(objects.all().unwrap().is_empty());
    }
}
