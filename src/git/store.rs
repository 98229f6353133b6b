//! The bare repository on the volume: made on demand, opened only if it is ours, moved away when damaged.
//!
//! Others can write the volume. So its configuration is compared with our own words instead of being trusted, no hooks
//! or filters exist for us, and objects from elsewhere (alternates) are refused. Knows no remote.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository, RepositoryInitOptions, Tree};

use crate::commit;

use super::error::Cause;
use super::{Error, partial, shallow};

/// What our ref was when it was last complete.
pub(super) const HEAD: &str = "refs/pushsync/head";
/// What it was before: its tree is what the next one is built from.
pub(super) const PREVIOUS: &str = "refs/pushsync/previous";
/// The commit that was last asked for by its hash.
pub(super) const PIN: &str = "refs/pushsync/pin";
/// Where a fetch arrives; it lives no longer than the fetch.
pub(super) const INCOMING: &str = "refs/pushsync/incoming";
/// Where the refs of a submodule's remote arrive, if it takes all of them to find one commit; they live no longer either.
pub(super) const ARRIVING: &str = "refs/pushsync/arriving/";
/// Everything, besides the grafts of submodules, that keeps objects alive and `shallow` entries in place.
pub(super) const KEPT: [&str; 3] = [HEAD, PREVIOUS, PIN];

/// The whole configuration. `followRedirects = false` means to libgit2: never to another host; the call that lists refs
/// takes this from nowhere else. The last section is how we know the store as ours.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\
                      [http]\n\tfollowRedirects = false\n[pushsync]\n\tstore = 1\n";

/// Opens the store, making it first if there is nothing.
pub(super) fn open(store: &Path) -> Result<Repository, Error> {
    if let Err(error) = fs::symlink_metadata(store)
        && error.kind() == ErrorKind::NotFound
    {
        create(store)?;
    }
    open_existing(store)
}

/// The same for who must not make one.
pub(super) fn open_existing(store: &Path) -> Result<Repository, Error> {
    match fs::symlink_metadata(store) {
        Err(error) => return Err(Error::from_disk(store, &error)),
        Ok(kind) if !kind.is_dir() => return Err(Error::Foreign { store: store.to_owned() }),
        Ok(_) => {}
    }
    match fs::read_to_string(store.join("config")) {
        Ok(text) if text == CONFIG => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(Error::from_disk(store, &error)),
        _ => return Err(Error::Foreign { store: store.to_owned() }),
    }
    if fs::symlink_metadata(store.join("objects/info/alternates")).is_ok() {
        return Err(Error::Foreign { store: store.to_owned() });
    }
    let repository = Repository::open_bare(store).map_err(|error| Error::from_store(store, &error))?;
    // libgit2 would stumble over a broken one in the middle of a fetch and blame the remote.
    shallow::roots(&repository)?;
    Ok(repository)
}

/// Made beside its place and renamed, so that a kill leaves either nothing or a whole store.
fn create(store: &Path) -> Result<(), Error> {
    let on_disk = |error: std::io::Error| Error::from_disk(store, &error);
    let half = sibling(store, "new");
    remove(&half).map_err(on_disk)?;
    if let Some(parent) = store.parent() {
        fs::create_dir_all(parent).map_err(on_disk)?;
    }
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).external_template(false);
    Repository::init_opts(&half, &options).map_err(|error| match Error::from_store(store, &error) {
        // A place where nothing can be made is no damaged store.
        Error::Damaged { store, source } => Error::StoreAccess { store, source },
        other => other,
    })?;
    fs::write(half.join("config"), CONFIG).map_err(on_disk)?;
    fs::rename(&half, store).map_err(on_disk)
}

/// Every ref there is, by what it names: each keeps its commit, and the history of it, in the store.
pub(super) fn roots(store: &Repository) -> Result<HashSet<Oid>, Error> {
    let damaged = |error: git2::Error| Error::from_store(store.path(), &error);
    let mut roots = HashSet::new();
    for reference in store.references().map_err(damaged)? {
        roots.extend(reference.map_err(damaged)?.target());
    }
    Ok(roots)
}

/// Moves the store out of the way. One damaged store is kept for whoever wants to look into it.
pub(super) fn discard(store: &Path) -> Result<(), Error> {
    let on_disk = |error: std::io::Error| Error::from_disk(store, &error);
    let aside = sibling(store, "damaged");
    remove(&aside).map_err(on_disk)?;
    match fs::rename(store, &aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(on_disk(error)),
        _ => Ok(()),
    }
}

/// Frees what a discarded store takes, once its successor is whole.
pub(super) fn forget_discarded(store: &Path) {
    let _ = remove(&sibling(store, "damaged"));
}

/// The same for a process that was killed before it came to that: a store that keeps a commit was whole since.
pub(super) fn forget_outlived(store: &Path) {
    if fs::symlink_metadata(sibling(store, "damaged")).is_err() {
        return;
    }
    let keeps = |store: Repository| KEPT.iter().any(|name| matches!(kept(&store, name), Ok(Some(_))));
    if Repository::open_bare(store).is_ok_and(keeps) {
        forget_discarded(store);
    }
}

fn sibling(store: &Path, ending: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

/// The commit that a ref of ours names. A ref that is missing is no error; one that names nothing is damage.
pub(super) fn kept(store: &Repository, name: &str) -> Result<Option<Oid>, Error> {
    match store.refname_to_id(name) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(Error::from_store(store.path(), &error)),
    }
}

