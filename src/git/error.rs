//! What can go wrong with a remote or the object store, and what to do about each.

use crate::error::Retry;

/// A look, a fetch or a read of the store that failed.
#[derive(Debug, thiserror::Error)]
#[error("not built yet")]
pub struct Error;

impl Error {
    /// The stable word for machines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        "internal"
    }

    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Soon
    }

    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        None
    }

    /// True if the object store itself is damaged, so that only a new one helps.
    #[must_use]
    pub fn store_is_damaged(&self) -> bool {
        false
    }
}
