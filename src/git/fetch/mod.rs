//! Fetching commits and files into the store: planning, the protocol v2 path, the libgit2 path and ingesting packs.
//!
//! It must not know of LFS objects, of submodules beyond a single commit, or of compaction.

pub(crate) mod by_hash;
pub(crate) mod commit;
pub(crate) mod filter_state;
pub(crate) mod history_depth;
pub(crate) mod ingest;
pub(crate) mod libgit2;
pub(crate) mod local_copy;
pub(crate) mod missing_files;
pub(crate) mod plan;
pub(crate) mod speculative;
pub(crate) mod state;
pub(crate) mod v2;
pub(crate) mod want;
