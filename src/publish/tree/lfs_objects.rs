//! The objects of Git LFS on the volume: which ones a commit lacks, and which ones no commit needs any more.
//!
//! It must not know where objects come from.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use git2::Oid;
use parking_lot::Mutex;

use crate::lfs::{self, Lacking, ObjectId};
use crate::publish::error::Error;
use crate::publish::path::printable;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::tree::pointers::each;
use crate::publish::tree::view::Objects;
use crate::worker::Cancel;

/// The most missing objects that are returned at once, which bounds the memory.
const MOST_RETURNED: usize = 10_000;

/// The state between two checks of the objects.
#[derive(Debug, Default)]
pub(crate) struct LfsObjects {
    /// A commit, and the options, that lacked no object.
    whole: Mutex<Option<(Oid, u64)>>,
}

impl LfsObjects {
    /// Lists the objects that the tree of a commit needs and the volume lacks, each once. If as many are returned as fit,
    /// there may be more. Subtrees that the commit shares with one without missing objects are skipped.
    ///
    /// # Errors
    /// If an object of the commit is missing or damaged in the store, or if its tree is hostile.
    pub(crate) fn lacking(
        &self,
        store: &Path,
        options: &Arc<CheckoutOptions>,
        commit: Oid,
        cancel: &Cancel,
    ) -> Result<Vec<Lacking>, Error> {
        if !options.lfs {
            return Ok(Vec::new());
        }
        let (objects, mark) = (Objects::open(store, options)?, options.fingerprint());
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
            Ok(lacking.len() < MOST_RETURNED)
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
    pub(crate) fn drop_objects(
        &self,
        store: &Path,
        options: &Arc<CheckoutOptions>,
        keep: &[Oid],
        cancel: &Cancel,
    ) -> Result<(usize, u64), Error> {
        let failed = |doing| move |errno| Error::io(doing, b".pushsync/lfs", errno);
        let there = lfs::Objects::open(&lfs::folder_beside(store)).map_err(failed("open"))?;
        let Some(there) = there else { return Ok((0, 0)) };
        let all = there.all().map_err(failed("list"))?;
        if all.is_empty() {
            return Ok((0, 0));
        }
        let objects = Objects::open(store, options)?;
        let mut unneeded: HashSet<ObjectId> = all.iter().map(|(id, ..)| *id).collect();
        let mut before = None;
        for commit in keep {
            let Ok(root) = objects.root(*commit) else { continue };
            // Subtrees that two of them share are visited once.
            let visited = each(&objects.view()?, before, root, cancel, &mut |pointer, _| {
                unneeded.remove(&pointer.id);
                Ok(true)
            });
            match visited {
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

    /// Forgets the commit: an object of it may be missing.
    pub(crate) fn forget_whole(&self) {
        *self.whole.lock() = None;
    }
}
