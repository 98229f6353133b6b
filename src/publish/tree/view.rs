//! Reads commits, trees and blobs from the store, and checks them.
//!
//! libgit2 compares the hash of every object that it reads with its name (its default, which nothing here turns off), so a
//! flipped bit on the disk causes an error and is not published. It must not know of files.
//!
//! A known gap: libgit2 1.9.7 never returns from a loose object whose compressed data ends early, because its inflate loop
//! makes no progress. Fetched objects are in packs; if it happens, the watchdog abandons the thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use git2::{ObjectType, Odb, Oid, Repository};
use sha1::{Digest as _, Sha1};

use crate::publish::error::Error;
use crate::publish::path::printable;
use crate::publish::tree::attributes::AttributeFiles;
pub(crate) use crate::publish::tree::entry::{EntryKind, TreeEntry, hostile, join, parse_tree};
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::tree::packed;
use crate::publish::tree::remarks::Remarks;
use crate::publish::tree::small::SmallFileReader;
use crate::sparse::{Sparse, Wanted};
use crate::submodules;

/// The deepest nesting of folders. Each level holds a file descriptor while a tree is written; readers reach `PATH_MAX`
/// (4096 bytes) long before.
pub(crate) const MAX_DEPTH: usize = 256;

/// The most entries of a tree, so that a few kilobytes of nested trees cannot fill a volume with names.
pub(crate) const MAX_ENTRIES: u64 = 5_000_000;

/// Larger files are written piece by piece: a few kilobytes of a pack can be a gigabyte of zeros.
pub(crate) const LARGE: usize = 8 * 1024 * 1024;

/// A handle to the store. Each thread opens its own, because libgit2's handles cannot be shared.
pub(crate) struct Objects {
    repository: Repository,
    options: Arc<CheckoutOptions>,
    modules: Modules,
}

/// The places of submodules in the trees that are read. Patterns and attributes of the repository around them do not apply
/// inside.
#[derive(Default)]
pub(crate) struct Modules {
    folders: RefCell<BTreeSet<Vec<u8>>>,
    /// True if two commits were looked up whose submodules are at different places.
    differ: Cell<bool>,
    known: Cell<bool>,
}

/// The trees and files of commits as they are to be on the disk. Every reader of trees uses it, so that building, comparing
/// and describing a tree give the same result.
pub(crate) struct View<'a> {
    pub(crate) odb: Odb<'a>,
    pub(crate) store: &'a Path,
    options: &'a Arc<CheckoutOptions>,
    modules: &'a Modules,
    attribute_files: RefCell<AttributeFiles>,
    /// The `.gitattributes` of the folder that was read last.
    attributes: Cell<Option<Oid>>,
    /// True once a comparison has seen two of them for one folder: entries that are equal in the store may then differ on
    /// the disk.
    pub(crate) attributes_differ: Cell<bool>,
    /// For folders of a sparse tree: whether the patterns want anything in them.
    held: RefCell<HashMap<(Oid, Vec<u8>), bool>>,
    pub(crate) remarks: RefCell<Remarks>,
    /// Reads small files without libgit2's lock, if possible.
    pub(crate) small_files: RefCell<Option<SmallFileReader>>,
}

impl Objects {
    /// Opens the store by `open_bare`, which does not check the owner of the folder: with fsGroup that is often another
    /// user.
    pub(crate) fn open(store: &Path, options: &Arc<CheckoutOptions>) -> Result<Self, Error> {
        let what = || printable(store.as_os_str().as_encoded_bytes());
        let repository = Repository::open_bare(store).map_err(|source| Error::Store { what: what(), source })?;
        Ok(Self { repository, options: Arc::clone(options), modules: Modules::default() })
    }

