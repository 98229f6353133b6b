//! The marker for a partial clone: a store that may lack files which `--filter` left out.
//!
//! Commits and folders are always there. Later fetches and compactions read the marker, also when the filter is gone,
//! until the missing files have been fetched.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use crate::git::error::Error;

/// The marker's file name in the store.
const MARKER: &str = "pushsync-partial";

/// Returns true if the store may lack files.
pub(crate) fn is_partial(store: &Path) -> bool {
    fs::symlink_metadata(store.join(MARKER)).is_ok()
}

/// Creates the marker. Callers do so before they ingest the first filtered pack.
pub(crate) fn mark(store: &Path) -> Result<(), Error> {
    match File::create_new(store.join(MARKER)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::from_disk(store, &error)),
        _ => Ok(()),
    }
}

/// Removes the marker.
pub(crate) fn unmark(store: &Path) -> Result<(), Error> {
    fs::remove_file(store.join(MARKER)).map_err(|error| Error::from_disk(store, &error))
}
