//! Folders as open descriptors: everything below `ROOT` is reached one name at a time from a descriptor.
//!
//! No path of more than one name is ever passed to the kernel and no link is followed, so that no link inside a tree, or
//! made by another process meanwhile, can lead out of it, and `PATH_MAX` does not apply. The functions do not recurse,
//! because the depth of folders on a volume is not limited. It must not know of git.

pub(crate) mod baseline;
pub(crate) mod group;
pub(crate) mod remove;
pub(crate) mod space;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, SeekFrom, Stat};
use rustix::io::Errno;

pub(crate) use remove::remove_all;

use crate::flush;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder inside another one.
pub(crate) fn open(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, FOLDER, Mode::empty())
}

/// Opens a folder by a resolved path.
pub(crate) fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, FOLDER, Mode::empty())
}

/// Makes a folder and opens it. It must not exist. The mode does not depend on the umask; an inherited set-group-id bit
/// (fsGroup) stays.
pub(crate) fn make(parent: impl AsFd, name: &[u8], mode: RawMode) -> Result<OwnedFd, Errno> {
    let parent = parent.as_fd();
    rustix::fs::mkdirat(parent, name, Mode::from_bits_truncate(mode))?;
    let folder = open(parent, name)?;
    set_mode(&folder, mode)?;
    Ok(folder)
}

/// Opens a folder, and makes it if it is missing. The mode of an existing one is not changed.
pub(crate) fn make_if_missing(parent: impl AsFd, name: &[u8], mode: RawMode) -> Result<OwnedFd, Errno> {
    let parent = parent.as_fd();
    match open(parent, name) {
        Err(Errno::NOENT) => match make(parent, name, mode) {
            // Another process has made it meanwhile.
            Err(Errno::EXIST) => open(parent, name),
            made => made,
        },
        opened => opened,
    }
}

/// Sets the permission bits of an open file or folder, unless it has them already, because `fstat` is cheaper than
/// `fchmod`.
pub(crate) fn set_mode(file: impl AsFd, mode: RawMode) -> Result<(), Errno> {
    let file = file.as_fd();
    let now = Mode::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
    let wanted = Mode::from_bits_truncate(mode);
    if now & (Mode::RWXU | Mode::RWXG | Mode::RWXO) == wanted {
        return Ok(());
    }
    // The set-group-id bit that a folder inherits from a volume with fsGroup has to stay.
    match rustix::fs::fchmod(file, wanted | (now & (Mode::SUID | Mode::SGID | Mode::SVTX))) {
        // Only the owner may change a mode, and this is our own file: the file system (SMB and exFAT with mount options,
        // some FUSE ones) decides on owners and modes by itself. The volume's probe has detected that.
        Err(Errno::PERM) => Ok(()),
        Err(errno) if flush::is_unsupported(errno) => Ok(()),
        changed => changed,
    }
}

/// Returns true if the file system keeps a file's mode: tested with a temporary file, as git does for `core.fileMode`.
pub(crate) fn keeps_modes(folder: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    let folder = folder.as_fd();
    let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_bits_truncate(0o644))?;
    let is_kept = |mode: RawMode| -> Result<bool, Errno> {
        rustix::fs::fchmod(&file, Mode::from_bits_truncate(mode))?;
        Ok(rustix::fs::fstat(&file)?.st_mode & 0o777 == mode)
    };
    // Two modes, because a file system with fixed modes may use one of them for all files.
    let kept = is_kept(0o755).and_then(|kept| Ok(kept && is_kept(0o644)?));
    let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    match kept {
        Err(Errno::PERM) => Ok(false),
        Err(errno) if flush::is_unsupported(errno) => Ok(false),
        kept => kept,
    }
}

