//! Finds the files of a commit that the store lacks, among those that are to be published.
//!
//! Folders are always there; a filter may have left out files. It must not know of remotes. It refuses no tree:
//! building it does.

use std::collections::HashSet;

use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository, Tree};

use crate::commit;
use crate::git::error::Error;
use crate::git::store::{refs, shallow};
use crate::sparse::{Sparse, Wanted};
use crate::submodules::GRAFTS;
use crate::worker::Cancel;

/// Limits for the nesting of folders and the number of entries. Larger trees cannot be published anyway.
const DEEPEST: usize = 256;
const MOST_ENTRIES: u64 = 5_000_000;
/// The most files that are returned at once, which bounds the memory.
const MOST_TOLD: usize = 100_000;

/// Lists the wanted files that are missing, each once; if as many as are returned at once, there may be more. `known`
/// is a commit of which the same files are known to be present: shared subtrees are skipped.
pub(crate) fn missing(
    store: &Repository,
    commit: Oid,
    known: Option<Oid>,
    (sparse, lfs): (Option<&Sparse>, bool),
    cancel: &Cancel,
) -> Result<Vec<Oid>, Error> {
    let in_store = |error: git2::Error| Error::from_store(store.path(), &error);
    if !commit::exists(store, commit) {
        return Err(Error::NotInStore { commit });
    }
    let tree = commit::tree(store, commit).map_err(in_store)?;
    let known = known.and_then(|known| commit::tree(store, known).ok());
    let odb = store.odb().map_err(in_store)?;
    let mut walk = Walk { store, odb, sparse, lfs, cancel, entries: 0, found: HashSet::new(), missing: Vec::new() };
    if known.as_ref().is_none_or(|known| known.id() != tree.id()) {
        walk.folder(&tree, known.as_ref(), b"", 0)?;
    }
    Ok(walk.missing)
}

/// Lists missing files of all commits that our refs reach, and a commit that lacks one of them. `None`: there are
/// none. Files of submodules are never left out.
pub(crate) fn missing_of_all(store: &Repository, cancel: &Cancel) -> Result<Option<(Oid, Vec<Oid>)>, Error> {
    let ends = shallow::boundary(store)?;
    let refs = refs::list(store, "refs/")?.into_iter().filter(|(name, _)| !name.starts_with(GRAFTS));
    // Each commit with one that was checked before and shares most of its tree.
    let mut pending: Vec<(Oid, Option<Oid>)> = refs.map(|(_, commit)| (commit, None)).collect();
    let (mut seen, mut found, mut first) = (HashSet::new(), HashSet::new(), None);
    while let Some((commit, known)) = pending.pop() {
        if !seen.insert(commit) {
            continue;
        }
        let missing = missing(store, commit, known, (None, false), cancel)?;
        if !missing.is_empty() {
            first.get_or_insert(commit);
            found.extend(missing);
        }
        if found.len() >= MOST_TOLD {
            break;
        }
        if !ends.contains(&commit) {
            let parents = commit::parents(store, commit).ok_or(Error::NotInStore { commit })?;
            pending.extend(parents.into_iter().map(|parent| (parent, Some(commit))));
        }
    }
    Ok(first.map(|commit| (commit, found.into_iter().collect())))
}

struct Walk<'a> {
    store: &'a Repository,
    odb: Odb<'a>,
    sparse: Option<&'a Sparse>,
    /// True if LFS objects are fetched: `.lfsconfig` in the top folder is needed then.
    lfs: bool,
    cancel: &'a Cancel,
    entries: u64,
    found: HashSet<Oid>,
    missing: Vec<Oid>,
}

impl Walk<'_> {
    /// Returns true if the folder contains a wanted file, or may contain one: what it shares with the known commit is
    /// not visited.
    fn folder(&mut self, tree: &Tree<'_>, known: Option<&Tree<'_>>, path: &[u8], depth: usize) -> Result<bool, Error> {
        let wanted = self.sparse.map_or(Wanted::All, |sparse| sparse.folder(path));
        if wanted == Wanted::Nothing || depth > DEEPEST {
            return Ok(false);
        }
        if self.cancel.is_cancelled() {
            return Err(Error::Internal { source: crate::worker::Lost::Deadline });
        }
        let mut holds = false;
        let mut attributes = None;
        for entry in tree {
            self.entries += 1;
            if self.entries > MOST_ENTRIES || self.missing.len() >= MOST_TOLD {
                break;
            }
            let name = entry.name_bytes();
            let twin = known.and_then(|known| known.get_name_bytes(name));
            let same = twin.as_ref().is_some_and(|twin| twin.id() == entry.id());
            match entry.kind() {
                Some(ObjectType::Tree) if same => holds = true,
                Some(ObjectType::Tree) => {
                    let inner = self.store.find_tree(entry.id());
                    let inner = inner.map_err(|error| Error::from_store(self.store.path(), &error))?;
                    let twin = twin.and_then(|twin| self.store.find_tree(twin.id()).ok());
                    holds |= self.folder(&inner, twin.as_ref(), &join(path, name), depth + 1)?;
                }
                // The files of a submodule come with its own commit. Its folder counts as wanted.
                Some(ObjectType::Commit) => holds = true,
                // These files are always read here: attributes decide how files are written, and `.gitmodules` lists
                // the submodules.
                _ if name == b".gitattributes" => attributes = Some(entry.id()),
                _ if path.is_empty() && name == b".gitmodules" => self.note(entry.id()),
                _ if path.is_empty() && self.lfs && name == b".lfsconfig" => self.note(entry.id()),
                _ if wanted == Wanted::All || self.sparse.is_none_or(|sparse| sparse.file(&join(path, name))) => {
                    holds = true;
                    if !same {
                        self.note(entry.id());
                    }
                }
                _ => {}
            }
        }
        let wants_attributes = || self.sparse.is_none_or(|sparse| sparse.file(&join(path, b".gitattributes")));
        if let Some(id) = attributes
            && (holds || path.is_empty() || wants_attributes())
        {
            self.note(id);
        }
        Ok(holds)
    }

    fn note(&mut self, id: Oid) {
        if self.found.insert(id) && !self.odb.exists_ext(id, OdbLookupFlags::NO_REFRESH) {
            self.missing.push(id);
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// Returns true if the store has all of these objects.
pub(crate) fn all_present(store: &Repository, mut files: impl Iterator<Item = Oid>) -> Result<bool, Error> {
    let odb = store.odb().map_err(|error| Error::from_store(store.path(), &error))?;
    Ok(files.all(|id| odb.exists(id)))
}

/// Returns true if a tracked ref names the commit, so that a compaction keeps its files.
pub(crate) fn is_tracked(store: &Repository, commit: Oid) -> Result<bool, Error> {
    for name in refs::TRACKED {
        if refs::read(store, name)? == Some(commit) {
            return Ok(true);
        }
    }
    Ok(false)
}
