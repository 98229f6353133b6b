//! From one commit's tree to another's by touching only what differs.
//!
//! First the plan, made from the store alone: what cannot be published is refused before anything is touched. Then the
//! plan is carried out in a folder that no reader knows, one name at a time from open descriptors, without following
//! links. A changed file is a new file: nothing is written into one that exists, so whoever has the old one open, or has
//! linked it elsewhere, keeps what he has. It must not know where the folder stands or what becomes of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use git2::Oid;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::clone::Model;
use super::folder::{self, FEW};
use super::objects::{Entry, EntryKind, MAX_DEPTH, View, hostile, join};
use super::standby::baseline::{Baseline, Mark, Marks, inside, mark_folder};
use super::write::{Batch, Batches, Progress, Written, make_folder, remove, with_writers, write_entry};
use super::{Durability, Error, diff};
use crate::flush;
use crate::worker::Cancel;

/// One thing to do in the folder that was entered last.
#[derive(Debug)]
enum Step {
    /// A folder of both commits, and its tree in the new one.
    Enter(Vec<u8>, Oid),
    /// A folder that the old commit does not have, and its tree.
    MakeAndEnter(Vec<u8>, Oid),
    Leave,
    /// A file, a link, a submodule's folder, or a folder with all that is in it.
    Remove(Vec<u8>),
    /// A submodule's folder.
    Make(Vec<u8>),
    /// A file or a link where nothing is.
    Write(Entry),
    /// A file or a link in the place of another one.
    Replace(Entry),
}

#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
    /// Entries to make: what the new tree can have more than the old one at most.
    pub more: u64,
}

/// How a plan is carried out.
pub(super) struct Work<'a> {
    /// Folders that this does not hold are not worked in.
    pub baseline: &'a Baseline,
    pub durability: Durability,
    /// Whose content and times the files that are written take over, if they are the same there.
    pub model: Option<Model>,
    pub marks: Marking,
}

/// What of that which is changed is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marking {
    /// Files and links that are written.
    Written,
    /// Folders, too, for which they are listed again. A push has no time for that.
    All,
}

/// From so many steps on, several threads are faster than one.
const MANY: usize = 256;

/// Files of one folder that a writer gets at once. Writers in one folder wait for each other, so these are not few.
const BATCH: usize = 256;

/// What was done.
pub(super) enum Brought {
    /// What was written, and as what it was left if that was wanted; `None` if it was too much to be listed.
    Done(Written, Option<Marks>),
    /// Somebody else added, removed or renamed something in a folder that had to be touched. The tree is of no use now.
    Doubtful(Vec<u8>),
}

struct Frame {
    path: Vec<u8>,
    folders: std::vec::IntoIter<(Vec<u8>, Option<Oid>, Oid)>,
}

/// What has to be done to a tree of `old` to make it one of `new`; `None` if that is more than `most` steps, or if a
/// `.gitattributes` differs, which may change files that are the same in both.
///
/// # Errors
/// If an object of either is missing or damaged, or if the new tree is hostile.
pub(super) fn plan(view: &View<'_>, old: Oid, new: Oid, most: usize, cancel: &Cancel) -> Result<Option<Plan>, Error> {
    let mut plan = Plan { steps: Vec::new(), more: 0 };
    let mut seen = 0;
    view.attributes_differ.set(false);
    let mut stack = vec![plan.folder(view, Some(old), new, Vec::new(), &mut seen)?];
    while let Some(top) = stack.last_mut() {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if plan.steps.len() > most || view.may_mislead() {
            return Ok(None);
        }
        let Some((name, old, new)) = top.folders.next() else {
            stack.pop();
            plan.steps.push(Step::Leave);
            continue;
        };
        let path = if top.path.is_empty() { name.clone() } else { join(&top.path, &name) };
        if stack.len() == MAX_DEPTH {
            return Err(hostile(&path, b"", "folders are nested more than 256 deep"));
        }
        plan.steps.push(if old.is_some() { Step::Enter(name, new) } else { Step::MakeAndEnter(name, new) });
        stack.push(plan.folder(view, old, new, path, &mut seen)?);
    }
    // The top folder was not entered by a step.
    plan.steps.pop();
    Ok(Some(plan))
}

