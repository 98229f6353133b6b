//! Fetches a commit by its hash through libgit2, also from a server that does not serve hashes.
//!
//! In protocol version 0 a server may serve only the commits that its refs name (`uploadpack.allowReachableSHA1InWant` is
//! off by default, and version 2 has no such limit). There the commit is looked for: first among the listed refs, then in
//! the history of the branches, of the tags, and of all other refs. The histories go into a temporary store, so that nothing
//! of a search in vain stays on the volume.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use git2::{ObjectType, Oid};
use parking_lot::Mutex;

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::fetch::local_copy::{self, Extent};
use crate::git::protocol::ls_refs::AdvertisedRef;
use crate::git::remote::transport::{Libgit2Remote, Received};
use crate::git::store::compact::temporary::TemporaryStore;
use crate::git::store::refs;

/// The depth of the first search: most pinned commits are recent, and the whole history may be large.
const RECENT: i32 = 100;

/// The last search in vain: the commit with the refs that the server listed. While both stay the same, another search would
/// download the same history for nothing.
#[derive(Debug, Default)]
pub(crate) struct LastSearch(Mutex<Option<u64>>);

impl LastSearch {
    fn is_in_vain(&self, search: u64) -> bool {
        *self.0.lock() == Some(search)
    }

    fn set_in_vain(&self, search: u64) {
        *self.0.lock() = Some(search);
    }
}

/// Fetches a commit by its hash. It is not kept by a ref yet.
///
/// # Errors
/// `no_such_commit` if the server does not serve it, and no ref of it names or contains it.
pub(crate) fn fetch(link: &Libgit2Remote<'_>, commit: Oid, last: &LastSearch) -> Result<Received, Error> {
    match request(link, commit) {
        Err(Error::NoSuchCommit { source: Some(source), .. }) if serves_no_hashes(&source) => {
            search(link, commit, last)?.ok_or_else(|| no_such_commit(link, commit, Some(source)))
        }
        requested => requested,
    }
}

/// Requests the commit itself.
fn request(link: &Libgit2Remote<'_>, commit: Oid) -> Result<Received, Error> {
    refs::delete(link.store, refs::INCOMING)?;
    let received = match link.get(&commit.to_string(), refs::INCOMING) {
        Ok(received) => received,
        Err(Error::Protocol { source, .. } | Error::Network { source, .. } | Error::Server { source, .. })
            if is_not_served(&source) =>
        {
            return Err(no_such_commit(link, commit, Some(source)));
        }
        Err(other) => return Err(other),
    };
    match link.store.odb().and_then(|odb| odb.read_header(commit)) {
        Ok((_, ObjectType::Commit)) => Ok(received),
        Ok(_) => Err(Error::NotACommit { name: commit.to_string() }),
        Err(_) => Err(no_such_commit(link, commit, None)),
    }
}

/// Looks for the commit behind the refs of the server.
fn search(link: &Libgit2Remote<'_>, commit: Oid, last: &LastSearch) -> Result<Option<Received>, Error> {
    let listed = link.list()?;
    if let Some(named) = listed.iter().find(|one| one.id == commit) {
        // `TAG^{}` is no ref that can be requested. The tag itself brings the commit with it.
        let received = link.get(named.name.trim_end_matches("^{}"), refs::INCOMING)?;
        // The ref may have moved since it was listed.
        if commit::exists(link.store, commit) {
            return Ok(Some(received));
        }
    }
    let search = digest(commit, &listed);
    if last.is_in_vain(search) {
        return Ok(None);
    }
    tracing::info!(
        commit = %commit,
        "the server sends no commit by its hash: searching the history of the branches and tags"
    );
    // The histories of a search in vain must not stay on the volume: dropping the temporary store removes them, and
    // after a kill the next process does.
    let temporary = TemporaryStore::make(link.store.path())?;
    let history = temporary.open()?;
    let into = Libgit2Remote { store: &history, ..*link };
    let mut downloaded = Received::default();
    for (patterns, depth) in [
        (&["refs/heads/*"][..], Some(RECENT)),
        (&["refs/heads/*", "refs/tags/*"], None),
        // Reviews (`refs/pull/`, `refs/changes/`) and the like.
        (&["refs/*"], None),
    ] {
        let received = into.get_all(patterns, refs::ARRIVING, depth)?;
        downloaded.bytes += received.bytes;
        downloaded.objects += received.objects;
        if commit::exists(&history, commit) {
            local_copy::copy_from(&history, link, commit, Extent::Whole)?;
            return Ok(Some(downloaded));
        }
    }
    last.set_in_vain(search);
    Ok(None)
}

fn digest(commit: Oid, refs: &[AdvertisedRef]) -> u64 {
    let mut digest = DefaultHasher::new();
    commit.as_bytes().hash(&mut digest);
    for one in refs {
        (&one.name, one.id.as_bytes()).hash(&mut digest);
    }
    digest.finish()
}

fn no_such_commit(link: &Libgit2Remote<'_>, commit: Oid, source: Option<Cause>) -> Error {
    Error::NoSuchCommit { commit, remote: link.options.url.to_string(), source }
}

/// Returns true for the messages of libgit2, older servers and `JGit` that refuse hashes in general. A server that serves
/// hashes and not this one (`not our ref`) does not have the commit: a search would download its whole history in vain.
fn serves_no_hashes(source: &Cause) -> bool {
    let words = source.to_string();
    ["specific object", "unadvertised", "not valid"].iter().any(|part| words.contains(part))
}

/// Returns true for the messages of libgit2, git and `JGit` about a hash that is not served. "unexpected packet type" is
/// libgit2's for git's `ERR upload-pack: not our ref` in place of the shallow commits.
fn is_not_served(source: &Cause) -> bool {
    let words = source.to_string();
    let parts =
        ["specific object", "not our ref", "no such remote ref", "unadvertised", "unexpected packet type", "not valid"];
    parts.iter().any(|part| words.contains(part))
}
