//! The names in the folders of a commit, kept between checks.
//!
//! An unchanged folder since a time at which its tree was complete still has the names of its tree object. Trees of
//! consecutive commits share nearly all tree objects, so a check need not list the folders of each tree again, which would
//! be a quarter of its time. It must not know what is on the disk.

use std::collections::HashMap;
use std::sync::Arc;

use git2::Oid;
use parking_lot::Mutex;

use crate::publish::tree::view::{EntryKind, View};

/// The most memory; folders beyond it are listed each time.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// The memory of a folder besides its names.
const FOLDER_BYTES: usize = 160;

/// The names in a tree object.
#[derive(Debug)]
pub(super) struct Listing {
    /// Each name is followed by a zero byte, which no name contains.
    names: Box<[u8]>,
    /// The tree objects of the folders among them, by their index in the list.
    folders: Box<[(u32, Oid)]>,
}

impl Listing {
    fn read(view: &View<'_>, id: Oid, path: &[u8]) -> Option<Self> {
        let (mut names, mut folders) = (Vec::new(), Vec::new());
        for (place, entry) in (0_u32..).zip(view.stored_tree(id, path).ok()?) {
            names.extend_from_slice(&entry.name);
            names.push(0);
            if entry.kind == EntryKind::Folder {
                folders.push((place, entry.id));
            }
        }
        Some(Self { names: names.into(), folders: folders.into() })
    }

    /// Returns the names, with the tree objects of folders.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<Oid>)> {
        let names = self.names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let mut folders = self.folders.iter().peekable();
        (0_u32..)
            .zip(names)
            .map(move |(place, name)| (name, folders.next_if(|folder| folder.0 == place).map(|folder| folder.1)))
    }

    fn bytes(&self) -> usize {
        self.names.len() + size_of_val(&*self.folders) + FOLDER_BYTES
    }
}

/// The listings of the tree that was checked last.
#[derive(Debug, Default)]
pub(crate) struct Listings(Mutex<HashMap<Oid, Arc<Listing>>>);

/// The listings of a tree that is being checked.
pub(super) struct CheckedListings<'a> {
    all: &'a Listings,
    before: HashMap<Oid, Arc<Listing>>,
    now: HashMap<Oid, Arc<Listing>>,
    bytes: usize,
}

impl Listings {
    /// Starts a check. `None` if names on the disk are not those of the tree objects, because patterns select only some of
    /// them.
    pub(super) fn begin(&self, view: &View<'_>) -> Option<CheckedListings<'_>> {
        // A copy: a check that is given up leaves the listings of the last one that ended.
        let before = || self.0.lock().clone();
        view.options().sparse.is_none().then(|| CheckedListings {
            all: self,
            before: before(),
            now: HashMap::new(),
            bytes: 0,
        })
    }
}

impl CheckedListings<'_> {
    /// Returns the names of a folder. `None` if it has to be listed: the store cannot tell, or the tree is too large.
    pub(super) fn get(&mut self, view: &View<'_>, id: Oid, path: &[u8]) -> Option<Arc<Listing>> {
        let known = self.before.get(&id).cloned();
        if self.bytes > MOST_BYTES {
            // A known listing is used, but not kept for the next check.
            return known;
        }
        let listing = known.or_else(|| Listing::read(view, id, path).map(Arc::new))?;
        if self.now.insert(id, Arc::clone(&listing)).is_none() {
            self.bytes += listing.bytes();
        }
        Some(listing)
    }

    /// Ends the check: listings that it did not use are dropped.
    pub(super) fn keep(self) {
        *self.all.0.lock() = self.now;
    }
}
