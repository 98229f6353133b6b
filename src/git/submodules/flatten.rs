//! The tree that a commit with submodules is published as: their files in place of their empty folders.
//!
//! Trees are made of trees, so this takes a few new objects for each submodule and no copy of anything; a folder without
//! submodules is the same object as before. It is the store's side only: what is missing is told, and fetched by others.

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

/// How many submodules a commit may have in all, and how deep they may be in each other.
const MOST: usize = 1000;
const DEEPEST: usize = 16;
/// How deep folders may be; what is deeper cannot be published anyway.
const DEEPEST_FOLDER: usize = 256;
const LONGEST_PATH: usize = 200;

/// A submodule's commit that the store does not have.
#[derive(Clone, Debug)]
pub(crate) struct Needed {
    pub path: String,
    pub url: RemoteUrl,
    pub commit: Oid,
}

pub(crate) enum Flattened {
    /// What a person should know about it.
    Done(Vec<String>),
    Missing(Vec<Needed>),
}

/// Makes the graft of a commit and lets go of those that nothing kept needs any more. `keep` are commits besides those that
/// the store keeps by itself.
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
    let place = Place { url, modules: &modules, level: 0 };
    let twin = known.as_ref().map(|known| (known.plain, known.grafted));
    let root = walk.folder(&place, &tree, Vec::new(), Vec::new(), 0, twin)?;
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

/// The notes of a commit that came just now, if there is no more to it: no submodule is listed, and none was before.
pub(crate) fn nothing_to_do(store: &Repository, options: &RemoteOptions, commit: Oid) -> Option<Vec<String>> {
    options.submodules.graft(commit)?;
    let tree = commit::tree(store, commit).ok()?;
    if listing(&tree).is_some() || !refs::list(store, GRAFTS).ok()?.is_empty() {
        return None;
    }
    // Whatever is wrong is found again, and told, by who asks for the graft.
    match flatten(store, options, commit, &[]).ok()? {
        Flattened::Done(notes) => Some(notes),
        Flattened::Missing(_) => None,
    }
}

/// A commit whose graft is known, so that only what differs from it has to be walked.
struct Known {
    plain: Oid,
    grafted: Oid,
    used: Vec<FlattenedSubmodule>,
}

/// `None` if it is no help: not grafted itself, or by another `.gitmodules`.
fn known(store: &Repository, mode: Submodules, commit: Oid, tree: &Tree<'_>) -> Option<Known> {
    let before = commit::tree(store, commit).ok()?;
    let listed = listing(&before);
    if listed != listing(tree) {
        return None;
    }
    if listed.is_none() {
        return Some(Known { plain: before.id(), grafted: before.id(), used: Vec::new() });
    }
    let graft = store.refname_to_id(&mode.graft(commit)?).ok()?;
    let graft = store.find_commit(graft).ok()?;
    let used = lines(graft.message().ok()?).filter_map(FlattenedSubmodule::from_line).collect();
    Some(Known { plain: before.id(), grafted: graft.tree_id(), used })
}

/// What `.gitmodules` of a tree is, if there is one.
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
    // Before anything walks from the graft to what its submodules' commits descend from, which is not here, or shall not
    // be kept. An older commit of our own repository may be one whose history is wanted.
    let is_ours = |commit: &Oid| used.iter().any(|used| used.commit == *commit && used.address == ours);
    let (ours, theirs): (Vec<Oid>, Vec<Oid>) = commits.iter().partition(|commit| is_ours(commit));
    let lacks_parent = |id: &Oid| {
        let parents = commit::parents(store, *id);
        parents.is_some_and(|parents| parents.iter().any(|parent| !commit::exists(store, *parent)))
    };
    let ours = ours.into_iter().filter(lacks_parent);
    shallow::end_at(store, &theirs.into_iter().chain(ours).collect::<Vec<_>>())?;
    let graft = (|| {
        // Not through libgit2, which would have to parse each parent.
        let parents: Vec<String> = commits.iter().map(|id| format!("parent {id}\n")).collect();
        let nobody = "pushsync <pushsync> 0 +0000";
        let text = format!("tree {root}\n{}author {nobody}\ncommitter {nobody}\n\n{message}", parents.concat());
        store.odb()?.write(ObjectType::Commit, text.as_bytes())
    })();
    refs::write(store, name, graft.map_err(in_store)?)
}

