//! The long part: one new pack, written and checked in a folder of its own beside the store's packs.
//!
//! Nothing in the store changes here. It may be cancelled at any time, and runs at the lowest priority.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use git2::{Indexer, ObjectType, Odb, OdbLookupFlags, Oid, PackBuilder, Repository};

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::store::compact::pack_files::{Pack, file, ids, pack_folder};
use crate::git::store::compact::plan::Plan;
use crate::git::store::compact::temporary::TemporaryStore;
use crate::worker::Cancel;

/// A new pack that is not in the store yet. Dropped, its folder goes.
#[derive(Debug)]
pub(crate) struct Written {
    workshop: TemporaryStore,
    /// `pack-…`
    pub stem: String,
    /// The commits that are in it.
    pub commits: HashSet<Oid>,
}

impl Written {
    pub(crate) fn folder(&self) -> PathBuf {
        pack_folder(self.workshop.path())
    }
}

/// Writes the pack; `None` if there is nothing to be written.
pub(crate) fn write(plan: &Plan, cancel: &Cancel) -> Result<Option<Written>, Error> {
    let in_store = |error: git2::Error| Error::from_store(&plan.store, &error);
    let on_disk = |error: std::io::Error| Error::from_disk(&plan.store, &error);
    let workshop = TemporaryStore::make(&plan.store)?;
    if !plan.full {
        workshop.spare_comparisons().map_err(on_disk)?;
    }
    let store = Repository::open_bare(&plan.store).map_err(in_store)?;
    // A repository of its own, because the limits above are taken from the configuration of the one that packs.
    let packer = workshop.open()?;
    let objects = plan.store.join("objects");
    let odb = packer.odb().map_err(in_store)?;
    odb.add_disk_alternate(&objects.to_string_lossy()).map_err(in_store)?;
    let mut pack = packer.packbuilder().map_err(in_store)?;
    pack.set_threads(1);
    let told = cancel.clone();
    pack.set_progress_callback(move |_, _, _| !told.is_cancelled()).map_err(in_store)?;
    let mut commits = HashSet::new();
    if plan.full {
        Walk { store: &store, pack: &mut pack, commits: &mut commits, cancel }.all(plan)?;
    } else {
        let elsewhere = listed(plan, &plan.others)?;
        for id in listed(plan, &plan.chosen)? {
            if elsewhere.binary_search(&id).is_err() {
                stop_if(cancel)?;
                pack.insert_object(id, None).map_err(in_store)?;
            }
        }
    }
    if pack.object_count() == 0 {
        return Ok(None);
    }
    let folder = pack_folder(workshop.path());
    let mut indexer = Indexer::new(None, &folder, 0o444, false).map_err(in_store)?;
    let (mut trouble, mut over_limit) = (None, None);
    let packed = pack.foreach(|part| {
        over_limit = plan.allowance.take(part.len() as u64).err();
        if over_limit.is_none() {
            trouble = indexer.write_all(part).err();
        }
        trouble.is_none() && over_limit.is_none() && !cancel.is_cancelled()
    });
    stop_if(cancel)?;
    if let Some(exceeded) = over_limit {
        return Err(Error::Compaction { source: Cause::new(&exceeded.to_string()) });
    }
    if let Some(trouble) = trouble {
        return Err(on_disk(trouble));
    }
    packed.map_err(in_store)?;
    let stem = format!("pack-{}", indexer.commit().map_err(in_store)?);
    for ending in ["pack", "idx"] {
        let path = file(&folder, &stem.clone().into(), ending);
        fs::File::open(path).and_then(|file| crate::flush::file(&file)).map_err(on_disk)?;
    }
    let written = Written { workshop, stem, commits };
    check(plan, &store, &written, cancel)?;
    Ok(Some(written))
}

