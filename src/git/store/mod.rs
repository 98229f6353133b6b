//! The bare repository on the volume: refs, the `shallow` file, completeness, history, locks and compaction.
//!
//! It must not know of remotes, credentials or the network.

pub(crate) mod advance;
pub(crate) mod compact;
pub(crate) mod completeness;
pub(crate) mod depth;
pub(crate) mod flattened;
pub(crate) mod handle;
pub(crate) mod history;
pub(crate) mod keep;
pub(crate) mod locks;
pub(crate) mod missing_blobs;
pub(crate) mod partial_clone;
pub(crate) mod refs;
pub(crate) mod repository;
pub(crate) mod shallow;
