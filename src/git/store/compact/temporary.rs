//! A temporary repository in a folder of the store, in which packs are written that are not in use yet.
//!
//! The next process removes the folder of a killed one. It must not know what the packs are for.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryInitOptions};

use crate::git::error::Error;
use crate::git::store::compact::pack_files::{file, pack_folder, packs};

/// libgit2 compares each object with ten others to store differences, and holds all of them in memory. So large
/// objects are stored as they are. (`deltaCacheSize` is both limits: libgit2 reads the size from which an object is
/// large from the same key.)
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\
                      [pack]\n\tdeltaCacheSize = 8m\n\twindowMemory = 32m\n";

/// The name prefix of temporary folders in the store.
const PREFIX: &str = "pushsync-compact-";

/// The configuration where only some packs become one. Each of their objects is rewritten again and again over the years, so
/// that has to be cheap; a later full compaction finds the similarities.
const CONFIG_OF_PART: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\
                              [pack]\n\tdeltaCacheSize = 256k\n\twindowMemory = 8m\n";

/// The temporary repository. Dropping it removes the folder.
#[derive(Debug)]
pub(crate) struct TemporaryStore(PathBuf);

impl TemporaryStore {
    pub(crate) fn make(store: &Path) -> Result<Self, Error> {
        let path = store.join(format!("{PREFIX}{:x}-{:016x}", std::process::id(), fastrand::u64(..)));
        let workshop = Self(path);
        let mut options = RepositoryInitOptions::new();
        options.bare(true).no_reinit(true).external_template(false);
        Repository::init_opts(workshop.path(), &options).map_err(|error| Error::from_store(store, &error))?;
        fs::write(workshop.0.join("config"), CONFIG).map_err(|error| Error::from_disk(store, &error))?;
        Ok(workshop)
    }

    /// Compares large objects with no others.
    pub(crate) fn spare_comparisons(&self) -> std::io::Result<()> {
        fs::write(self.0.join("config"), CONFIG_OF_PART)
    }

    pub(crate) fn open(&self) -> Result<Repository, Error> {
        Repository::open_bare(&self.0).map_err(|error| Error::from_store(&self.0, &error))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Moves the packs of this repository into the store.
    pub(crate) fn hand_over(&self, store: &Repository) -> Result<(), Error> {
        let on_disk = |error: std::io::Error| Error::from_disk(store.path(), &error);
        let (from, to) = (pack_folder(&self.0), pack_folder(store.path()));
        for pack in packs(&self.0).map_err(on_disk)? {
            // The index last: a pack is visible once its index is there.
            for ending in ["pack", "idx"] {
                fs::rename(file(&from, &pack.stem, ending), file(&to, &pack.stem, ending)).map_err(on_disk)?;
            }
        }
        store.odb().and_then(|odb| odb.refresh()).map_err(|error| Error::from_store(store.path(), &error))
    }

    pub(crate) fn is_one(name: &OsStr) -> bool {
        name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
    }
}

impl Drop for TemporaryStore {
    fn drop(&mut self) {
        // If that fails, the next start of the process removes the folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
