//! Compares a tree on the disk with its commit.
//!
//! Every name, mode, link target and the content of every file is compared; nothing is repaired. Other processes may change
//! the disk meanwhile, so no earlier result is reused. With a baseline, the content of files that have not changed since it
//! is not read; names, types and modes are compared all the same. It must not write.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use git2::{ObjectType, Oid};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::lfs::Pointer;
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::Stamp;
use crate::publish::folder::baseline::Baseline;
use crate::publish::path::printable;
use crate::publish::tree::pointers;
use crate::publish::tree::view::{EntryKind, TreeEntry, View, join};
use crate::publish::volume::git_file;
use crate::publish::volume::hook_changes::{HookChanges, PathState};
use crate::worker::Cancel;

/// How a tree compares with its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Whole,
    /// The first difference that was found, as text.
    Differs(String),
}

/// Larger files are hashed piece by piece.
const WHOLE: i64 = 4 * 1024 * 1024;

struct Frame {
    id: Oid,
    folder: OwnedFd,
    above: usize,
    entries: std::vec::IntoIter<TreeEntry>,
    /// The names on the disk that have not been compared yet.
    names: HashSet<Vec<u8>>,
}

impl Frame {
    /// Of the superfluous names, keeps those that the commit has and the patterns leave out. The others were added by a
    /// hook or an app, which is no difference in a published tree.
    fn keep_left_out(&mut self, view: &View<'_>, path: &[u8]) -> Result<(), Error> {
        if self.names.is_empty() {
            return Ok(());
        }
        if view.options().sparse.is_none() {
            self.names.clear();
            return Ok(());
        }
        let stored: HashSet<Vec<u8>> = view.stored_tree(self.id, path)?.into_iter().map(|entry| entry.name).collect();
        self.names.retain(|name| stored.contains(name));
        Ok(())
    }
}

/// The reason why a walk ended early: a difference is a result, an error is not.
enum Halt {
    Differs(String),
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The options of a comparison.
#[derive(Clone, Copy, Default)]
pub(crate) struct VerifyOptions<'a> {
    /// The commit whose `.git` file may be in the tree, if any.
    pub git_file: Option<Oid>,
    /// Files and links that have not changed since this baseline are not read.
    pub baseline: Option<&'a Baseline>,
    /// True if names that the commit does not have are no difference: hooks and apps may add to a published tree.
    pub extras: bool,
    /// The changes of tracked files by hooks, which count as published.
    pub hook_changes: Option<&'a HookChanges>,
    /// Changes from this time on are no difference, because readers had the tree.
    pub until: Option<Stamp>,
}

/// Compares an open folder with the tree object `root`.
pub(crate) fn compare(
    view: &View<'_>,
    root: Oid,
    top: OwnedFd,
    options: VerifyOptions<'_>,
    cancel: &Cancel,
) -> Result<Verdict, Error> {
    match walk(view, root, top, options, cancel) {
        Ok(()) => Ok(Verdict::Whole),
        Err(Halt::Differs(difference)) => Ok(Verdict::Differs(difference)),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// The same, and compares the mode of the top folder, too. A tree that is not published yet is closed to other users.
pub(crate) fn compare_with_top(
    view: &View<'_>,
    root: Oid,
    top: OwnedFd,
    options: VerifyOptions<'_>,
    cancel: &Cancel,
) -> Result<Verdict, Error> {
    let stat = rustix::fs::fstat(&top).map_err(|errno| Error::io("look at", b"the top folder", errno))?;
    if !view.options().accepts(EntryKind::Folder, stat.st_mode) {
        return Ok(Verdict::Differs("the top folder has another mode".to_owned()));
    }
    compare(view, root, top, options, cancel)
}

fn walk(view: &View<'_>, root: Oid, top: OwnedFd, options: VerifyOptions<'_>, cancel: &Cancel) -> Result<(), Halt> {
    let VerifyOptions { git_file, baseline, extras, hook_changes, until } = options;
    let no_git_file = git_file.is_some_and(|commit| !git_file::is_whole(&top, commit, view.options()));
    if no_git_file {
        return Err(differs(git_file::NAME, "is missing or not ours"));
    }
    if git_file.is_none() && git_file::is_left(&top) {
        return Err(differs(git_file::NAME, "is not in the commit"));
    }
    // A file of another file system, mounted over ours, has ctimes of another clock.
    let device = rustix::fs::fstat(&top).map_err(|errno| unreadable(b"", errno))?.st_dev;
    let mut path = Vec::new();
    let mut content = Vec::new();
    let mut stack = vec![enter(view, root, top, &path, 0)?];
    if let (Some(_), Some(first)) = (git_file, stack.first_mut()) {
        first.names.remove(git_file::NAME);
    }
    while let Some(frame) = stack.last_mut() {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled.into());
        }
        let Some(entry) = frame.entries.next() else {
            if extras {
                frame.keep_left_out(view, &path)?;
            }
            // The first in order, so that the message is the same each time.
            if let Some(extra) = frame.names.iter().min() {
                return Err(differs(&join(&path, extra), "is not in the commit"));
            }
            path.truncate(frame.above);
            stack.pop();
            continue;
        };
        let at = join(&path, &entry.name);
        let is_there = frame.names.remove(&entry.name);
        if let Some(left) = hook_changes.and_then(|hook_changes| hook_changes.get(&at)) {
            check_accepted(&frame.folder, &entry, left, &at)?;
            continue;
        }
        let is_later = |stat: &Stat| until.is_some_and(|until| Stamp::of(stat) >= until);
        let stat = if is_there { folder::stat(&frame.folder, &entry.name) } else { Ok(None) };
        let Some(stat) = stat.map_err(|errno| unreadable(&at, errno))? else {
            let folder = rustix::fs::fstat(&frame.folder).map_err(|errno| unreadable(&at, errno))?;
            if is_later(&folder) {
                continue;
            }
            return Err(differs(&at, "is missing"));
        };
        match check_kind(view, &stat, entry.kind, &at) {
            Ok(()) if is_later(&stat) && folder::kind(&stat) != FileType::Directory => continue,
            // A hook or an app has changed its type or mode since readers got the tree.
            Err(_) if is_later(&stat) => continue,
            checked => checked?,
        }
        let held = || baseline.is_some_and(|baseline| baseline.holds(&path, &entry.name, &stat));
        match entry.kind {
            EntryKind::File | EntryKind::Executable | EntryKind::Link => {
                if stat.st_dev != device || !held() {
                    check_file(view, &frame.folder, &entry, &stat, &mut content, &path, cancel)?;
                }
            }
            EntryKind::Folder | EntryKind::Submodule => {
                let inner = folder::open(&frame.folder, &entry.name).map_err(|errno| unreadable(&at, errno))?;
                if entry.kind == EntryKind::Folder {
                    let above = path.len();
                    path = at;
                    stack.push(enter(view, entry.id, inner, &path, above)?);
                } else if !folder::names(inner).map_err(|errno| unreadable(&at, errno))?.is_empty() {
                    return Err(differs(&at, "is a submodule and not empty"));
                }
            }
        }
    }
    Ok(())
}

