//! Writes a commit's tree: as a whole, or by updating another commit's tree.
//!
//! It must not know when a tree is published, nor who reads it.

pub(crate) mod full;
pub(crate) mod incremental;
pub(crate) mod new_tree;
pub(crate) mod plan;
pub(crate) mod reference;
pub(crate) mod writers;

use git2::Oid;

/// A complete tree under `.worktrees/<commit>` that the link does not name yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub commit: Oid,
    /// The number of written files and links; 0 if the tree existed already.
    pub files: u64,
    /// The size of their content in bytes.
    pub bytes: u64,
    /// The commit of the standby tree that it was made from; `None` if the tree is fresh or existed already.
    pub standby: Option<Oid>,
    /// The reason why a standby tree was not used.
    pub note: Option<String>,
    /// Remarks for the operator on the files: Git LFS pointers, filters that are not run.
    pub remarks: Vec<String>,
}
