//! The long step: writes and checks one new pack in a temporary folder.
//!
//! Nothing in the store changes here. It can be cancelled at any time, and runs at the lowest priority.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use git2::{Indexer, ObjectType, Odb, OdbLookupFlags, Oid, PackBuilder, Repository};

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::store::compact::pack_files::{self, Pack, file, ids, pack_folder};
use crate::git::store::compact::plan::Plan;
use crate::git::store::compact::selection::{Selection, select};
use crate::git::store::compact::temporary::TemporaryStore;
use crate::worker::Cancel;

/// The result of one step of a compaction, which is not in the store yet. Dropping it removes its folder.
#[derive(Debug)]
pub(crate) struct NewPack {
    temporary: TemporaryStore,
    /// The file name without its suffix: `pack-…`. `None`: the replaced packs hold nothing that is kept.
    pub stem: Option<String>,
    /// Bytes of the new pack.
    pub bytes: u64,
    /// The packs that it replaces, and those that stay.
    pub selection: Selection,
    /// The commits that are kept, in this pack or in others.
    pub commits: HashSet<Oid>,
}

impl NewPack {
    pub(crate) fn folder(&self) -> PathBuf {
        pack_folder(self.temporary.path())
    }
}

/// Writes the pack; `None` if it would be empty and replace nothing.
pub(crate) fn write(plan: &Plan, cancel: &Cancel) -> Result<Option<NewPack>, Error> {
    let in_store = |error: git2::Error| Error::from_store(&plan.store, &error);
    let on_disk = |error: std::io::Error| Error::from_disk(&plan.store, &error);
    let temporary = TemporaryStore::make(&plan.store)?;
    if !plan.full {
        temporary.spare_comparisons().map_err(on_disk)?;
    }
    let store = Repository::open_bare(&plan.store).map_err(in_store)?;
    // A repository of its own, because the limits are read from the configuration of the one that packs.
    let packer = temporary.open()?;
    let objects = plan.store.join("objects");
    let odb = packer.odb().map_err(in_store)?;
    // The packer reads the objects of the store, and writes nothing there.
    odb.add_disk_alternate(&objects.to_string_lossy()).map_err(in_store)?;
    let mut pack = builder(plan, &packer, cancel)?;
    let (mut commits, mut kept) = (HashSet::new(), Vec::new());
    let mut selection = Selection::all(plan);
    if plan.full {
        Walk { store: &store, pack: &mut pack, commits: &mut commits, kept: &mut kept, cancel }.all(plan)?;
        if kept.is_empty() {
            return Ok(None);
        }
        kept.sort_unstable();
        selection = select(plan, &kept)?;
    }
    if !(plan.full && selection.all) {
        if plan.full {
            // A push may wait for the room.
            temporary.spare_comparisons().map_err(on_disk)?;
        }
        pack = builder(plan, &packer, cancel)?;
        let elsewhere = listed(plan, &selection.others)?;
        for id in listed(plan, &selection.replaced)? {
            let is_kept = !plan.full || kept.binary_search(&id).is_ok();
            if is_kept && elsewhere.binary_search(&id).is_err() {
                check_cancelled(cancel)?;
                pack.insert_object(id, None).map_err(in_store)?;
            }
        }
    }
    if pack.object_count() == 0 && !plan.full {
        return Ok(None);
    }
    let mut written = NewPack { temporary, stem: None, bytes: 0, selection, commits };
    if pack.object_count() > 0 {
        write_pack(plan, &mut pack, &mut written, cancel).inspect_err(|_| plan.allowance.give_back(written.bytes))?;
    }
    check(plan, &store, &written, cancel).inspect_err(|_| plan.allowance.give_back(written.bytes))?;
    Ok(Some(written))
}

fn builder<'repo>(plan: &Plan, packer: &'repo Repository, cancel: &Cancel) -> Result<PackBuilder<'repo>, Error> {
    let in_store = |error: git2::Error| Error::from_store(&plan.store, &error);
    let mut pack = packer.packbuilder().map_err(in_store)?;
    // A push needs the rest of the processor.
    pack.set_threads(1);
    let cancelled = cancel.clone();
    pack.set_progress_callback(move |_, _, _| !cancelled.is_cancelled()).map_err(in_store)?;
    Ok(pack)
}

/// Writes the objects of the builder into the temporary folder. Each part is counted before it is written.
fn write_pack(plan: &Plan, pack: &mut PackBuilder<'_>, written: &mut NewPack, cancel: &Cancel) -> Result<(), Error> {
    let in_store = |error: git2::Error| Error::from_store(&plan.store, &error);
    let on_disk = |error: std::io::Error| Error::from_disk(&plan.store, &error);
    let folder = written.folder();
    let mut indexer = Indexer::new(None, &folder, 0o444, false).map_err(in_store)?;
    let (mut failure, mut over_limit) = (None, None);
    let packed = pack.foreach(|part| {
        over_limit = plan.allowance.take(part.len() as u64).err();
        if over_limit.is_none() {
            written.bytes += part.len() as u64;
            failure = indexer.write_all(part).err();
        }
        failure.is_none() && over_limit.is_none() && !cancel.is_cancelled()
    });
    check_cancelled(cancel)?;
    if let Some(exceeded) = over_limit {
        return Err(Error::Compaction { source: Cause::new(&exceeded.to_string()) });
    }
    if let Some(failure) = failure {
        return Err(on_disk(failure));
    }
    packed.map_err(in_store)?;
    let stem = format!("pack-{}", indexer.commit().map_err(in_store)?);
    for ending in ["pack", "idx"] {
        let path = file(&folder, &stem.clone().into(), ending);
        fs::File::open(path).and_then(|file| crate::flush::file(&file)).map_err(on_disk)?;
    }
    written.stem = Some(stem);
    Ok(())
}