    /// Returns the tree that is published for a commit. With submodules it is the flattened one, which was made when they
    /// were fetched.
    pub(crate) fn root(&self, commit: Oid) -> Result<Oid, Error> {
        let unreadable = |source| Error::Store { what: format!("commit {commit}"), source };
        let plain = crate::commit::tree_id(&self.repository, commit).map_err(unreadable)?;
        let Some(name) = self.options.submodules.graft(commit) else { return Ok(plain) };
        // A tree that libgit2 cannot parse is refused later, with its reason.
        let listed = self.repository.find_tree(plain).is_ok_and(|tree| tree.get_name(".gitmodules").is_some());
        if !listed {
            self.modules.note(BTreeSet::new());
            return Ok(plain);
        }
        match self.repository.refname_to_id(&name) {
            Ok(graft) => {
                let graft = self.repository.find_commit(graft).map_err(unreadable)?;
                self.modules.note(submodules::folders(graft.message().unwrap_or_default()).collect());
                Ok(graft.tree_id())
            }
            Err(error) if error.code() == git2::ErrorCode::NotFound => Err(Error::NoSubmodules { commit }),
            Err(error) => Err(unreadable(error)),
        }
    }

    pub(crate) fn options(&self) -> &Arc<CheckoutOptions> {
        &self.options
    }

    pub(crate) fn view(&self) -> Result<View<'_>, Error> {
        let odb = self.repository.odb();
        let odb = odb.map_err(|source| Error::Store { what: "its index".to_owned(), source })?;
        Ok(View {
            odb,
            store: self.repository.path(),
            options: &self.options,
            modules: &self.modules,
            attribute_files: RefCell::new(AttributeFiles::new()),
            attributes: Cell::new(None),
            attributes_differ: Cell::new(false),
            held: RefCell::default(),
            remarks: RefCell::default(),
            small_files: RefCell::default(),
        })
    }
}

