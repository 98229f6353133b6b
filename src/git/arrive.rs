//! The store's side of a fetch over protocol version 2: what to ask for, and taking in what comes.
//!
//! It runs on the git thread. It must not know of connections: a pack comes out of a channel, piece by piece, and a
//! channel that closes before its end means that there is no more of it.

use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use git2::{Oid, Repository};
use tokio::sync::mpsc::Receiver;

use crate::worker::Cancel;

use super::v2::{Ask, Boundary};
use super::{Cause, Error, Fetched, RemoteOptions, Want, fetch, shallow, store};

/// git's word for "all there is" (gitprotocol-pack; its `INFINITE_DEPTH`), for a store that shall not be shallow any more.
const UNSHALLOW: u32 = 0x7fff_ffff;

/// What a fetch has to do.
pub(super) enum Plan {
    There(Fetched),
    Missing(Missing),
}

/// A commit that has to be fetched.
#[derive(Clone)]
pub(super) struct Missing {
    pub ask: Ask,
    kept_as: &'static str,
    /// What our ref was when it was last complete.
    head: Option<Oid>,
    /// How deep the history shall be; 0 = all.
    depth: u32,
}

impl Missing {
    /// True if the boundary is left out of the question, on the word of somebody who may be wrong.
    pub(super) fn is_bold(&self) -> bool {
        self.depth > 0 && self.ask.deepen.is_none()
    }

    /// The same question, asked so that nobody's word counts.
    pub(super) fn careful(mut self) -> Self {
        self.ask.deepen = Some(self.depth);
        self
    }
}

/// A part of a pack, or its end.
pub(super) enum Piece {
    Part(Bytes),
    End,
}

/// Looks what the store has of it. `fast_forward_from` is the commit that the wanted one is said to descend from.
///
/// A server has to walk the whole old tree to move the boundary of a shallow history. It is not asked to where the new
/// commit descends from what we have: the pack is small then by itself, and the boundary is moved by `shallow::cut`.
pub(super) fn plan(
    store: &Repository,
    options: &RemoteOptions,
    want: &Want,
    fast_forward_from: Option<Oid>,
) -> Result<Plan, Error> {
    let (commit, kept_as) = fetch::target(want);
    if fetch::has(store, commit)? {
        fetch::keep(store, kept_as, commit, true)?;
        return Ok(Plan::There(Fetched { commit, bytes: 0, objects: 0 }));
    }
    let head = store::kept(store, store::HEAD)?;
    let mut haves: Vec<Oid> = Vec::new();
    for name in store::KEPT {
        let Some(have) = store::kept(store, name)? else { continue };
        match store.find_commit(have) {
            Ok(_) if haves.contains(&have) => {}
            Ok(_) => haves.push(have),
            Err(error) if name != store::HEAD && error.code() == git2::ErrorCode::NotFound => {}
            Err(error) if error.code() == git2::ErrorCode::NotFound => {
                return Err(store::damaged(store, "the commit that it had last is gone"));
            }
            Err(error) => return Err(Error::from_store(store.path(), &error)),
        }
    }
    let mut roots: Vec<Oid> = shallow::roots(store)?.into_iter().collect();
    roots.sort_unstable();
    let deepen = match options.depth {
        0 => (!roots.is_empty()).then_some(UNSHALLOW),
        _ if head.is_some() && head == fast_forward_from => None,
        depth => Some(depth.min(UNSHALLOW)),
    };
    let ask = Ask { want: commit, haves, roots, deepen };
    Ok(Plan::Missing(Missing { ask, kept_as, head, depth: options.depth }))
}

/// Takes in a pack, checks that the commit is whole, and keeps it. `None` if the pack was cut short.
pub(super) fn land(
    store: &Repository,
    options: &RemoteOptions,
    missing: &Missing,
    boundary: &Boundary,
    pieces: Receiver<Piece>,
    cancel: &Cancel,
) -> Result<Option<Fetched>, Error> {
    let remote = options.url.to_string();
    let Some((bytes, objects)) = take_in(store, options, missing, pieces, cancel)? else { return Ok(None) };
    if cancel.is_cancelled() {
        // Nobody waits any more, and another job may already be at work on the same refs.
        return Err(Error::Timeout { remote, after: options.timeout });
    }
    let commit = missing.ask.want;
    match store.find_object(commit, None) {
        Ok(object) if object.as_commit().is_some() => {}
        Ok(_) => return Err(Error::NotACommit { name: commit.to_string() }),
        Err(_) => {
            return Err(Error::Protocol { remote, source: Cause::new("its pack lacks the commit that was asked for") });
        }
    }
    if !store::is_complete(store, commit, missing.head)? {
        whole_before(store, missing)?;
        return Err(Error::Protocol { remote, source: Cause::new("its pack lacks parts of the commit") });
    }
    shallow::shift(store, &boundary.shallow, &boundary.unshallow)?;
    if missing.is_bold() {
        shallow::cut(store, commit, missing.depth)?;
    }
    fetch::keep(store, missing.kept_as, commit, false)?;
    Ok(Some(Fetched { commit, bytes, objects }))
}

/// Writes the pack into the store as it comes. Returns its bytes and objects.
fn take_in(
    store: &Repository,
    options: &RemoteOptions,
    missing: &Missing,
    mut pieces: Receiver<Piece>,
    cancel: &Cancel,
) -> Result<Option<(u64, u64)>, Error> {
    let remote = options.url.to_string();
    let in_store = |error: git2::Error| Error::from_store(store.path(), &error);
    let objects = Cell::new(0);
    let odb = store.odb().map_err(in_store)?;
    let mut writer = odb.packwriter().map_err(in_store)?;
    writer.progress(|progress| {
        objects.set(progress.total_objects() as u64);
        !cancel.is_cancelled()
    });
    let explain = |error: &git2::Error| explain(store.path(), options, &remote, error);
    let mut bytes = 0;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Part(part)) => {
                bytes += part.len() as u64;
                // git2 keeps back why; libgit2 remembers its last error for this thread.
                writer.write_all(&part).map_err(|_| explain(&git2::Error::last_error(-1)))?;
            }
            Some(Piece::End) => break,
            None => return Ok(None),
        }
    }
    if bytes == 0 {
        return Err(Error::Protocol { remote, source: Cause::new("its pack is empty") });
    }
    if objects.get() > 0
        && let Err(error) = writer.commit()
    {
        let told = explain(&error);
        if matches!(told, Error::Protocol { .. }) {
            // What the pack builds upon may be gone from our store instead.
            whole_before(store, missing)?;
        }
        return Err(told);
    }
    drop(writer);
    odb.refresh().map_err(in_store)?;
    Ok(Some((bytes, objects.get())))
}

fn explain(store: &Path, options: &RemoteOptions, remote: &str, error: &git2::Error) -> Error {
    Error::from_remote(remote, options.timeout, store, error)
}

/// Is it the store that lacks what it said that it has?
fn whole_before(store: &Repository, missing: &Missing) -> Result<(), Error> {
    for have in &missing.ask.haves {
        if !store::is_complete(store, *have, None)? {
            return Err(Error::Incomplete { commit: *have });
        }
    }
    Ok(())
}
