//! Keeps the store open between the announcement of a push and the build that follows within a moment.
//!
//! libgit2 opens every pack of the store to find the first object, which is done while the push is still being fetched. It
//! finds packs that arrive later by itself. The store must not be kept open for longer: a removed pack takes space on the
//! disk as long as it is open.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::publish::error::Error;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::tree::view::Objects;

/// How long the open store may be used. A push that takes longer to arrive is slow anyway.
const COUNTS: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct StoreCache(Mutex<Option<Opened>>);

struct Opened {
    at: Instant,
    /// Device and inode of the folder: a damaged store is replaced by a new one.
    store: Option<(u64, u64)>,
    options: u64,
    objects: Objects,
}

impl StoreCache {
    pub(crate) fn keep(&self, store: &Path, options: &CheckoutOptions, objects: Objects) {
        let opened = Opened { at: Instant::now(), store: identity(store), options: options.fingerprint(), objects };
        self.replace(Some(opened));
    }

    /// Returns the store that was opened a moment ago with the same folder and options, or opens it now.
    pub(crate) fn take_or_open(&self, store: &Path, options: &Arc<CheckoutOptions>) -> Result<Objects, Error> {
        match self.replace(None) {
            Some(opened)
                if opened.at.elapsed() < COUNTS
                    // Without an identity a replaced store would not be noticed.
                    && opened.store.is_some()
                    && opened.store == identity(store)
                    && opened.options == options.fingerprint() =>
            {
                Ok(opened.objects)
            }
            _ => Objects::open(store, options),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Closes the store, which no build used.
    pub(crate) fn close(&self) {
        self.replace(None);
    }

    fn replace(&self, next: Option<Opened>) -> Option<Opened> {
        std::mem::replace(&mut *self.0.lock(), next)
    }
}

fn identity(store: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(store).ok().map(|folder| (folder.dev(), folder.ino()))
}

impl fmt::Debug for StoreCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warm")
    }
}
