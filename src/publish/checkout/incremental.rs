//! Applies the plan from one commit's tree to another's.
//!
//! It is applied in a folder that no reader knows, one name at a time from open descriptors, without following links. A
//! changed file is a new file: an existing one is never written, so a process that has opened it or linked it elsewhere
//! keeps its content. It must not know where the folder is or how it is used later.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use git2::Oid;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::flush;
use crate::publish::checkout::plan::{Plan, PlanStep};
use crate::publish::checkout::reference::ReferenceTree;
use crate::publish::checkout::writers::{
    Batch, Batches, WriteProgress, Written, make_folder, remove, with_writers, write_entry,
};
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::folder::FEW;
use crate::publish::folder::baseline::{Baseline, Mark, Marks, inside, mark_folder};
use crate::publish::tree::view::{TreeEntry, View, join};
use crate::publish::volume::durability::Durability;
use crate::worker::Cancel;

/// How a plan is applied.
pub(crate) struct ApplyOptions<'a> {
    /// Folders that have changed since this baseline are not touched.
    pub baseline: &'a Baseline,
    pub durability: Durability,
    /// A tree whose times and content the written files take over, where they are equal.
    pub reference: Option<ReferenceTree>,
    pub marks: Marking,
}

/// The changes that are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marking {
    /// Written files and links.
    Written,
    /// Folders as well, which have to be listed again for it. A push has no time for that.
    All,
}

/// The number of steps from which several threads are faster than one.
const MANY: usize = 256;

/// The files of one folder in a batch. Writers in one folder wait for each other, so a batch is large.
const BATCH: usize = 256;

/// The outcome of applying a plan.
pub(crate) enum Applied {
    /// The written files, and their marks if they were requested; `None` if there were too many to list.
    Done(Written, Option<Marks>),
    /// Another process added, removed or renamed an entry in a folder that had to be touched. The tree cannot be used now.
    ChangedByOthers(Vec<u8>),
}

/// Applies the plan in `top`, whose tree object becomes `root`, and flushes the changes if that is configured. The rest
/// of the tree must be on the disk already.
pub(crate) fn apply(
    plan: Plan,
    view: &View<'_>,
    top: &OwnedFd,
    root: Oid,
    how: ApplyOptions<'_>,
    cancel: &Cancel,
) -> Result<Applied, Error> {
    let through = how.durability == Durability::Full;
    let flushed = |errno| Error::io("flush", b"the new tree", errno).with_cause_from(top);
    let walk = Walk { view, top, root, baseline: how.baseline, reference: how.reference };
    let (doubtful, mut written, open, marks) = if plan.steps.len() > MANY {
        let (doubtful, written) = with_writers(view.store(), view.shared_options(), cancel, |batches, progress| {
            let mut many = ThreadedWriter { batches, progress, pending: None };
            let doubtful = walk.run(plan.steps, &mut many)?;
            many.send().map(|()| doubtful)
        })?;
        (doubtful, written, None, None)
    } else {
        let few = through && plan.steps.len() as u64 <= FEW;
        let mut one = DirectWriter {
            view,
            cancel,
            written: Written::default(),
            open: few.then(Vec::new),
            marks: Vec::new(),
            marking: how.marks,
        };
        let doubtful = walk.run(plan.steps, &mut one)?;
        (doubtful, one.written, one.open, Some(one.marks))
    };
    if let Some(path) = doubtful {
        return Ok(Applied::ChangedByOthers(path));
    }
    written.remarks.merge(view.remarks.take());
    match open {
        _ if !through => {}
        None => folder::flush(top, u64::MAX).map_err(flushed)?,
        // Everything is written before the first flush, so that one journal commit also covers the folders.
        Some(open) => {
            for open in &open {
                flush::if_supported(rustix::fs::fsync(open)).map_err(flushed)?;
            }
            folder::flush_names(top).map_err(flushed)?;
        }
    }
    Ok(Applied::Done(written, marks))
}

/// Writes the files of a plan.
trait TreeWriter {
    fn check(&self) -> Result<(), Error>;
    fn write(&mut self, at: &OpenFolder, path: &[u8], entry: TreeEntry, replace: bool) -> Result<(), Error>;
    fn made_folder(&mut self);
    fn leave(&mut self, at: OpenFolder, path: &[u8]) -> Result<(), Error>;
}

/// The current folder.
struct OpenFolder {
    folder: Arc<OwnedFd>,
    /// Its tree in the new commit.
    tree: Oid,
    reference: Option<ReferenceTree>,
    /// The length of the path of the folder above.
    above: usize,
    /// True once a name in it was created, replaced or removed.
    changed: bool,
}

/// Writes files on the walking thread.
struct DirectWriter<'a> {
    view: &'a View<'a>,
    cancel: &'a Cancel,
    written: Written,
    /// The files that are to be flushed one by one.
    open: Option<Vec<Arc<OwnedFd>>>,
    marks: Marks,
    marking: Marking,
}

impl TreeWriter for DirectWriter<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn write(&mut self, at: &OpenFolder, path: &[u8], entry: TreeEntry, replace: bool) -> Result<(), Error> {
        if replace {
            remove(&at.folder, path, &entry.name)?;
        }
        let (bytes, file) = write_entry(self.view, &at.folder, path, &entry, at.reference.as_ref(), &|| self.check())?;
        self.written.file(bytes);
        let stat = match &file {
            Some(file) => rustix::fs::fstat(file),
            None => rustix::fs::statat(&*at.folder, &*entry.name, AtFlags::SYMLINK_NOFOLLOW),
        };
        let stat = stat.map_err(|errno| failed("look at", path, &entry.name, errno))?;
        self.marks.push((inside(path, &entry.name), Mark::of(&stat)));
        if let (Some(open), Some(file)) = (&mut self.open, file) {
            open.push(Arc::new(file));
        }
        Ok(())
    }

    fn made_folder(&mut self) {
        self.written.folder();
    }

    fn leave(&mut self, at: OpenFolder, path: &[u8]) -> Result<(), Error> {
        if at.changed && self.marking == Marking::All {
            let names = self.view.tree(at.tree, path)?;
            let mark = mark_folder(&at.folder, names.iter().map(|entry| entry.name.as_slice()));
            let mark = mark.map_err(|errno| failed("look at", path, b"", errno))?;
            self.marks.extend(mark.map(|mark| (path.to_vec(), mark)));
        }
        if let Some(open) = &mut self.open {
            open.push(at.folder);
        }
        Ok(())
    }
}

