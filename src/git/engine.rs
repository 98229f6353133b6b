//! The engine: the front of the git area. It holds the store, the remote and the state between calls, and passes each call
//! on to the module that does the work.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{Oid, Repository};
use tokio::time::Instant;

use crate::lfs::Lacking;
use crate::sparse::Sparse;
use crate::worker::Cancel;

use super::error::Error;
use super::fetch::commit::fetch_commit;
use super::fetch::missing_files;
use super::fetch::speculative::{self, ExpectedCommit, SpeculativeFetch};
use super::fetch::state::FetchState;
use super::fetch::want::{Fetched, Want};
use super::lfs::fetch::{DownloadedObjects, LfsClients, fetch_objects};
use super::libgit2::limits;
use super::maintenance::Maintenance;
use super::remote::connection::Remote;
use super::remote::ls_remote::ls_remote;
use super::remote::options::RemoteOptions;
use super::remote::resolve_ref::RemoteHead;
use super::store::compact::install::Compacted;
use super::store::compact::plan::Effort;
use super::store::handle::Store;
use super::store::history::{self, Ancestry, Commit, Span};
use super::store::{flattened, keep, repository, shallow};
use super::submodules::fetch::{Modules, SubmoduleRemotes, fetch_submodules};

/// The git engine for one repository. Cheap to clone; all clones share one thread.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Store,
    remote: Remote,
    fetches: Arc<FetchState>,
    maintenance: Maintenance,
    submodules: SubmoduleRemotes,
    lfs: LfsClients,
}

impl Engine {
    /// Prepares the engine; nothing is touched before the first call. `store` is the folder of the bare repository, which is
    /// created when needed.
    ///
    /// The first engine of a process sets libgit2's timeouts for all of them (see `libgit2::limits`).
    #[must_use]
    pub fn new(options: RemoteOptions, store: PathBuf) -> Self {
        // Before the first use of libgit2: its settings cannot be changed later.
        limits::apply(options.timeout);
        Self(Arc::new(Inner {
            store: Store::new(store),
            remote: Remote::new(options),
            fetches: Arc::default(),
            maintenance: Maintenance::new(),
            submodules: SubmoduleRemotes::default(),
            lfs: LfsClients::default(),
        }))
    }

    /// Starts creating the HTTP client in the background, if that takes time.
    pub fn prepare_client(&self) {
        self.0.remote.prepare_client();
    }

    /// Ends the idle threads until the next call.
    pub fn rest(&self) {
        self.0.store.rest();
        self.0.maintenance.rest();
    }

    /// Returns the options of the remote.
    #[must_use]
    pub fn options(&self) -> &RemoteOptions {
        self.0.remote.options()
    }

    /// Returns the folder of the bare repository.
    #[must_use]
    pub fn store(&self) -> &Path {
        self.0.store.path()
    }

    /// Returns the address that the remote redirected the last request to. `None` if it did not, or is not reached over HTTP.
    #[must_use]
    pub fn redirected_to(&self) -> Option<String> {
        self.0.remote.redirected_to()
    }

    /// Asks the remote which commit the followed ref names. A missing ref is an error. A configured hash costs no request.
    pub async fn ls_remote(&self) -> Result<RemoteHead, Error> {
        ls_remote(&self.0.store, &self.0.remote).await
    }

    /// Resolves the followed ref, and beside that fetches the commit that it is expected to name. Only a commit that the ref
    /// names is kept. `meanwhile` starts when the commit is confirmed.
    pub async fn resolve_and_fetch(
        &self,
        ahead: ExpectedCommit,
        meanwhile: impl Future<Output = ()>,
    ) -> Result<(RemoteHead, SpeculativeFetch), Error> {
        let Inner { store, remote, fetches, .. } = &*self.0;
        speculative::resolve_and_fetch(store, remote, fetches, ahead, meanwhile).await
    }

    /// Prepares the request for a push on top of the current commit. To be called while nothing waits for the store.
    pub async fn prepare_for_push(&self) {
        speculative::prepare(&self.0.store, &self.0.remote, &self.0.fetches).await;
    }

