//! Flattens a commit's submodules: builds the tree in which the files of each submodule replace its empty folder.
//!
//! A tree refers to other trees, so this takes a few new objects for each submodule and copies nothing; a folder
//! without submodules stays the same object. It works on the store only: it returns the missing commits, and
//! `submodules::fetch` fetches them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use git2::{ObjectType, Oid, Repository, Tree};

use crate::commit;
use crate::git::error::Error;
use crate::git::remote::options::RemoteOptions;
use crate::git::store::flattened::{FlattenedSubmodule, address_id};
use crate::git::store::{completeness, flattened, refs, shallow};
use crate::git::submodules::config::Module;
use crate::git::submodules::{config, url};
use crate::remote_url::RemoteUrl;
use crate::submodules::{GRAFTS, Submodules, encode, lines};
use crate::text::one_line;

/// The most submodules of a commit, and their deepest nesting.
const MOST_SUBMODULES: usize = 1000;
const DEEPEST_NESTING: usize = 16;
/// The deepest nesting of folders. Deeper ones cannot be published anyway.
const DEEPEST_FOLDER: usize = 256;
const LONGEST_PATH: usize = 200;

/// A submodule's commit that the store lacks.
#[derive(Clone, Debug)]
pub(crate) struct MissingSubmodule {
    pub path: String,
    pub url: RemoteUrl,
    pub commit: Oid,
}

pub(crate) enum Flattened {
    /// The remarks for the log and the record.
    Done(Vec<String>),
    Missing(Vec<MissingSubmodule>),
}

/// Writes the flattened tree of a commit, and drops those that no kept commit needs any more. `keep` are commits
/// besides those of the tracked refs.
pub(crate) fn flatten(
    store: &Repository,
    options: &RemoteOptions,
    commit: Oid,
    keep: &[Oid],
) -> Result<Flattened, Error> {
    let (mode, url) = (options.submodules, &options.url);
    let Some(name) = mode.graft(commit) else { return Ok(Flattened::Done(Vec::new())) };
    let in_store = |error: git2::Error| Error::from_store(store.path(), &error);
    if let Some(made) = refs::read(store, &name)?
        && store.find_commit(made).is_ok()
    {
        return Ok(Flattened::Done(Vec::new()));
    }
    let tree = commit::tree(store, commit).map_err(in_store)?;
    let mut kept = keep.to_vec();
    for name in [refs::PREVIOUS, refs::HEAD, refs::PIN] {
        kept.extend(refs::read(store, name)?);
    }
    let known = kept.iter().filter(|kept| **kept != commit).find_map(|kept| known(store, mode, *kept, &tree));
    let mut walk = Walk::new(store, options, known.as_ref())?;
    let modules = walk.modules(&tree, b"")?;
    let repository = RepositoryLevel { url, modules: &modules, level: 0 };
    let twin = known.as_ref().map(|known| (known.plain, known.grafted));
    let root = walk.folder(&repository, &tree, Vec::new(), Vec::new(), 0, twin)?;
    if !walk.missing.is_empty() {
        return Ok(Flattened::Missing(walk.missing));
    }
    let mut moved = listing(&tree).is_some();
    if moved {
        write(store, &name, root, commit, &walk.lines, address_id(url)?)?;
    }
    kept.push(commit);
    let kept: HashSet<String> = kept.iter().filter_map(|kept| mode.graft(kept)).collect();
    for (name, _) in refs::list(store, GRAFTS)? {
        if !kept.contains(&name) {
            refs::delete(store, &name)?;
            moved = true;
        }
    }
    if moved {
        shallow::prune(store, false)?;
    }
    Ok(Flattened::Done(walk.notes))
}

/// Returns the remarks about a commit that was just fetched, if it and its predecessors have no submodules.
pub(crate) fn notes_without_submodules(
    store: &Repository,
    options: &RemoteOptions,
    commit: Oid,
) -> Option<Vec<String>> {
    options.submodules.graft(commit)?;
    let tree = commit::tree(store, commit).ok()?;
    if listing(&tree).is_some() || !refs::list(store, GRAFTS).ok()?.is_empty() {
        return None;
    }
    // Any error occurs again, and is reported, when the flattened tree is requested.
    match flatten(store, options, commit, &[]).ok()? {
        Flattened::Done(notes) => Some(notes),
        Flattened::Missing(_) => None,
    }
}