/// Passes files to several threads, folder by folder.
struct ThreadedWriter<'a> {
    batches: &'a Batches,
    progress: &'a WriteProgress<'a>,
    pending: Option<Batch>,
}

impl ThreadedWriter<'_> {
    fn send(&mut self) -> Result<(), Error> {
        match self.pending.take() {
            // No writer is left; one of them has recorded the error.
            Some(batch) => self.batches.send(batch).map_err(|_| Error::Cancelled),
            None => Ok(()),
        }
    }
}

impl TreeWriter for ThreadedWriter<'_> {
    fn check(&self) -> Result<(), Error> {
        self.progress.check()
    }

    fn write(&mut self, at: &OpenFolder, path: &[u8], entry: TreeEntry, replace: bool) -> Result<(), Error> {
        let (folder, reference) = (&at.folder, &at.reference);
        let fits = |batch: &Batch| {
            Arc::ptr_eq(&batch.folder, folder) && batch.replace == replace && batch.entries.len() < BATCH
        };
        if !self.pending.as_ref().is_some_and(fits) {
            self.send()?;
        }
        let new = || Batch {
            folder: Arc::clone(folder),
            path: path.into(),
            reference: reference.clone(),
            entries: Vec::new(),
            replace,
        };
        self.pending.get_or_insert_with(new).entries.push(entry);
        Ok(())
    }

    fn made_folder(&mut self) {
        self.progress.made_folder();
    }

    fn leave(&mut self, _at: OpenFolder, _path: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

/// The walk through the steps of a plan.
struct Walk<'a> {
    view: &'a View<'a>,
    top: &'a OwnedFd,
    root: Oid,
    baseline: &'a Baseline,
    reference: Option<ReferenceTree>,
}

impl Walk<'_> {
    /// Walks through the steps. Returns the path of a folder that another process has changed, if there is one.
    fn run(self, steps: Vec<PlanStep>, writer: &mut impl TreeWriter) -> Result<Option<Vec<u8>>, Error> {
        let Self { view, top, root, baseline, reference } = self;
        let mut path = Vec::new();
        let top =
            OpenFolder { folder: Arc::new(duplicate(top, &path)?), tree: root, reference, above: 0, changed: false };
        let mut stack = vec![top];
        for step in steps {
            writer.check()?;
            if matches!(step, PlanStep::Leave) {
                if let Some(left) = stack.pop() {
                    let above = left.above;
                    writer.leave(left, &path)?;
                    path.truncate(above);
                }
                continue;
            }
            let Some(at) = stack.last_mut() else { break };
            at.changed |= !matches!(step, PlanStep::Enter(..));
            let entered = match step {
                PlanStep::Enter(name, tree) => {
                    let inner = match folder::open(&*at.folder, &name) {
                        Ok(inner) => inner,
                        // Another process removed the folder, or put a file or a link in its place.
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Some(join(&path, &name))),
                        Err(errno) => return Err(failed("open the folder", &path, &name, errno)),
                    };
                    let stat = rustix::fs::fstat(&inner).map_err(|errno| failed("look at", &path, &name, errno))?;
                    // Names that another process added to the folder would be published. Its files are not compared
                    // here.
                    if !baseline.holds(&path, &name, &stat) {
                        return Ok(Some(join(&path, &name)));
                    }
                    Some(enter(at, &mut path, &name, inner, tree))
                }
                PlanStep::MakeAndEnter(name, tree) => {
                    let inner = make_folder(view, &at.folder, &path, &name)?;
                    writer.made_folder();
                    Some(OpenFolder { changed: true, ..enter(at, &mut path, &name, inner, tree) })
                }
                PlanStep::Remove(name) => {
                    folder::remove_all(&*at.folder, &name).map_err(|errno| failed("remove", &path, &name, errno))?;
                    None
                }
                PlanStep::Make(name) => {
                    drop(make_folder(view, &at.folder, &path, &name)?);
                    writer.made_folder();
                    None
                }
                PlanStep::Write(entry) => writer.write(at, &path, entry, false).map(|()| None)?,
                PlanStep::Replace(entry) => writer.write(at, &path, entry, true).map(|()| None)?,
                PlanStep::Leave => None,
            };
            stack.extend(entered);
        }
        Ok(None)
    }
}

fn duplicate(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Error> {
    top.try_clone().map_err(|source| Error::Io { doing: "open", path: crate::publish::path::printable(path), source })
}

/// Enters a folder, and appends its name to the path.
fn enter(at: &OpenFolder, path: &mut Vec<u8>, name: &[u8], folder: OwnedFd, tree: Oid) -> OpenFolder {
    let above = path.len();
    *path = inside(path, name);
    let reference = at.reference.as_ref().and_then(|reference| reference.inner(name));
    OpenFolder { folder: Arc::new(folder), tree, reference, above, changed: false }
}

fn failed(doing: &'static str, path: &[u8], name: &[u8], errno: Errno) -> Error {
    Error::io(doing, join(path, name), errno)
}