impl View<'_> {
    pub(crate) fn options(&self) -> &CheckoutOptions {
        self.options
    }

    /// Returns the options, for threads that open their own handle.
    pub(crate) fn shared_options(&self) -> &Arc<CheckoutOptions> {
        self.options
    }

    pub(crate) fn store(&self) -> &Path {
        self.store
    }

    /// Reads the folder `path` (without a slash at its end; empty for the root), in no particular order. The folders above
    /// it must have been read before it, those of the same commit last.
    pub(crate) fn tree(&self, id: Oid, path: &[u8]) -> Result<Vec<TreeEntry>, Error> {
        let mut entries = self.stored_tree(id, path)?;
        // A link is not followed, but git reads its target as if it were the file: at checkout git reads the index, not the
        // disk.
        let mut file = entries.iter().find(|entry| entry.name == b".gitattributes" && entry.kind.is_blob()).cloned();
        if let Some(sparse) = &self.options.sparse
            && self.modules.around(path) == 0
            && !self.keep_wanted(sparse, &mut entries, path)?
        {
            // The folder contains only submodules, to which the file does not apply. A filter may have left it out.
            file = None;
        }
        if !self.options.raw {
            self.note_attributes(file.as_ref(), &mut entries, path)?;
        }
        Ok(entries)
    }

    /// Drops the entries that the patterns do not want. Git fills submodules regardless of patterns, so submodules and the
    /// folders above them stay. Returns false if nothing else stays.
    fn keep_wanted(&self, sparse: &Sparse, entries: &mut Vec<TreeEntry>, path: &[u8]) -> Result<bool, Error> {
        let wanted = sparse.folder(path);
        let mut any = wanted == Wanted::All;
        if !any {
            for entry in std::mem::take(entries) {
                let held = wanted == Wanted::Some && self.holds(sparse, &entry, path, 0, &mut 0)?;
                any |= held;
                if held || self.modules.are_in(&entry, path) {
                    entries.push(entry);
                }
            }
        }
        Ok(any)
    }

    /// Returns true for a folder that belongs to a submodule.
    pub(crate) fn is_in_submodule(&self, path: &[u8]) -> bool {
        self.modules.around(path) > 0
    }

    /// Returns true if entries that are equal in the store may differ on the disk.
    pub(crate) fn may_mislead(&self) -> bool {
        self.attributes_differ.get() || self.modules.differ.get()
    }

    /// Returns the `.gitattributes` of the folder that was read last, also if the patterns do not want it.
    pub(crate) fn attributes(&self) -> Option<Oid> {
        self.attributes.get()
    }

    /// Returns the folder as it is stored, regardless of patterns.
    pub(crate) fn stored_tree(&self, id: Oid, path: &[u8]) -> Result<Vec<TreeEntry>, Error> {
        let object = read(&self.odb, id, "tree", path)?;
        if object.kind() != ObjectType::Tree {
            return Err(hostile(path, b"", "it is not a folder, though its entry says so"));
        }
        let entries = parse_tree(object.data(), path)?;
        // With a duplicate name the second file would be written into the first. Most trees are strictly sorted, which
        // excludes that.
        if entries.is_sorted_by(|one, next| one.name < next.name) {
            return Ok(entries);
        }
        let mut names = HashSet::with_capacity(entries.len());
        match entries.iter().find(|entry| !names.insert(entry.name.as_slice())) {
            Some(twice) => Err(hostile(path, &twice.name, "the name appears twice in one folder")),
            None => Ok(entries),
        }
    }

    /// Passes the content of a small file to `use_it`, if it can be read without libgit2.
    pub(crate) fn small<T>(&self, entry: &TreeEntry, use_it: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if !entry.kind.is_file() || entry.conversion.as_ref().is_some_and(|conversion| conversion.changes()) {
            return None;
        }
        self.small_files.borrow_mut().as_mut()?.read(entry.id).map(use_it)
    }

    /// Returns true if a file is too large to be read as a whole; then use [`View::pieces`]. A file with a conversion is
    /// read as a whole.
    pub(crate) fn is_large(&self, entry: &TreeEntry, path: &[u8]) -> Result<bool, Error> {
        if entry.conversion.as_ref().is_some_and(|conversion| conversion.changes()) {
            return Ok(false);
        }
        let (size, kind) =
            self.odb.read_header(entry.id).map_err(|source| unreadable(entry.id, "blob", path, source))?;
        if size <= LARGE || kind != ObjectType::Blob {
            return Ok(false);
        }
        match entry.kind {
            EntryKind::File | EntryKind::Executable => Ok(true),
            _ => Err(hostile(path, &entry.name, "a link whose target is not a path")),
        }
    }

    /// Passes the content of a large file to `take`, piece by piece. Its hash is compared at the end: on an error the
    /// caller must discard what it took.
    pub(crate) fn pieces(
        &self,
        entry: &TreeEntry,
        path: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut refused = None;
        let (size, _) = self.odb.read_header(entry.id).map_err(|source| unreadable(entry.id, "blob", path, source))?;
        let mut hash = Sha1::new();
        hash.update(format!("blob {size}\0"));
        let read = packed::read(self.store, entry.id, &mut |piece| {
            hash.update(piece);
            take(piece).map_err(|error| {
                refused = Some(error);
                io::Error::other("refused")
            })
        });
        let damaged = |why: &str| {
            let source = git2::Error::new(git2::ErrorCode::GenericError, git2::ErrorClass::Odb, why);
            unreadable(entry.id, "blob", path, source)
        };
        match (refused, read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(damaged(&error.to_string())),
            // It is in no pack, but libgit2 may find it elsewhere.
            (None, Ok(None)) => self.content(entry, path, |content| take(content)).map(|()| size as u64),
            (None, Ok(Some(()))) if hash.finalize().as_slice() == entry.id.as_bytes() => Ok(size as u64),
            (None, Ok(Some(()))) => Err(damaged("its content does not match its hash")),
        }
    }

    /// Passes the content of a file or link in the folder `path` to `use_it`. All of it is in memory meanwhile.
    pub(crate) fn content<T>(
        &self,
        entry: &TreeEntry,
        path: &[u8],
        use_it: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = &join(path, &entry.name);
        let object = read(&self.odb, entry.id, "blob", path)?;
        if object.kind() != ObjectType::Blob {
            return Err(hostile(path, b"", "it is not a file, though its entry says so"));
        }
        match &entry.conversion {
            Some(conversion) if conversion.changes() => use_it(&conversion.apply(object.data(), entry.id)),
            _ => use_it(object.data()),
        }
    }

    /// Applies the attributes to the entries of a folder. `file` is its `.gitattributes`.
    fn note_attributes(&self, file: Option<&TreeEntry>, entries: &mut [TreeEntry], path: &[u8]) -> Result<(), Error> {
        self.attributes.set(file.map(|entry| entry.id));
        let top = self.modules.around(path);
        let mut attribute_files = self.attribute_files.borrow_mut();
        let remarks = &mut *self.remarks.borrow_mut();
        match file {
            None => attribute_files.none(path),
            Some(entry) => {
                attribute_files.enter((path, top), entry.id, remarks, || {
                    self.content(entry, path, |content| Ok(content.to_vec()))
                })?;
            }
        }
        if attribute_files.matter((path, top)) {
            for entry in entries.iter_mut().filter(|entry| entry.kind.is_file()) {
                entry.conversion = attribute_files.conversion((path, top), &join(path, &entry.name), remarks);
            }
        }
        Ok(())
    }

    /// Returns true if the patterns want the entry, or, for a folder, anything in it besides submodules.
    fn holds(
        &self,
        sparse: &Sparse,
        entry: &TreeEntry,
        path: &[u8],
        depth: usize,
        seen: &mut u64,
    ) -> Result<bool, Error> {
        let path = join(path, &entry.name);
        match entry.kind {
            EntryKind::Submodule => return Ok(sparse.submodule(&path)),
            EntryKind::Folder if self.modules.around(&path) > 0 => return Ok(false),
            EntryKind::Folder => {}
            _ => return Ok(sparse.file(&path)),
        }
        match sparse.folder(&path) {
            Wanted::All => return Ok(true),
            Wanted::Nothing => return Ok(false),
            Wanted::Some => {}
        }
        if depth == MAX_DEPTH {
            return Err(hostile(&path, b"", "folders are nested more than 256 deep"));
        }
        let key = (entry.id, path);
        if let Some(known) = self.held.borrow().get(&key) {
            return Ok(*known);
        }
        let mut held = false;
        for inner in self.stored_tree(entry.id, &key.1)? {
            *seen += 1;
            if *seen > MAX_ENTRIES {
                return Err(hostile(&key.1, b"", "there are more than 5,000,000 entries below it"));
            }
            if self.holds(sparse, &inner, &key.1, depth + 1, seen)? {
                held = true;
                break;
            }
        }
        self.held.borrow_mut().insert(key, held);
        Ok(held)
    }
}

