//! Writes a fresh tree with several threads: one walks and creates the folders, the others write the files.
//!
//! Files are created with `O_EXCL | O_NOFOLLOW` through the descriptor of their folder, which this build created, so no
//! write ever follows a link. It must not know the tree's later place, nor its readers.

use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use git2::Oid;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, RawMode};
use rustix::io::Errno;

use crate::flush;
use crate::publish::checkout::reference::ReferenceTree;
use crate::publish::path::printable;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::tree::remarks::Remarks;
use crate::publish::tree::small::{Packs, SmallFileReader};
use crate::publish::tree::view::{EntryKind, Objects, TreeEntry, View, join};
use crate::publish::{Error, folder};
use crate::worker::Cancel;

/// Files are passed to writers in groups of one folder. Two writers in one folder wait for each other at each name (the
/// kernel locks the folder), so a group is a whole folder unless that is so large that the others would be idle.
const BATCH: usize = 512;

/// The most waiting batches, which bounds the descriptors and the memory that a fast walker can take.
const WAITING: usize = 32;

const BLOCK: u64 = 4096;

/// After each piece of a large file the writer checks whether the file is still wanted.
const PIECE: usize = 4 * 1024 * 1024;

/// The written files and folders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// The number of files and links.
    pub files: u64,
    pub bytes: u64,
    pub folders: u64,
    /// The approximate space on the disk.
    pub blocks: u64,
    pub remarks: Remarks,
}

impl Written {
    pub(crate) fn file(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        self.blocks += blocks(bytes);
    }

    pub(crate) fn folder(&mut self) {
        self.folders += 1;
        self.blocks += BLOCK;
    }

    /// Returns bytes and inodes.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.blocks, self.files + self.folders)
    }
}

/// Returns the space of a file of this size: whole blocks, as in most file systems.
fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).max(1) * BLOCK
}

/// The files and links of one folder for a writer.
pub(crate) struct Batch {
    pub folder: Arc<OwnedFd>,
    pub path: Arc<[u8]>,
    pub reference: Option<ReferenceTree>,
    pub entries: Vec<TreeEntry>,
    /// True if each replaces a file or link that has to be removed first.
    pub replace: bool,
}

/// The queue of batches.
pub(crate) type Batches = SyncSender<Batch>;

/// The shared state of the threads of one build.
pub(crate) struct WriteProgress<'a> {
    cancel: &'a Cancel,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    files: AtomicU64,
    bytes: AtomicU64,
    folders: AtomicU64,
    blocks: AtomicU64,
    remarks: Mutex<Remarks>,
}

