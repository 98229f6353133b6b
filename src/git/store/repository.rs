//! The bare repository on the volume: created on demand, opened only if this program created it, moved aside when
//! damaged.
//!
//! Other processes can write the volume. So the configuration has to be exactly the one that is written here, there
//! are no hooks or filters, and objects from elsewhere (alternates) are refused. It must not know of remotes.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, RepositoryInitOptions};

use crate::commit;
use crate::git::error::Error;
use crate::git::store::{refs, shallow};

/// The whole configuration. `followRedirects = false` makes libgit2 refuse redirects to another host; listing refs has
/// no other option for it. The last section marks the store as created by this program.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\
                      [http]\n\tfollowRedirects = false\n[pushsync]\n\tstore = 1\n";

/// Opens the store, and creates it if it is missing.
pub(crate) fn open(store: &Path) -> Result<Repository, Error> {
    if let Err(error) = fs::symlink_metadata(store)
        && error.kind() == ErrorKind::NotFound
    {
        create(store)?;
    }
    open_existing(store)
}

/// Opens the store if it exists.
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
    // Alternates would bring in objects from outside of the store.
    if fs::symlink_metadata(store.join("objects/info/alternates")).is_ok() {
        return Err(Error::Foreign { store: store.to_owned() });
    }
    let repository = Repository::open_bare(store).map_err(|error| Error::from_store(store, &error))?;
    // libgit2 would fail at a broken file in the middle of a fetch, and blame the remote.
    shallow::boundary(&repository)?;
    Ok(repository)
}

/// Creates the store under a temporary name and renames it, so that a killed process leaves nothing or a complete
/// store.
fn create(store: &Path) -> Result<(), Error> {
    let on_disk = |error: std::io::Error| Error::from_disk(store, &error);
    let half = sibling(store, "new");
    remove(&half).map_err(on_disk)?;
    if let Some(parent) = store.parent() {
        fs::create_dir_all(parent).map_err(on_disk)?;
    }
    let mut options = RepositoryInitOptions::new();
    // A template could bring hooks and configuration.
    options.bare(true).no_reinit(true).external_template(false);
    Repository::init_opts(&half, &options).map_err(|error| match Error::from_store(store, &error) {
        // A folder in which nothing can be created is no damaged store.
        Error::Damaged { store, source } => Error::StoreAccess { store, source },
        other => other,
    })?;
    // Replaces libgit2's own configuration: `open_existing` accepts exactly this text.
    fs::write(half.join("config"), CONFIG).map_err(on_disk)?;
    fs::rename(&half, store).map_err(on_disk)
}

/// Moves the store aside. One damaged store is kept for inspection.
pub(crate) fn discard(store: &Path) -> Result<(), Error> {
    let on_disk = |error: std::io::Error| Error::from_disk(store, &error);
    let aside = sibling(store, "damaged");
    remove(&aside).map_err(on_disk)?;
    match fs::rename(store, &aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(on_disk(error)),
        _ => Ok(()),
    }
}

/// Removes the damaged store, once its successor is complete.
pub(crate) fn remove_discarded(store: &Path) {
    let _ = remove(&sibling(store, "damaged"));
}

/// Removes the damaged store if an earlier process was killed before that: a store with a tracked commit has been
/// complete.
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

/// Finds the one commit whose hash begins with `prefix` and that is not foreign. `None` if there is none, or more than
/// one.
pub(crate) fn resolve_prefix(store: &Repository, prefix: &str, foreign: &HashSet<Oid>) -> Result<Option<Oid>, Error> {
    if !crate::hash::is_prefix(prefix, 4) {
        return Ok(None);
    }
    let damaged = |error: git2::Error| Error::from_store(store.path(), &error);
    let odb = store.odb().map_err(damaged)?;
    let padded = format!("{prefix:0<40}");
    let short = Oid::from_str(&padded).map_err(damaged)?;
    match odb.exists_prefix(short, prefix.len()) {
        Ok(id) => Ok((!foreign.contains(&id) && commit::exists(store, id)).then_some(id)),
        Err(error) if error.code() == git2::ErrorCode::Ambiguous => {
            // Trees and blobs share the prefix, so only commits are counted.
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
