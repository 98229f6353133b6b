//! The pointers of Git LFS in a tree, and writing an object in place of its pointer.
//!
//! The files are those of git's rule: `filter=lfs` in `.gitattributes`, and a content that is a pointer. The objects are on
//! the volume already when a tree is built (`crate::lfs`). It must not know where they come from.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use git2::{ObjectType, Oid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::lfs::{self, LONGEST_POINTER, ObjectId, Pointer};
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::path::printable;
use crate::publish::tree::diff;
use crate::publish::tree::view::{EntryKind, MAX_DEPTH, TreeEntry, View, hostile, join, read, unreadable};
use crate::worker::Cancel;

const PIECE: usize = 256 * 1024;

impl View<'_> {
    /// Returns the pointer in a file's content, if its object is to be written instead.
    pub(crate) fn pointer(&self, entry: &TreeEntry, path: &[u8]) -> Result<Option<Pointer>, Error> {
        let filtered = entry.conversion.as_ref().is_some_and(|conversion| conversion.takes_pointers());
        // The objects of a submodule are on another server.
        if !self.options().lfs || !filtered || !entry.kind.is_file() || self.is_in_submodule(path) {
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
        let found = if folder::reflink(&object, file).is_ok() {
            // The cloned content is hashed, not the object, which another process may have changed since.
            let copy = file.try_clone().map_err(|source| Error::Io { doing: "open", path: printable(path), source })?;
            hash(copy, path, check)?
        } else {
            pour(object, path, check, &mut |piece| folder::write_all(file.as_fd(), piece).map_err(failed("write")))?
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

/// Receives a pointer and its path; returns false to stop.
pub(crate) type Take<'a> = dyn FnMut(&Pointer, &[u8]) -> Result<bool, Error> + 'a;

struct Frame {
    path: Vec<u8>,
    pairs: std::vec::IntoIter<diff::Pair>,
}

/// Passes every pointer of the tree `new` that differs from `old` to `take`, until it returns false.
pub(crate) fn each(
    view: &View<'_>,
    old: Option<Oid>,
    new: Oid,
    cancel: &Cancel,
    take: &mut Take<'_>,
) -> Result<(), Error> {
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
