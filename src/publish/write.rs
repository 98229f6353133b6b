//! A fresh tree, written by several threads: one walks and makes the folders, the others write what is in them.
//!
//! Files are created with `O_EXCL | O_NOFOLLOW` through the descriptor of their folder, which this build itself made: a
//! link can never be written through, wherever it points. It must not know where the tree will stand or who reads it.

use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use git2::{Odb, Oid};
use rustix::fs::{Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::objects::{Entry, EntryKind, Objects, join, read_tree, with_blob};
use super::path::printable;
use super::{Error, folder};
use crate::worker::Cancel;

/// Files are handed over in small groups of one folder: one descriptor and one wake-up for many.
const BATCH: usize = 32;

/// Batches that may wait. It bounds the descriptors and the memory that a fast walker can take.
const WAITING: usize = 32;

/// Between two pieces of a large file the writer looks whether it is still wanted.
const PIECE: usize = 4 * 1024 * 1024;

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Files and links.
    pub files: u64,
    pub bytes: u64,
}

struct Batch {
    folder: Arc<OwnedFd>,
    path: Arc<[u8]>,
    entries: Vec<Entry>,
}

/// What the threads of one build share.
struct Progress<'a> {
    cancel: &'a Cancel,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Progress<'_> {
    fn check(&self) -> Result<(), Error> {
        // `stop` means that another thread has kept the real reason.
        if self.cancel.is_cancelled() || self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// The first failure is the one to tell; what follows from it is noise.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes the tree object `root` into an empty folder.
pub(super) fn write_tree(store: &Path, root: Oid, into: &OwnedFd, cancel: &Cancel) -> Result<Written, Error> {
    let progress = Progress {
        cancel,
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let top = into.try_clone().map_err(|source| Error::Io { doing: "open", path: "the new tree".into(), source })?;
    let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 4);
    thread::scope(|scope| {
        let (batches, queue) = sync_channel(WAITING);
        // Only the writers hold the receiver: if all of them are gone, the walker's send fails and does not wait for ever.
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let progress = &progress;
            scope.spawn(move || {
                if let Err(error) = write_batches(store, &queue, progress) {
                    progress.fail(error);
                }
            });
        }
        drop(queue);
        if let Err(error) = walk(store, root, top, &batches, &progress) {
            progress.fail(error);
        }
    });
    match progress.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.with_cause_from(into)),
        None => Ok(Written { files: progress.files.into_inner(), bytes: progress.bytes.into_inner() }),
    }
}

struct Frame {
    folder: Arc<OwnedFd>,
    /// The length of the path to the folder above.
    above: usize,
    folders: std::vec::IntoIter<Entry>,
}

fn walk(
    store: &Path,
    root: Oid,
    top: OwnedFd,
    batches: &SyncSender<Batch>,
    progress: &Progress<'_>,
) -> Result<(), Error> {
    let objects = Objects::open(store)?;
    let odb = objects.odb()?;
    let mut path = Vec::new();
    let mut stack = vec![enter(&odb, root, Arc::new(top), &path, 0, batches, progress)?];
    while let Some(frame) = stack.last_mut() {
        progress.check()?;
        let Some(entry) = frame.folders.next() else {
            path.truncate(frame.above);
            stack.pop();
            continue;
        };
        let made = make_folder(&frame.folder, &path, &entry.name)?;
        if entry.kind == EntryKind::Submodule {
            continue;
        }
        let above = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        stack.push(enter(&odb, entry.id, Arc::new(made), &path, above, batches, progress)?);
    }
    Ok(())
}

