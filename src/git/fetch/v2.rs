//! A look and a fetch over protocol version 2, from the question to the store; back to libgit2 where it is not spoken.
//!
//! The connection is tokio's business and ends when nobody waits for it. Only what touches the store is on the git
//! thread: a pack goes there through a short channel, so that the slower of network and disk sets the pace.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use git2::Oid;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::git::auth::request_auth::RequestAuth;
use crate::git::engine::Engine;
use crate::git::error::{Cause, Error};
use crate::git::fetch::ingest;
use crate::git::fetch::ingest::{Missing, Piece, Plan};
use crate::git::fetch::want::{Fetched, Want};
use crate::git::protocol::fetch::ShallowUpdate;
use crate::git::protocol::pack_checksum::Trailer;
use crate::git::remote::request_auth::Purpose;
use crate::git::remote::resolve_ref::Look;
use crate::git::remote::response::Pack;
use crate::git::remote::smart_http::Caller;
use crate::git::remote::v2::{Answered, Client};
use crate::git::store::{partial_clone, repository};
use crate::git::submodules::flatten;

/// How many pieces of a pack, of 64 KiB at most, may wait for the disk.
const MOST_WAITING: usize = 16;
/// What a push may bring if it is only said to be a fast-forward; more may be the whole history of something else.
const MOST_ON_TRUST: u64 = 32 * 1024 * 1024;
/// How long a server may take to end an answer whose pack is whole, before its connection is closed: with nobody waiting
/// for it, and if the next request follows.
const LONGEST_GOODBYE: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

impl Engine {
    /// `None` if the remote does not speak version 2.
    pub(crate) async fn look_over_http(
        &self,
        client: &Client,
        pass: &RequestAuth,
        deadline: Instant,
    ) -> Result<Option<Look>, Error> {
        let options = self.options();
        let caller = Caller { options, pass };
        let looked = timeout_at(deadline, client.look(caller, &options.reference)).await;
        let looked = looked.unwrap_or_else(|_| Err(self.late()));
        if let Err(error) = &looked {
            client.failed(options, error);
        }
        looked
    }

    /// `None` if the remote does not speak version 2, or has to be asked for a ref by its name.
    pub(crate) async fn fetch_over_http(
        &self,
        client: &Client,
        want: &Want,
        fast_forward_from: Option<Oid>,
        fitted: bool,
        deadline: Instant,
    ) -> Result<Option<Fetched>, Error> {
        let wanted = want.clone();
        let plan = self.run_until(deadline, move |inner, _| {
            let store = repository::open(&inner.store)?;
            ingest::plan(&store, &inner.options, &wanted, fast_forward_from, fitted)
        });
        let missing = match plan.await? {
            Plan::There(fetched) => return Ok(Some(fetched)),
            Plan::Missing(missing) => missing,
        };
        let pass = self.pass(Purpose::Fetch, deadline).await?;
        let caller = Caller { options: self.options(), pass: &pass };
        let missing = self.filtered(client, caller, missing, deadline).await;
        let missing = missing.inspect_err(|error| client.failed(self.options(), error))?;
        let partial = missing.partial;
        let fetched = async {
            match self.bring(client, caller, missing.clone(), deadline).await {
                Ok(Brought::TooMuch) => self.bring(client, caller, missing.clone().careful(), deadline).await,
                Ok(Brought::NotOurs(words)) => {
                    self.bring_by_name(client, caller, want, &missing, words, deadline).await
                }
                brought => brought,
            }
        };
        let fetched = fetched.await;
        if missing.there && !matches!(fetched, Ok(Brought::Whole(_))) {
            // Less history than asked for is no reason to withhold a commit.
            self.upkeep().fell_short(fetched.as_ref().err());
            let (commit, _) = crate::git::fetch::want::target(want);
            return Ok(Some(Fetched { commit, bytes: 0, objects: 0 }));
        }
        match fetched {
            Ok(Brought::Whole(fetched)) => Ok(Some(fetched)),
            Ok(Brought::NotSpoken) => Ok(None),
            // A ref that moved on or went away since the look, at a server that takes no names in version 2: libgit2 asks for it.
            // But it builds upon files that a partial store need not have; the next look finds where the ref is then.
            Ok(Brought::NotOurs(_)) if !partial && matches!(want, Want::Seen(Look { full_ref: Some(_), .. })) => {
                Ok(None)
            }
            Ok(Brought::NotOurs(source)) => {
                let (commit, _) = crate::git::fetch::want::target(want);
                Err(Error::NoSuchCommit { commit, remote: self.options().url.to_string(), source: Some(source) })
            }
            Ok(Brought::TooMuch) => Err(self.late()),
            Err(error) => {
                client.failed(self.options(), &error);
                Err(error)
            }
        }
    }

    pub(crate) async fn bring(
        &self,
        client: &Client,
        caller: Caller<'_>,
        mut missing: Missing,
        deadline: Instant,
    ) -> Result<Brought, Error> {
        let begun = timeout_at(deadline, client.fetch(caller, &missing.ask)).await.unwrap_or_else(|_| Err(self.late()));
        match begun? {
            Answered::Pack(boundary, pack) => {
                if missing.ask.by_name.is_some() {
                    let source = Cause::new("it does not say what the ref is");
                    let remote = || caller.options.url.to_string();
                    missing.ask.want = boundary.named.ok_or_else(|| Error::Protocol { remote: remote(), source })?;
                }
                self.land(missing, boundary, Vec::new(), *pack, NextRequest::Soon, deadline).await
            }
            Answered::NotOurs(words) => Ok(Brought::NotOurs(words)),
            Answered::NotSpoken => Ok(Brought::NotSpoken),
        }
    }

