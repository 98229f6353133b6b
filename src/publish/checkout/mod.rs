//! Writes a commit's tree: as a whole, or by updating another commit's tree.

pub(crate) mod build;
pub(crate) mod incremental;
pub(crate) mod model;
pub(crate) mod writers;
