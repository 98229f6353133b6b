//! Fetching commits and files into the store: planning, the protocol v2 path, the libgit2 path and ingesting packs.

pub(crate) mod ingest;
pub(crate) mod libgit2;
pub(crate) mod partial;
pub(crate) mod speculative;
pub(crate) mod v2;
pub(crate) mod want;
