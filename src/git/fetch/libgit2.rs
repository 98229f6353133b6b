//! Fetches one commit through libgit2, for remotes that do not speak protocol v2.

use git2::{Oid, Repository};

use crate::commit;
use crate::error::ErrorKind;
use crate::git::error::Error;
use crate::git::fetch::by_hash::{self, LastSearch};
use crate::git::fetch::local_copy::{self, Extent};
use crate::git::fetch::state::FetchState;
use crate::git::fetch::want::{Fetched, Want, target};
use crate::git::remote::local;
use crate::git::remote::resolve_ref::RemoteHead;
use crate::git::remote::transport::{Libgit2Remote, Received};
use crate::git::store::compact::temporary;
use crate::git::store::depth::DepthFit;
use crate::git::store::{advance, completeness, depth, locks, partial_clone, refs, shallow};
use crate::remote_url::Transport;

/// Fetches a commit, unless the store has all of it. `depth_is_adjusted` is false while `--depth` may have changed
/// since the store was filled; a failed attempt to adjust the depth is recorded in `state`.
pub(crate) fn fetch(
    link: &Libgit2Remote<'_>,
    want: &Want,
    depth_is_adjusted: bool,
    state: &FetchState,
) -> Result<Fetched, Error> {
    locks::break_locks(link.store.path());
    if let Want::Module(commit) = want {
        return module(link, *commit, &state.last_search);
    }
    let (commit, kept_as) = target(want);
    let last_search = &state.last_search;
    // libgit2 would receive deltas against files that the store lacks. A new store lacks none.
    let partial = partial_clone::is_partial(link.store.path());
    if completeness::has(link.store, commit)? {
        advance::advance_ref(link.store, kept_as, commit, true)?;
        let there = Fetched { commit, bytes: 0, objects: 0 };
        if depth_is_adjusted
            || partial
            || depth::compare(link.store, commit, link.options.depth)? != DepthFit::TooShallow
        {
            return Ok(there);
        }
        // Missing history is no reason to withhold a commit.
        return Ok(deepen(link, want, last_search).unwrap_or_else(|error| {
            state.depth.record_failure(Some(&error));
            there
        }));
    }
    if partial {
        return Err(Error::Incomplete { commit });
    }
    let ask = |link: &Libgit2Remote<'_>| match want {
        Want::Seen(RemoteHead { full_ref: Some(full_ref), .. }) => by_name(link, full_ref),
        _ => by_hash::fetch(link, commit, last_search).map(|received| (commit, received)),
    };
    let asked = if is_counted(link) {
        local_copy::copy(link, commit, Extent::Missing).map(|received| (commit, received))
    } else if can_negotiate(link.store)? {
        ask(link)
    } else {
        whole_copy(link, want, last_search)
    };
    let (mut commit, mut received) = match asked {
        Err(error) if is_local(link) && error.kind() != ErrorKind::RefMissing && !is_ours(&error) => {
            tracing::debug!(%error, "libgit2 cannot copy from this folder; the objects are copied one by one");
            (commit, local_copy::copy(link, commit, Extent::Whole).map_err(|_| error)?)
        }
        asked => asked?,
    };
    if link.cancel.is_cancelled() {
        // The caller has gone, and another job may already change the same refs.
        return Err(Error::Timeout { remote: link.options.url.to_string(), after: link.options.timeout });
    }
    completeness::warn_if_malformed(link.store, commit);
    let known = refs::read(link.store, refs::HEAD)?;
    let mut complete = completeness::is_complete(link.store, commit, known)?;
    if is_local(link)
        && (!complete
            || !depth_is_adjusted && depth::compare(link.store, commit, link.options.depth)? == DepthFit::TooShallow)
    {
        // Between two local repositories libgit2 leaves out the objects that our refs reach over there, though we may
        // have dropped them.
        (commit, received) = match whole_copy(link, want, last_search) {
            Err(error) if !is_ours(&error) => {
                (commit, local_copy::copy(link, commit, Extent::Whole).map_err(|_| error)?)
            }
            copied => copied?,
        };
        complete = completeness::is_complete(link.store, commit, known)?;
    }
    if !complete {
        return Err(Error::Incomplete { commit });
    }
    if is_local(link) && link.options.depth > 0 {
        shallow::truncate(link.store, commit, link.options.depth)?;
    }
    advance::advance_ref(link.store, kept_as, commit, false)?;
    if is_local(link) && link.options.depth == 0 && local::is_shallow(link.options.url.bare()) {
        // The remote is shallow, which libgit2 does not tell.
        shallow::recompute(link.store)?;
    }
    Ok(Fetched { commit, bytes: received.bytes, objects: received.objects })
}

