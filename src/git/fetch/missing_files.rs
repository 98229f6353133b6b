//! `--filter`: leaves files out of a fetch, and fetches those that are to be published by their hashes.
//!
//! Commits and folders are always fetched. It must not know what is published: the caller passes the patterns.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use tokio::time::Instant;

use crate::git::deadline::Deadline;
use crate::git::error::{Cause, Error};
use crate::git::remote::connection::Remote;
use crate::git::remote::options::RemoteOptions;
use crate::git::remote::request_auth::{Purpose, request_auth};
use crate::git::store::handle::Store;
use crate::git::store::{missing_blobs, partial_clone, repository};
use crate::remote_url::Transport;
use crate::sparse::Sparse;
use crate::worker::Cancel;

use super::filter_state::{CheckedCommit, FilterState};
use super::plan::PackRequest;
use super::state::FetchState;
use super::v2::{Download, V2Fetch};
use super::want::Fetched;

/// How many files one request asks for. It stays below the megabyte that proxies accept by default.
const MOST_AT_ONCE: usize = 8_000;
/// The same for background work: a push that arrives waits until one request is done.
const MOST_IN_BACKGROUND: usize = 500;
/// More rounds than the largest tree that can be published needs.
const MOST_ROUNDS: usize = 64;
/// The pause after a failure: the server may have lost a file of an older commit.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);

/// Returns true if a fetched commit may lack files, so that [`fetch_files`] has work to do.
pub(crate) async fn may_lack_files(
    store: &Store,
    remote: &Remote,
    state: &FetchState,
    commit: Oid,
) -> Result<bool, Error> {
    if state.take_is_complete(commit) { Ok(false) } else { may_be_partial(store, remote).await }
}

async fn may_be_partial(store: &Store, remote: &Remote) -> Result<bool, Error> {
    let options = remote.options();
    if options.filter.is_some() && matches!(options.url.transport(), Transport::Http | Transport::Https) {
        return Ok(true);
    }
    store.read(&remote.deadline(), |path, _| Ok(partial_clone::is_partial(path))).await
}

/// Fetches the files of a commit that the store lacks: with a filter those that the patterns select, without one all. The
/// store has to have the commit. Costs no request if nothing is missing; what the commit shares with the previously checked
/// one is skipped.
pub(crate) async fn fetch_files(
    store: &Store,
    remote: &Remote,
    state: &Arc<FetchState>,
    commit: Oid,
    sparse: Option<Arc<Sparse>>,
) -> Result<Fetched, Error> {
    let deadline = remote.deadline();
    let sparse = sparse.filter(|_| remote.options().filter.is_some());
    let mut fetched = Fetched { commit, bytes: 0, objects: 0 };
    for _ in 0..MOST_ROUNDS {
        let (sparse, for_job, state_for_job) = (sparse.clone(), remote.clone(), Arc::clone(state));
        let missing = store.run(&deadline, move |path, cancel| {
            missing_files(path, for_job.options(), &state_for_job.filter, commit, sparse, cancel)
        });
        let missing = missing.await?;
        if missing.is_empty() {
            return Ok(fetched);
        }
        let more = fetch_by_hash(store, remote, state, commit, &missing, MOST_AT_ONCE, &deadline).await?;
        fetched.bytes += more.bytes;
        fetched.objects += more.objects;
    }
    Err(Error::Incomplete { commit })
}

/// Once `--filter` is gone: fetches the filtered files of all tracked commits with their history, and removes the marker.
/// Returns true if it did. Files that were fetched stay if the time ends before all are there.
pub(crate) async fn complete_partial_clone(
    store: &Store,
    remote: &Remote,
    state: &Arc<FetchState>,
) -> Result<bool, Error> {
    if remote.options().filter.is_some() || !may_be_partial(store, remote).await? {
        return Ok(false);
    }
    // A second caller would request the same files, so it does not wait for its turn.
    let Ok(mut failed) = state.filter.completing.try_lock() else { return Ok(false) };
    if failed.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE) {
        return Ok(false);
    }
    let complete = fetch_all_filtered(store, remote, state).await;
    *failed = complete.is_err().then(Instant::now);
    complete
}