/// One repository on the way down: the main one, or a submodule.
struct Place<'a> {
    url: &'a RemoteUrl,
    /// By path.
    modules: &'a HashMap<Vec<u8>, Module>,
    level: usize,
}

struct Walk<'a> {
    store: &'a Repository,
    options: &'a RemoteOptions,
    known: &'a [FlattenedSubmodule],
    /// Commits that were found whole before.
    whole: HashSet<Oid>,
    /// Commits that were looked for in this walk.
    looked: HashMap<Oid, bool>,
    /// What a commit at an address became, and the submodules in it; so that what is there twice is walked once.
    done: HashMap<(String, Oid), (Oid, Vec<FlattenedSubmodule>)>,
    /// Folders without a submodule anywhere in them.
    plain: HashSet<Oid>,
    lines: Vec<FlattenedSubmodule>,
    missing: Vec<Needed>,
    notes: Vec<String>,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(store: &'a Repository, options: &'a RemoteOptions, known: Option<&'a Known>) -> Result<Self, Error> {
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

    /// What a folder becomes. `inner` is its path in its repository, `path` that in the published tree, and `twin` the same
    /// folder of a commit whose graft is known: before and after.
    fn folder(
        &mut self,
        place: &Place<'_>,
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
                        // Not even read: a push must not cost what it does not change.
                        Some((before, after)) if before == entry.id() => {
                            self.carry_over(&path)?;
                            after
                        }
                        _ => {
                            let inside = self.store.find_tree(entry.id()).map_err(|error| self.damaged(&error))?;
                            self.folder(place, &inside, inner, path.clone(), depth + 1, twin)?
                        }
                    }
                }
                Some(ObjectType::Commit) => match self.link(place, entry.id(), &inner, &path, depth + 1)? {
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
        if self.links == links_before {
            self.plain.insert(tree.id());
        }
        match builder {
            Some(builder) => builder.write().map_err(|error| self.damaged(&error)),
            None => Ok(tree.id()),
        }
    }

    /// The tree for a submodule; `None` if its folder stays empty, or if that cannot be told before more was fetched.
    fn link(
        &mut self,
        place: &Place<'_>,
        commit: Oid,
        inner: &[u8],
        path: &[u8],
        depth: usize,
    ) -> Result<Option<Oid>, Error> {
        self.count(1, path)?;
        let Some(module) = place.modules.get(inner) else {
            let path = shown(path);
            self.notes.push(format!("`{path}` is a submodule without an entry in .gitmodules: its folder stays empty"));
            return Ok(None);
        };
        if module.has_odd_name() {
            return Err(refused(path, "its name in .gitmodules is none that git accepts"));
        }
        match module.update.as_slice() {
            b"none" => return Ok(None),
            b"" | b"checkout" | b"rebase" | b"merge" => {}
            _ => return Err(refused(path, "`update` in .gitmodules is none of checkout, rebase, merge and none")),
        }
        if place.level >= DEEPEST {
            return Err(refused(path, "submodules are nested more than 16 deep"));
        }
        let url =
            url::resolve(&module.url, place.url, &self.options.url, |text| self.options.rewrite(text).into_owned());
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
                self.missing.push(Needed { path: shown(path), url, commit });
            }
            return Ok(None);
        }
        let first = self.lines.len();
        self.lines.push(FlattenedSubmodule { commit, address, path: prefix.clone() });
        let tree = commit::tree(self.store, commit);
        let tree = tree.map_err(|error| self.damaged(&error))?;
        let becomes = if self.options.submodules == Submodules::Recursive {
            let modules = self.modules(&tree, path)?;
            let place = Place { url: &url, modules: &modules, level: place.level + 1 };
            self.folder(&place, &tree, Vec::new(), path.to_vec(), depth, None)?
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

    /// The submodules in a folder that did not change.
    fn carry_over(&mut self, path: &[u8]) -> Result<(), Error> {
        let known = self.known;
        let below = if path.is_empty() { String::new() } else { format!("{}/", encode(path)) };
        let same = known.iter().filter(|used| used.path.starts_with(&below));
        let before = self.lines.len();
        self.lines.extend(same.cloned());
        self.count(self.lines.len() - before, path)
    }

    fn count(&mut self, more: usize, path: &[u8]) -> Result<(), Error> {
        self.links += more;
        if self.links > MOST {
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

    /// What `.gitmodules` of a tree says, by path.
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
