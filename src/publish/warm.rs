//! The store as it was opened for a push that was on its way, for the build that follows within a moment.
//!
//! libgit2 opens every pack of the store to find the first object. That is done while the push is still being fetched; of a
//! pack that comes later it learns by itself. It must not be kept for longer: a pack that was removed takes its space on the
//! disk for as long as somebody has it open.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Error;
use super::objects::Objects;
use super::shape::Shape;

/// For how long it counts. A push that takes longer to come is slow anyway.
const COUNTS: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Warm(Mutex<Option<Opened>>);

struct Opened {
    at: Instant,
    /// Which folder it is: a damaged store gives its place to a new one.
    store: Option<(u64, u64)>,
    shape: u64,
    objects: Objects,
}

impl Warm {
    pub(super) fn keep(&self, store: &Path, shape: &Shape, objects: Objects) {
        let opened = Opened { at: Instant::now(), store: identity(store), shape: shape.fingerprint(), objects };
        self.replace(Some(opened));
    }

    /// What was opened a moment ago for the same store and shape, or the store, opened now.
    pub(super) fn take_or_open(&self, store: &Path, shape: &Arc<Shape>) -> Result<Objects, Error> {
        match self.replace(None) {
            Some(opened)
                if opened.at.elapsed() < COUNTS
                    && opened.store.is_some()
                    && opened.store == identity(store)
                    && opened.shape == shape.fingerprint() =>
            {
                Ok(opened.objects)
            }
            _ => Objects::open(store, shape),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Nobody came for it.
    pub(super) fn close(&self) {
        self.replace(None);
    }

    fn replace(&self, next: Option<Opened>) -> Option<Opened> {
        std::mem::replace(&mut *self.0.lock(), next)
    }
}

fn identity(store: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(store).ok().map(|folder| (folder.dev(), folder.ino()))
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Warm")
    }
}
