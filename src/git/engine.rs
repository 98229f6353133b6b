//! The handle to the git thread: look, fetch, and questions about commits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use git2::{Oid, Repository};
use tokio::time::{Instant, timeout_at};

use crate::git::error::Error;
use crate::git::fetch::ingest::Missing;
use crate::git::fetch::libgit2;
use crate::git::fetch::partial::Partial;
use crate::git::fetch::want::{Fetched, Want};
use crate::git::lfs::fetch::Kept;
use crate::git::libgit2::limits;
use crate::git::maintenance::Upkeep;
use crate::git::remote::options::{Reference, RemoteOptions};
use crate::git::remote::request_auth::Purpose;
use crate::git::remote::resolve_ref;
use crate::git::remote::resolve_ref::Look;
use crate::git::remote::transport::Link;
use crate::git::remote::v2::Client;
use crate::git::store::history::{Ancestry, Commit, Span};
use crate::git::store::{flattened, history, locks, repository, shallow};
use crate::worker::{self, Cancel, Lost, Worker};

/// Cheap to clone; all clones share one thread.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: PathBuf,
    pub(crate) options: RemoteOptions,
    worker: Arc<Worker>,
    /// Made by the first call that needs it; `None` in it: the remote is libgit2's to talk to.
    client: OnceLock<Option<Client>>,
    /// Set once the remains of an earlier process were cleared.
    cleared: Arc<AtomicBool>,
    /// The remotes of submodules, by their addresses. They share the store and the thread.
    pub(crate) modules: Mutex<HashMap<String, Engine>>,
    /// Set once the submodules of an earlier process were let go, if none are wanted.
    pub(crate) let_go: AtomicBool,
    /// What a push that leads on from our ref's commit would be asked with. Gone with the first job that may change it.
    pub(crate) next: Mutex<Option<Missing>>,
    /// The commit that came last, if it is known to need no submodules, and what is to be said of it.
    pub(crate) looked: Mutex<Option<(Oid, Vec<String>)>>,
    /// The commit that came last into a store without a filter: it lacks nothing.
    pub(crate) landed_whole: Mutex<Option<Oid>>,
    upkeep: Upkeep,
    pub(crate) partial: Partial,
    pub(crate) lfs: Kept,
}

impl Engine {
    /// Prepares the engine; nothing is touched before the first call. `store` is the bare repository's folder, made when needed.
    ///
    /// The first engine of a process sets libgit2's timeouts for all of them (see `limits`).
    #[must_use]
    pub fn new(options: RemoteOptions, store: PathBuf) -> Self {
        limits::apply(options.timeout);
        Self::with(options, store, Arc::new(Worker::new("git")), Arc::default())
    }

    /// Makes the client for https, or for a proxy, beside whatever else a start has to do: the library reads the
    /// certificates of the system for it, which takes some ten milliseconds. The first look waits for what is left of it.
    pub fn make_ready(&self) {
        if Client::takes_time(self.options()) {
            let engine = self.clone();
            // Without a thread the first look makes it.
            let _ = thread::Builder::new().name("client".to_owned()).spawn(move || engine.made_client().is_some());
        }
    }

    /// Nothing is asked for the time being: lets go of the threads.
    pub fn rest(&self) {
        self.0.worker.rest();
        self.upkeep().packer.rest();
    }

    /// Another remote for the same store.
    pub(crate) fn beside(&self, options: RemoteOptions) -> Self {
        let beside = Self::with(options, self.0.store.clone(), self.0.worker.clone(), self.0.cleared.clone());
        // The depth of the history is the main repository's business.
        beside.0.upkeep.fitted.store(true, Ordering::Relaxed);
        beside
    }

