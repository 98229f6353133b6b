//! The state that is kept for one remote between fetches.

use git2::Oid;
use parking_lot::Mutex;

use crate::git::store::handle::Store;

use super::by_hash::LastSearch;
use super::filter_state::FilterState;
use super::history_depth::HistoryDepth;
use super::plan::PackRequest;

/// The state of one remote. A value that was kept for one commit is taken, so it counts once.
#[derive(Debug, Default)]
pub(crate) struct FetchState {
    /// The history's depth compared with `--depth`.
    pub depth: HistoryDepth,
    /// `--filter` and the files that it left out.
    pub filter: FilterState,
    /// The last search for a commit behind the refs of the remote.
    pub last_search: LastSearch,
    /// The request for a push that continues from the followed ref, and the store's count of changes when it was planned.
    prepared: Mutex<Option<(u64, PackRequest)>>,
    /// The last fetched commit, if it needs no submodules, with the notes about it.
    without_submodules: Mutex<Option<(Oid, Vec<String>)>>,
    /// The last fetched commit, if no filter was involved: the store lacks nothing of it.
    complete: Mutex<Option<Oid>>,
}

impl FetchState {
    /// Returns the state for a remote whose history is never adjusted to `--depth`.
    pub(crate) fn with_fixed_depth() -> Self {
        Self { depth: HistoryDepth::already_adjusted(), ..Self::default() }
    }

    /// Keeps the request for the next push. Any later change of the store invalidates it.
    pub(crate) fn set_prepared(&self, changes: u64, request: Option<PackRequest>) {
        *lock(&self.prepared) = request.map(|request| (changes, request));
    }

    /// Takes the request for the next push, if the store has not changed since.
    pub(crate) fn take_prepared(&self, store: &Store) -> Option<PackRequest> {
        let (changes, request) = lock(&self.prepared).take()?;
        (changes == store.changes()).then_some(request)
    }

    /// Records what is known about a commit that was just fetched.
    pub(crate) fn set_fetched(&self, without_submodules: Option<(Oid, Vec<String>)>, complete: Option<Oid>) {
        *lock(&self.without_submodules) = without_submodules;
        *lock(&self.complete) = complete;
    }

    /// Takes the notes about a commit, if it is the last fetched one and needs no submodules.
    pub(crate) fn take_notes_without_submodules(&self, commit: Oid) -> Option<Vec<String>> {
        lock(&self.without_submodules).take().filter(|(last, _)| *last == commit).map(|(_, notes)| notes)
    }

    /// Returns true if the commit is the last fetched one and lacks nothing. It counts for the sync that fetched it, not
    /// for a store that was put in its place since, so the value is taken.
    pub(crate) fn take_is_complete(&self, commit: Oid) -> bool {
        lock(&self.complete).take() == Some(commit)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    mutex.lock()
}
