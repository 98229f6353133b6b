//! The announced commit, asked for while the look still asks whether it is our ref's.
//!
//! What was announced is a hint. The answer is held back until the look has confirmed it: nothing of it reaches the git
//! thread or the store before, and no more than a megabyte of it is read. Whatever goes wrong here is told to nobody, and
//! the remote is not judged by it: the plain way is gone then. It must not know who announced what.

use std::sync::PoisonError;

use bytes::Bytes;
use git2::Oid;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::git::engine::Engine;
use crate::git::error::Error;
use crate::git::fetch::ingest;
use crate::git::fetch::v2::{Brought, NextRequest};
use crate::git::fetch::want::Fetched;
use crate::git::protocol::fetch::FetchRequest;
use crate::git::protocol::fetch::ShallowUpdate;
use crate::git::remote::request_auth::Purpose;
use crate::git::remote::resolve_ref::Look;
use crate::git::remote::response::Pack;
use crate::git::remote::smart_http::Caller;
use crate::git::remote::v2::Client;
use crate::git::store::repository;

/// How much of an answer is read before the look is back. The rest waits at the server.
const MOST_UNCONFIRMED: usize = 1 << 20;
/// The same in parts: a server may send a byte at a time.
const MOST_PARTS: usize = 256;

/// A commit that a look may be about to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    pub commit: Oid,
    /// What our ref was last, if the commit is said to descend from it.
    pub from: Option<Oid>,
}

/// What came of asking early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// The look found that very commit, and it is in the store.
    Fetched(Fetched),
    /// It is more than is taken on somebody's word: it does not descend from what we have.
    TooMuch,
    /// Nothing: it was not asked for, it was not to be had, or it is not what the look found.
    Nothing,
}

impl Engine {
    /// A look, and beside it the fetch of the commit that it is expected to find. Only a commit that the look found is kept.
    /// `meanwhile` is what has to be done for a push, and waits for the same: until the look has found that commit.
    pub async fn look_ahead(&self, ahead: Ahead, meanwhile: impl Future<Output = ()>) -> Result<(Look, Early), Error> {
        let (confirm, confirmed) = oneshot::channel();
        let (look, fetch) = (self.look(), self.fetch_ahead(ahead, confirmed));
        tokio::pin!(look, fetch);
        let mut gone = None;
        let look = loop {
            tokio::select! {
                biased;
                look = &mut look => break look?,
                early = &mut fetch, if gone.is_none() => gone = Some(early),
            }
        };
        if look.commit != ahead.commit || gone.is_some() || confirm.send(()).is_err() {
            // Dropping the fetch closes its connection, and that is all that is left of it.
            return Ok((look, Early::Nothing));
        }
        let (early, ()) = tokio::join!(fetch, meanwhile);
        Ok((look, early))
    }

    /// Works out now what a push that leads on from our ref's commit will be asked with. To be called while nobody waits.
    pub async fn plan_next(&self) {
        let plan = self.run_until(self.deadline(), |inner, _| {
            // If somebody emptied the volume it is not for this to make a new store.
            let next = ingest::plan_next(&repository::open_existing(&inner.store)?, &inner.options)?;
            *inner.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
            Ok(())
        });
        if let Err(error) = plan.await {
            tracing::debug!(%error, "the next push will be planned when it is there");
        }
    }

    async fn fetch_ahead(&self, ahead: Ahead, confirmed: oneshot::Receiver<()>) -> Early {
        let deadline = self.deadline();
        match self.try_ahead(ahead, confirmed, deadline).await {
            Ok(early) => early,
            Err(error) => {
                tracing::debug!(%error, "the announced commit could not be fetched ahead of the look");
                Early::Nothing
            }
        }
    }

    async fn try_ahead(
        &self,
        ahead: Ahead,
        confirmed: oneshot::Receiver<()>,
        deadline: Instant,
    ) -> Result<Early, Error> {
        let Some(client) = self.client(deadline).await? else { return Ok(Early::Nothing) };
        if !client.is_straight() {
            return Ok(Early::Nothing);
        }
        let next = self.inner().next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let planned = if let Some(missing) = next.and_then(|next| next.for_push(ahead.commit, ahead.from)) {
            Some(missing)
        } else {
            let plan = self.run_until(deadline, move |inner, _| {
                ingest::plan_ahead(&repository::open(&inner.store)?, &inner.options, ahead.commit, ahead.from)
            });
            plan.await?
        };
        let missing = planned.and_then(|missing| self.filtered_ahead(client, missing));
        let Some(missing) = missing else { return Ok(Early::Nothing) };
        // The look beside it asks whoever says the password; what was said last will do here.
        let pass = self.pass(Purpose::Fetch, deadline).await?;
        let caller = Caller { options: self.options(), pass: &pass };
        let asked = ask(client, caller, &missing.ask, confirmed);
        let Ok(Some((boundary, early, pack))) = timeout_at(deadline, asked).await else { return Ok(Early::Nothing) };
        Ok(match self.land(missing, boundary, early, pack, NextRequest::Later, deadline).await? {
            Brought::Whole(fetched) => Early::Fetched(fetched),
            Brought::TooMuch => Early::TooMuch,
            Brought::NotOurs(_) | Brought::NotSpoken => Early::Nothing,
        })
    }
}

/// Asks, and reads what may be read until the commit is confirmed. `None`: no pack, or no confirmation.
async fn ask(
    client: &Client,
    caller: Caller<'_>,
    ask: &FetchRequest,
    mut confirmed: oneshot::Receiver<()>,
) -> Option<(ShallowUpdate, Vec<Bytes>, Pack)> {
    let (boundary, mut pack) = client.fetch_ahead(caller, ask).await?;
    let (mut early, mut read) = (Vec::new(), 0);
    loop {
        tokio::select! {
            told = &mut confirmed => return told.ok().map(|()| (boundary, early, *pack)),
            part = pack.next(), if read < MOST_UNCONFIRMED && early.len() < MOST_PARTS => match part.ok()? {
                Some(part) => {
                    read += part.len();
                    early.push(part);
                }
                None => return confirmed.await.ok().map(|()| (boundary, early, *pack)),
            },
        }
    }
}
