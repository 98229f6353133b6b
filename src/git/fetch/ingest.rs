//! The store's side of a fetch over protocol version 2: what to ask for, and taking in what comes.
//!
//! It runs on the git thread. It must not know of connections: a pack comes out of a channel, piece by piece, and a
//! channel that closes before its end means that there is no more of it.

use std::cell::Cell;
use std::io::Write as _;
use std::iter;
use std::path::Path;

use bytes::Bytes;
use git2::{ObjectType, Oid, Repository};
use tokio::sync::mpsc::Receiver;

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::fetch::want;
use crate::git::fetch::want::{Fetched, Want};
use crate::git::protocol::fetch::{FetchRequest, ShallowUpdate};
use crate::git::protocol::filter::Filter;
use crate::git::remote::options::RemoteOptions;
use crate::git::store::{advance, completeness, depth, flattened, locks, missing_blobs, partial_clone, refs, shallow};
use crate::worker::Cancel;

/// git's word for "all there is" (gitprotocol-pack; its `INFINITE_DEPTH`), for a store that shall not be shallow any more.
const UNSHALLOW: u32 = 0x7fff_ffff;

/// A store with a larger pack is sent whole files instead of deltas to those that it has.
const LARGE_PACK: u64 = 32 * 1024 * 1024;

/// What a fetch has to do.
pub(crate) enum Plan {
    There(Fetched),
    Missing(Missing),
}

/// A commit that has to be fetched.
#[derive(Clone)]
pub(crate) struct Missing {
    pub ask: FetchRequest,
    /// `None`: by whoever wanted it.
    kept_as: Option<&'static str>,
    /// Files are asked for, and not a commit: those of this one.
    files_of: Option<Oid>,
    /// What our ref was when it was last complete.
    head: Option<Oid>,
    /// How deep the history shall be; 0 = all.
    depth: u32,
    /// True if only more of its history is missing.
    pub there: bool,
    /// True if the store may lack files of what it has.
    pub partial: bool,
}

impl Missing {
    /// Files of a commit that is there. `None` if there are none.
    pub(crate) fn files(commit: Oid, files: &[Oid]) -> Option<Self> {
        let (want, more) = files.split_first()?;
        let (more, haves, roots) = (more.to_vec(), Vec::new(), Vec::new());
        let ask =
            FetchRequest { want: *want, by_name: None, more, haves, roots, deepen: None, filter: None, alone: true };
        Some(Self { ask, kept_as: None, files_of: Some(commit), head: None, depth: 0, there: true, partial: true })
    }

    /// True if the boundary is left out of the question, on the word of somebody who may be wrong.
    pub(crate) fn is_bold(&self) -> bool {
        self.depth > 0 && self.ask.deepen.is_none()
    }

    /// The plan for the next push, as that for a commit that is said to descend from `from`; `None` if it is no such plan.
    pub(crate) fn for_push(mut self, commit: Oid, from: Option<Oid>) -> Option<Self> {
        self.ask.want = commit;
        (from.is_some() && self.head == from).then_some(self)
    }

    /// The same question for whatever a ref is now.
    pub(crate) fn by_name(mut self, full_ref: &str) -> Self {
        self.ask.by_name = Some(full_ref.to_owned());
        if self.is_bold() { self.careful() } else { self }
    }

    /// The same question, asked so that nobody's word counts.
    pub(crate) fn careful(mut self) -> Self {
        self.ask.deepen = Some(self.depth);
        self
    }
}

/// A part of a pack, or its end.
pub(crate) enum Piece {
    Part(Bytes),
    End,
}

/// Looks what the store has of it. `fast_forward_from` is the commit that the wanted one is said to descend from;
/// `fitted` is false while the depth may have changed since the store was filled.
///
/// A server has to walk the whole old tree to move the boundary of a shallow history. It is not asked to where the new
/// commit descends from what we have: the pack is small then by itself, and the boundary is moved by `shallow::truncate`.
pub(crate) fn plan(
    store: &Repository,
    options: &RemoteOptions,
    want: &Want,
    fast_forward_from: Option<Oid>,
    fitted: bool,
) -> Result<Plan, Error> {
    locks::break_locks(store.path());
    if let Want::Module(commit) = want {
        return plan_module(store, options, *commit);
    }
    let (commit, kept_as) = want::target(want);
    let there = completeness::has(store, commit)?;
    if there {
        advance::advance_ref(store, kept_as, commit, true)?;
        if fitted || depth::compare(store, commit, options.depth)? != depth::DepthFit::TooShallow {
            return Ok(Plan::There(Fetched { commit, bytes: 0, objects: 0 }));
        }
    }
    let missing = missing(store, options, commit, kept_as, fast_forward_from)?;
    Ok(Plan::Missing(Missing { there, ..missing }))
}

/// The same for a commit that may be our ref's next. Changes nothing. `None`: it is there.
pub(crate) fn plan_ahead(
    store: &Repository,
    options: &RemoteOptions,
    commit: Oid,
    fast_forward_from: Option<Oid>,
) -> Result<Option<Missing>, Error> {
    if completeness::has(store, commit)? {
        return Ok(None);
    }
    missing(store, options, commit, refs::HEAD, fast_forward_from).map(Some)
}

/// The same for any commit that leads on from what our ref is now. `None`: there is none yet.
pub(crate) fn plan_next(store: &Repository, options: &RemoteOptions) -> Result<Option<Missing>, Error> {
    match refs::read(store, refs::HEAD)? {
        Some(head) => missing(store, options, Oid::ZERO_SHA1, refs::HEAD, Some(head)).map(Some),
        None => Ok(None),
    }
}