pub(super) fn keep(store: &Repository, name: &str, commit: Oid) -> Result<(), Error> {
    store.reference(name, commit, true, "pushsync").map(drop).map_err(|error| Error::from_store(store.path(), &error))
}

pub(super) fn drop_ref(store: &Repository, name: &str) -> Result<(), Error> {
    match store.find_reference(name) {
        Ok(mut reference) => reference.delete().map_err(|error| Error::from_store(store.path(), &error)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(()),
        Err(error) => Err(Error::from_store(store.path(), &error)),
    }
}

/// Every ref whose name begins so, and what it names.
pub(super) fn refs_below(store: &Repository, beginning: &str) -> Result<Vec<(String, Oid)>, Error> {
    let damaged = |error: git2::Error| Error::from_store(store.path(), &error);
    let mut found = Vec::new();
    for reference in store.references_glob(&format!("{beginning}*")).map_err(damaged)? {
        let reference = reference.map_err(damaged)?;
        if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
            found.push((name.to_owned(), id));
        }
    }
    Ok(found)
}

pub(super) fn drop_refs(store: &Repository, beginning: &str) -> Result<(), Error> {
    refs_below(store, beginning)?.iter().try_for_each(|(name, _)| drop_ref(store, name))
}

/// True if the commit and every tree and blob of it are there; in a partial store, where blobs are fetched when they are
/// needed, every tree. What `known` shares with it was checked before.
pub(super) fn is_complete(store: &Repository, commit: Oid, known: Option<Oid>) -> Result<bool, Error> {
    is_there(store, commit, known, !partial::is_partial(store.path()))
}

/// The same, blobs and all, in any store.
pub(super) fn is_whole(store: &Repository, commit: Oid, known: Option<Oid>) -> Result<bool, Error> {
    is_there(store, commit, known, true)
}

fn is_there(store: &Repository, commit: Oid, known: Option<Oid>, with_blobs: bool) -> Result<bool, Error> {
    let damaged = |error: git2::Error| Error::from_store(store.path(), &error);
    let Some(tree) = present(commit::tree(store, commit)).map_err(|error| malformed_or(store, commit, &error))? else {
        return Ok(false);
    };
    let known = known.and_then(|known| commit::tree(store, known).ok());
    let odb = store.odb().map_err(damaged)?;
    let mut pending = vec![(tree, known)];
    while let Some((tree, known)) = pending.pop() {
        for entry in &tree {
            let twin = known.as_ref().and_then(|known: &Tree<'_>| known.get_name_bytes(entry.name_bytes()));
            if twin.as_ref().is_some_and(|twin| twin.id() == entry.id()) {
                continue;
            }
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let Some(inner) = present(store.find_tree(entry.id())).map_err(damaged)? else {
                        return Ok(false);
                    };
                    pending.push((inner, twin.and_then(|twin| store.find_tree(twin.id()).ok())));
                }
                // A submodule: its commits are in another repository.
                Some(ObjectType::Commit) => {}
                _ if !with_blobs || odb.exists(entry.id()) => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// The error for a commit whose tree cannot be read. One that is there and names no tree is no fault of the store.
fn malformed_or(store: &Repository, commit: Oid, error: &git2::Error) -> Error {
    if commit::exists(store, commit) && commit::tree_id(store, commit).is_err() {
        return Error::MalformedCommit { commit, source: Cause::from(error) };
    }
    Error::from_store(store.path(), error)
}

/// Says once of a commit that came in that libgit2 cannot parse it.
pub(super) fn note_malformed(store: &Repository, commit: Oid) {
    if let Err(error) = store.find_commit(commit)
        && commit::exists(store, commit)
    {
        let why = Cause::from(&error);
        tracing::warn!(%commit, %why, "this commit breaks the format of git; its tree is published, as git would check it out");
    }
}

/// Tells an object that is not there from one that cannot be read.
fn present<T>(found: Result<T, git2::Error>) -> Result<Option<T>, git2::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The one commit whose hash begins with `prefix`, of those that are not foreign; none if there is none or more than one.
pub(super) fn resolve_prefix(store: &Repository, prefix: &str, foreign: &HashSet<Oid>) -> Result<Option<Oid>, Error> {
    if !(4..=40).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let damaged = |error: git2::Error| Error::from_store(store.path(), &error);
    let odb = store.odb().map_err(damaged)?;
    let padded = format!("{prefix:0<40}");
    let short = Oid::from_str(&padded).map_err(damaged)?;
    match odb.exists_prefix(short, prefix.len()) {
        Ok(id) => Ok((!foreign.contains(&id) && commit::exists(store, id)).then_some(id)),
        Err(error) if error.code() == git2::ErrorCode::Ambiguous => {
            // Trees and blobs share the prefix: look for commits only.
            let prefix = prefix.to_ascii_lowercase();
            let mut found = Vec::new();
            odb.foreach(|id| {
                if id.to_string().starts_with(&prefix) {
                    found.push(*id);
                }
                true
            })
            .map_err(damaged)?;
            found.retain(|id| !foreign.contains(id) && commit::exists(store, *id));
            found.dedup();
            Ok(if let [only] = found[..] { Some(only) } else { None })
        }
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(damaged(error)),
    }
}

pub(super) fn damaged(store: &Repository, words: &str) -> Error {
    Error::Damaged { store: store.path().to_owned(), source: Cause::new(words) }
}
