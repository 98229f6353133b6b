//! A fetch over protocol version 2, from the request to the store.
//!
//! The connection belongs to tokio and ends when the caller goes away. Only work on the store runs on the git thread: the
//! pack goes there through a short channel, so that the slower of network and disk sets the pace.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use git2::Oid;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::git::auth::request_auth::RequestAuth;
use crate::git::deadline::Deadline;
use crate::git::error::{Cause, Error};
use crate::git::protocol::fetch::ShallowUpdate;
use crate::git::protocol::pack_checksum::PackChecksum;
use crate::git::remote::connection::Remote;
use crate::git::remote::request_auth::{Purpose, request_auth};
use crate::git::remote::resolve_ref::RemoteHead;
use crate::git::remote::response::Pack;
use crate::git::remote::smart_http::Caller;
use crate::git::remote::v2::{Client, FetchResponse};
use crate::git::store::handle::Store;
use crate::git::store::{partial_clone, repository};
use crate::git::submodules::flatten;

use super::ingest::{PackPart, ingest};
use super::plan::{FetchPlan, PackRequest, plan};
use super::state::FetchState;
use super::want::{Fetched, Want, target};

/// How many parts of a pack, of up to 64 KiB each, may wait for the disk.
const MOST_WAITING: usize = 16;
/// The most bytes that a push may bring on the hint that it is a fast-forward. More may be the whole history of another
/// branch.
const MOST_ON_HINT: u64 = 32 * 1024 * 1024;
/// How long a server may take to end its response after the pack is complete, before the connection is closed.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);
/// How much of that the caller waits for if its next request follows at once, and could use the connection.
const DRAIN_BEFORE_NEXT: Duration = Duration::from_millis(200);

/// Whether the connection of a fetch is needed again at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NextRequest {
    Soon,
    Later,
}

/// The outcome of one request for a pack.
pub(crate) enum Download {
    /// The store has the commit now.
    Complete(Fetched),
    /// The server does not serve the commit, in its own words.
    NotServed(Cause),
    /// The server does not speak version 2.
    NotSpoken,
    /// The pack is larger than an unverified hint justifies.
    TooLarge,
}

/// Everything that a fetch over version 2 works with.
#[derive(Clone, Copy)]
pub(crate) struct V2Fetch<'a> {
    pub store: &'a Store,
    pub remote: &'a Remote,
    pub state: &'a Arc<FetchState>,
    pub client: &'a Client,
    pub deadline: &'a Deadline,
}