    /// Brings a commit with its whole tree into the store. Does nothing, cheaply, if the store has it.
    pub async fn fetch(&self, want: Want) -> Result<Fetched, Error> {
        self.fetch_forward(want, None).await
    }

    /// Like [`Engine::fetch`], with the hint that the commit descends from `fast_forward_from`. It saves the server work if
    /// that is the last commit of the followed ref. A wrong hint costs some bytes and does no harm.
    pub async fn fetch_forward(&self, want: Want, fast_forward_from: Option<Oid>) -> Result<Fetched, Error> {
        let Inner { store, remote, fetches, maintenance, .. } = &*self.0;
        // Read before `truncate_history` sets it.
        let depth_is_adjusted = fetches.depth.is_adjusted();
        let fetched = fetch_commit(store, remote, fetches, want, fast_forward_from, depth_is_adjusted).await?;
        // An earlier process may have filled the store with another `--depth`. Only the first fetch does this.
        maintenance.truncate_history(store, remote, fetches, true).await;
        Ok(fetched)
    }

    /// Returns true if a fetched commit may lack files, so that [`Engine::fetch_files`] has work to do.
    pub async fn may_lack_files(&self, commit: Oid) -> Result<bool, Error> {
        missing_files::may_lack_files(&self.0.store, &self.0.remote, &self.0.fetches, commit).await
    }

    /// Fetches the files of a commit that the store lacks: with `--filter` those that the patterns select, without it all.
    /// The store has to have the commit.
    pub async fn fetch_files(&self, commit: Oid, sparse: Option<Arc<Sparse>>) -> Result<Fetched, Error> {
        missing_files::fetch_files(&self.0.store, &self.0.remote, &self.0.fetches, commit, sparse).await
    }

    /// Once `--filter` is gone: fetches the files that it left out of all tracked commits. Returns true if none is missing any
    /// more.
    pub async fn complete_partial_clone(&self) -> Result<bool, Error> {
        missing_files::complete_partial_clone(&self.0.store, &self.0.remote, &self.0.fetches).await
    }

    /// Fetches the submodules of a commit and writes its flattened tree. The store has to have the commit. The flattened trees
    /// of the commits in `keep` are kept, besides those of the tracked refs.
    pub async fn fetch_submodules(&self, commit: Oid, keep: Vec<Oid>) -> Result<Modules, Error> {
        let Inner { store, remote, fetches, submodules, .. } = &*self.0;
        fetch_submodules(store, remote, fetches, submodules, commit, keep).await
    }

    /// Downloads the LFS objects that the tree of a commit needs and the volume lacks. The store has to have the commit.
    /// Interrupted downloads of other objects are discarded.
    pub async fn fetch_objects(
        &self,
        commit: Oid,
        lacking: Vec<Lacking>,
        full_ref: Option<String>,
    ) -> Result<DownloadedObjects, Error> {
        let Inner { store, remote, lfs, .. } = &*self.0;
        fetch_objects(store, remote, lfs, commit, lacking, full_ref).await
    }

    /// Compacts the store if it is worth the cost. All refs and the commits in `keep` are kept, with their history at the
    /// configured depth. `None`: there was nothing to do, or another compaction is running; a full one waits for that one to
    /// end.
    pub async fn compact(&self, effort: Effort, keep: Vec<Oid>) -> Result<Option<Compacted>, Error> {
        self.0.maintenance.compact(&self.0.store, &self.0.remote, effort, keep).await
    }

    /// Drops the refs that keep other commits than these, before a compaction on a full volume. The followed ref goes back to
    /// `live` then: what was fetched after that was never published.
    pub async fn keep_only(&self, keep: Vec<Oid>, live: Option<Oid>) -> Result<(), Error> {
        let submodules = self.options().submodules;
        let keep = move |path: &Path, _: &Cancel| keep::keep_only(path, &keep, live, submodules);
        self.0.store.run(&self.0.remote.deadline(), keep).await
    }

    /// Returns true if the history may have another depth than `--depth`: an earlier process filled the store, and this one
    /// has not compared it yet, or could not fetch the missing part.
    #[must_use]
    pub fn needs_depth_adjustment(&self) -> bool {
        self.0.fetches.depth.needs_adjustment()
    }

