//! Bringing one commit with its whole tree into the store, and keeping nothing else.

use git2::{Oid, Repository};

use super::transport::{Link, Received};
use super::{Cause, Error, Fetched, Look, Want, shallow, store};

/// Fetches what is wanted, unless the store has it whole.
pub(super) fn fetch(link: &Link<'_>, want: &Want) -> Result<Fetched, Error> {
    let (commit, kept_as) = target(want);
    if has(link.store, commit)? {
        keep(link.store, kept_as, commit, true)?;
        return Ok(Fetched { commit, bytes: 0, objects: 0 });
    }
    let (commit, received) = match want {
        Want::Seen(Look { full_ref: Some(full_ref), .. }) => by_name(link, full_ref)?,
        _ => by_hash(link, commit)?,
    };
    if link.cancel.is_cancelled() {
        // Nobody waits any more, and another job may already be at work on the same refs.
        return Err(Error::Timeout { remote: link.options.url.to_string(), after: link.options.timeout });
    }
    let known = store::kept(link.store, store::HEAD)?;
    if !store::is_complete(link.store, commit, known)? {
        return Err(Error::Incomplete { commit });
    }
    keep(link.store, kept_as, commit, false)?;
    Ok(Fetched { commit, bytes: received.bytes, objects: received.objects })
}

/// The commit that is wanted, and the ref that keeps it.
pub(super) fn target(want: &Want) -> (Oid, &'static str) {
    match want {
        Want::Seen(Look { commit, full_ref: Some(_), .. }) => (*commit, store::HEAD),
        Want::Seen(Look { commit, .. }) | Want::Commit(commit) => (*commit, store::PIN),
    }
}

/// True without a walk for what was checked when it arrived.
pub(super) fn has(repository: &Repository, commit: Oid) -> Result<bool, Error> {
    let mut checked = None;
    for name in store::KEPT {
        if store::kept(repository, name)? == Some(commit) {
            checked = Some(commit);
        }
    }
    store::is_complete(repository, commit, checked)
}

fn by_name(link: &Link<'_>, full_ref: &str) -> Result<(Oid, Received), Error> {
    store::drop_ref(link.store, store::INCOMING)?;
    let received = link.get(full_ref, store::INCOMING)?;
    // libgit2 says Ok for a ref that is gone since the look: it just brings nothing.
    let Some(id) = store::kept(link.store, store::INCOMING)? else {
        return Err(Error::RefMissing { name: full_ref.to_owned(), available: Vec::new() });
    };
    let object = link.store.find_object(id, None).map_err(|error| Error::from_store(link.store.path(), &error))?;
    match object.peel_to_commit() {
        Ok(commit) => Ok((commit.id(), received)),
        Err(_) => Err(Error::NotACommit { name: full_ref.to_owned() }),
    }
}

fn by_hash(link: &Link<'_>, commit: Oid) -> Result<(Oid, Received), Error> {
    store::drop_ref(link.store, store::INCOMING)?;
    let refused = |source| Error::NoSuchCommit { commit, remote: link.options.url.to_string(), source };
    let received = match link.get(&commit.to_string(), store::INCOMING) {
        Ok(received) => received,
        Err(Error::Protocol { source, .. } | Error::Network { source, .. }) if says_no(&source) => {
            return Err(refused(Some(source)));
        }
        Err(other) => return Err(other),
    };
    match link.store.find_object(commit, None) {
        Ok(object) if object.as_commit().is_some() => Ok((commit, received)),
        Ok(_) => Err(Error::NotACommit { name: commit.to_string() }),
        Err(_) => Err(refused(None)),
    }
}

/// libgit2's and git's own words for a hash that is not given out. The last are libgit2's for git's `ERR upload-pack: not
/// our ref` when it comes in place of the shallow roots.
fn says_no(source: &Cause) -> bool {
    let words = source.to_string();
    let parts = ["specific object", "not our ref", "no such remote ref", "unadvertised", "unexpected packet type"];
    parts.iter().any(|part| words.contains(part))
}

/// Points the ref at the commit, and cuts `shallow` back to what the refs still need.
pub(super) fn keep(repository: &Repository, name: &str, commit: Oid, was_there: bool) -> Result<(), Error> {
    let before = store::kept(repository, name)?;
    if before != Some(commit) {
        if name == store::HEAD
            && let Some(before) = before
        {
            store::keep(repository, store::PREVIOUS, before)?;
        }
        store::keep(repository, name, commit)?;
    }
    store::drop_ref(repository, store::INCOMING)?;
    shallow::prune(repository, was_there && before != Some(commit))
}