/// A commit whose flattened tree is known, so that only the differences have to be visited.
struct KnownCommit {
    plain: Oid,
    grafted: Oid,
    used: Vec<FlattenedSubmodule>,
}

/// Returns `None` if the commit is no help: it has no flattened tree, or another `.gitmodules`.
fn known(store: &Repository, mode: Submodules, commit: Oid, tree: &Tree<'_>) -> Option<KnownCommit> {
    let before = commit::tree(store, commit).ok()?;
    let listed = listing(&before);
    // Another `.gitmodules` may give the same link another address, or none.
    if listed != listing(tree) {
        return None;
    }
    if listed.is_none() {
        return Some(KnownCommit { plain: before.id(), grafted: before.id(), used: Vec::new() });
    }
    let graft = store.refname_to_id(&mode.graft(commit)?).ok()?;
    let graft = store.find_commit(graft).ok()?;
    let used = lines(graft.message().ok()?).filter_map(FlattenedSubmodule::from_line).collect();
    Some(KnownCommit { plain: before.id(), grafted: graft.tree_id(), used })
}

/// Returns the hash of a tree's `.gitmodules`, if it has one.
fn listing(tree: &Tree<'_>) -> Option<Oid> {
    tree.get_name(".gitmodules").map(|entry| entry.id())
}

fn write(
    store: &Repository,
    name: &str,
    root: Oid,
    commit: Oid,
    used: &[FlattenedSubmodule],
    ours: Oid,
) -> Result<(), Error> {
    let in_store = |error: git2::Error| Error::from_store(store.path(), &error);
    let mut commits: Vec<Oid> = Vec::new();
    let mut message = format!("The submodules of {commit}\n\n");
    for FlattenedSubmodule { commit, address, path } in used {
        // Writing to a string cannot fail.
        let _ = writeln!(message, "{commit} {address} {path}");
        if !commits.contains(commit) {
            commits.push(*commit);
        }
    }
    // The boundary has to be set before anything walks from the flattened commit to ancestors of the submodules'
    // commits, which are missing or shall not be kept. An older commit of the main repository keeps its history.
    let is_ours = |commit: &Oid| used.iter().any(|used| used.commit == *commit && used.address == ours);
    let (ours, theirs): (Vec<Oid>, Vec<Oid>) = commits.iter().partition(|commit| is_ours(commit));
    let lacks_parent = |id: &Oid| {
        let parents = commit::parents(store, *id);
        parents.is_some_and(|parents| parents.iter().any(|parent| !commit::exists(store, *parent)))
    };
    let ours = ours.into_iter().filter(lacks_parent);
    shallow::end_at(store, &theirs.into_iter().chain(ours).collect::<Vec<_>>())?;
    let graft = (|| {
        // libgit2's own function would have to parse each parent.
        let parents: Vec<String> = commits.iter().map(|id| format!("parent {id}\n")).collect();
        // A fixed name and time: the same submodules always make the same commit.
        let identity = "pushsync <pushsync> 0 +0000";
        let text = format!("tree {root}\n{}author {identity}\ncommitter {identity}\n\n{message}", parents.concat());
        store.odb()?.write(ObjectType::Commit, text.as_bytes())
    })();
    refs::write(store, name, graft.map_err(in_store)?)
}

/// One repository of the walk: the main one, or a submodule.
struct RepositoryLevel<'a> {
    url: &'a RemoteUrl,
    /// The submodules by path.
    modules: &'a HashMap<Vec<u8>, Module>,
    level: usize,
}