    /// Returns how many attempts to fetch more history failed in a row. To be read before [`Engine::adjust_depth`], for
    /// [`Engine::clear_depth_failures`].
    #[must_use]
    pub fn failed_depth_adjustments(&self) -> Option<u32> {
        self.0.fetches.depth.failed_attempts()
    }

    /// Records that every history was adjusted, unless an attempt has failed since there were `attempts` failures.
    pub fn clear_depth_failures(&self, attempts: Option<u32>) {
        self.0.fetches.depth.clear_failures(attempts);
    }

    /// Adjusts the history of a published commit to the configured depth when there is nothing else to fetch. A request is
    /// sent only if the store has too little history. Errors are logged, and the attempt is repeated later.
    pub async fn adjust_depth(&self, published: Want, deadline: Instant) -> Option<Fetched> {
        let Inner { store, remote, fetches, maintenance, .. } = &*self.0;
        let deadline = remote.deadline_at(deadline);
        maintenance.adjust_depth(store, remote, fetches, published, &deadline).await
    }

    /// Reads one commit of the store.
    pub async fn commit(&self, id: Oid) -> Result<Commit, Error> {
        let Inner { store, remote, .. } = &*self.0;
        let deadline = remote.deadline();
        let read = store.read(&deadline, move |path, _| {
            let store = repository::open(path)?;
            history::describe(&store, id).map_err(|error| unreadable(&store, id, &error))
        });
        read.await
    }

    /// Describes the commits between two commits of the store. An `old` that is `None` or not in the store is no error: then
    /// `count` is `None`, and only `new` is listed.
    pub async fn span(&self, old: Option<Oid>, new: Oid) -> Result<Span, Error> {
        let Inner { store, remote, .. } = &*self.0;
        let deadline = remote.deadline();
        let read = store.read(&deadline, move |path, _| {
            let store = repository::open(path)?;
            let boundary = shallow::boundary(&store)?;
            history::span(&store, &boundary, old, new).map_err(|error| unreadable(&store, new, &error))
        });
        read.await
    }

    /// Returns whether `commit` is `within` or one of its ancestors, by a deadline. Only the store is read.
    pub async fn ancestry(&self, commit: Oid, within: Oid, deadline: Instant) -> Result<Ancestry, Error> {
        let Inner { store, remote, .. } = &*self.0;
        let deadline = remote.deadline_at(deadline);
        let read = store.read(&deadline, move |path, _| {
            let store = repository::open(path)?;
            let contained = history::contains(&store, commit, within);
            let contained = contained.map_err(|error| unreadable(&store, within, &error))?;
            // Two answers: an ancestor is recognized by its hash even where the store lacks the commit itself.
            Ok(Ancestry { known: crate::commit::exists(&store, commit), contained })
        });
        read.await
    }

    /// Finds the one commit of the store whose hash begins with `prefix` (4 to 40 hex digits). `None` if there is none, or more
    /// than one.
    pub async fn resolve_prefix(&self, prefix: &str) -> Result<Option<Oid>, Error> {
        let Inner { store, remote, .. } = &*self.0;
        let (prefix, for_job) = (prefix.to_owned(), remote.clone());
        let deadline = remote.deadline();
        let read = store.read(&deadline, move |path, _| {
            let store = repository::open(path)?;
            // The commits of submodules lie in the same store, and none of them can be published.
            let foreign = flattened::foreign(&store, &for_job.options().url)?;
            repository::resolve_prefix(&store, &prefix, &foreign)
        });
        read.await
    }

    /// Moves a damaged store aside, so that the next fetch creates a new one. Published trees are not touched.
    pub async fn discard_store(&self) -> Result<(), Error> {
        // On the git thread, where jobs run one after the other.
        self.0.store.run(&self.0.remote.deadline(), |path, _| repository::discard(path)).await
    }
}

fn unreadable(store: &Repository, commit: Oid, error: &git2::Error) -> Error {
    if error.code() == git2::ErrorCode::NotFound {
        Error::NotInStore { commit }
    } else {
        Error::from_store(store.path(), error)
    }
}