    /// The same for whatever the ref is now, since the server does not give out what the look found. `words` is how it said
    /// so, and stays the answer where this does not help: nothing else that it meets is held against the server.
    async fn bring_by_name(
        &self,
        client: &Client,
        caller: Caller<'_>,
        want: &Want,
        missing: &Missing,
        words: Cause,
        deadline: Instant,
    ) -> Result<Brought, Error> {
        let not_ours = Ok(Brought::NotOurs(words));
        let Want::Seen(Look { full_ref: Some(name), .. }) = want else { return not_ours };
        // What a tag names has to be peeled first, and hardly ever moves. Who lacks only history wants that commit's.
        if name.starts_with("refs/tags/") || missing.there {
            return not_ours;
        }
        match timeout_at(deadline, client.takes_names(caller)).await {
            Ok(Ok(true)) => {}
            // Libgit2 has no way to go on from there.
            Ok(Err(error)) if missing.partial => return Err(error),
            Ok(_) => return not_ours,
            Err(_) => return Err(self.late()),
        }
        match self.bring(client, caller, missing.clone().by_name(name), deadline).await {
            // Gone, or a tag after all, or not taken any more: who asks by name in the old way is told so in words.
            Err(Error::Server { .. } | Error::Protocol { .. } | Error::NotACommit { .. }) => not_ours,
            brought => brought,
        }
    }

    /// Carries the pack from the connection to the git thread. `early` is what was read of it before.
    pub(crate) async fn land(
        &self,
        missing: Missing,
        boundary: ShallowUpdate,
        early: Vec<Bytes>,
        mut pack: Pack,
        next_request: NextRequest,
        deadline: Instant,
    ) -> Result<Brought, Error> {
        let most = if missing.is_bold() { MOST_ON_TRUST } else { u64::MAX };
        let (sink, pieces) = mpsc::channel(MOST_WAITING);
        // Owns the sink: when this ends, for whatever reason, the git thread does not wait for more.
        let carry = async move {
            let (mut carried, mut early, mut trailer) = (0, early.into_iter(), Trailer::default());
            let mut whole = false;
            while !whole && let Some(part) = next(&mut early, &mut pack).await? {
                carried += part.len() as u64;
                if carried > most {
                    return Ok(false);
                }
                whole = trailer.ends_with(&part);
                if sink.send(Piece::Part(part)).await.is_err() {
                    // The git thread gave up, and says why.
                    return Ok(true);
                }
            }
            let _ = sink.send(Piece::End).await;
            drop(sink);
            if !whole {
                pack.finish().await;
                return Ok(true);
            }
            // What else the server says is no news, and only frees the connection.
            let goodbye = |longest| timeout(longest, Box::pin(pack.drain()));
            match next_request {
                NextRequest::Soon => drop(goodbye(LONGEST_WAIT).await),
                NextRequest::Later => drop(tokio::spawn(goodbye(LONGEST_GOODBYE))),
            }
            Ok(true)
        };
        let carry = async { timeout_at(deadline, Box::pin(carry)).await.unwrap_or_else(|_| Err(self.late())) };
        let landed = self.run_until(deadline, move |inner, cancel| {
            let store = repository::open(&inner.store)?;
            let fetched = ingest::land(&store, &inner.options, &missing, &boundary, pieces, cancel)?;
            if fetched.is_some_and(|fetched| fetched.objects > 0) {
                repository::remove_discarded(&inner.store);
            }
            // While the store is open: the build waits for the answer.
            if let Some(commit) = fetched.map(|fetched| fetched.commit) {
                let looked = flatten::nothing_to_do(&store, &inner.options, commit).map(|notes| (commit, notes));
                *inner.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
                let whole =
                    (inner.options.filter.is_none() && !partial_clone::is_partial(&inner.store)).then_some(commit);
                *inner.landed_whole.lock().unwrap_or_else(PoisonError::into_inner) = whole;
            }
            Ok(fetched)
        });
        let (carried, landed) = tokio::join!(carry, landed);
        match (carried, landed) {
            (_, Ok(Some(fetched))) => Ok(Brought::Whole(fetched)),
            (Ok(false), Ok(None)) => Ok(Brought::TooMuch),
            // A pack that was cut short: why is known on the side of the connection. Else the store has the word.
            (Err(error), Ok(None)) | (_, Err(error)) => Err(error),
            (Ok(true), Ok(None)) => Err(self.late()),
        }
    }
}

/// Whether the connection of a fetch is wanted again at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NextRequest {
    Soon,
    Later,
}

async fn next(early: &mut std::vec::IntoIter<Bytes>, pack: &mut Pack) -> Result<Option<Bytes>, Error> {
    match early.next() {
        Some(part) => Ok(Some(part)),
        None => pack.next().await,
    }
}

pub(crate) enum Brought {
    Whole(Fetched),
    NotOurs(Cause),
    NotSpoken,
    /// More than is taken on somebody's word.
    TooMuch,
}