impl WriteProgress<'_> {
    pub(crate) fn check(&self) -> Result<(), Error> {
        // `stop` means that another thread has recorded the actual error.
        if self.cancel.is_cancelled() || self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn made_folder(&self) {
        self.folders.fetch_add(1, Ordering::Relaxed);
        self.blocks.fetch_add(BLOCK, Ordering::Relaxed);
    }

    fn keep(&self, remarks: Remarks) {
        self.remarks.lock().merge(remarks);
    }

    /// Records an error. Only the first one is reported, because the others may be its consequences.
    fn fail(&self, error: Error) {
        self.failure.lock().get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes the tree object `root` into an empty folder. Content may be shared with an existing tree of the same commit.
pub(crate) fn write_tree(
    store: &Path,
    objects: &Objects,
    root: Oid,
    into: &OwnedFd,
    reference: Option<ReferenceTree>,
    cancel: &Cancel,
) -> Result<Written, Error> {
    let top = into.try_clone().map_err(|source| Error::Io { doing: "open", path: "the new tree".into(), source })?;
    let written = with_writers(store, objects.options(), cancel, |batches, progress| {
        walk(objects, root, (top, reference), batches, progress)
    });
    written.map(|((), written)| written).map_err(|error| error.with_cause_from(into))
}

/// Runs `hand_out` beside threads that write the batches which it sends, and waits for all of them.
pub(crate) fn with_writers<T>(
    store: &Path,
    options: &Arc<CheckoutOptions>,
    cancel: &Cancel,
    hand_out: impl FnOnce(&Batches, &WriteProgress<'_>) -> Result<T, Error>,
) -> Result<(T, Written), Error> {
    let progress = WriteProgress {
        cancel,
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        folders: AtomicU64::new(0),
        blocks: AtomicU64::new(0),
        remarks: Mutex::default(),
    };
    let packs = Packs::open(store);
    let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 4);
    let handed_out = thread::scope(|scope| {
        let (batches, queue) = sync_channel(WAITING);
        // Only the writers hold the receiver: once all of them have ended, the walker's send fails instead of waiting
        // forever.
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            let (progress, packs) = (&progress, Arc::clone(&packs));
            let write = move || {
                if let Err(error) = write_batches(store, options, packs, &queue, progress) {
                    progress.fail(error);
                }
            };
            if let Err(source) = thread::Builder::new().name("writer".to_owned()).spawn_scoped(scope, write) {
                // With fewer threads it takes longer. Without any, the send below fails at once.
                if number == 0 {
                    progress.fail(Error::NoThread { doing: "write files", source });
                }
                break;
            }
        }
        // This thread's handle, which would keep the receiver alive.
        drop(queue);
        hand_out(&batches, &progress).map_err(|error| progress.fail(error)).ok()
    });
    match (progress.failure.into_inner(), handed_out) {
        (None, Some(handed_out)) => Ok((
            handed_out,
            Written {
                files: progress.files.into_inner(),
                bytes: progress.bytes.into_inner(),
                folders: progress.folders.into_inner(),
                blocks: progress.blocks.into_inner(),
                remarks: progress.remarks.into_inner(),
            },
        )),
        (Some(error), _) => Err(error),
        (None, None) => Err(Error::Cancelled),
    }
}

struct Frame {
    folder: Arc<OwnedFd>,
    reference: Option<ReferenceTree>,
    /// The length of the path to the folder above.
    above: usize,
    folders: std::vec::IntoIter<TreeEntry>,
}

fn walk(
    objects: &Objects,
    root: Oid,
    (top, reference): (OwnedFd, Option<ReferenceTree>),
    batches: &Batches,
    progress: &WriteProgress<'_>,
) -> Result<(), Error> {
    let view = objects.view()?;
    let mut path = Vec::new();
    let mut stack = vec![enter(&view, root, (Arc::new(top), reference), &path, 0, batches, progress)?];
    while let Some(frame) = stack.last_mut() {
        progress.check()?;
        let Some(entry) = frame.folders.next() else {
            path.truncate(frame.above);
            stack.pop();
            continue;
        };
        let made = make_folder(&view, &frame.folder, &path, &entry.name)?;
        progress.made_folder();
        if entry.kind == EntryKind::Submodule {
            continue;
        }
        let above = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        let reference = frame.reference.as_ref().and_then(|reference| reference.inner(&entry.name));
        stack.push(enter(&view, entry.id, (Arc::new(made), reference), &path, above, batches, progress)?);
    }
    progress.keep(view.remarks.take());
    Ok(())
}

/// Sends the files of a folder to the writers, and keeps its folders.
fn enter(
    view: &View<'_>,
    id: Oid,
    (folder, reference): (Arc<OwnedFd>, Option<ReferenceTree>),
    path: &[u8],
    above: usize,
    batches: &Batches,
    progress: &WriteProgress<'_>,
) -> Result<Frame, Error> {
    let shared: Arc<[u8]> = path.into();
    let is_folder = |entry: &TreeEntry| matches!(entry.kind, EntryKind::Folder | EntryKind::Submodule);
    let (folders, files): (Vec<_>, Vec<_>) = view.tree(id, path)?.into_iter().partition(is_folder);
    let mut files = files.into_iter();
    loop {
        let entries: Vec<_> = files.by_ref().take(BATCH).collect();
        if entries.is_empty() {
            return Ok(Frame { folder, reference, above, folders: folders.into_iter() });
        }
        progress.check()?;
        let (folder, path) = (Arc::clone(&folder), Arc::clone(&shared));
        let batch = Batch { folder, path, reference: reference.clone(), entries, replace: false };
        // No writer is left; one of them has recorded the error.
        batches.send(batch).map_err(|_| Error::Cancelled)?;
    }
}

/// Counts the space of a file that is about to be written.
fn take(view: &View<'_>, bytes: u64, path: &[u8], name: &[u8]) -> Result<(), Error> {
    let taken = view.options().allowance.take(blocks(bytes));
    taken.map_err(|source| Error::OverLimit { path: printable(&join(path, name)), source })
}

pub(crate) fn make_folder(view: &View<'_>, parent: &OwnedFd, path: &[u8], name: &[u8]) -> Result<OwnedFd, Error> {
    take(view, 0, path, name)?;
    folder::make(parent, name, view.options().mode(EntryKind::Folder))
        .map_err(|errno| refused("make the folder", path, name, errno))
}

fn write_batches(
    store: &Path,
    options: &Arc<CheckoutOptions>,
    packs: Arc<Packs>,
    queue: &Mutex<Receiver<Batch>>,
    progress: &WriteProgress<'_>,
) -> Result<(), Error> {
    let objects = Objects::open(store, options)?;
    let view = objects.view()?;
    view.small_files.replace(Some(SmallFileReader::new(packs)));
    loop {
        let next = queue.lock().recv();
        // The walker has finished or failed.
        let Ok(batch) = next else {
            progress.keep(view.remarks.take());
            return Ok(());
        };
        for entry in &batch.entries {
            progress.check()?;
            if batch.replace {
                remove(&batch.folder, &batch.path, &entry.name)?;
            }
            let (bytes, _) =
                write_entry(&view, &batch.folder, &batch.path, entry, batch.reference.as_ref(), &|| progress.check())?;
            progress.files.fetch_add(1, Ordering::Relaxed);
            progress.bytes.fetch_add(bytes, Ordering::Relaxed);
            progress.blocks.fetch_add(blocks(bytes), Ordering::Relaxed);
        }
    }
}

/// Removes an entry that is to be replaced. It is usually a file, so its kind is not checked first.
pub(crate) fn remove(folder: &OwnedFd, path: &[u8], name: &[u8]) -> Result<(), Error> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(_) => folder::remove_all(folder, name).map_err(|errno| refused("remove", path, name, errno)),
    }
}

