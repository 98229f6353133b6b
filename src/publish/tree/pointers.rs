//! Git LFS: which objects a tree needs, which ones no tree needs any more, and writing an object in place of its pointer.
//!
//! The files are those of git's rule: `filter=lfs` in `.gitattributes`, and a content that is a pointer. The objects are on
//! the volume already when a tree is built (`crate::lfs`). It must not know where they come from.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use git2::{ObjectType, Oid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::lfs::{self, LONGEST_POINTER, Lacking, ObjectId, Pointer};
use crate::publish::Error;
use crate::publish::checkout::{model, writers};
use crate::publish::path::printable;
use crate::publish::tree::diff;
use crate::publish::tree::view::{Entry, EntryKind, MAX_DEPTH, Objects, View, hostile, join, read, unreadable};
use crate::publish::volume::layout::Volume;
use crate::worker::Cancel;

const PIECE: usize = 256 * 1024;

/// The most missing objects that are returned at once, which bounds the memory.
const MOST_TOLD: usize = 10_000;

impl View<'_> {
    /// Returns the pointer in a file's content, if its object is to be written instead.
    pub(crate) fn pointer(&self, entry: &Entry, path: &[u8]) -> Result<Option<Pointer>, Error> {
        let filtered = entry.conversion.as_ref().is_some_and(|conversion| conversion.takes_pointers());
        // The objects of a submodule are on another server.
        if !self.shape().lfs || !filtered || !entry.kind.is_file() || self.is_in_submodule(path) {
            return Ok(None);
        }
        let at = &join(path, &entry.name);
        let (size, kind) = self.odb.read_header(entry.id).map_err(|source| unreadable(entry.id, "blob", at, source))?;
        if size >= LONGEST_POINTER || kind != ObjectType::Blob {
            return Ok(None);
        }
        Ok(Pointer::parse(read(&self.odb, entry.id, "blob", at)?.data()))
    }

    /// Writes the object into a new, empty file, and compares its hash. An object with another hash is removed from the
    /// volume.
    pub(crate) fn write_object(
        &self,
        pointer: &Pointer,
        file: &OwnedFd,
        path: &[u8],
        check: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if pointer.is_empty() {
            return Ok(());
        }
        let failed = |doing| move |errno: Errno| Error::io(doing, path, errno);
        let wrong = |what| Error::Object { path: printable(path), id: pointer.id, what };
        let objects = lfs::Objects::open(&lfs::folder_beside(self.store)).map_err(failed("open the objects for"))?;
        let Some(objects) = objects else { return Err(wrong("is not on the volume")) };
        let object = objects.get(pointer).map_err(failed("open the object of"))?;
        let Some(object) = object else { return Err(wrong("is not on the volume")) };
        let found = if model::clone(&object, file).is_ok() {
            // The cloned content is hashed, not the object, which another process may have changed since.
            let copy = file.try_clone().map_err(|source| Error::Io { doing: "open", path: printable(path), source })?;
            hash(copy, path, check)?
        } else {
            pour(object, path, check, &mut |piece| writers::write_all(file.as_fd(), piece).map_err(failed("write")))?
        };
        if found != pointer.id {
            objects.remove(&pointer.id).map_err(failed("remove the object of"))?;
            return Err(wrong("is damaged on the volume"));
        }
        Ok(())
    }
}

/// Returns the hash of a file's content.
pub(crate) fn hash(file: OwnedFd, path: &[u8], check: &dyn Fn() -> Result<(), Error>) -> Result<ObjectId, Error> {
    let mut file = File::from(file);
    file.seek(SeekFrom::Start(0)).map_err(|source| Error::Io { doing: "read", path: printable(path), source })?;
    pour(file, path, check, &mut |_| Ok(()))
}

/// Reads a file piece by piece, passes each piece to `take`, and returns the hash of all.
fn pour(
    mut from: File,
    path: &[u8],
    check: &dyn Fn() -> Result<(), Error>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<ObjectId, Error> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        check()?;
        match from.read(&mut piece) {
            Ok(0) => return Ok(ObjectId::of(hash)),
            Ok(read) => {
                hash.update(&piece[..read]);
                take(&piece[..read])?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Io { doing: "read", path: printable(path), source }),
        }
    }
}

