//! The bare repository on the volume: made on demand, opened only if it is ours, moved away when damaged.
//!
//! Others can write the volume. So its configuration is compared with our own words instead of being trusted, no hooks
//! or filters exist for us, and objects from elsewhere (alternates) are refused. Knows no remote.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, RepositoryInitOptions};

use crate::commit;
use crate::git::error::Error;
use crate::git::store::{refs, shallow};

/// The whole configuration. `followRedirects = false` means to libgit2: never to another host; the call that lists refs
/// takes this from nowhere else. The last section is how we know the store as ours.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\
                      [http]\n\tfollowRedirects = false\n[pushsync]\n\tstore = 1\n";

/// Opens the store, making it first if there is nothing.
pub(crate) fn open(store: &Path) -> Result<Repository, Error> {
    if let Err(error) = fs::symlink_metadata(store)
        && error.kind() == ErrorKind::NotFound
    {
        create(store)?;
    }
    open_existing(store)
}

/// The same for who must not make one.
pub(crate) fn open_existing(store: &Path) -> Result<Repository, Error> {
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
    shallow::boundary(&repository)?;
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

/// Moves the store out of the way. One damaged store is kept for whoever wants to look into it.
pub(crate) fn discard(store: &Path) -> Result<(), Error> {
    let on_disk = |error: std::io::Error| Error::from_disk(store, &error);
    let aside = sibling(store, "damaged");
    remove(&aside).map_err(on_disk)?;
    match fs::rename(store, &aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(on_disk(error)),
        _ => Ok(()),
    }
}

/// Frees what a discarded store takes, once its successor is whole.
pub(crate) fn remove_discarded(store: &Path) {
    let _ = remove(&sibling(store, "damaged"));
}

/// The same for a process that was killed before it came to that: a store that keeps a commit was whole since.
pub(crate) fn remove_outlived(store: &Path) {
    if fs::symlink_metadata(sibling(store, "damaged")).is_err() {
        return;
    }
    let keeps = |store: Repository| refs::TRACKED.iter().any(|name| matches!(refs::read(&store, name), Ok(Some(_))));
    if Repository::open_bare(store).is_ok_and(keeps) {
        remove_discarded(store);
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

/// The one commit whose hash begins with `prefix`, of those that are not foreign; none if there is none or more than one.
pub(crate) fn resolve_prefix(store: &Repository, prefix: &str, foreign: &HashSet<Oid>) -> Result<Option<Oid>, Error> {
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
