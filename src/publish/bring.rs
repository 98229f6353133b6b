//! From one commit's tree to another's by touching only what differs.
//!
//! First the plan, made from the store alone: what cannot be published is refused before anything is touched. Then the
//! plan is carried out in a folder that no reader knows, one name at a time from open descriptors, without following
//! links. A changed file is a new file: nothing is written into one that exists, so whoever has the old one open, or has
//! linked it elsewhere, keeps what he has. It must not know where the folder stands or what becomes of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use git2::Oid;
use rustix::io::Errno;

use super::folder::{self, FEW, Stamp};
use super::objects::{Entry, EntryKind, MAX_DEPTH, View, hostile, join};
use super::write::{Batch, Batches, Progress, Written, make_folder, remove, with_writers, write_entry};
use super::{Durability, Error, diff};
use crate::flush;
use crate::worker::Cancel;

/// One thing to do in the folder that was entered last.
#[derive(Debug)]
enum Step {
    /// A folder of both commits.
    Enter(Vec<u8>),
    /// A folder that the old commit does not have.
    MakeAndEnter(Vec<u8>),
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

/// From so many steps on, several threads are faster than one.
const MANY: usize = 256;

/// Files of one folder that a writer gets at once. Writers in one folder wait for each other, so these are not few.
const BATCH: usize = 256;

/// What was done.
pub(super) enum Brought {
    Done(Written),
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
        plan.steps.push(if old.is_some() { Step::Enter(name) } else { Step::MakeAndEnter(name) });
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

    /// Carries the plan out in `top`, and makes it durable if that is asked for: the rest of the tree must be so already. A
    /// folder that was changed after `trusted` is not worked in.
    pub(super) fn carry_out(
        self,
        view: &View<'_>,
        top: &OwnedFd,
        trusted: Stamp,
        durability: Durability,
        cancel: &Cancel,
    ) -> Result<Brought, Error> {
        let through = durability == Durability::Full;
        let flushed = |errno| Error::io("flush", b"the new tree", errno).with_cause_from(top);
        let (doubtful, mut written, open) = if self.steps.len() > MANY {
            let (doubtful, written) = with_writers(view.store(), view.shared_shape(), cancel, |batches, progress| {
                let mut many = Many { batches, progress, pending: None };
                let doubtful = work(self.steps, view, top, trusted, &mut many)?;
                many.send().map(|()| doubtful)
            })?;
            (doubtful, written, None)
        } else {
            let few = through && self.steps.len() as u64 <= FEW;
            let mut one = One { view, cancel, written: Written::default(), open: few.then(Vec::new) };
            let doubtful = work(self.steps, view, top, trusted, &mut one)?;
            (doubtful, one.written, one.open)
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
        Ok(Brought::Done(written))
    }
}

/// Who writes files.
trait Hands {
    fn check(&self) -> Result<(), Error>;
    fn write(&mut self, folder: &Arc<OwnedFd>, path: &[u8], entry: Entry, replace: bool) -> Result<(), Error>;
    fn made_folder(&mut self);
    fn leave(&mut self, folder: Arc<OwnedFd>);
}

/// The thread that walks.
struct One<'a> {
    view: &'a View<'a>,
    cancel: &'a Cancel,
    written: Written,
    /// What is to be flushed one by one.
    open: Option<Vec<Arc<OwnedFd>>>,
}

impl Hands for One<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn write(&mut self, folder: &Arc<OwnedFd>, path: &[u8], entry: Entry, replace: bool) -> Result<(), Error> {
        if replace {
            remove(folder, path, &entry.name)?;
        }
        let (bytes, file) = write_entry(self.view, folder, path, &entry, None, &|| self.check())?;
        self.written.file(bytes);
        if let (Some(open), Some(file)) = (&mut self.open, file) {
            open.push(Arc::new(file));
        }
        Ok(())
    }

    fn made_folder(&mut self) {
        self.written.folder();
    }

    fn leave(&mut self, folder: Arc<OwnedFd>) {
        if let Some(open) = &mut self.open {
            open.push(folder);
        }
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

    fn write(&mut self, folder: &Arc<OwnedFd>, path: &[u8], entry: Entry, replace: bool) -> Result<(), Error> {
        let fits = |batch: &Batch| {
            Arc::ptr_eq(&batch.folder, folder) && batch.replace == replace && batch.entries.len() < BATCH
        };
        if !self.pending.as_ref().is_some_and(fits) {
            self.send()?;
        }
        let new = || Batch { folder: Arc::clone(folder), path: path.into(), model: None, entries: Vec::new(), replace };
        self.pending.get_or_insert_with(new).entries.push(entry);
        Ok(())
    }

    fn made_folder(&mut self) {
        self.progress.made_folder();
    }

    fn leave(&mut self, _folder: Arc<OwnedFd>) {}
}

/// Walks through the steps; answers the path of a folder that somebody else has worked in, if there is one.
fn work(
    steps: Vec<Step>,
    view: &View<'_>,
    top: &OwnedFd,
    trusted: Stamp,
    hands: &mut impl Hands,
) -> Result<Option<Vec<u8>>, Error> {
    let mut path = Vec::new();
    let mut stack = vec![(Arc::new(again(top, &path)?), 0)];
    for step in steps {
        hands.check()?;
        let Some((folder, above)) = stack.last() else { break };
        match step {
            Step::Enter(name) => {
                let inner = match folder::open(&**folder, &name) {
                    Ok(inner) => inner,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Some(join(&path, &name))),
                    Err(errno) => return Err(failed("open the folder", &path, &name, errno)),
                };
                let stat = rustix::fs::fstat(&inner).map_err(|errno| failed("look at", &path, &name, errno))?;
                if Stamp::of(&stat) > trusted {
                    return Ok(Some(join(&path, &name)));
                }
                stack.push((Arc::new(inner), enter(&mut path, &name)));
            }
            Step::MakeAndEnter(name) => {
                let inner = make_folder(view, folder, &path, &name)?;
                hands.made_folder();
                stack.push((Arc::new(inner), enter(&mut path, &name)));
            }
            Step::Leave => {
                path.truncate(*above);
                if let Some((left, _)) = stack.pop() {
                    hands.leave(left);
                }
            }
            Step::Remove(name) => {
                folder::remove_all(&**folder, &name).map_err(|errno| failed("remove", &path, &name, errno))?;
            }
            Step::Make(name) => {
                drop(make_folder(view, folder, &path, &name)?);
                hands.made_folder();
            }
            Step::Write(entry) => hands.write(folder, &path, entry, false)?,
            Step::Replace(entry) => hands.write(folder, &path, entry, true)?,
        }
    }
    Ok(None)
}

fn again(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Error> {
    top.try_clone().map_err(|source| Error::Io { doing: "open", path: super::path::printable(path), source })
}

/// Appends a name to the path and answers its length before.
fn enter(path: &mut Vec<u8>, name: &[u8]) -> usize {
    let above = path.len();
    if above > 0 {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    above
}

fn failed(doing: &'static str, path: &[u8], name: &[u8], errno: Errno) -> Error {
    Error::io(doing, join(path, name), errno)
}