/// Fetches more history of a commit that the store has.
fn deepen(link: &Libgit2Remote<'_>, want: &Want, last_search: &LastSearch) -> Result<Fetched, Error> {
    let (_, kept_as) = target(want);
    let (commit, received) = if is_local(link) {
        whole_copy(link, want, last_search)?
    } else {
        match want {
            Want::Seen(RemoteHead { full_ref: Some(full_ref), .. }) => by_name(link, full_ref)?,
            Want::Seen(RemoteHead { commit, .. }) | Want::Commit(commit) | Want::Module(commit) => {
                (*commit, by_hash::fetch(link, *commit, last_search)?)
            }
        }
    };
    let known = refs::read(link.store, kept_as)?;
    if !completeness::is_complete(link.store, commit, known)? {
        return Err(Error::Incomplete { commit });
    }
    if is_local(link) && link.options.depth > 0 {
        shallow::truncate(link.store, commit, link.options.depth)?;
    }
    advance::advance_ref(link.store, kept_as, commit, false)?;
    Ok(Fetched { commit, bytes: received.bytes, objects: received.objects })
}

/// Copies everything from a local path into an empty temporary store, and moves the pack over. libgit2 would copy only the
/// objects that our refs do not reach over there, and supports no depth.
fn whole_copy(link: &Libgit2Remote<'_>, want: &Want, last_search: &LastSearch) -> Result<(Oid, Received), Error> {
    if is_counted(link) {
        let (commit, _) = target(want);
        return local_copy::copy(link, commit, Extent::Whole).map(|received| (commit, received));
    }
    let beside = temporary::TemporaryStore::make(link.store.path())?;
    let empty = beside.open()?;
    let into = Libgit2Remote { store: &empty, ..*link };
    let (commit, received) = match want {
        Want::Seen(RemoteHead { full_ref: Some(full_ref), .. }) => by_name(&into, full_ref)?,
        Want::Seen(RemoteHead { commit, .. }) | Want::Commit(commit) | Want::Module(commit) => {
            (*commit, by_hash::fetch(&into, *commit, last_search)?)
        }
    };
    beside.hand_over(link.store)?;
    shallow::recompute(link.store)?;
    Ok((commit, received))
}

/// Returns true for a fault of this process or its volume.
fn is_ours(error: &Error) -> bool {
    matches!(
        error,
        Error::Timeout { .. }
            | Error::DiskFull { .. }
            | Error::Quota { .. }
            | Error::NoMemory { .. }
            | Error::NoDescriptors { .. }
            | Error::ReadOnly { .. }
            | Error::StoreAccess { .. }
    )
}

/// Returns true if libgit2 can negotiate: it parses every commit that a ref of ours names.
fn can_negotiate(store: &Repository) -> Result<bool, Error> {
    Ok(refs::tips(store)?.into_iter().all(|id| !commit::exists(store, id) || commit::is_well_formed(store, id)))
}

fn is_local(link: &Libgit2Remote<'_>) -> bool {
    link.options.url.transport() == Transport::Local
}

/// Returns true if each part of a copy has to be counted before it is written. libgit2 does not do that between two local
/// repositories.
fn is_counted(link: &Libgit2Remote<'_>) -> bool {
    is_local(link) && link.options.allowance.limit().is_some()
}

fn by_name(link: &Libgit2Remote<'_>, full_ref: &str) -> Result<(Oid, Received), Error> {
    refs::delete(link.store, refs::INCOMING)?;
    let received = link.get(full_ref, refs::INCOMING)?;
    // libgit2 reports success for a ref that was deleted meanwhile, and fetches nothing.
    let Some(id) = refs::read(link.store, refs::INCOMING)? else {
        return Err(Error::RefMissing { name: full_ref.to_owned(), available: Vec::new() });
    };
    match commit::peel(link.store, id) {
        Some(commit) => Ok((commit, received)),
        None => Err(Error::NotACommit { name: full_ref.to_owned() }),
    }
}

/// Fetches a submodule's commit.
fn module(link: &Libgit2Remote<'_>, commit: Oid, last_search: &LastSearch) -> Result<Fetched, Error> {
    if completeness::is_complete_with_blobs(link.store, commit, None)? {
        return Ok(Fetched { commit, bytes: 0, objects: 0 });
    }
    let received = if is_counted(link) {
        local_copy::copy(link, commit, Extent::Missing)
    } else {
        by_hash::fetch(link, commit, last_search)
    };
    refs::delete(link.store, refs::INCOMING)?;
    let received = received?;
    if link.cancel.is_cancelled() {
        return Err(Error::Timeout { remote: link.options.url.to_string(), after: link.options.timeout });
    }
    if !completeness::is_complete_with_blobs(link.store, commit, None)? {
        return Err(Error::NoSuchCommit { commit, remote: link.options.url.to_string(), source: None });
    }
    Ok(Fetched { commit, bytes: received.bytes, objects: received.objects })
}
