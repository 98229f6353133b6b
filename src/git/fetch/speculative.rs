//! The speculative fetch: requests the announced commit while the followed ref is still being resolved.
//!
//! The announcement is a hint. The response is held back until the ref is known to name this commit: nothing of it reaches
//! the git thread or the store before, and at most a megabyte of it is read. Errors here are not reported and do not count
//! against the remote; the caller falls back to a normal fetch. It must not know where the announcement came from.

use std::sync::Arc;

use bytes::Bytes;
use git2::Oid;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::git::error::Error;
use crate::git::protocol::fetch::{FetchRequest, ShallowUpdate};
use crate::git::remote::connection::Remote;
use crate::git::remote::ls_remote::ls_remote;
use crate::git::remote::request_auth::{Purpose, request_auth};
use crate::git::remote::resolve_ref::RemoteHead;
use crate::git::remote::response::Pack;
use crate::git::remote::smart_http::Caller;
use crate::git::remote::v2::Client;
use crate::git::store::handle::Store;
use crate::git::store::repository;

use super::plan;
use super::state::FetchState;
use super::v2::{Download, NextRequest, V2Fetch};
use super::want::Fetched;

/// The most bytes of a response that are read before the commit is confirmed. The rest waits at the server.
const MOST_UNCONFIRMED: usize = 1 << 20;
/// The most parts that are read before: a server may send one byte at a time.
const MOST_PARTS: usize = 256;

/// A commit that the followed ref is expected to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedCommit {
    /// The announced commit.
    pub commit: Oid,
    /// The last commit of the followed ref, if the announced one is said to descend from it.
    pub from: Option<Oid>,
}

/// The outcome of a speculative fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeculativeFetch {
    /// The ref names the commit, and the store has it.
    Fetched(Fetched),
    /// The pack is larger than the hint justifies: the commit does not descend from the last one.
    TooLarge,
    /// Nothing was fetched: no request was sent, the server refused it, or the ref names another commit.
    Nothing,
}

/// Resolves the followed ref, and beside that fetches the commit that it is expected to name. Only a commit that the ref
/// names is kept. `meanwhile` starts when the commit is confirmed, while its pack may still be arriving.
pub(crate) async fn resolve_and_fetch(
    store: &Store,
    remote: &Remote,
    state: &Arc<FetchState>,
    ahead: ExpectedCommit,
    meanwhile: impl Future<Output = ()>,
) -> Result<(RemoteHead, SpeculativeFetch), Error> {
    let (confirm, confirmed) = oneshot::channel();
    let (head, fetch) = (ls_remote(store, remote), fetch(store, remote, state, ahead, confirmed));
    tokio::pin!(head, fetch);
    let mut ended = None;
    let head = loop {
        tokio::select! {
            biased;
            head = &mut head => break head?,
            // A fetch that ends before the confirmation has failed, because a successful one waits for it.
            early = &mut fetch, if ended.is_none() => ended = Some(early),
        }
    };
    if head.commit != ahead.commit || ended.is_some() || confirm.send(()).is_err() {
        // Dropping the fetch closes its connection and leaves nothing behind.
        return Ok((head, SpeculativeFetch::Nothing));
    }
    let (early, ()) = tokio::join!(fetch, meanwhile);
    Ok((head, early))
}

/// Prepares the request for a push on top of the followed ref's commit. To be called while nothing waits for the store.
pub(crate) async fn prepare(store: &Store, remote: &Remote, state: &Arc<FetchState>) {
    let (for_job, store_for_job, state) = (remote.clone(), store.clone(), Arc::clone(state));
    let deadline = remote.deadline();
    let prepared = store.run(&deadline, move |path, _| {
        // A volume that was emptied meanwhile gets its new store from the next fetch, not from here.
        let request = plan::plan_next(&repository::open_existing(path)?, for_job.options())?;
        state.set_prepared(store_for_job.changes(), request);
        Ok(())
    });
    if let Err(error) = prepared.await {
        tracing::debug!(%error, "the next push will be planned when it is there");
    }
}

async fn fetch(
    store: &Store,
    remote: &Remote,
    state: &Arc<FetchState>,
    ahead: ExpectedCommit,
    confirmed: oneshot::Receiver<()>,
) -> SpeculativeFetch {
    match try_fetch(store, remote, state, ahead, confirmed).await {
        Ok(early) => early,
        Err(error) => {
            // Not a warning: the normal fetch follows at once, and reports what is really wrong.
            tracing::debug!(%error, "the announced commit could not be fetched while its ref was resolved");
            SpeculativeFetch::Nothing
        }
    }
}

async fn try_fetch(
    store: &Store,
    remote: &Remote,
    state: &Arc<FetchState>,
    ahead: ExpectedCommit,
    confirmed: oneshot::Receiver<()>,
) -> Result<SpeculativeFetch, Error> {
    let deadline = remote.deadline();
    let Some(client) = remote.client(&deadline).await? else { return Ok(SpeculativeFetch::Nothing) };
    if !client.accepts_direct_post() {
        return Ok(SpeculativeFetch::Nothing);
    }
    let prepared = state.take_prepared(store).and_then(|request| request.for_push(ahead.commit, ahead.from));
    let planned = if let Some(request) = prepared {
        Some(request)
    } else {
        let for_job = remote.clone();
        let planned = store.run(&deadline, move |path, _| {
            plan::plan_speculative(&repository::open(path)?, for_job.options(), ahead.commit, ahead.from)
        });
        planned.await?
    };
    let request = planned.and_then(|request| state.filter.apply_if_known(client, remote.options(), request));
    let Some(request) = request else { return Ok(SpeculativeFetch::Nothing) };
    // Resolving the ref calls the askpass service at the same time, so its last answer is used here.
    let auth = request_auth(store, remote, Purpose::Fetch, &deadline).await?;
    let caller = Caller { options: remote.options(), auth: &auth };
    let response = send_and_hold(client, caller, &request.request, confirmed);
    let Ok(Some((update, buffered, pack))) = timeout_at(deadline.at(), response).await else {
        return Ok(SpeculativeFetch::Nothing);
    };
    let fetch = V2Fetch { store, remote, state, client, deadline: &deadline };
    Ok(match fetch.ingest(request, update, buffered, pack, NextRequest::Later).await? {
        Download::Complete(fetched) => SpeculativeFetch::Fetched(fetched),
        Download::TooLarge => SpeculativeFetch::TooLarge,
        Download::NotServed(_) | Download::NotSpoken => SpeculativeFetch::Nothing,
    })
}

/// Sends the request, and reads what may be read until the commit is confirmed. `None`: no pack, or no confirmation.
async fn send_and_hold(
    client: &Client,
    caller: Caller<'_>,
    request: &FetchRequest,
    mut confirmed: oneshot::Receiver<()>,
) -> Option<(ShallowUpdate, Vec<Bytes>, Pack)> {
    let (update, mut pack) = client.fetch_speculatively(caller, request).await?;
    let (mut buffered, mut read) = (Vec::new(), 0);
    loop {
        tokio::select! {
            confirmation = &mut confirmed => return confirmation.ok().map(|()| (update, buffered, *pack)),
            part = pack.next(), if read < MOST_UNCONFIRMED && buffered.len() < MOST_PARTS => match part.ok()? {
                Some(part) => {
                    read += part.len();
                    buffered.push(part);
                }
                None => return confirmed.await.ok().map(|()| (update, buffered, *pack)),
            },
        }
    }
}
