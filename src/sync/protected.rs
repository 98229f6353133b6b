//! Commits whose trees and objects no removal may touch, although no link names them.
//!
//! A removal reads them on the disk's thread, after the sync that needs them has noted them. It must not know removals.

use git2::Oid;
use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(crate) struct ProtectedCommits(Mutex<Protected>);

#[derive(Clone, Copy, Debug, Default)]
struct Protected {
    /// The tree that was built last and may become visible: the pre-publish hook may be running in it.
    candidate: Option<Oid>,
    /// The commit that the pre-publish hook rejected: its tree is kept for the next try.
    rejected: Option<Oid>,
    /// True once a sync of this process has succeeded.
    has_synced: bool,
}

impl ProtectedCommits {
    pub(crate) fn set_candidate(&self, commit: Oid) {
        self.0.lock().candidate = Some(commit);
    }

    pub(crate) fn set_rejected(&self, commit: Option<Oid>) {
        self.0.lock().rejected = commit;
    }

    pub(crate) fn note_success(&self) {
        self.0.lock().has_synced = true;
    }

    pub(crate) fn commits(&self) -> impl Iterator<Item = Oid> + use<> {
        // A copy, so that the lock is not held while the caller works with the commits.
        let Protected { candidate, rejected, .. } = *self.0.lock();
        candidate.into_iter().chain(rejected)
    }

    /// False before the first successful sync of the process, unless one has said what it needs: partial downloads of an
    /// earlier process may be of the wanted commit.
    pub(crate) fn are_known(&self) -> bool {
        let protected = *self.0.lock();
        protected.has_synced || protected.candidate.is_some()
    }
}
