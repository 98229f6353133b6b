//! A store that does not have every file: `--filter` leaves them out, and what is to be published is fetched by its hash.
//!
//! Folders and commits are always there. That files may be missing is marked in the store, for good: later fetches and
//! compactions count on it, also when the filter is gone. It must not know what is published: it is told the patterns.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use git2::Oid;
use tokio::time::{Instant, timeout_at};

use crate::remote_url::Transport;
use crate::sparse::Sparse;
use crate::worker::Cancel;

use super::arrive::Missing;
use super::engine::Inner;
use super::over_http::Brought;
use super::pass::Moment;
use super::v2::{Caller, Client};
use super::{Cause, Engine, Error, Fetched, contents, store};

/// The file in the store that says so.
const MARK: &str = "pushsync-partial";
/// How many files are asked for at once. The request stays below the megabyte that proxies take by default.
const MOST_AT_ONCE: usize = 8_000;
/// More rounds than the largest tree that can be published needs.
const MOST_ROUNDS: usize = 64;

/// What the engine remembers of it.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Whether the store was marked when it was first looked at.
    marked: OnceLock<bool>,
    /// Set once it was said that the server takes no filter.
    said: AtomicBool,
    known: Mutex<Option<Known>>,
}

/// A commit of which nothing is missing.
#[derive(Clone, Debug)]
struct Known {
    commit: Oid,
    /// What was wanted of it; `None`: everything.
    sparse: Option<Arc<Sparse>>,
    /// The store that it was in.
    store: (u64, u64),
}

/// True if files may be missing in a store.
pub(super) fn is_partial(store: &Path) -> bool {
    fs::symlink_metadata(store.join(MARK)).is_ok()
}

/// To be done before the first pack comes from which something was left out.
pub(super) fn mark(store: &Path) -> Result<(), Error> {
    match File::create_new(store.join(MARK)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::from_disk(store, &error)),
        _ => Ok(()),
    }
}

impl Engine {
    /// True if a commit that was fetched may lack files, so that [`Engine::fetch_files`] has something to do.
    pub async fn may_lack_files(&self) -> Result<bool, Error> {
        let over_http = matches!(self.options().url.transport(), Transport::Http | Transport::Https);
        if self.options().filter.is_some() && over_http {
            return Ok(true);
        }
        if let Some(marked) = self.partial().marked.get() {
            return Ok(*marked);
        }
        let marked = |inner: &Inner, _: &Cancel| Ok(*inner.partial.marked.get_or_init(|| is_partial(&inner.store)));
        self.run_quietly(self.deadline(), marked).await
    }

    /// Brings the files of a commit that the store lacks, of those that are wanted: with a filter those that the patterns
    /// want, without one all. The commit itself has to be there. Costs no request if nothing is missing, and what a commit
    /// shares with the one before is not looked at.
    pub async fn fetch_files(&self, commit: Oid, sparse: Option<Arc<Sparse>>) -> Result<Fetched, Error> {
        let deadline = self.deadline();
        let sparse = sparse.filter(|_| self.options().filter.is_some());
        let mut fetched = Fetched { commit, bytes: 0, objects: 0 };
        for _ in 0..MOST_ROUNDS {
            let sparse = sparse.clone();
            let missing = self.run_until(deadline, move |inner, cancel| look(inner, commit, sparse, cancel)).await?;
            if missing.is_empty() {
                return Ok(fetched);
            }
            // libgit2 can ask for no file; only a store without the mark is of use to it.
            let Some(client) = self.client() else { return Err(Error::Incomplete { commit }) };
            let pass = self.pass(Moment::Fetch, deadline).await?;
            let caller = Caller { options: self.options(), pass: &pass };
            for files in missing.chunks(MOST_AT_ONCE).filter_map(|files| Missing::files(commit, files)) {
                let brought = self.bring(client, caller, files, deadline).await;
                let brought = brought.inspect_err(|_| client.forget(self.options()))?;
                let refused = |source| {
                    let remote = self.options().url.to_string();
                    Err(Error::NoContents { commit, remote, source })
                };
                match brought {
                    Brought::Whole(more) => {
                        fetched.bytes += more.bytes;
                        fetched.objects += more.objects;
                    }
                    Brought::NotOurs(words) => return refused(words),
                    Brought::NotSpoken => return refused(Cause::new("it does not speak version 2 of git's protocol")),
                    Brought::TooMuch => return Err(self.late()),
                }
            }
        }
        Err(Error::Incomplete { commit })
    }

    /// Leaves the filter out of a question to a server that takes none.
    pub(super) async fn filtered(
        &self,
        client: &Client,
        caller: Caller<'_>,
        mut missing: Missing,
        deadline: Instant,
    ) -> Result<Missing, Error> {
        if missing.ask.filter.is_some() {
            let filters = timeout_at(deadline, client.filters(caller)).await.unwrap_or_else(|_| Err(self.late()))?;
            self.apply(filters, &mut missing);
        }
        Ok(missing)
    }

    /// The same without asking. `None` if that is not known yet.
    pub(super) fn filtered_ahead(&self, client: &Client, mut missing: Missing) -> Option<Missing> {
        if missing.ask.filter.is_some() {
            self.apply(client.filters_as_known()?, &mut missing);
        }
        Some(missing)
    }

    fn apply(&self, filters: bool, missing: &mut Missing) {
        if filters {
            return;
        }
        missing.ask.filter = None;
        if self.options().filter.is_some() && !self.partial().said.swap(true, Ordering::Relaxed) {
            let remote = self.options().url.to_string();
            tracing::warn!(remote, "--filter has no effect: the server takes no filters (uploadpack.allowFilter)");
        }
    }

    fn partial(&self) -> &Partial {
        &self.inner().partial
    }
}

/// What is missing of a commit. Remembers one of which nothing is.
fn look(inner: &Inner, commit: Oid, sparse: Option<Arc<Sparse>>, cancel: &Cancel) -> Result<Vec<Oid>, Error> {
    let repository = store::open(&inner.store)?;
    let place = fs::metadata(&inner.store).map_err(|error| Error::from_disk(&inner.store, &error))?;
    let place = (place.dev(), place.ino());
    let known = inner.partial.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let known = known.filter(|known| known.store == place && text(known.sparse.as_ref()) == text(sparse.as_ref()));
    // A compaction keeps the files of what our refs name, and drops others.
    let known = match known {
        Some(known) if contents::is_kept(&repository, known.commit)? => Some(known.commit),
        _ => None,
    };
    let missing =
        contents::missing(&repository, commit, known, (sparse.as_deref(), inner.options.lfs.is_some()), cancel)?;
    if missing.is_empty() {
        let known = Known { commit, sparse, store: place };
        *inner.partial.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
    Ok(missing)
}

fn text(sparse: Option<&Arc<Sparse>>) -> Option<&[u8]> {
    sparse.map(|sparse| sparse.text())
}