async fn fetch_all_filtered(store: &Store, remote: &Remote, state: &Arc<FetchState>) -> Result<bool, Error> {
    let deadline = remote.deadline();
    for _ in 0..MOST_ROUNDS {
        let Some((commit, files)) = store.run(&deadline, all_missing_files).await? else { return Ok(true) };
        fetch_by_hash(store, remote, state, commit, &files, MOST_IN_BACKGROUND, &deadline).await?;
    }
    Ok(false)
}

/// Fetches files, of which some belong to the commit.
async fn fetch_by_hash(
    store: &Store,
    remote: &Remote,
    state: &Arc<FetchState>,
    commit: Oid,
    files: &[Oid],
    at_once: usize,
    deadline: &Deadline,
) -> Result<Fetched, Error> {
    let options = remote.options();
    let mut fetched = Fetched { commit, bytes: 0, objects: 0 };
    // libgit2 cannot request single files; it needs a store without the marker.
    let Some(client) = remote.client(deadline).await? else { return Err(Error::Incomplete { commit }) };
    let auth = request_auth(store, remote, Purpose::Fetch, deadline).await?;
    let fetch = V2Fetch { store, remote, state, client, deadline };
    let refused = |source| Err(Error::NoContents { commit, remote: options.url.to_string(), source });
    for request in files.chunks(at_once).filter_map(|files| PackRequest::for_files(commit, files)) {
        let download = fetch.download(fetch.caller(&auth), request).await;
        match download.inspect_err(|_| client.forget(options))? {
            Download::Complete(more) => {
                fetched.bytes += more.bytes;
                fetched.objects += more.objects;
            }
            Download::NotServed(words) => return refused(words),
            Download::NotSpoken => return refused(Cause::new("it does not speak version 2 of git's protocol")),
            Download::TooLarge => return Err(deadline.error()),
        }
    }
    Ok(fetched)
}

/// Lists the missing files of a commit. Remembers a commit that lacks none.
fn missing_files(
    path: &Path,
    options: &RemoteOptions,
    state: &FilterState,
    commit: Oid,
    sparse: Option<Arc<Sparse>>,
    cancel: &Cancel,
) -> Result<Vec<Oid>, Error> {
    let repository = repository::open(path)?;
    let folder = fs::metadata(path).map_err(|error| Error::from_disk(path, &error))?;
    let identity = (folder.dev(), folder.ino());
    let known = state.checked().clone();
    let known = known.filter(|known| known.store == identity && text(known.sparse.as_ref()) == text(sparse.as_ref()));
    // A compaction keeps the files of tracked commits, and drops others.
    let known = match known {
        Some(known) if missing_blobs::is_tracked(&repository, known.commit)? => Some(known.commit),
        _ => None,
    };
    let wanted = (sparse.as_deref(), options.lfs.is_some());
    let missing = missing_blobs::missing(&repository, commit, known, wanted, cancel)?;
    if missing.is_empty() {
        *state.checked() = Some(CheckedCommit { commit, sparse, store: identity });
    }
    Ok(missing)
}

/// Lists missing files of all tracked commits, with a commit that lacks some of them. `None`: there are none, and the marker
/// has been removed.
fn all_missing_files(path: &Path, cancel: &Cancel) -> Result<Option<(Oid, Vec<Oid>)>, Error> {
    let missing = missing_blobs::missing_of_all(&repository::open(path)?, cancel)?;
    if missing.is_none() {
        // A filtered fetch that is still under way creates the marker again when its pack arrives.
        partial_clone::unmark(path)?;
    }
    Ok(missing)
}

fn text(sparse: Option<&Arc<Sparse>>) -> Option<&[u8]> {
    sparse.map(|sparse| sparse.text())
}