impl<'a> V2Fetch<'a> {
    /// Returns the caller of requests that show this authentication.
    pub(crate) fn caller(self, auth: &'a RequestAuth) -> Caller<'a> {
        Caller { options: self.remote.options(), auth }
    }

    /// Fetches a commit. `None` if libgit2 has to do it: the remote does not speak version 2, or a ref has to be requested
    /// by name.
    pub(crate) async fn commit(
        self,
        want: &Want,
        fast_forward_from: Option<Oid>,
        depth_is_adjusted: bool,
    ) -> Result<Option<Fetched>, Error> {
        let options = self.remote.options();
        let (wanted, for_job) = (want.clone(), self.remote.clone());
        let planned = self.store.run(self.deadline, move |path, _| {
            plan(&repository::open(path)?, for_job.options(), &wanted, fast_forward_from, depth_is_adjusted)
        });
        let request = match planned.await? {
            FetchPlan::Present(fetched) => return Ok(Some(fetched)),
            FetchPlan::Needed(request) => request,
        };
        let auth = request_auth(self.store, self.remote, Purpose::Fetch, self.deadline).await?;
        let caller = Caller { options, auth: &auth };
        let request = self.state.filter.apply(self.client, caller, request, self.deadline).await;
        let request = request.inspect_err(|error| self.client.failed(options, error))?;
        let partial = request.partial;
        let download = async {
            match self.download(caller, request.clone()).await {
                Ok(Download::TooLarge) => self.download(caller, request.clone().with_depth()).await,
                Ok(Download::NotServed(words)) => self.download_by_ref_name(caller, want, &request, words).await,
                download => download,
            }
        };
        let download = download.await;
        let (commit, _) = target(want);
        if request.present && !matches!(download, Ok(Download::Complete(_))) {
            // Missing history is no reason to withhold a commit.
            self.state.depth.record_failure(download.as_ref().err());
            return Ok(Some(Fetched { commit, bytes: 0, objects: 0 }));
        }
        match download {
            Ok(Download::Complete(fetched)) => Ok(Some(fetched)),
            Ok(Download::NotSpoken) => Ok(None),
            // The ref moved or was deleted since it was resolved, and the server supports no want-ref: libgit2 requests it
            // by name. But libgit2 relies on files that a partial clone need not have; there the next poll finds the ref.
            Ok(Download::NotServed(_))
                if !partial && matches!(want, Want::Seen(RemoteHead { full_ref: Some(_), .. })) =>
            {
                Ok(None)
            }
            // In version 0 a server may serve only what its refs name: libgit2 looks for the commit behind these.
            Ok(Download::NotServed(_)) if !partial && self.client.may_hide_commits(options) => Ok(None),
            Ok(Download::NotServed(source)) => {
                Err(Error::NoSuchCommit { commit, remote: options.url.to_string(), source: Some(source) })
            }
            Ok(Download::TooLarge) => Err(self.deadline.error()),
            Err(error) => {
                self.client.failed(options, &error);
                Err(error)
            }
        }
    }

    /// Sends one request for a pack and ingests the response.
    pub(crate) async fn download(self, caller: Caller<'_>, mut wanted: PackRequest) -> Result<Download, Error> {
        match self.deadline.limit(self.client.fetch(caller, &wanted.request)).await? {
            FetchResponse::Pack(update, pack) => {
                if wanted.request.want_ref.is_some() {
                    let source = Cause::new("it does not say what the ref is");
                    let remote = || caller.options.url.to_string();
                    wanted.request.want =
                        update.wanted_ref.ok_or_else(|| Error::Protocol { remote: remote(), source })?;
                }
                self.ingest(wanted, update, Vec::new(), *pack, NextRequest::Soon).await
            }
            FetchResponse::NotServed(words) => Ok(Download::NotServed(words)),
            FetchResponse::NotSpoken => Ok(Download::NotSpoken),
        }
    }

    /// Requests the ref's current value by its name, since the server does not serve the commit that the ref had. If that
    /// does not help, `words`, in which the server said so, remain the answer; other failures here do not count against
    /// the server.
    async fn download_by_ref_name(
        self,
        caller: Caller<'_>,
        want: &Want,
        wanted: &PackRequest,
        words: Cause,
    ) -> Result<Download, Error> {
        let not_served = Ok(Download::NotServed(words));
        let Want::Seen(RemoteHead { full_ref: Some(name), .. }) = want else { return not_served };
        // A tag would have to be peeled first and hardly ever moves. If only history is missing, it is that of this commit.
        if name.starts_with("refs/tags/") || wanted.present {
            return not_served;
        }
        let supported = self.deadline.limit(async { Ok(self.client.supports_want_ref(caller).await) }).await?;
        match supported {
            Ok(true) => {}
            // libgit2 cannot continue from a partial clone.
            Err(error) if wanted.partial => return Err(error),
            _ => return not_served,
        }
        match self.download(caller, wanted.clone().by_ref_name(name)).await {
            // The ref is gone, or is a tag after all, or want-ref was refused: libgit2's request by name gets the reason.
            Err(Error::Server { .. } | Error::Protocol { .. } | Error::NotACommit { .. }) => not_served,
            download => download,
        }
    }

    /// Carries the pack from the connection to the git thread. `buffered` was read from the connection before.
    pub(crate) async fn ingest(
        self,
        wanted: PackRequest,
        update: ShallowUpdate,
        buffered: Vec<Bytes>,
        pack: Pack,
        next_request: NextRequest,
    ) -> Result<Download, Error> {
        let most = if wanted.trusts_fast_forward() { MOST_ON_HINT } else { u64::MAX };
        let (parts, arriving) = mpsc::channel(MOST_WAITING);
        // The carrier owns the sender: when it ends, for whatever reason, the git thread does not wait for more.
        let carry = self.deadline.limit(Box::pin(carry(parts, buffered, pack, most, next_request)));
        let (for_job, state) = (self.remote.clone(), Arc::clone(self.state));
        let ingested = self.store.run(self.deadline, move |path, cancel| {
            let (store, options) = (repository::open(path)?, for_job.options());
            let fetched = ingest(&store, options, &wanted, &update, arriving, cancel)?;
            if fetched.is_some_and(|fetched| fetched.objects > 0) {
                repository::remove_discarded(path);
            }
            // Done here because the store is open, and the build waits for the answer.
            if let Some(commit) = fetched.map(|fetched| fetched.commit) {
                let notes = flatten::notes_without_submodules(&store, options, commit).map(|notes| (commit, notes));
                let complete = (options.filter.is_none() && !partial_clone::is_partial(path)).then_some(commit);
                state.set_fetched(notes, complete);
            }
            Ok(fetched)
        });
        let (carried, ingested) = tokio::join!(carry, ingested);
        match (carried, ingested) {
            (_, Ok(Some(fetched))) => Ok(Download::Complete(fetched)),
            (Ok(Carried::TooLarge), Ok(None)) => Ok(Download::TooLarge),
            // The connection knows why a pack was cut short. Any other failure is the store's.
            (Err(error), Ok(None)) | (_, Err(error)) => Err(error),
            (Ok(Carried::Done), Ok(None)) => Err(self.deadline.error()),
        }
    }
}

enum Carried {
    Done,
    TooLarge,
}

/// Passes the parts of a pack on, and frees the connection.
async fn carry(
    parts: mpsc::Sender<PackPart>,
    buffered: Vec<Bytes>,
    mut pack: Pack,
    most: u64,
    next_request: NextRequest,
) -> Result<Carried, Error> {
    let (mut carried, mut buffered, mut checksum) = (0, buffered.into_iter(), PackChecksum::default());
    let mut complete = false;
    while !complete && let Some(part) = next_part(&mut buffered, &mut pack).await? {
        carried += part.len() as u64;
        if carried > most {
            return Ok(Carried::TooLarge);
        }
        complete = checksum.ends_with(&part);
        if parts.send(PackPart::Data(part)).await.is_err() {
            // The git thread gave up and returns the reason.
            return Ok(Carried::Done);
        }
    }
    let _ = parts.send(PackPart::End).await;
    drop(parts);
    if !complete {
        pack.finish().await;
        return Ok(Carried::Done);
    }
    // The rest of the response only frees the connection. It is read in the background: a server that ends it late delays
    // no caller, and its connection is kept all the same.
    let drain = tokio::spawn(timeout(LONGEST_DRAIN, Box::pin(pack.drain())));
    if let NextRequest::Soon = next_request {
        let _ = timeout(DRAIN_BEFORE_NEXT, drain).await;
    }
    Ok(Carried::Done)
}

async fn next_part(buffered: &mut std::vec::IntoIter<Bytes>, pack: &mut Pack) -> Result<Option<Bytes>, Error> {
    match buffered.next() {
        Some(part) => Ok(Some(part)),
        None => pack.next().await,
    }
}
