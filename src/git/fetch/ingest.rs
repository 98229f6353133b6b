//! Ingests a pack into the store: writes it as it arrives, checks the result, and moves the ref.
//!
//! It runs on the git thread. It must not know of connections: the pack arrives through a channel, and a channel that
//! closes before [`PackPart::End`] means that the pack was cut short.

use std::cell::Cell;
use std::io::Write as _;
use std::iter;
use std::path::Path;

use bytes::Bytes;
use git2::{ObjectType, Repository};
use tokio::sync::mpsc::Receiver;

use crate::git::error::{Cause, Error};
use crate::git::protocol::fetch::ShallowUpdate;
use crate::git::remote::options::RemoteOptions;
use crate::git::store::{advance, completeness, locks, missing_blobs, partial_clone, shallow};
use crate::worker::Cancel;

use super::plan::PackRequest;
use super::want::Fetched;

/// A part of a pack, or its end.
pub(crate) enum PackPart {
    Data(Bytes),
    End,
}

/// Ingests a pack, checks that the commit is complete, and moves its ref. `None` if the pack was cut short.
pub(crate) fn ingest(
    store: &Repository,
    options: &RemoteOptions,
    wanted: &PackRequest,
    update: &ShallowUpdate,
    parts: Receiver<PackPart>,
    cancel: &Cancel,
) -> Result<Option<Fetched>, Error> {
    locks::break_locks(store.path());
    let remote = options.url.to_string();
    // Before the pack: after a kill, a store with a filtered pack must have the marker.
    if wanted.request.filter.is_some() {
        partial_clone::mark(store.path())?;
    }
    let Some((bytes, objects)) = write_pack(store, options, wanted, parts, cancel)? else { return Ok(None) };
    if cancel.is_cancelled() {
        // The caller has gone, and another job may already change the same refs.
        return Err(Error::Timeout { remote, after: options.timeout });
    }
    if let Some(commit) = wanted.files_of {
        let requested = iter::once(wanted.request.want).chain(wanted.request.more_wants.iter().copied());
        if !missing_blobs::all_present(store, requested)? {
            let source = Cause::new("its pack lacks files that were asked for");
            return Err(Error::Protocol { remote, source });
        }
        return Ok(Some(Fetched { commit, bytes, objects }));
    }
    let commit = wanted.request.want;
    match store.odb().and_then(|odb| odb.read_header(commit)) {
        Ok((_, ObjectType::Commit)) => {}
        Ok(_) => return Err(Error::NotACommit { name: commit.to_string() }),
        Err(_) => {
            return Err(Error::Protocol { remote, source: Cause::new("its pack lacks the commit that was asked for") });
        }
    }
    // Files of a submodule are never left out.
    let is_complete = match wanted.target_ref {
        Some(_) => completeness::is_complete,
        None => completeness::is_complete_with_blobs,
    };
    if !is_complete(store, commit, wanted.head)? {
        check_haves(store, wanted)?;
        return Err(Error::Protocol { remote, source: Cause::new("its pack lacks parts of the commit") });
    }
    completeness::warn_if_malformed(store, commit);
    let Some(target_ref) = wanted.target_ref else { return Ok(Some(Fetched { commit, bytes, objects })) };
    // Before the ref is moved: after a kill in between, no ref reaches commits whose parents are missing.
    shallow::update(store, &update.shallow, &update.unshallow)?;
    if wanted.trusts_fast_forward() {
        shallow::truncate(store, commit, wanted.depth)?;
    }
    advance::advance_ref(store, target_ref, commit, false)?;
    Ok(Some(Fetched { commit, bytes, objects }))
}

/// Writes the pack into the store as it arrives. Returns the number of bytes and objects.
fn write_pack(
    store: &Repository,
    options: &RemoteOptions,
    wanted: &PackRequest,
    mut parts: Receiver<PackPart>,
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
        match parts.blocking_recv() {
            Some(PackPart::Data(data)) => {
                bytes += data.len() as u64;
                options.allowance.take(data.len() as u64).map_err(Error::over_limit)?;
                // git2 drops the cause, but libgit2 remembers the last error of this thread.
                writer.write_all(&data).map_err(|_| explain(&git2::Error::last_error(-1)))?;
            }
            Some(PackPart::End) => break,
            None => return Ok(None),
        }
    }
    if bytes == 0 {
        return Err(Error::Protocol { remote, source: Cause::new("its pack is empty") });
    }
    if objects.get() > 0
        && let Err(error) = writer.commit()
    {
        let explained = explain(&error);
        if matches!(explained, Error::Protocol { .. }) {
            // The objects that the pack's deltas refer to may be missing in our store instead.
            check_haves(store, wanted)?;
        }
        return Err(explained);
    }
    drop(writer);
    odb.refresh().map_err(in_store)?;
    Ok(Some((bytes, objects.get())))
}

fn explain(store: &Path, options: &RemoteOptions, remote: &str, error: &git2::Error) -> Error {
    Error::from_remote(remote, options.timeout, store, error)
}

/// Fails if the store lacks parts of the commits that the request listed as haves: then the store is at fault, not the
/// pack.
fn check_haves(store: &Repository, wanted: &PackRequest) -> Result<(), Error> {
    for have in &wanted.request.haves {
        if !completeness::is_complete(store, *have, None)? {
            return Err(Error::Incomplete { commit: *have });
        }
    }
    Ok(())
}
