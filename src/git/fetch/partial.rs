//! A store that does not have every file: `--filter` leaves them out, and what is to be published is fetched by its hash.
//!
//! Folders and commits are always there. That files may be missing is marked in the store: later fetches and compactions
//! count on it, also when the filter is gone, until what it left out was fetched. It must not know what is published: it is
//! told the patterns.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use git2::Oid;
use tokio::time::{Instant, timeout_at};

use crate::git::engine::{Engine, Inner};
use crate::git::error::{Cause, Error};
use crate::git::fetch::ingest::Missing;
use crate::git::fetch::v2::Brought;
use crate::git::fetch::want::Fetched;
use crate::git::remote::request_auth::Purpose;
use crate::git::remote::smart_http::Caller;
use crate::git::remote::v2::Client;
use crate::git::store::{missing_blobs, partial_clone, repository};
use crate::remote_url::Transport;
use crate::sparse::Sparse;
use crate::worker::Cancel;

/// How many files are asked for at once. The request stays below the megabyte that proxies take by default.
const MOST_AT_ONCE: usize = 8_000;
/// The same where nobody waits for them: a push that comes waits for as many.
const MOST_BEHIND: usize = 500;
/// More rounds than the largest tree that can be published needs.
const MOST_ROUNDS: usize = 64;
/// After a failure it is not tried again at once: a server may have lost what an older commit of ours holds.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);

/// What the engine remembers of it.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// Set once it was said that the server takes no filter.
    said: AtomicBool,
    known: Mutex<Option<Known>>,
    /// Held while what a filter left out is fetched; when that failed last.
    making_whole: tokio::sync::Mutex<Option<Instant>>,
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

impl Engine {
    /// True if a commit that was fetched may lack files, so that [`Engine::fetch_files`] has something to do.
    pub async fn may_lack_files(&self, commit: Oid) -> Result<bool, Error> {
        // It counts for the sync that brought it, and not for a store that somebody may have put there since.
        let whole = self.inner().landed_whole.lock().unwrap_or_else(PoisonError::into_inner).take();
        if whole == Some(commit) { Ok(false) } else { self.is_filtered().await }
    }

    async fn is_filtered(&self) -> Result<bool, Error> {
        let over_http = matches!(self.options().url.transport(), Transport::Http | Transport::Https);
        if self.options().filter.is_some() && over_http {
            return Ok(true);
        }
        self.run_quietly(self.deadline(), |inner, _| Ok(partial_clone::is_partial(&inner.store))).await
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
            let brought = self.fetch_by_hash(commit, &missing, MOST_AT_ONCE, deadline).await?;
            fetched.bytes += brought.bytes;
            fetched.objects += brought.objects;
        }
        Err(Error::Incomplete { commit })
    }

    /// Without the filter: fetches what it left out of the commits that our refs name, with their history, and takes the mark
    /// away. True if it did. What was fetched stays if the time is over before all is there.
    pub async fn make_whole(&self) -> Result<bool, Error> {
        if self.options().filter.is_some() || !self.is_filtered().await? {
            return Ok(false);
        }
        let Ok(mut failed) = self.partial().making_whole.try_lock() else { return Ok(false) };
        if failed.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE) {
            return Ok(false);
        }
        let whole = self.fetch_what_was_left_out().await;
        *failed = whole.is_err().then(Instant::now);
        whole
    }

    async fn fetch_what_was_left_out(&self) -> Result<bool, Error> {
        let deadline = self.deadline();
        for _ in 0..MOST_ROUNDS {
            let left_out = self.run_until(deadline, look_at_all).await?;
            let Some((commit, files)) = left_out else { return Ok(true) };
            self.fetch_by_hash(commit, &files, MOST_BEHIND, deadline).await?;
        }
        Ok(false)
    }

    /// Fetches files, some of which are the commit's.
    async fn fetch_by_hash(
        &self,
        commit: Oid,
        files: &[Oid],
        at_once: usize,
        deadline: Instant,
    ) -> Result<Fetched, Error> {
        let mut fetched = Fetched { commit, bytes: 0, objects: 0 };
        // libgit2 can ask for no file; only a store without the mark is of use to it.
        let Some(client) = self.client(deadline).await? else { return Err(Error::Incomplete { commit }) };
        let pass = self.pass(Purpose::Fetch, deadline).await?;
        let caller = Caller { options: self.options(), pass: &pass };
        for files in files.chunks(at_once).filter_map(|files| Missing::files(commit, files)) {
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
        Ok(fetched)
    }

    /// Leaves the filter out of a question to a server that takes none.
    pub(crate) async fn filtered(
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
    pub(crate) fn filtered_ahead(&self, client: &Client, mut missing: Missing) -> Option<Missing> {
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
    let repository = repository::open(&inner.store)?;
    let place = fs::metadata(&inner.store).map_err(|error| Error::from_disk(&inner.store, &error))?;
    let place = (place.dev(), place.ino());
    let known = inner.partial.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let known = known.filter(|known| known.store == place && text(known.sparse.as_ref()) == text(sparse.as_ref()));
    // A compaction keeps the files of what our refs name, and drops others.
    let known = match known {
        Some(known) if missing_blobs::is_tracked(&repository, known.commit)? => Some(known.commit),
        _ => None,
    };
    let missing =
        missing_blobs::missing(&repository, commit, known, (sparse.as_deref(), inner.options.lfs.is_some()), cancel)?;
    if missing.is_empty() {
        let known = Known { commit, sparse, store: place };
        *inner.partial.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
    Ok(missing)
}

/// What is missing of anything that is kept, and a commit that lacks some of it. `None`: nothing, and the mark is gone.
fn look_at_all(inner: &Inner, cancel: &Cancel) -> Result<Option<(Oid, Vec<Oid>)>, Error> {
    let repository = repository::open(&inner.store)?;
    let left_out = missing_blobs::missing_of_all(&repository, cancel)?;
    if left_out.is_none() {
        // A fetch that left something out and is still on its way sets it again when it arrives.
        partial_clone::unmark(&inner.store)?;
    }
    Ok(left_out)
}

fn text(sparse: Option<&Arc<Sparse>>) -> Option<&[u8]> {
    sparse.map(|sparse| sparse.text())
}