/// The objects of some packs, sorted, each once.
pub(crate) fn listed(plan: &Plan, packs: &[Pack]) -> Result<Vec<Oid>, Error> {
    let folder = pack_folder(&plan.store);
    let mut all = Vec::new();
    for pack in packs {
        all.extend(ids(&file(&folder, &pack.stem, "idx")).map_err(|error| Error::from_disk(&plan.store, &error))?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn stop_if(cancel: &Cancel) -> Result<(), Error> {
    if cancel.is_cancelled() { Err(Error::Internal { source: crate::worker::Lost::Deadline }) } else { Ok(()) }
}

/// Everything that the roots reach goes into the pack. The pack itself knows what it has already.
///
/// What is not there is passed over: whole by the rules of the store is another's question, and here nothing is made less
/// whole than it was.
struct Walk<'a, 'repo> {
    store: &'a Repository,
    pack: &'a mut PackBuilder<'repo>,
    commits: &'a mut HashSet<Oid>,
    cancel: &'a Cancel,
}

impl Walk<'_, '_> {
    fn all(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut roots: Vec<Oid> = plan.roots.iter().copied().collect();
        roots.sort_unstable();
        for root in roots {
            if let Some(commit) = self.peel(root)? {
                self.history(commit, u32::MAX, &plan.shallow)?;
            }
        }
        let depth = if plan.depth == 0 { u32::MAX } else { plan.depth };
        for commit in &plan.keep {
            self.history(*commit, depth, &plan.shallow)?;
        }
        Ok(())
    }

    /// The commit behind a ref; a tag on the way is kept, and so is what is no commit.
    fn peel(&mut self, mut id: Oid) -> Result<Option<Oid>, Error> {
        loop {
            // By its header: libgit2 does not parse each commit that git follows.
            let Ok((_, kind)) = self.store.odb().and_then(|odb| odb.read_header(id)) else { return Ok(None) };
            match kind {
                ObjectType::Commit => return Ok(Some(id)),
                ObjectType::Tag => {
                    self.insert(id, None)?;
                    let Ok(tag) = self.store.find_tag(id) else { return Ok(None) };
                    id = tag.target_id();
                }
                ObjectType::Tree => {
                    self.tree(id)?;
                    return Ok(None);
                }
                _ => {
                    self.insert(id, None)?;
                    return Ok(None);
                }
            }
        }
    }

    /// Level by level, so that `depth` is what git means by it.
    fn history(&mut self, first: Oid, depth: u32, shallow: &HashSet<Oid>) -> Result<(), Error> {
        let mut level = vec![first];
        let mut seen = HashSet::from([first]);
        for _ in 0..depth {
            let mut next = Vec::new();
            for id in level {
                stop_if(self.cancel)?;
                let Ok(tree) = commit::tree_id(self.store, id) else { continue };
                if self.commits.insert(id) {
                    self.insert(id, None)?;
                    self.tree(tree)?;
                } else if depth == u32::MAX {
                    // Another root came this way, and went on from here.
                    continue;
                }
                if !shallow.contains(&id) {
                    let parents = commit::parents(self.store, id).unwrap_or_default();
                    next.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        Ok(())
    }

    fn tree(&mut self, root: Oid) -> Result<(), Error> {
        let mut pending = vec![root];
        if !self.insert(root, None)? {
            return Ok(());
        }
        while let Some(id) = pending.pop() {
            stop_if(self.cancel)?;
            let Ok(tree) = self.store.find_tree(id) else { continue };
            for entry in &tree {
                // A submodule's commits are kept by refs of their own.
                if entry.kind() == Some(ObjectType::Commit) {
                    continue;
                }
                let name = std::str::from_utf8(entry.name_bytes()).ok();
                if self.insert(entry.id(), name)? && entry.kind() == Some(ObjectType::Tree) {
                    pending.push(entry.id());
                }
            }
        }
        Ok(())
    }

    /// True if the object is there and was not in the pack. The name helps libgit2 to find what is alike.
    fn insert(&mut self, id: Oid, name: Option<&str>) -> Result<bool, Error> {
        let before = self.pack.object_count();
        match self.pack.insert_object(id, name) {
            Ok(()) => Ok(self.pack.object_count() > before),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(false),
            Err(error) => Err(Error::from_store(self.store.path(), &error)),
        }
    }
}

/// The new pack by itself, without the old ones, must have all that is wanted of it. libgit2 has compared the hash of each
/// object in it when it made the index; here each name in them is followed.
fn check(plan: &Plan, store: &Repository, written: &Written, cancel: &Cancel) -> Result<(), Error> {
    let in_store = |error: git2::Error| Error::from_store(&plan.store, &error);
    // Not the handle that packed: that one sees the store.
    let alone = written.workshop.open()?;
    let odb = alone.odb().map_err(in_store)?;
    let before = store.odb().map_err(in_store)?;
    let index = file(&written.folder(), &written.stem.clone().into(), "idx");
    let inside = ids(&index).map_err(|error| Error::from_disk(&plan.store, &error))?;
    if !plan.full {
        let elsewhere = listed(plan, &plan.others)?;
        let all = listed(plan, &plan.chosen)?;
        let there = |id: &Oid| inside.binary_search(id).is_ok() || elsewhere.binary_search(id).is_ok();
        return if all.iter().all(there) { Ok(()) } else { Err(incomplete()) };
    }
    let flags = OdbLookupFlags::NO_REFRESH;
    let there = |id: Oid| inside.binary_search(&id).is_ok() || !before.exists_ext(id, flags);
    if !plan.roots.iter().chain(&plan.keep).chain(&written.commits).all(|id| there(*id)) {
        return Err(incomplete());
    }
    for id in &inside {
        stop_if(cancel)?;
        if !names_in(&odb, &alone, *id).map_err(in_store)?.into_iter().all(&there) {
            return Err(incomplete());
        }
    }
    Ok(())
}

/// What an object needs to be whole. (Of the parents of a commit the walk has decided.)
fn names_in(odb: &Odb<'_>, alone: &Repository, id: Oid) -> Result<Vec<Oid>, git2::Error> {
    Ok(match odb.read_header(id)?.1 {
        ObjectType::Tree => {
            let tree = alone.find_tree(id)?;
            tree.iter().filter(|entry| entry.kind() != Some(ObjectType::Commit)).map(|entry| entry.id()).collect()
        }
        ObjectType::Commit => vec![commit::tree_id(alone, id)?],
        ObjectType::Tag => vec![alone.find_tag(id)?.target_id()],
        _ => Vec::new(),
    })
}

fn incomplete() -> Error {
    Error::Compaction { source: Cause::new("the new pack lacks something that is to be kept") }
}