/// Returns true if the file system keeps its files in memory (tmpfs): an emptyDir of the medium `Memory`.
#[cfg(target_os = "linux")]
pub(crate) fn is_in_memory(folder: impl AsFd) -> bool {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::fstatfs(folder).is_ok_and(|state| state.f_type == TMPFS)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_in_memory(_: impl AsFd) -> bool {
    false
}

/// Writes all of the content to an open file.
pub(crate) fn write_all(file: impl AsFd, mut content: &[u8]) -> Result<(), Errno> {
    while !content.is_empty() {
        match rustix::io::write(&file, content) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => content = &content[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Gives an empty file the content of another one by a reflink (`ioctl_ficlone(2)`).
#[cfg(target_os = "linux")]
pub(crate) fn reflink(from: impl AsFd, to: impl AsFd) -> Result<(), rustix::io::Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn reflink(_from: impl AsFd, _to: impl AsFd) -> Result<(), rustix::io::Errno> {
    Err(rustix::io::Errno::NOTSUP)
}

/// Flushes the names in a folder to the disk, if the file system supports it.
pub(crate) fn flush_names(folder: impl AsFd) -> Result<(), Errno> {
    flush::if_supported(rustix::fs::fsync(folder))
}

/// Returns the `stat` of a name, without following a link; `None` if it does not exist.
pub(crate) fn stat(parent: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// A time on the clock of the tree's file system: the time of an inode's last change (ctime), which no program can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    /// Returns when this file, link or folder was last changed: content, mode, owner, or a name in it.
    pub(crate) fn of(stat: &Stat) -> Self {
        // The types of these fields differ between systems.
        #[allow(
            clippy::useless_conversion,
            clippy::unnecessary_fallible_conversions,
            reason = "not useless on all of them"
        )]
        let number = (i64::try_from(stat.st_ctime), i64::try_from(stat.st_ctime_nsec));
        // A number that does not fit becomes the latest time, which is never trusted.
        Self { seconds: number.0.unwrap_or(i64::MAX), nanoseconds: number.1.unwrap_or(i64::MAX) }
    }

    /// Returns the current time of the file system: the ctime of a temporary file.
    pub(crate) fn now(folder: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        let folder = folder.as_fd();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::RUSR)?;
        let stat = rustix::fs::fstat(&file);
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
        Ok(Self::of(&stat?))
    }
}

/// Returns the names in a folder, in no order, without `.` and `..`.
pub(crate) fn names(folder: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// The names of one folder at a time, in one buffer that is reused.
#[derive(Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    #[cfg(target_os = "linux")]
    buffer: Vec<std::mem::MaybeUninit<u8>>,
}

impl Names {
    /// Lists a folder, instead of the previous one.
    #[cfg(target_os = "linux")]
    pub(crate) fn list(&mut self, folder: impl AsFd) -> Result<(), Errno> {
        const AT_ONCE: usize = 32 * 1024;
        self.clear();
        // It may have been listed before.
        rustix::fs::seek(folder.as_fd(), SeekFrom::Start(0))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(AT_ONCE, std::mem::MaybeUninit::uninit());
        let mut entries = rustix::fs::RawDir::new(folder.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            self.add(entry?.file_name());
        }
        self.buffer = buffer;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn list(&mut self, folder: impl AsFd) -> Result<(), Errno> {
        self.clear();
        for entry in Dir::read_from(folder)? {
            self.add(entry?.file_name());
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn add(&mut self, name: &CStr) {
        if name != c"." && name != c".." {
            self.bytes.extend_from_slice(name.to_bytes());
            self.ends.push(self.bytes.len());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start..*end))
    }

    pub(crate) fn to_vec(&self) -> Vec<Vec<u8>> {
        self.iter().map(<[u8]>::to_vec).collect()
    }
}

/// Calls `each` for everything inside a folder, at any depth, with its folder. Entries that vanish meanwhile are left out.
pub(crate) fn visit(
    top: OwnedFd,
    mut each: impl FnMut(BorrowedFd<'_>, &[u8], &Stat) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let pending = names(&top)?;
    let mut stack = vec![(top, pending)];
    while let Some((folder, pending)) = stack.last_mut() {
        let Some(name) = pending.pop() else {
            stack.pop();
            continue;
        };
        let Some(stat) = stat(&*folder, &name)? else { continue };
        each(folder.as_fd(), &name, &stat)?;
        if kind(&stat) == FileType::Directory {
            match open(&*folder, &name) {
                Ok(inner) => {
                    let pending = names(&inner)?;
                    stack.push((inner, pending));
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Flushes a folder with its whole content.
///
/// On Linux one `syncfs` does it, which also waits for other writes to the same file system; flushing many files one by one
/// costs a journal commit each. For a few files that is cheaper.
pub(crate) fn flush(top: &OwnedFd, entries: u64) -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    if entries > FEW {
        match rustix::fs::syncfs(top) {
            // Not supported, or forbidden by a sandbox: each file is flushed by itself.
            Err(errno) if errno == Errno::PERM || flush::is_unsupported(errno) => {}
            flushed => return flushed,
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = entries;
    visit(open(top, b".")?, |folder, name, stat| match kind(stat) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            flush::if_supported(rustix::fs::fsync(rustix::fs::openat(folder, name, flags, Mode::empty())?))
        }
        FileType::Directory => flush_names(open(folder, name)?),
        // A link is stored in its folder.
        _ => Ok(()),
    })?;
    flush_names(top)
}

/// The most entries that are flushed one by one.
pub(crate) const FEW: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_as_a_whole_however_often() {
        let site = tempfile::TempDir::new().expect("a folder");
        for name in 0..3_000 {
            std::fs::write(site.path().join(name.to_string()), "").expect("a file");
        }
        let folder = open_path(&site.path().canonicalize().expect("it is there")).expect("it is there");
        let mut names = Names::default();
        for _ in 0..2 {
            names.list(&folder).expect("names");
            let mut listed = names.to_vec();
            listed.sort_unstable();
            let mut all = super::names(&folder).expect("names");
            all.sort_unstable();
            assert_eq!((listed.len(), names.len()), (3_000, 3_000));
            assert_eq!(listed, all);
        }
    }
}