impl Plan {
    fn folder(
        &mut self,
        view: &View<'_>,
        old: Option<Oid>,
        new: Oid,
        path: Vec<u8>,
        seen: &mut u64,
    ) -> Result<Frame, Error> {
        let mut folders = Vec::new();
        let (mut made, mut replaced) = (Vec::new(), Vec::new());
        for (before, after) in diff::folders(view, old, Some(new), &path, seen)? {
            match (before, after) {
                (Some(before), Some(after)) if before.kind == EntryKind::Folder => {
                    folders.push((after.name, Some(before.id), after.id));
                }
                // Which commit a submodule stands for is not to be seen in an empty folder.
                (Some(before), Some(after)) if before.kind == after.kind && after.kind == EntryKind::Submodule => {}
                (Some(_), Some(after)) if after.kind != EntryKind::Folder && after.kind != EntryKind::Submodule => {
                    replaced.push(Step::Replace(after));
                }
                (before, after) => {
                    // All removals of a folder come first: a file and a folder may change places under one name.
                    self.steps.extend(before.map(|before| Step::Remove(before.name)));
                    made.extend(after);
                }
            }
        }
        self.more += made.len() as u64;
        self.steps.append(&mut replaced);
        for entry in made {
            match entry.kind {
                EntryKind::Folder => folders.push((entry.name, None, entry.id)),
                EntryKind::Submodule => self.steps.push(Step::Make(entry.name)),
                _ => self.steps.push(Step::Write(entry)),
            }
        }
        Ok(Frame { path, folders: folders.into_iter() })
    }

    /// How many names are made, replaced or removed.
    pub(super) fn changes(&self) -> usize {
        self.steps.iter().filter(|step| !matches!(step, Step::Enter(..) | Step::Leave)).count()
    }

    /// Carries the plan out in `top`, whose tree object is to be `root`, and makes it durable if that is asked for: the rest
    /// of the tree must be so already.
    pub(super) fn carry_out(
        self,
        view: &View<'_>,
        top: &OwnedFd,
        root: Oid,
        how: Work<'_>,
        cancel: &Cancel,
    ) -> Result<Brought, Error> {
        let through = how.durability == Durability::Full;
        let flushed = |errno| Error::io("flush", b"the new tree", errno).with_cause_from(top);
        let walk = Walk { view, top, root, baseline: how.baseline, model: how.model };
        let (doubtful, mut written, open, marks) = if self.steps.len() > MANY {
            let (doubtful, written) = with_writers(view.store(), view.shared_shape(), cancel, |batches, progress| {
                let mut many = Many { batches, progress, pending: None };
                let doubtful = walk.work(self.steps, &mut many)?;
                many.send().map(|()| doubtful)
            })?;
            (doubtful, written, None, None)
        } else {
            let few = through && self.steps.len() as u64 <= FEW;
            let mut one = One {
                view,
                cancel,
                written: Written::default(),
                open: few.then(Vec::new),
                marks: Vec::new(),
                marking: how.marks,
            };
            let doubtful = walk.work(self.steps, &mut one)?;
            (doubtful, one.written, one.open, Some(one.marks))
        };
        if let Some(path) = doubtful {
            return Ok(Brought::Doubtful(path));
        }
        written.remarks.merge(view.remarks.take());
        match open {
            _ if !through => {}
            None => folder::flush(top, u64::MAX).map_err(flushed)?,
            // Everything is written before the first of them is flushed: one journal commit then serves the folders as well.
            Some(open) => {
                for open in &open {
                    flush::if_supported(rustix::fs::fsync(open)).map_err(flushed)?;
                }
                folder::flush_names(top).map_err(flushed)?;
            }
        }
        Ok(Brought::Done(written, marks))
    }
}

/// Who writes files.
trait Hands {
    fn check(&self) -> Result<(), Error>;
    fn write(&mut self, at: &At, path: &[u8], entry: Entry, replace: bool) -> Result<(), Error>;
    fn made_folder(&mut self);
    fn leave(&mut self, at: At, path: &[u8]) -> Result<(), Error>;
}

/// The folder that was entered last.
struct At {
    folder: Arc<OwnedFd>,
    /// Its tree in the new commit.
    tree: Oid,
    model: Option<Model>,
    /// The length of the path of the folder above.
    above: usize,
    /// True once a name in it was made, replaced or removed.
    changed: bool,
}

/// The thread that walks.
struct One<'a> {
    view: &'a View<'a>,
    cancel: &'a Cancel,
    written: Written,
    /// What is to be flushed one by one.
    open: Option<Vec<Arc<OwnedFd>>>,
    marks: Marks,
    marking: Marking,
}

impl Hands for One<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn write(&mut self, at: &At, path: &[u8], entry: Entry, replace: bool) -> Result<(), Error> {
        if replace {
            remove(&at.folder, path, &entry.name)?;
        }
        let (bytes, file) = write_entry(self.view, &at.folder, path, &entry, at.model.as_ref(), &|| self.check())?;
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

