//! Fetches the commits that a commit's submodules name, each from its own remote, into the one store.
//!
//! `flatten` finds out without a request whether one is missing, so a push that leaves its submodules alone costs none. The
//! submodules of a submodule are known once its commit is there, so there is one round for each level of nesting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};
use git2::Oid;
use parking_lot::Mutex;

use crate::git::error::Error;
use crate::git::fetch::commit::fetch_commit;
use crate::git::fetch::state::FetchState;
use crate::git::fetch::want::{Fetched, Want};
use crate::git::remote::connection::Remote;
use crate::git::remote::options::{Reference, RemoteOptions};
use crate::git::store::handle::Store;
use crate::git::store::{refs, repository};
use crate::remote_url::RemoteUrl;
use crate::submodules::{GRAFTS, Submodules};

use super::flatten::{Flattened, MissingSubmodule, flatten};

/// More rounds than there can be levels.
const MOST_ROUNDS: usize = 20;
/// How many submodules are fetched at the same time. The store ingests one pack after the other all the same.
const AT_ONCE: usize = 4;
/// How many remotes keep a connection.
const MOST_REMOTES: usize = 32;

/// The result of fetching the submodules of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// Path and commit of each submodule that was fetched.
    pub fetched: Vec<(String, Oid)>,
    /// Bytes received.
    pub bytes: u64,
    /// Objects received.
    pub objects: u64,
    /// Remarks for the log and the record.
    pub notes: Vec<String>,
}

/// The remotes of submodules, kept between fetches.
#[derive(Default)]
pub(crate) struct SubmoduleRemotes {
    by_address: Mutex<HashMap<String, SubmoduleRemote>>,
    /// True once the flattened trees of an earlier process were dropped, if submodules are off.
    dropped: AtomicBool,
}

/// A submodule's remote with its own view of the shared store.
#[derive(Clone)]
struct SubmoduleRemote {
    store: Store,
    remote: Remote,
    state: Arc<FetchState>,
}

/// Fetches the submodules of a commit and writes its flattened tree. The store has to have the commit. The flattened trees of
/// the commits in `keep` are kept, besides those of the tracked refs.
pub(crate) async fn fetch_submodules(
    store: &Store,
    remote: &Remote,
    state: &FetchState,
    remotes: &SubmoduleRemotes,
    commit: Oid,
    keep: Vec<Oid>,
) -> Result<Modules, Error> {
    let mut modules = Modules::default();
    let deadline = remote.deadline();
    if remote.options().submodules == Submodules::Off {
        if !remotes.dropped.swap(true, Ordering::Relaxed) {
            // The flattened trees of an earlier process would stay in the store for ever.
            store.run(&deadline, |path, _| refs::delete_all(&repository::open(path)?, GRAFTS)).await?;
        }
        return Ok(modules);
    }
    if let Some(notes) = state.take_notes_without_submodules(commit) {
        modules.notes = notes;
        return Ok(modules);
    }
    for _ in 0..MOST_ROUNDS {
        let (keep, for_job) = (keep.clone(), remote.clone());
        let flattened =
            store.run(&deadline, move |path, _| flatten(&repository::open(path)?, for_job.options(), commit, &keep));
        let missing = match flattened.await? {
            Flattened::Done(notes) => {
                modules.notes = notes;
                return Ok(modules);
            }
            Flattened::Missing(missing) => missing,
        };
        let fetches = missing.into_iter().map(|missing| fetch_submodule(store, remote.options(), remotes, missing));
        let mut fetches = stream::iter(fetches).buffered(AT_ONCE);
        while let Some(fetched) = fetches.next().await {
            let (path, fetched) = fetched?;
            modules.bytes += fetched.bytes;
            modules.objects += fetched.objects;
            modules.fetched.push((path, fetched.commit));
        }
    }
    Err(Error::BadSubmodule { path: String::new(), why: "its submodules have no end".to_owned() })
}

async fn fetch_submodule(
    store: &Store,
    parent: &RemoteOptions,
    remotes: &SubmoduleRemotes,
    MissingSubmodule { path, url, commit }: MissingSubmodule,
) -> Result<(String, Fetched), Error> {
    let options = RemoteOptions {
        url,
        reference: Reference::Hash(commit),
        depth: 1,
        submodules: Submodules::Off,
        // All files are fetched: a missing one could be fetched later from this one remote only.
        filter: None,
        lfs: None,
        ..parent.clone()
    };
    let SubmoduleRemote { store, remote, state } = remotes.get(store, options);
    match fetch_commit(&store, &remote, &state, Want::Module(commit), None, true).await {
        Ok(fetched) => Ok((path, fetched)),
        Err(source) => Err(Error::Submodule { path, source: Box::new(source) }),
    }
}

impl SubmoduleRemotes {
    /// Returns the remote at an address with its kept connection, unless the login in the address has changed.
    fn get(&self, store: &Store, options: RemoteOptions) -> SubmoduleRemote {
        let mut remotes = self.by_address.lock();
        let address = options.url.bare().to_owned();
        if remotes.len() >= MOST_REMOTES && !remotes.contains_key(&address) {
            // Fetches that are running have clones of their own.
            remotes.clear();
        }
        let login = |url: &RemoteUrl| {
            (url.user().map(str::to_owned), url.password().map(|password| password.expose().to_owned()))
        };
        match remotes.get(&address) {
            Some(known) if login(&known.remote.options().url) == login(&options.url) => known.clone(),
            _ => {
                // `--depth` is about the history of the main repository.
                let state = FetchState::with_fixed_depth();
                let remote = SubmoduleRemote {
                    store: store.with_own_counter(),
                    remote: Remote::new(options),
                    state: Arc::new(state),
                };
                remotes.insert(address, remote.clone());
                remote
            }
        }
    }
}