struct Walk<'a> {
    store: &'a Repository,
    options: &'a RemoteOptions,
    known: &'a [FlattenedSubmodule],
    /// Commits that were found complete before.
    whole: HashSet<Oid>,
    /// The result for commits that were checked in this walk.
    looked: HashMap<Oid, bool>,
    /// The tree for a commit at an address, and the submodules in it, so that a repeated submodule is visited once.
    done: HashMap<(String, Oid), (Oid, Vec<FlattenedSubmodule>)>,
    /// Folders without a submodule at any depth.
    plain: HashSet<Oid>,
    lines: Vec<FlattenedSubmodule>,
    missing: Vec<MissingSubmodule>,
    notes: Vec<String>,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(store: &'a Repository, options: &'a RemoteOptions, known: Option<&'a KnownCommit>) -> Result<Self, Error> {
        Ok(Self {
            store,
            options,
            known: known.map(|known| known.used.as_slice()).unwrap_or_default(),
            whole: flattened::commits(store)?,
            looked: HashMap::new(),
            done: HashMap::new(),
            plain: HashSet::new(),
            lines: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
            links: 0,
        })
    }

    /// Returns the flattened tree of a folder. `inner` is its path in its repository, `path` that in the published
    /// tree, and `twin` the same folder of a known commit: before and after flattening.
    fn folder(
        &mut self,
        repository: &RepositoryLevel<'_>,
        tree: &Tree<'_>,
        inner: Vec<u8>,
        path: Vec<u8>,
        depth: usize,
        twin: Option<(Oid, Oid)>,
    ) -> Result<Oid, Error> {
        if let Some((before, after)) = twin
            && before == tree.id()
        {
            self.carry_over(&path)?;
            return Ok(after);
        }
        if depth > DEEPEST_FOLDER || self.plain.contains(&tree.id()) {
            return Ok(tree.id());
        }
        let links_before = self.links;
        let twin = twin
            .and_then(|(before, after)| Some((self.store.find_tree(before).ok()?, self.store.find_tree(after).ok()?)));
        let mut builder = None;
        for entry in tree {
            let kind = entry.kind();
            if !matches!(kind, Some(ObjectType::Tree | ObjectType::Commit)) {
                continue;
            }
            let name = entry.name_bytes();
            let (inner, path) = (join(&inner, name), join(&path, name));
            let becomes = match kind {
                Some(ObjectType::Tree) => {
                    let twin = twin.as_ref().and_then(|(before, after)| {
                        Some((before.get_name_bytes(name)?.id(), after.get_name_bytes(name)?.id()))
                    });
                    match twin {
                        // An unchanged folder is not read: a push must not cost what it does not change.
                        Some((before, after)) if before == entry.id() => {
                            self.carry_over(&path)?;
                            after
                        }
                        _ => {
                            let inside = self.store.find_tree(entry.id()).map_err(|error| self.damaged(&error))?;
                            self.folder(repository, &inside, inner, path.clone(), depth + 1, twin)?
                        }
                    }
                }
                Some(ObjectType::Commit) => match self.link(repository, entry.id(), &inner, &path, depth + 1)? {
                    Some(tree) => tree,
                    None => continue,
                },
                _ => continue,
            };
            if becomes == entry.id() {
                continue;
            }
            if builder.is_none() {
                builder = Some(self.store.treebuilder(Some(tree)).map_err(|error| self.damaged(&error))?);
            }
            if let Some(builder) = &mut builder {
                builder
                    .insert(name, becomes, 0o040_000)
                    .map_err(|_| refused(&path, "its folder has a name that git does not allow"))?;
            }
        }
        // Remembered by its hash, since the same folder may occur in many places.
        if self.links == links_before {
            self.plain.insert(tree.id());
        }
        match builder {
            Some(builder) => builder.write().map_err(|error| self.damaged(&error)),
            None => Ok(tree.id()),
        }
    }

    /// Returns the tree for a submodule; `None` if its folder stays empty, or if its commit has to be fetched first.
    fn link(
        &mut self,
        repository: &RepositoryLevel<'_>,
        commit: Oid,
        inner: &[u8],
        path: &[u8],
        depth: usize,
    ) -> Result<Option<Oid>, Error> {
        self.count(1, path)?;
        let Some(module) = repository.modules.get(inner) else {
            let path = shown(path);
            self.notes.push(format!("`{path}` is a submodule without an entry in .gitmodules: its folder stays empty"));
            return Ok(None);
        };
        if module.has_odd_name() {
            return Err(refused(path, "its name in .gitmodules is none that git accepts"));
        }
        // `update = !command` would make git run a program.
        match module.update.as_slice() {
            b"none" => return Ok(None),
            b"" | b"checkout" | b"rebase" | b"merge" => {}
            _ => return Err(refused(path, "`update` in .gitmodules is none of checkout, rebase, merge and none")),
        }
        // A repository may contain itself.
        if repository.level >= DEEPEST_NESTING {
            return Err(refused(path, "submodules are nested more than 16 deep"));
        }
        let url = url::resolve(&module.url, repository.url, &self.options.url, |text| {
            self.options.rewrite(text).into_owned()
        });
        let url = url.map_err(|why| refused(path, &why))?;
        let key = (url.bare().to_owned(), commit);
        let prefix = encode(path);
        if let Some((tree, inside)) = self.done.get(&key) {
            let inside: Vec<FlattenedSubmodule> = inside
                .iter()
                .map(|used| FlattenedSubmodule { path: format!("{prefix}{}", used.path), ..used.clone() })
                .collect();
            let tree = *tree;
            self.count(inside.len(), path)?;
            self.lines.extend(inside);
            return Ok(Some(tree));
        }
        let address = address_id(&url)?;
        if !self.is_whole(commit, address)? {
            if !self.missing.iter().any(|needed| needed.commit == commit && needed.url.bare() == url.bare()) {
                self.missing.push(MissingSubmodule { path: shown(path), url, commit });
            }
            return Ok(None);
        }
        let first = self.lines.len();
        self.lines.push(FlattenedSubmodule { commit, address, path: prefix.clone() });
        let tree = commit::tree(self.store, commit);
        let tree = tree.map_err(|error| self.damaged(&error))?;
        let becomes = if self.options.submodules == Submodules::Recursive {
            let modules = self.modules(&tree, path)?;
            let repository = RepositoryLevel { url: &url, modules: &modules, level: repository.level + 1 };
            self.folder(&repository, &tree, Vec::new(), path.to_vec(), depth, None)?
        } else {
            tree.id()
        };
        let strip = |used: &FlattenedSubmodule| FlattenedSubmodule {
            path: used.path[prefix.len()..].to_owned(),
            ..used.clone()
        };
        self.done.insert(key, (becomes, self.lines[first..].iter().map(strip).collect()));
        Ok(Some(becomes))
    }

    /// Adds the submodules of an unchanged folder.
    fn carry_over(&mut self, path: &[u8]) -> Result<(), Error> {
        let known = self.known;
        // With the slash, so that `lib` does not count for `lib2`.
        let below = if path.is_empty() { String::new() } else { format!("{}/", encode(path)) };
        let same = known.iter().filter(|used| used.path.starts_with(&below));
        let before = self.lines.len();
        self.lines.extend(same.cloned());
        self.count(self.lines.len() - before, path)
    }

    fn count(&mut self, more: usize, path: &[u8]) -> Result<(), Error> {
        self.links += more;
        if self.links > MOST_SUBMODULES {
            return Err(refused(path, "there are more than 1,000 submodules in all"));
        }
        Ok(())
    }

    fn is_whole(&mut self, commit: Oid, address: Oid) -> Result<bool, Error> {
        if let Some(whole) = self.looked.get(&commit) {
            return Ok(*whole);
        }
        let whole = if self.whole.contains(&commit) {
            commit::exists(self.store, commit)
        } else {
            let before = self.known.iter().find(|used| used.address == address).map(|used| used.commit);
            completeness::is_complete_with_blobs(self.store, commit, before)?
        };
        self.looked.insert(commit, whole);
        Ok(whole)
    }

    /// Parses `.gitmodules` of a tree into submodules by path.
    fn modules(&self, tree: &Tree<'_>, path: &[u8]) -> Result<HashMap<Vec<u8>, Module>, Error> {
        let file = join(path, b".gitmodules");
        let Some(entry) = tree.get_name(".gitmodules") else { return Ok(HashMap::new()) };
        if !matches!(entry.filemode(), 0o100_644 | 0o100_755) {
            return Err(refused(&file, "it is not a regular file"));
        }
        let size = self.store.odb().and_then(|odb| odb.read_header(entry.id()));
        if size.map_err(|error| self.damaged(&error))?.0 > config::LARGEST {
            return Err(refused(&file, "it is larger than a megabyte"));
        }
        let blob = self.store.find_blob(entry.id()).map_err(|error| self.damaged(&error))?;
        let listed = config::parse(blob.content())
            .map_err(|wrong| refused(&file, &format!("line {}: {}", wrong.line, wrong.what)))?;
        let trimmed = |path: &[u8]| path.strip_suffix(b"/").unwrap_or(path).to_vec();
        Ok(listed.into_iter().map(|module| (trimmed(&module.path), module)).collect())
    }

    fn damaged(&self, error: &git2::Error) -> Error {
        Error::from_store(self.store.path(), error)
    }
}

fn refused(path: &[u8], why: &str) -> Error {
    Error::BadSubmodule { path: shown(path), why: why.to_owned() }
}

fn shown(path: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(path), LONGEST_PATH)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