impl Volume {
    /// Lists the objects that the tree of a commit needs and the volume lacks, each once. If as many are returned as fit,
    /// there may be more. Subtrees that the commit shares with one without missing objects are skipped.
    ///
    /// # Errors
    /// If an object of the commit is missing or damaged in the store, or if its tree is hostile.
    pub fn lacking(&self, store: &Path, commit: Oid, cancel: &Cancel) -> Result<Vec<Lacking>, Error> {
        self.read_shape_again()?;
        let shape = self.shape();
        if !shape.lfs {
            return Ok(Vec::new());
        }
        let (objects, mark) = (Objects::open(store, &shape)?, shape.fingerprint());
        let view = objects.view()?;
        let known = *self.whole.lock();
        let known = known.filter(|(_, of)| *of == mark).and_then(|(known, _)| objects.root(known).ok());
        let root = objects.root(commit)?;
        let place = lfs::folder_beside(store);
        let look = |errno| Error::io("look at", b".pushsync/lfs", errno);
        let there = lfs::Objects::open(&place).map_err(look)?;
        let (mut found, mut lacking) = (HashSet::new(), Vec::new());
        // If the folder is missing, so are the objects of the known commit.
        let known = known.filter(|_| there.is_some());
        each(&view, known, root, cancel, &mut |pointer, path| {
            let holds = |there: &lfs::Objects| there.holds(pointer).map_err(look);
            if !pointer.is_empty() && found.insert(*pointer) && !there.as_ref().map_or(Ok(false), holds)? {
                lacking.push(Lacking { pointer: *pointer, path: printable(path) });
            }
            Ok(lacking.len() < MOST_TOLD)
        })?;
        if lacking.is_empty() {
            *self.whole.lock() = Some((commit, mark));
        }
        Ok(lacking)
    }

    /// Removes the objects that none of these commits needs, including partial ones. Returns their number, and the bytes of
    /// those that stay. A commit that is not in the store needs none.
    ///
    /// # Errors
    /// Errors of the file system. Some objects may have been removed then.
    pub fn drop_objects(&self, store: &Path, keep: &[Oid], cancel: &Cancel) -> Result<(usize, u64), Error> {
        let failed = |doing| move |errno| Error::io(doing, b".pushsync/lfs", errno);
        let there = lfs::Objects::open(&lfs::folder_beside(store)).map_err(failed("open"))?;
        let Some(there) = there else { return Ok((0, 0)) };
        let all = there.all().map_err(failed("list"))?;
        if all.is_empty() {
            return Ok((0, 0));
        }
        let objects = Objects::open(store, &self.shape())?;
        let mut unneeded: HashSet<ObjectId> = all.iter().map(|(id, ..)| *id).collect();
        let mut before = None;
        for commit in keep {
            let Ok(root) = objects.root(*commit) else { continue };
            // Subtrees that two of them share are visited once.
            let looked = each(&objects.view()?, before, root, cancel, &mut |pointer, _| {
                unneeded.remove(&pointer.id);
                Ok(true)
            });
            match looked {
                Ok(()) => before = Some(root),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                // Its tree cannot be built in this state; its objects are fetched again when it can.
                Err(_) => {}
            }
        }
        let known = self.whole.lock().take();
        *self.whole.lock() = known.filter(|(known, _)| keep.contains(known));
        let (mut gone, mut left) = (0, 0_u64);
        for (id, whole, size) in all {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if unneeded.contains(&id) {
                if whole { there.remove(&id) } else { there.give_up(&id) }.map_err(failed("remove a file of"))?;
                gone += 1;
            } else {
                left += size;
            }
        }
        Ok((gone, left))
    }

    pub(crate) fn forget_whole(&self) {
        *self.whole.lock() = None;
    }
}

/// Receives a pointer and its path; returns false to stop.
type Take<'a> = dyn FnMut(&Pointer, &[u8]) -> Result<bool, Error> + 'a;

struct Frame {
    path: Vec<u8>,
    pairs: std::vec::IntoIter<diff::Pair>,
}

/// Passes every pointer of the tree `new` that differs from `old` to `take`, until it returns false.
fn each(view: &View<'_>, old: Option<Oid>, new: Oid, cancel: &Cancel, take: &mut Take<'_>) -> Result<(), Error> {
    let mut seen = 0;
    let mut frame = |old, new, path: Vec<u8>| {
        let pairs = diff::folders(view, old, new, &path, &mut seen)?.into_iter();
        Ok::<_, Error>(Frame { path, pairs })
    };
    view.attributes_differ.set(false);
    let mut stack = vec![frame(old, Some(new), Vec::new())?];
    while let Some(top) = stack.last_mut() {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if old.is_some() && view.may_mislead() {
            // Equal files may be pointers in only one of the two trees.
            return each(view, None, new, cancel, take);
        }
        let Some((before, after)) = top.pairs.next() else {
            stack.pop();
            continue;
        };
        let Some(after) = after else { continue };
        if after.kind != EntryKind::Folder {
            if let Some(pointer) = view.pointer(&after, &top.path)?
                && !take(&pointer, &join(&top.path, &after.name))?
            {
                return Ok(());
            }
            continue;
        }
        let path = join(&top.path, &after.name);
        if stack.len() == MAX_DEPTH {
            return Err(hostile(&path, b"", "folders are nested more than 256 deep"));
        }
        let before = before.filter(|before| before.kind == EntryKind::Folder).map(|before| before.id);
        stack.push(frame(before, Some(after.id), path)?);
    }
    Ok(())
}
