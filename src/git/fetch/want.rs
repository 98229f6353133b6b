//! The input and the result of a fetch.

use git2::Oid;

use crate::git::remote::resolve_ref::RemoteHead;
use crate::git::store::refs;

/// The commit to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The commit that resolving the followed ref returned.
    Seen(RemoteHead),
    /// One commit by its hash (a pin). If the store lacks it, the server has to allow requests by hash.
    Commit(Oid),
    /// A submodule's commit without its history. No ref keeps it; the flattened tree does.
    Module(Oid),
}

/// The result of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The commit that is complete in the store now: the wanted one, or a newer one if the ref moved in between.
    pub commit: Oid,
    /// Bytes received; 0 if the store had everything.
    pub bytes: u64,
    /// Objects received; 0 if the store had everything.
    pub objects: u64,
}

/// Returns the wanted commit and the ref that keeps it.
pub(crate) fn target(want: &Want) -> (Oid, &'static str) {
    match want {
        Want::Seen(RemoteHead { commit, full_ref: Some(_), .. }) => (*commit, refs::HEAD),
        Want::Seen(RemoteHead { commit, .. }) | Want::Commit(commit) => (*commit, refs::PIN),
        // It has no ref of its own: the flattened tree keeps it.
        Want::Module(commit) => (*commit, refs::INCOMING),
    }
}