fn enter(view: &View<'_>, id: Oid, folder: OwnedFd, path: &[u8], above: usize) -> Result<Frame, Halt> {
    let entries = view.tree(id, path)?.into_iter();
    let names = folder::names(&folder).map_err(|errno| unreadable(path, errno))?.into_iter().collect();
    Ok(Frame { id, folder, above, entries, names })
}

/// Compares a name with the state in which a hook left it.
fn check_accepted(folder: &OwnedFd, entry: &TreeEntry, left: PathState, at: &[u8]) -> Result<(), Halt> {
    let stat = folder::stat(folder, &entry.name).map_err(|errno| unreadable(at, errno))?;
    let found = PathState::of(folder, &entry.name, stat.as_ref()).map_err(|errno| unreadable(at, errno))?;
    if found == left { Ok(()) } else { Err(differs(at, "is not as a hook left it")) }
}

/// Reads a file or link, whose type is right, and compares it with the entry.
fn check_file(
    view: &View<'_>,
    folder: &OwnedFd,
    entry: &TreeEntry,
    stat: &Stat,
    content: &mut Vec<u8>,
    path: &[u8],
    cancel: &Cancel,
) -> Result<(), Halt> {
    let at = join(path, &entry.name);
    if entry.kind == EntryKind::Link {
        let target =
            rustix::fs::readlinkat(folder, &*entry.name, Vec::new()).map_err(|errno| unreadable(&at, errno))?;
        return check_hash(Oid::hash_object(ObjectType::Blob, target.to_bytes()), entry.id, &at);
    }
    let pointer = view.pointer(entry, path)?;
    if pointer.is_some() {
        return check_object(folder, entry, stat, pointer, &at, cancel);
    }
    if entry.conversion.as_ref().is_some_and(|conversion| conversion.changes()) {
        return check_converted(view, folder, entry, stat, content, path);
    }
    check_content(folder, entry, stat, content, &at)
}

