//! Which files of a commit the store lacks, of those that are to be published.
//!
//! The store's side only: folders are all there, files may have been left out by a filter. It must not know of remotes, and
//! it judges nothing: a tree that cannot be published is refused by who builds it.

use std::collections::HashSet;

use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository, Tree};

use crate::commit;
use crate::git::error::Error;
use crate::git::store::{refs, shallow};
use crate::sparse::{Sparse, Wanted};
use crate::submodules::GRAFTS;
use crate::worker::Cancel;

/// How deep folders may be, and how many entries there may be in all. What is beyond cannot be published anyway.
const DEEPEST: usize = 256;
const MOST_ENTRIES: u64 = 5_000_000;
/// So many are told at once, so that the memory they take is bounded.
const MOST_TOLD: usize = 100_000;

/// Files that are wanted and not there, each once; there may be more if there are as many as are told at once. `known` is a
/// commit of which the same files were found to be there: what it shares with this one is passed over.
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

/// The same for every commit that a ref of ours names, with its history: some of what is missing, and a commit that lacks
/// it. `None`: nothing. What submodules need is always there.
pub(crate) fn missing_of_all(store: &Repository, cancel: &Cancel) -> Result<Option<(Oid, Vec<Oid>)>, Error> {
    let ends = shallow::boundary(store)?;
    let refs = refs::list(store, "refs/")?.into_iter().filter(|(name, _)| !name.starts_with(GRAFTS));
    // Each with a commit that was looked at before, which it mostly shares everything with.
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
    /// True if objects of LFS are fetched: where from stands in a file of the top folder.
    lfs: bool,
    cancel: &'a Cancel,
    entries: u64,
    found: HashSet<Oid>,
    missing: Vec<Oid>,
}

impl Walk<'_> {
    /// True if something in the folder is wanted, or may be: what is shared with the known commit is not looked at.
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
                // A submodule: its files come with its commit. Its folder is in this one, whatever is wanted.
                Some(ObjectType::Commit) => holds = true,
                // Read by us, wanted or not: one says what the files in the folder become, the other where submodules are.
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

/// True if the store has all of these.
pub(crate) fn all_present(store: &Repository, mut files: impl Iterator<Item = Oid>) -> Result<bool, Error> {
    let odb = store.odb().map_err(|error| Error::from_store(store.path(), &error))?;
    Ok(files.all(|id| odb.exists(id)))
}

/// True if the commit is what one of our refs names, so that its files are kept.
pub(crate) fn is_tracked(store: &Repository, commit: Oid) -> Result<bool, Error> {
    for name in refs::TRACKED {
        if refs::read(store, name)? == Some(commit) {
            return Ok(true);
        }
    }
    Ok(false)
}