/// Hands the files of a folder to the writers and keeps its folders.
fn enter(
    odb: &Odb<'_>,
    id: Oid,
    folder: Arc<OwnedFd>,
    path: &[u8],
    above: usize,
    batches: &SyncSender<Batch>,
    progress: &Progress<'_>,
) -> Result<Frame, Error> {
    let shared: Arc<[u8]> = path.into();
    let is_folder = |entry: &Entry| matches!(entry.kind, EntryKind::Folder | EntryKind::Submodule);
    let (folders, files): (Vec<_>, Vec<_>) = read_tree(odb, id, path)?.into_iter().partition(is_folder);
    let mut files = files.into_iter();
    loop {
        let entries: Vec<_> = files.by_ref().take(BATCH).collect();
        if entries.is_empty() {
            return Ok(Frame { folder, above, folders: folders.into_iter() });
        }
        progress.check()?;
        let batch = Batch { folder: Arc::clone(&folder), path: Arc::clone(&shared), entries };
        // No writer is left: one of them has told why.
        batches.send(batch).map_err(|_| Error::Cancelled)?;
    }
}

pub(super) fn make_folder(parent: &OwnedFd, path: &[u8], name: &[u8]) -> Result<OwnedFd, Error> {
    folder::make(parent, name, 0o755).map_err(|errno| refused("make the folder", path, name, errno))
}

fn write_batches(store: &Path, queue: &Mutex<Receiver<Batch>>, progress: &Progress<'_>) -> Result<(), Error> {
    let objects = Objects::open(store)?;
    let odb = objects.odb()?;
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // The walker is done, or gave up.
        let Ok(batch) = next else { return Ok(()) };
        for entry in &batch.entries {
            progress.check()?;
            let (bytes, _) = write_entry(&odb, &batch.folder, &batch.path, entry, &|| progress.check())?;
            progress.files.fetch_add(1, Ordering::Relaxed);
            progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// Creates one file or link, which must not exist, in an open folder, and answers its size and the file, still open.
/// `check` is asked between pieces whether to go on.
pub(super) fn write_entry(
    odb: &Odb<'_>,
    folder: &OwnedFd,
    path: &[u8],
    entry: &Entry,
    check: &dyn Fn() -> Result<(), Error>,
) -> Result<(u64, Option<OwnedFd>), Error> {
    let name = &entry.name;
    with_blob(odb, entry.id, &join(path, name), |content| {
        let size = content.len() as u64;
        let mode = match entry.kind {
            EntryKind::Link => return write_link(folder, path, name, content).map(|()| (size, None)),
            EntryKind::Executable => 0o755,
            _ => 0o644,
        };
        write_file(folder, path, name, content, mode, check).map(|file| (size, Some(file)))
    })
}

fn write_file(
    folder: &OwnedFd,
    path: &[u8],
    name: &[u8],
    content: &[u8],
    mode: RawMode,
    check: &dyn Fn() -> Result<(), Error>,
) -> Result<OwnedFd, Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_bits_truncate(mode))
        .map_err(|errno| refused("create", path, name, errno))?;
    let failed = |errno| refused("write", path, name, errno);
    folder::set_mode(&file, mode).map_err(failed)?;
    for piece in content.chunks(PIECE) {
        check()?;
        write_all(&file, piece).map_err(failed)?;
    }
    Ok(file)
}

fn write_all(file: impl AsFd, mut content: &[u8]) -> Result<(), Errno> {
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

/// The target is data: it is stored as it is and never followed by us.
fn write_link(folder: &OwnedFd, path: &[u8], name: &[u8], target: &[u8]) -> Result<(), Error> {
    // The kernel has no words for these: it would say "no such file" and "invalid argument".
    let hostile = |why| Error::Hostile { path: printable(&join(path, name)), why };
    if target.is_empty() {
        return Err(hostile("a link with an empty target"));
    }
    if target.contains(&0) || target.len() > 4095 {
        return Err(hostile("a link whose target is not a path"));
    }
    rustix::fs::symlinkat(target, folder, name).map_err(|errno| refused("create the link", path, name, errno))
}

fn refused(doing: &'static str, path: &[u8], name: &[u8], errno: Errno) -> Error {
    let path = join(path, name);
    match errno {
        // The same name twice has been refused before: the file system folds case or composes characters.
        Errno::EXIST => Error::Twins { path: printable(&path) },
        Errno::NAMETOOLONG => Error::NameTooLong { path: printable(&path) },
        errno => Error::io(doing, path, errno),
    }
}