fn missing(
    store: &Repository,
    options: &RemoteOptions,
    commit: Oid,
    kept_as: &'static str,
    fast_forward_from: Option<Oid>,
) -> Result<Missing, Error> {
    let head = refs::read(store, refs::HEAD)?;
    let mut haves: Vec<Oid> = Vec::new();
    for name in refs::TRACKED {
        let Some(have) = refs::read(store, name)? else { continue };
        match commit::tree_id(store, have) {
            Ok(_) if haves.contains(&have) => {}
            Ok(_) => haves.push(have),
            Err(error) if name != refs::HEAD && error.code() == git2::ErrorCode::NotFound => {}
            Err(error) if error.code() == git2::ErrorCode::NotFound => {
                return Err(refs::damaged(store, "the commit that it had last is gone"));
            }
            Err(error) => return Err(Error::from_store(store.path(), &error)),
        }
    }
    let mut roots: Vec<Oid> = shallow::boundary(store)?.into_iter().collect();
    roots.sort_unstable();
    let deepen = match options.depth {
        0 => (!roots.is_empty()).then_some(UNSHALLOW),
        _ if head.is_some() && head == fast_forward_from => None,
        depth => Some(depth.min(UNSHALLOW)),
    };
    let partial = partial_clone::is_partial(store.path());
    // Files of the haves may not be there, and nothing may build upon them: then all files are asked for by their hashes.
    let filter = if partial && !haves.is_empty() { Some(Filter::NoFiles) } else { options.filter };
    let alone = partial || may_hold_large(store);
    let ask = FetchRequest { want: commit, by_name: None, more: Vec::new(), haves, roots, deepen, filter, alone };
    Ok(Missing { ask, kept_as: Some(kept_as), files_of: None, head, depth: options.depth, there: false, partial })
}

/// The same for a submodule's commit: what is there of other remotes is none of this one's business.
fn plan_module(store: &Repository, options: &RemoteOptions, commit: Oid) -> Result<Plan, Error> {
    let haves = flattened::commits_of(store, &options.url)?;
    let head = haves.first().copied();
    if completeness::is_complete_with_blobs(store, commit, head)? {
        return Ok(Plan::There(Fetched { commit, bytes: 0, objects: 0 }));
    }
    let ends = shallow::boundary(store)?;
    let roots = haves.iter().copied().filter(|have| ends.contains(have)).collect();
    let (more, deepen) = (Vec::new(), Some(1));
    let ask = FetchRequest {
        want: commit,
        by_name: None,
        more,
        haves,
        roots,
        deepen,
        filter: None,
        alone: may_hold_large(store),
    };
    Ok(Plan::Missing(Missing { ask, kept_as: None, files_of: None, head, depth: 1, there: false, partial: false }))
}

/// True if the store may hold files that are not to be loaded. To apply a delta to one, libgit2 holds it and the result
/// in memory; a container that could fetch a file of 200 MB for the first time would be killed by a change of it.
fn may_hold_large(store: &Repository) -> bool {
    let Ok(packs) = std::fs::read_dir(store.path().join("objects/pack")) else { return false };
    packs.flatten().any(|pack| pack.metadata().is_ok_and(|data| data.len() > LARGE_PACK))
}

/// Takes in a pack, checks that the commit is whole, and keeps it. `None` if the pack was cut short.
pub(crate) fn land(
    store: &Repository,
    options: &RemoteOptions,
    missing: &Missing,
    boundary: &ShallowUpdate,
    pieces: Receiver<Piece>,
    cancel: &Cancel,
) -> Result<Option<Fetched>, Error> {
    locks::break_locks(store.path());
    let remote = options.url.to_string();
    if missing.ask.filter.is_some() {
        partial_clone::mark(store.path())?;
    }
    let Some((bytes, objects)) = take_in(store, options, missing, pieces, cancel)? else { return Ok(None) };
    if cancel.is_cancelled() {
        // Nobody waits any more, and another job may already be at work on the same refs.
        return Err(Error::Timeout { remote, after: options.timeout });
    }
    if let Some(commit) = missing.files_of {
        if !missing_blobs::all_present(store, iter::once(missing.ask.want).chain(missing.ask.more.iter().copied()))? {
            let source = Cause::new("its pack lacks files that were asked for");
            return Err(Error::Protocol { remote, source });
        }
        return Ok(Some(Fetched { commit, bytes, objects }));
    }
    let commit = missing.ask.want;
    match store.odb().and_then(|odb| odb.read_header(commit)) {
        Ok((_, ObjectType::Commit)) => {}
        Ok(_) => return Err(Error::NotACommit { name: commit.to_string() }),
        Err(_) => {
            return Err(Error::Protocol { remote, source: Cause::new("its pack lacks the commit that was asked for") });
        }
    }
    // A submodule's files are never left out.
    let enough =
        if missing.kept_as.is_none() { completeness::is_complete_with_blobs } else { completeness::is_complete };
    if !enough(store, commit, missing.head)? {
        whole_before(store, missing)?;
        return Err(Error::Protocol { remote, source: Cause::new("its pack lacks parts of the commit") });
    }
    completeness::warn_if_malformed(store, commit);
    let Some(kept_as) = missing.kept_as else { return Ok(Some(Fetched { commit, bytes, objects })) };
    shallow::update(store, &boundary.shallow, &boundary.unshallow)?;
    if missing.is_bold() {
        shallow::truncate(store, commit, missing.depth)?;
    }
    advance::advance_ref(store, kept_as, commit, false)?;
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
                options.allowance.take(part.len() as u64).map_err(Error::over_limit)?;
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
        if !completeness::is_complete(store, *have, None)? {
            return Err(Error::Incomplete { commit: *have });
        }
    }
    Ok(())
}