/// Returns the objects of some packs, sorted and without duplicates.
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

fn check_cancelled(cancel: &Cancel) -> Result<(), Error> {
    if cancel.is_cancelled() { Err(Error::Internal { source: crate::worker::Lost::Deadline }) } else { Ok(()) }
}

/// Adds all objects that are reachable from the refs to the pack. The pack builder ignores duplicates.
///
/// Missing objects are skipped: `store::completeness` checks for them, and nothing becomes less complete here.
struct Walk<'a, 'repo> {
    store: &'a Repository,
    pack: &'a mut PackBuilder<'repo>,
    commits: &'a mut HashSet<Oid>,
    /// All objects in the pack.
    kept: &'a mut Vec<Oid>,
    cancel: &'a Cancel,
}

impl Walk<'_, '_> {
    fn all(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut roots: Vec<Oid> = plan.tips.iter().copied().collect();
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

    /// Returns the commit behind a ref. Tags on the way are added, and so is an object that is no commit.
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

    /// Walks level by level, as git counts `depth`.
    fn history(&mut self, first: Oid, depth: u32, shallow: &HashSet<Oid>) -> Result<(), Error> {
        let mut level = vec![first];
        let mut seen = HashSet::from([first]);
        for _ in 0..depth {
            let mut next = Vec::new();
            for id in level {
                check_cancelled(self.cancel)?;
                let Ok(tree) = commit::tree_id(self.store, id) else { continue };
                if self.commits.insert(id) {
                    self.insert(id, None)?;
                    self.tree(tree)?;
                } else if depth == u32::MAX {
                    // The walk from another ref came here, and continued.
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
            check_cancelled(self.cancel)?;
            let Ok(tree) = self.store.find_tree(id) else { continue };
            for entry in &tree {
                // Refs of their own keep the commits of submodules.
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

    /// Returns true if the object exists and was not in the pack yet. The name helps libgit2 to find similar objects.
    fn insert(&mut self, id: Oid, name: Option<&str>) -> Result<bool, Error> {
        let before = self.pack.object_count();
        match self.pack.insert_object(id, name) {
            Ok(()) => {
                let is_new = self.pack.object_count() > before;
                self.kept.extend(is_new.then_some(id));
                Ok(is_new)
            }
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(false),
            Err(error) => Err(Error::from_store(self.store.path(), &error)),
        }
    }
}

/// Checks that the new pack, with the packs that stay, has everything that is to be kept. libgit2 compared the hash of
/// each object when it wrote the index; here each reference in them is followed.
fn check(plan: &Plan, store: &Repository, written: &NewPack, cancel: &Cancel) -> Result<(), Error> {
    let in_store = |error: git2::Error| Error::from_store(&plan.store, &error);
    // Not the handle that packed, which sees the objects of the store as well.
    let alone = written.temporary.open()?;
    let odb = alone.odb().map_err(in_store)?;
    let before = store.odb().map_err(in_store)?;
    let inside = match &written.stem {
        Some(stem) => ids(&file(&written.folder(), &stem.into(), "idx")),
        None => Ok(Vec::new()),
    };
    let inside = inside.map_err(|error| Error::from_disk(&plan.store, &error))?;
    let mut elsewhere = listed(plan, &written.selection.others)?;
    let is_somewhere =
        |elsewhere: &[Oid], id: &Oid| inside.binary_search(id).is_ok() || elsewhere.binary_search(id).is_ok();
    if !plan.full {
        let all = listed(plan, &written.selection.replaced)?;
        return if all.iter().all(|id| is_somewhere(&elsewhere, id)) { Ok(()) } else { Err(incomplete()) };
    }
    if written.selection.all {
        // Everything is to be in the new pack.
        elsewhere.clear();
    } else {
        elsewhere.extend(plan.loose.iter().filter_map(|path| pack_files::loose_id(path)));
        elsewhere.sort_unstable();
    }
    let flags = OdbLookupFlags::NO_REFRESH;
    let there = |id: Oid| is_somewhere(&elsewhere, &id) || !before.exists_ext(id, flags);
    if !plan.tips.iter().chain(&plan.keep).chain(&written.commits).all(|id| there(*id)) {
        return Err(incomplete());
    }
    for id in &inside {
        check_cancelled(cancel)?;
        if !names_in(&odb, &alone, *id).map_err(in_store)?.into_iter().all(&there) {
            return Err(incomplete());
        }
    }
    Ok(())
}

/// Returns the objects that an object refers to. (The walk has decided about the parents of a commit.)
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
