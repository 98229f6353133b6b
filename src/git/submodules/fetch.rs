//! Fetching what a commit's submodules need, each from its own remote, into the one store.
//!
//! Whether something is missing is known without a request (`graft`), so a push that leaves its submodules alone costs
//! none. What a submodule holds in turn is known when it is there: this goes round by round, one for each level.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, stream};
use git2::Oid;

use crate::git::engine::Engine;
use crate::git::error::Error;
use crate::git::fetch::want::{Fetched, Want};
use crate::git::remote::options::{Reference, RemoteOptions};
use crate::git::store::{refs, repository};
use crate::git::submodules::flatten;
use crate::git::submodules::flatten::{Flattened, Needed};
use crate::remote_url::RemoteUrl;
use crate::submodules::{GRAFTS, Submodules};

/// More rounds than there can be levels.
const MOST_ROUNDS: usize = 20;
/// How many are asked for at the same time. The store takes in one after the other all the same.
const AT_ONCE: usize = 4;
/// How many remotes keep a connection.
const MOST_REMOTES: usize = 32;

/// What the submodules of a commit took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// Path and commit of each that was fetched.
    pub fetched: Vec<(String, Oid)>,
    pub bytes: u64,
    pub objects: u64,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Engine {
    /// Brings what the submodules of a commit need into the store, and says there what its tree is with them. The commit
    /// itself has to be there. `keep` are commits whose submodules shall not be forgotten, besides those of our ref.
    pub async fn fetch_submodules(&self, commit: Oid, keep: Vec<Oid>) -> Result<Modules, Error> {
        let mut modules = Modules::default();
        let deadline = self.deadline();
        if self.options().submodules == Submodules::Off {
            if !self.inner().let_go.swap(true, Ordering::Relaxed) {
                // What an earlier process grafted would stay in the store for ever.
                self.run_until(deadline, |inner, _| refs::delete_all(&repository::open(&inner.store)?, GRAFTS)).await?;
            }
            return Ok(modules);
        }
        let looked = self.inner().looked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((_, notes)) = looked.filter(|(looked, _)| *looked == commit) {
            modules.notes = notes;
            return Ok(modules);
        }
        for _ in 0..MOST_ROUNDS {
            let keep = keep.clone();
            let grafted = self.run_until(deadline, move |inner, _| {
                flatten::flatten(&repository::open(&inner.store)?, &inner.options, commit, &keep)
            });
            let missing = match grafted.await? {
                Flattened::Done(notes) => {
                    modules.notes = notes;
                    return Ok(modules);
                }
                Flattened::Missing(missing) => missing,
            };
            let fetches = missing.into_iter().map(|needed| self.fetch_submodule(needed));
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

    async fn fetch_submodule(&self, Needed { path, url, commit }: Needed) -> Result<(String, Fetched), Error> {
        let remote = self.remote_of(RemoteOptions {
            url,
            reference: Reference::Hash(commit),
            depth: 1,
            submodules: Submodules::Off,
            // Its files are all fetched: what is missing can be had from one remote only.
            filter: None,
            lfs: None,
            ..self.options().clone()
        });
        match remote.fetch(Want::Module(commit)).await {
            Ok(fetched) => Ok((path, fetched)),
            Err(source) => Err(Error::Submodule { path, source: Box::new(source) }),
        }
    }

    /// The remote at an address, with the connection that it has.
    fn remote_of(&self, options: RemoteOptions) -> Self {
        let mut remotes = self.inner().modules.lock().unwrap_or_else(PoisonError::into_inner);
        let address = options.url.bare().to_owned();
        if remotes.len() >= MOST_REMOTES && !remotes.contains_key(&address) {
            remotes.clear();
        }
        let login = |url: &RemoteUrl| {
            (url.user().map(str::to_owned), url.password().map(|password| password.expose().to_owned()))
        };
        match remotes.get(&address) {
            Some(remote) if login(&remote.options().url) == login(&options.url) => remote.clone(),
            _ => {
                let remote = self.beside(options);
                remotes.insert(address, remote.clone());
                remote
            }
        }
    }
}
