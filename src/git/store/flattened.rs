//! Flattened trees in the store: the commits below `refs/pushsync/modules/` and the submodules that each of them lists.
//!
//! `submodules::flatten` writes them. This module reads them for others in the store, and knows no remote.

use std::collections::HashSet;

use git2::{ObjectType, Oid, Repository};

use crate::commit;
use crate::git::error::Error;
use crate::remote_url::RemoteUrl;
use crate::submodules::{GRAFTS, SubmoduleLine, lines};

use super::refs;

/// The most commits that a fetch of a submodule offers to the server as haves.
const MOST_HAVES: usize = 16;

/// A submodule in a flattened tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlattenedSubmodule {
    pub commit: Oid,
    /// The hash of the submodule's address, see [`address_id`].
    pub address: Oid,
    /// The path in the published tree, as [`crate::submodules::encode`] writes it.
    pub path: String,
}

impl FlattenedSubmodule {
    /// Parses one line of a flattened commit's message. Returns `None` for a line of another kind.
    pub(crate) fn from_line(line: SubmoduleLine<'_>) -> Option<Self> {
        Some(Self {
            commit: line.commit.parse().ok()?,
            address: line.address.parse().ok()?,
            path: line.path.to_owned(),
        })
    }
}

/// Returns the commits of all submodules that a flattened tree keeps in the store.
pub(crate) fn commits(store: &Repository) -> Result<HashSet<Oid>, Error> {
    Ok(all(store)?.into_iter().map(|used| used.commit).collect())
}

/// Returns the submodule commits that were fetched from this address, the newest first.
pub(crate) fn commits_of(store: &Repository, url: &RemoteUrl) -> Result<Vec<Oid>, Error> {
    let address = address_id(url)?;
    let mut commits: Vec<Oid> = Vec::new();
    for used in all(store)? {
        if used.address == address && !commits.contains(&used.commit) && commit::exists(store, used.commit) {
            commits.push(used.commit);
        }
    }
    // Each have is another line of the request and a lookup at the server.
    commits.truncate(MOST_HAVES);
    Ok(commits)
}

/// Returns the commits that do not belong to the repository at `url`: flattened commits and those of submodules that come
/// from other addresses.
pub(crate) fn foreign(store: &Repository, url: &RemoteUrl) -> Result<HashSet<Oid>, Error> {
    let ours = address_id(url)?;
    let theirs = all(store)?.into_iter().filter(|used| used.address != ours).map(|used| used.commit);
    Ok(refs::list(store, GRAFTS)?.into_iter().map(|(_, flattened)| flattened).chain(theirs).collect())
}

/// Returns the hash that stands for an address in a flattened commit's message.
pub(crate) fn address_id(url: &RemoteUrl) -> Result<Oid, Error> {
    Oid::hash_object(ObjectType::Blob, url.bare().as_bytes())
        .map_err(|error| Error::BadSubmodule { path: String::new(), why: error.message().to_owned() })
}

fn all(store: &Repository) -> Result<Vec<FlattenedSubmodule>, Error> {
    let mut all = Vec::new();
    for (_, id) in refs::list(store, GRAFTS)? {
        if let Ok(flattened) = store.find_commit(id) {
            all.extend(lines(flattened.message().unwrap_or_default()).filter_map(FlattenedSubmodule::from_line));
        }
    }
    Ok(all)
}