    fn with(options: RemoteOptions, store: PathBuf, worker: Arc<Worker>, cleared: Arc<AtomicBool>) -> Self {
        let (client, modules, let_go) = (OnceLock::new(), Mutex::default(), AtomicBool::default());
        let (next, looked, landed_whole) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (upkeep, partial, lfs) = (Upkeep::new(), Partial::default(), Kept::default());
        Self(Arc::new(Inner {
            store,
            options,
            worker,
            client,
            cleared,
            modules,
            let_go,
            next,
            looked,
            landed_whole,
            upkeep,
            partial,
            lfs,
        }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    #[must_use]
    pub fn options(&self) -> &RemoteOptions {
        &self.0.options
    }

    #[must_use]
    pub fn store(&self) -> &Path {
        &self.0.store
    }

    /// Asks the remote what our ref is. A ref that does not exist is an error. A configured hash needs no asking.
    pub async fn look(&self) -> Result<Look, Error> {
        let looked = self.look_now().await;
        if matches!(looked, Err(Error::Refused { .. })) {
            self.options().credentials.forget_token(&self.options().url);
        }
        looked
    }

    /// The address that the remote redirected the last request to; `None` if it did not, or is not reached over http(s).
    #[must_use]
    pub fn moved_to(&self) -> Option<String> {
        // Without a client nothing was asked, so nothing has moved.
        let client = self.0.client.get().and_then(Option::as_ref).filter(|client| !client.is_old())?;
        client.moved_to(self.options())
    }

    async fn look_now(&self) -> Result<Look, Error> {
        if let Reference::Hash(commit) = self.options().reference {
            return Ok(Look { commit, full_ref: None, default_branch: None });
        }
        let deadline = self.deadline();
        let pass = self.pass(Purpose::Look, deadline).await?;
        let client = self.client(deadline).await?;
        if let Some(client) = client
            && let Some(look) = self.look_over_http(client, &pass, deadline).await?
        {
            return Ok(look);
        }
        let looked = self.run_until(deadline, move |inner, cancel| {
            let store = repository::open(&inner.store)?;
            let link = Link { store: &store, options: &inner.options, pass: &pass, cancel };
            resolve_ref::resolve(&inner.options.reference, &link.list()?, &inner.options.url.to_string())
        });
        let looked = looked.await;
        self.learn(looked.is_ok());
        looked
    }

    /// Brings a commit with its whole tree into the store. Does nothing, cheaply, if it is there.
    pub async fn fetch(&self, want: Want) -> Result<Fetched, Error> {
        self.fetch_forward(want, None).await
    }

    /// The same, with a hint: the wanted commit is said to descend from `fast_forward_from`. It saves the server work if
    /// that is what our ref was last. A wrong hint costs some bytes and does no harm.
    pub async fn fetch_forward(&self, want: Want, fast_forward_from: Option<Oid>) -> Result<Fetched, Error> {
        let fitted = self.upkeep().fitted.load(Ordering::Relaxed);
        let fetched = self.fetch_at_depth(want, fast_forward_from, fitted).await?;
        self.fit_history(true).await;
        Ok(fetched)
    }

    /// `fitted` is false while the depth may have changed since the store was filled.
    pub(crate) async fn fetch_at_depth(
        &self,
        want: Want,
        fast_forward_from: Option<Oid>,
        fitted: bool,
    ) -> Result<Fetched, Error> {
        let deadline = self.deadline();
        // Who asks on somebody's word does not ask for more history.
        let fast_forward_from = fast_forward_from.filter(|_| fitted);
        if let Some(client) = self.client(deadline).await?
            && let Some(fetched) = self.fetch_over_http(client, &want, fast_forward_from, fitted, deadline).await?
        {
            return Ok(fetched);
        }
        let pass = self.pass(Purpose::Fetch, deadline).await?;
        let fetched = self.run_until(deadline, move |inner, cancel| {
            let store = repository::open(&inner.store)?;
            let link = Link { store: &store, options: &inner.options, pass: &pass, cancel };
            let fetched = libgit2::fetch(&link, &want, fitted, &inner.upkeep)?;
            if fetched.objects > 0 {
                repository::remove_discarded(&inner.store);
            }
            Ok(fetched)
        });
        let fetched = fetched.await;
        if fetched.is_err() {
            self.learn(false);
        }
        fetched
    }

    /// Reads one commit of the store.
    pub async fn commit(&self, id: Oid) -> Result<Commit, Error> {
        self.run_quietly(self.deadline(), move |inner, _| {
            let store = repository::open(&inner.store)?;
            history::describe(&store, id).map_err(|error| unreadable(&store, id, &error))
        })
        .await
    }

    /// Describes what changed between two commits of the store. An `old` that is `None` or not in the store is no error:
    /// `count` is `None` then, and only `new` is listed.
    pub async fn span(&self, old: Option<Oid>, new: Oid) -> Result<Span, Error> {
        self.run_quietly(self.deadline(), move |inner, _| {
            let store = repository::open(&inner.store)?;
            let roots = shallow::boundary(&store)?;
            history::span(&store, &roots, old, new).map_err(|error| unreadable(&store, new, &error))
        })
        .await
    }

    /// Returns whether `commit` is `within` or one of its ancestors, by a deadline. The store is read, nothing else.
    pub async fn ancestry(&self, commit: Oid, within: Oid, deadline: Instant) -> Result<Ancestry, Error> {
        self.run_quietly(deadline, move |inner, _| {
            let store = repository::open(&inner.store)?;
            let contained = history::contains(&store, commit, within);
            let contained = contained.map_err(|error| unreadable(&store, within, &error))?;
            Ok(Ancestry { known: crate::commit::exists(&store, commit), contained })
        })
        .await
    }

    /// Finds the one commit of the store whose hash begins with `prefix` (4 to 40 hex digits). `None` also if several do.
    pub async fn resolve_prefix(&self, prefix: &str) -> Result<Option<Oid>, Error> {
        let prefix = prefix.to_owned();
        self.run_quietly(self.deadline(), move |inner, _| {
            let store = repository::open(&inner.store)?;
            let foreign = flattened::foreign(&store, &inner.options.url)?;
            repository::resolve_prefix(&store, &prefix, &foreign)
        })
        .await
    }

    /// Moves a damaged store out of the way, so that the next fetch starts a new one. What is published is not touched.
    pub async fn discard_store(&self) -> Result<(), Error> {
        self.run(|inner, _| repository::discard(&inner.store)).await
    }

    /// Our own client for the remote, unless libgit2 has to talk to it.
    pub(crate) async fn client(&self, deadline: Instant) -> Result<Option<&Client>, Error> {
        if self.0.client.get().is_none() && Client::takes_time(self.options()) {
            let engine = self.clone();
            let made = worker::apart("client", move || engine.made_client().is_some());
            // However that ended, there is a client now, or there is none in time.
            if timeout_at(deadline, made).await.is_err() || self.0.client.get().is_none() {
                return Err(self.late());
            }
        }
        Ok(self.made_client())
    }

    fn made_client(&self) -> Option<&Client> {
        let client = self.0.client.get_or_init(|| Client::new(&self.0.options));
        client.as_ref().filter(|client| !client.is_old())
    }

    /// Libgit2 was needed: remembers that if it helped, and tries everything again if not.
    fn learn(&self, helped: bool) {
        match self.0.client.get() {
            Some(Some(client)) if helped => client.remember_old(),
            Some(Some(client)) => client.forget(self.options()),
            _ => {}
        }
    }

    pub(crate) fn upkeep(&self) -> &Upkeep {
        &self.0.upkeep
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.0.options.timeout
    }

    /// What a call that came too late says.
    pub(crate) fn late(&self) -> Error {
        Error::Timeout { remote: self.0.options.url.to_string(), after: self.0.options.timeout }
    }

    /// Runs a job on the git thread, with the configured timeout for all of it.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Inner, &Cancel) -> Result<T, Error> + Send + 'static,
    {
        self.run_until(self.deadline(), job).await
    }

    /// Runs a job on the git thread until a deadline.
    pub(crate) async fn run_until<T, F>(&self, deadline: Instant, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Inner, &Cancel) -> Result<T, Error> + Send + 'static,
    {
        self.run_quietly(deadline, move |inner, cancel| {
            inner.next.lock().unwrap_or_else(PoisonError::into_inner).take();
            job(inner, cancel)
        })
        .await
    }

    /// The same for a job that changes nothing in the store.
    pub(crate) async fn run_quietly<T, F>(&self, deadline: Instant, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Inner, &Cancel) -> Result<T, Error> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let answer = self.0.worker.run(deadline, move |cancel| {
            if !inner.cleared.swap(true, Ordering::Relaxed) {
                locks::clear_leftovers(&inner.store);
                repository::remove_outlived(&inner.store);
            }
            job(&inner, cancel)
        });
        match answer.await {
            Ok(answer) => answer,
            Err(Lost::Deadline) => Err(self.late()),
            Err(lost) => Err(Error::Internal { source: lost }),
        }
    }
}

fn unreadable(store: &Repository, commit: Oid, error: &git2::Error) -> Error {
    if error.code() == git2::ErrorCode::NotFound {
        Error::NotInStore { commit }
    } else {
        Error::from_store(store.path(), error)
    }
}