/// Creates one file or link, which must not exist, in an open folder. Returns its size and the open file. `check` is called
/// between pieces, and stops the write by an error.
pub(crate) fn write_entry(
    view: &View<'_>,
    folder: &OwnedFd,
    path: &[u8],
    entry: &TreeEntry,
    reference: Option<&ReferenceTree>,
    check: &dyn Fn() -> Result<(), Error>,
) -> Result<(u64, Option<OwnedFd>), Error> {
    let written = write_content(view, folder, path, entry, reference, check)?;
    if let Some(reference) = reference {
        reference.give_times(&entry.name, folder, written.1.as_ref());
    }
    Ok(written)
}

fn write_content(
    view: &View<'_>,
    folder: &OwnedFd,
    path: &[u8],
    entry: &TreeEntry,
    reference: Option<&ReferenceTree>,
    check: &dyn Fn() -> Result<(), Error>,
) -> Result<(u64, Option<OwnedFd>), Error> {
    let name = &entry.name;
    if let Some(reference) = reference.filter(|reference| reference.works())
        && entry.kind != EntryKind::Link
    {
        let file = create(folder, path, name, view.options().mode(entry.kind))?;
        if let Some(size) = reference.share(name, &file) {
            return Ok((size, Some(file)));
        }
        drop(file);
        rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(|errno| refused("remove", path, name, errno))?;
    }
    if let Some(pointer) = view.pointer(entry, path)? {
        take(view, pointer.size, path, name)?;
        let file = create(folder, path, name, view.options().mode(entry.kind))?;
        view.write_object(&pointer, &file, &join(path, name), check)?;
        return Ok((pointer.size, Some(file)));
    }
    let write = |content: &[u8]| {
        take(view, content.len() as u64, path, name)?;
        view.remarks.borrow_mut().wrote(content, || join(path, name));
        let file = write_file(folder, path, name, content, view.options().mode(entry.kind), check)?;
        Ok((content.len() as u64, Some(file)))
    };
    if let Some(written) = view.small(entry, write) {
        return written;
    }
    if view.is_large(entry, path)? {
        let file = create(folder, path, name, view.options().mode(entry.kind))?;
        let written = view.pieces(entry, path, &mut |piece| {
            check()?;
            take(view, piece.len() as u64, path, name)?;
            folder::write_all(&file, piece).map_err(|errno| refused("write", path, name, errno))
        });
        return written.map(|size| (size, Some(file)));
    }
    view.content(entry, path, |content| {
        if entry.kind == EntryKind::Link {
            return write_link(folder, path, name, content).map(|()| (content.len() as u64, None));
        }
        write(content)
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
    let file = create(folder, path, name, mode)?;
    for piece in content.chunks(PIECE) {
        check()?;
        folder::write_all(&file, piece).map_err(|errno| refused("write", path, name, errno))?;
    }
    Ok(file)
}

fn create(folder: &OwnedFd, path: &[u8], name: &[u8], mode: RawMode) -> Result<OwnedFd, Error> {
    // Opened for reading as well, because cloned content is hashed.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_bits_truncate(mode))
        .map_err(|errno| refused("create", path, name, errno))?;
    folder::set_mode(&file, mode).map_err(|errno| refused("write", path, name, errno))?;
    Ok(file)
}

/// Creates a link. Its target is data: it is written unchanged and never followed.
fn write_link(folder: &OwnedFd, path: &[u8], name: &[u8], target: &[u8]) -> Result<(), Error> {
    // The kernel's errors for these would be misleading: "no such file" and "invalid argument".
    let hostile = |why| Error::Hostile { path: printable(&join(path, name)), why };
    if target.is_empty() {
        return Err(hostile("a link with an empty target"));
    }
    if target.contains(&0) || target.len() > 4095 {
        return Err(hostile("a link whose target is not a path"));
    }
    rustix::fs::symlinkat(target, folder, name).map_err(|errno| match errno {
        errno if errno == Errno::PERM || flush::is_unsupported(errno) => {
            Error::NoSymlinks { path: printable(&join(path, name)), source: errno.into() }
        }
        errno => refused("create the link", path, name, errno),
    })
}

fn refused(doing: &'static str, path: &[u8], name: &[u8], errno: Errno) -> Error {
    let path = join(path, name);
    match errno {
        // Duplicate names were refused before, so the file system folds case or composes characters.
        Errno::EXIST => Error::Twins { path: printable(&path) },
        Errno::NAMETOOLONG => Error::NameTooLong { path: printable(&path) },
        errno => Error::io(doing, path, errno),
    }
}