impl Modules {
    fn note(&self, folders: BTreeSet<Vec<u8>>) {
        let before = self.folders.replace(folders);
        if self.known.replace(true) && before != *self.folders.borrow() {
            self.differ.set(true);
        }
    }

    /// Returns true if an entry is a submodule or contains one. `folder` is in no submodule.
    fn are_in(&self, entry: &TreeEntry, folder: &[u8]) -> bool {
        let folders = self.folders.borrow();
        if folders.is_empty() || entry.kind != EntryKind::Folder {
            return false;
        }
        let path = join(folder, &entry.name);
        let below = [&path, b"/".as_slice()].concat();
        folders.contains(&path) || folders.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    }

    /// Returns the length of the path of the innermost submodule that a folder is in, or is; 0 if there is none.
    fn around(&self, folder: &[u8]) -> usize {
        let folders = self.folders.borrow();
        if folders.is_empty() {
            return 0;
        }
        let slashes = folder.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut ends = std::iter::once(folder.len()).chain(slashes);
        ends.find(|end| folders.contains(&folder[..*end])).unwrap_or(0)
    }
}

pub(crate) fn read<'odb>(odb: &'odb Odb<'_>, id: Oid, kind: &str, path: &[u8]) -> Result<git2::OdbObject<'odb>, Error> {
    odb.read(id).map_err(|source| unreadable(id, kind, path, source))
}

pub(crate) fn unreadable(id: Oid, kind: &str, path: &[u8], source: git2::Error) -> Error {
    Error::Store { what: format!("{kind} {id} ({})", printable(&join(path, b""))), source }
}