/// Returns true if a file or link of the right type has the content of the entry. Its mode is not compared.
pub(crate) fn has_content(
    view: &View<'_>,
    folder: &OwnedFd,
    entry: &TreeEntry,
    stat: &Stat,
    content: &mut Vec<u8>,
    path: &[u8],
    cancel: &Cancel,
) -> Result<bool, Error> {
    match check_file(view, folder, entry, stat, content, path, cancel) {
        Ok(()) => Ok(true),
        Err(Halt::Differs(_)) => Ok(false),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// Returns true if a name on the disk has the type and the permission bits of the entry.
pub(crate) fn has_kind(view: &View<'_>, stat: &Stat, wanted: EntryKind) -> bool {
    check_kind(view, stat, wanted, b"").is_ok()
}

/// Compares type and permission bits. A set-group-id bit on a folder comes from the volume (fsGroup) and is no difference.
fn check_kind(view: &View<'_>, stat: &Stat, wanted: EntryKind, path: &[u8]) -> Result<(), Halt> {
    let (kind, has_mode) = match wanted {
        EntryKind::File | EntryKind::Executable => (FileType::RegularFile, true),
        EntryKind::Link => (FileType::Symlink, false),
        EntryKind::Folder | EntryKind::Submodule => (FileType::Directory, true),
    };
    if folder::kind(stat) != kind {
        return Err(differs(path, "is of another type"));
    }
    if has_mode && !view.options().accepts(wanted, stat.st_mode) {
        return Err(differs(path, "has another mode"));
    }
    Ok(())
}

/// Compares a converted file, whose hash differs from the commit's: the conversion is made again, and the bytes are
/// compared.
fn check_converted(
    view: &View<'_>,
    folder: &OwnedFd,
    entry: &TreeEntry,
    stat: &Stat,
    content: &mut Vec<u8>,
    path: &[u8],
) -> Result<(), Halt> {
    let at = join(path, &entry.name);
    let file = open_to_read(folder, &entry.name).map_err(|errno| unreadable(&at, errno))?;
    let same = view.content(entry, path, |wanted| {
        if u64::try_from(stat.st_size) != Ok(wanted.len() as u64) {
            return Ok(false);
        }
        content.clear();
        // One byte more than wanted, so that a file that grew meanwhile is noticed.
        std::fs::File::from(file).take(wanted.len() as u64 + 1).read_to_end(content).map_err(|source| Error::Io {
            doing: "read",
            path: printable(&at),
            source,
        })?;
        Ok(content == wanted)
    })?;
    content.shrink_to(usize::try_from(WHOLE).unwrap_or(0));
    if same { Ok(()) } else { Err(differs(&at, "has other content")) }
}

/// Compares a file that replaces an LFS pointer.
fn check_object(
    folder: &OwnedFd,
    entry: &TreeEntry,
    stat: &Stat,
    pointer: Option<Pointer>,
    path: &[u8],
    cancel: &Cancel,
) -> Result<(), Halt> {
    if pointer.is_none_or(|pointer| u64::try_from(stat.st_size) != Ok(pointer.size)) {
        return Err(differs(path, "has another size"));
    }
    let file = open_to_read(folder, &entry.name).map_err(|errno| unreadable(path, errno))?;
    let check = || if cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) };
    let found = pointers::hash(file, path, &check)?;
    if pointer.is_none_or(|pointer| found != pointer.id) {
        return Err(differs(path, "has other content"));
    }
    Ok(())
}

fn check_content(
    folder: &OwnedFd,
    entry: &TreeEntry,
    stat: &Stat,
    content: &mut Vec<u8>,
    path: &[u8],
) -> Result<(), Halt> {
    let file = open_to_read(folder, &entry.name).map_err(|errno| unreadable(path, errno))?;
    if stat.st_size > WHOLE {
        // libgit2 hashes piece by piece only a file with a path. The path of a descriptor cannot be replaced by another
        // file.
        let numbers = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
        if let Ok(hash) = Oid::hash_file(ObjectType::Blob, format!("{numbers}/{}", file.as_raw_fd())) {
            return check_hash(Ok(hash), entry.id, path);
        }
        // Without /proc in this container the file is read as a whole.
    }
    content.clear();
    std::fs::File::from(file).read_to_end(content).map_err(|source| Error::Io {
        doing: "read",
        path: printable(path),
        source,
    })?;
    check_hash(Oid::hash_object(ObjectType::Blob, content), entry.id, path)?;
    // One large file must not keep its memory for the rest of the walk.
    content.shrink_to(usize::try_from(WHOLE).unwrap_or(0));
    Ok(())
}

/// Opens a file without blocking, because it may have been replaced by a pipe.
fn open_to_read(folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

fn check_hash(found: Result<Oid, git2::Error>, wanted: Oid, path: &[u8]) -> Result<(), Halt> {
    match found {
        Ok(found) if found == wanted => Ok(()),
        Ok(_) => Err(differs(path, "has other content")),
        Err(source) => Err(Error::Store { what: format!("the hash of {}", printable(path)), source }.into()),
    }
}

fn differs(path: &[u8], how: &str) -> Halt {
    Halt::Differs(format!("{} {how}", printable(path)))
}

/// A file that was removed or made unreadable is a difference; a failing disk is an error.
fn unreadable(path: &[u8], errno: Errno) -> Halt {
    match errno {
        Errno::NOENT => differs(path, "is missing"),
        Errno::ACCESS | Errno::PERM => differs(path, "cannot be read"),
        Errno::NOTDIR | Errno::LOOP | Errno::INVAL => differs(path, "is of another type"),
        errno => Halt::Failed(Error::io("read", path, errno)),
    }
}