    fn leave(&mut self, at: At, path: &[u8]) -> Result<(), Error> {
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

/// Several threads, which get what is to be written folder by folder.
struct Many<'a> {
    batches: &'a Batches,
    progress: &'a Progress<'a>,
    pending: Option<Batch>,
}

impl Many<'_> {
    fn send(&mut self) -> Result<(), Error> {
        match self.pending.take() {
            // No writer is left: one of them has told why.
            Some(batch) => self.batches.send(batch).map_err(|_| Error::Cancelled),
            None => Ok(()),
        }
    }
}

impl Hands for Many<'_> {
    fn check(&self) -> Result<(), Error> {
        self.progress.check()
    }

    fn write(&mut self, at: &At, path: &[u8], entry: Entry, replace: bool) -> Result<(), Error> {
        let (folder, model) = (&at.folder, &at.model);
        let fits = |batch: &Batch| {
            Arc::ptr_eq(&batch.folder, folder) && batch.replace == replace && batch.entries.len() < BATCH
        };
        if !self.pending.as_ref().is_some_and(fits) {
            self.send()?;
        }
        let new = || Batch {
            folder: Arc::clone(folder),
            path: path.into(),
            model: model.clone(),
            entries: Vec::new(),
            replace,
        };
        self.pending.get_or_insert_with(new).entries.push(entry);
        Ok(())
    }

    fn made_folder(&mut self) {
        self.progress.made_folder();
    }

    fn leave(&mut self, _at: At, _path: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

/// Where the steps lead.
struct Walk<'a> {
    view: &'a View<'a>,
    top: &'a OwnedFd,
    root: Oid,
    baseline: &'a Baseline,
    model: Option<Model>,
}

impl Walk<'_> {
    /// Walks through the steps; answers the path of a folder that another process has worked in, if there is one.
    fn work(self, steps: Vec<Step>, hands: &mut impl Hands) -> Result<Option<Vec<u8>>, Error> {
        let Self { view, top, root, baseline, model } = self;
        let mut path = Vec::new();
        let top = At { folder: Arc::new(again(top, &path)?), tree: root, model, above: 0, changed: false };
        let mut stack = vec![top];
        for step in steps {
            hands.check()?;
            if matches!(step, Step::Leave) {
                if let Some(left) = stack.pop() {
                    let above = left.above;
                    hands.leave(left, &path)?;
                    path.truncate(above);
                }
                continue;
            }
            let Some(at) = stack.last_mut() else { break };
            at.changed |= !matches!(step, Step::Enter(..));
            let entered = match step {
                Step::Enter(name, tree) => {
                    let inner = match folder::open(&*at.folder, &name) {
                        Ok(inner) => inner,
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Some(join(&path, &name))),
                        Err(errno) => return Err(failed("open the folder", &path, &name, errno)),
                    };
                    let stat = rustix::fs::fstat(&inner).map_err(|errno| failed("look at", &path, &name, errno))?;
                    if !baseline.holds(&path, &name, &stat) {
                        return Ok(Some(join(&path, &name)));
                    }
                    Some(enter(at, &mut path, &name, inner, tree))
                }
                Step::MakeAndEnter(name, tree) => {
                    let inner = make_folder(view, &at.folder, &path, &name)?;
                    hands.made_folder();
                    Some(At { changed: true, ..enter(at, &mut path, &name, inner, tree) })
                }
                Step::Remove(name) => {
                    folder::remove_all(&*at.folder, &name).map_err(|errno| failed("remove", &path, &name, errno))?;
                    None
                }
                Step::Make(name) => {
                    drop(make_folder(view, &at.folder, &path, &name)?);
                    hands.made_folder();
                    None
                }
                Step::Write(entry) => hands.write(at, &path, entry, false).map(|()| None)?,
                Step::Replace(entry) => hands.write(at, &path, entry, true).map(|()| None)?,
                Step::Leave => None,
            };
            stack.extend(entered);
        }
        Ok(None)
    }
}

fn again(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Error> {
    top.try_clone().map_err(|source| Error::Io { doing: "open", path: super::path::printable(path), source })
}

/// Goes on to a folder inside, and appends its name to the path.
fn enter(at: &At, path: &mut Vec<u8>, name: &[u8], folder: OwnedFd, tree: Oid) -> At {
    let above = path.len();
    *path = inside(path, name);
    let model = at.model.as_ref().and_then(|model| model.inner(name));
    At { folder: Arc::new(folder), tree, model, above, changed: false }
}

fn failed(doing: &'static str, path: &[u8], name: &[u8], errno: Errno) -> Error {
    Error::io(doing, join(path, name), errno)
}
