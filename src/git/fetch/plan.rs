//! Plans a fetch over protocol v2: looks up what the store has, and builds the request for the rest.
//!
//! It runs on the git thread. It must not know of connections.

use git2::{Oid, Repository};

use crate::commit;
use crate::git::error::Error;
use crate::git::protocol::fetch::FetchRequest;
use crate::git::protocol::filter::Filter;
use crate::git::remote::options::RemoteOptions;
use crate::git::store::depth::{self, DepthFit};
use crate::git::store::{advance, completeness, flattened, locks, partial_clone, refs, shallow};

use super::want::{Fetched, Want, target};

/// Git's value for "all history" (gitprotocol-pack, `INFINITE_DEPTH`), which makes a shallow store complete.
const UNSHALLOW: u32 = 0x7fff_ffff;

/// A store with a larger pack is sent whole files instead of deltas against those that it has.
const LARGE_PACK: u64 = 32 * 1024 * 1024;

/// The plan for a fetch.
pub(crate) enum FetchPlan {
    /// The store has the commit.
    Present(Fetched),
    /// A pack is needed.
    Needed(PackRequest),
}

/// The request for a pack, with what has to be done once it has arrived.
#[derive(Clone, Debug)]
pub(crate) struct PackRequest {
    pub request: FetchRequest,
    /// The ref that keeps the commit. `None`: the caller keeps it.
    pub target_ref: Option<&'static str>,
    /// Set if files are requested and not a commit: the commit that they belong to.
    pub files_of: Option<Oid>,
    /// The commit of the followed ref when its tree was last complete.
    pub head: Option<Oid>,
    /// The configured depth of the history; 0 = all.
    pub depth: u32,
    /// True if the store has the commit and only lacks history.
    pub present: bool,
    /// True if the store may lack files of commits that it has.
    pub partial: bool,
}

impl PackRequest {
    /// The request for files of a commit that the store has. `None` for an empty list.
    pub(crate) fn for_files(commit: Oid, files: &[Oid]) -> Option<Self> {
        let (want, more_wants) = files.split_first()?;
        let request = FetchRequest {
            want: *want,
            want_ref: None,
            more_wants: more_wants.to_vec(),
            haves: Vec::new(),
            shallow: Vec::new(),
            deepen: None,
            filter: None,
            self_contained: true,
        };
        let (target_ref, files_of, head) = (None, Some(commit), None);
        Some(Self { request, target_ref, files_of, head, depth: 0, present: true, partial: true })
    }

    /// Returns true if the request has no `deepen` because of the unverified hint that the push is a fast-forward.
    pub(crate) fn trusts_fast_forward(&self) -> bool {
        self.depth > 0 && self.request.deepen.is_none()
    }

    /// Turns the prepared request into that for a pushed commit, which is said to descend from `from`. `None` if the
    /// request was not prepared for a push on top of that commit.
    pub(crate) fn for_push(mut self, commit: Oid, from: Option<Oid>) -> Option<Self> {
        self.request.want = commit;
        (from.is_some() && self.head == from).then_some(self)
    }

    /// The same request for the ref's current value instead of a commit.
    pub(crate) fn by_ref_name(mut self, full_ref: &str) -> Self {
        self.request.want_ref = Some(full_ref.to_owned());
        if self.trusts_fast_forward() { self.with_depth() } else { self }
    }

    /// The same request with `deepen`, so that no unverified hint counts.
    pub(crate) fn with_depth(mut self) -> Self {
        self.request.deepen = Some(self.depth);
        self
    }
}

/// Plans the fetch of a commit. `fast_forward_from` is the commit that the wanted one is said to descend from;
/// `depth_is_adjusted` is false while `--depth` may have changed since the store was filled.
///
/// To move the boundary of a shallow history, a server has to walk the whole old tree. It is not asked to if the new
/// commit descends from what the store has: the pack is small then anyway, and `shallow::truncate` moves the boundary.
pub(crate) fn plan(
    store: &Repository,
    options: &RemoteOptions,
    want: &Want,
    fast_forward_from: Option<Oid>,
    depth_is_adjusted: bool,
) -> Result<FetchPlan, Error> {
    locks::break_locks(store.path());
    if let Want::Module(commit) = want {
        return plan_submodule(store, options, *commit);
    }
    let (commit, target_ref) = target(want);
    let present = completeness::has(store, commit)?;
    if present {
        advance::advance_ref(store, target_ref, commit, true)?;
        if depth_is_adjusted || depth::compare(store, commit, options.depth)? != DepthFit::TooShallow {
            return Ok(FetchPlan::Present(Fetched { commit, bytes: 0, objects: 0 }));
        }
    }
    let request = pack_request(store, options, commit, target_ref, fast_forward_from)?;
    Ok(FetchPlan::Needed(PackRequest { present, ..request }))
}

/// Plans the fetch of a commit that may be the next one of the followed ref. Changes nothing. `None`: the store has it.
pub(crate) fn plan_speculative(
    store: &Repository,
    options: &RemoteOptions,
    commit: Oid,
    fast_forward_from: Option<Oid>,
) -> Result<Option<PackRequest>, Error> {
    if completeness::has(store, commit)? {
        return Ok(None);
    }
    pack_request(store, options, commit, refs::HEAD, fast_forward_from).map(Some)
}

/// Plans the fetch of any commit that descends from the current one of the followed ref. `None`: there is none yet.
pub(crate) fn plan_next(store: &Repository, options: &RemoteOptions) -> Result<Option<PackRequest>, Error> {
    match refs::read(store, refs::HEAD)? {
        // The commit is filled in when the push arrives.
        Some(head) => pack_request(store, options, Oid::ZERO_SHA1, refs::HEAD, Some(head)).map(Some),
        None => Ok(None),
    }
}

fn pack_request(
    store: &Repository,
    options: &RemoteOptions,
    commit: Oid,
    target_ref: &'static str,
    fast_forward_from: Option<Oid>,
) -> Result<PackRequest, Error> {
    let head = refs::read(store, refs::HEAD)?;
    let mut haves: Vec<Oid> = Vec::new();
    for name in refs::TRACKED {
        let Some(have) = refs::read(store, name)? else { continue };
        match commit::tree_id(store, have) {
            Ok(_) if haves.contains(&have) => {}
            Ok(_) => haves.push(have),
            // Only the followed ref has to be complete. Without another commit the request has one have less.
            Err(error) if name != refs::HEAD && error.code() == git2::ErrorCode::NotFound => {}
            Err(error) if error.code() == git2::ErrorCode::NotFound => {
                return Err(refs::damaged(store, "the commit that it had last is gone"));
            }
            Err(error) => return Err(Error::from_store(store.path(), &error)),
        }
    }
    let mut boundary: Vec<Oid> = shallow::boundary(store)?.into_iter().collect();
    boundary.sort_unstable();
    let deepen = match options.depth {
        // For the whole history only a shallow store has to ask for more than a plain fetch brings.
        0 => (!boundary.is_empty()).then_some(UNSHALLOW),
        _ if head.is_some() && head == fast_forward_from => None,
        depth => Some(depth.min(UNSHALLOW)),
    };
    let partial = partial_clone::is_partial(store.path());
    // The haves may lack files, so the server must not send deltas against these: files are requested by hash instead.
    let filter = if partial && !haves.is_empty() { Some(Filter::NoFiles) } else { options.filter };
    let request = FetchRequest {
        want: commit,
        want_ref: None,
        more_wants: Vec::new(),
        haves,
        shallow: boundary,
        deepen,
        filter,
        self_contained: partial || has_large_pack(store),
    };
    let (target_ref, files_of, depth) = (Some(target_ref), None, options.depth);
    Ok(PackRequest { request, target_ref, files_of, head, depth, present: false, partial })
}

/// Plans the fetch of a submodule's commit. Haves are the commits that came from the same address.
fn plan_submodule(store: &Repository, options: &RemoteOptions, commit: Oid) -> Result<FetchPlan, Error> {
    let haves = flattened::commits_of(store, &options.url)?;
    let head = haves.first().copied();
    if completeness::is_complete_with_blobs(store, commit, head)? {
        return Ok(FetchPlan::Present(Fetched { commit, bytes: 0, objects: 0 }));
    }
    let boundary = shallow::boundary(store)?;
    let request = FetchRequest {
        want: commit,
        want_ref: None,
        more_wants: Vec::new(),
        // No other entries of the boundary: they are commits of other remotes, which this server must not be told.
        shallow: haves.iter().copied().filter(|have| boundary.contains(have)).collect(),
        haves,
        deepen: Some(1),
        filter: None,
        self_contained: has_large_pack(store),
    };
    let (target_ref, files_of) = (None, None);
    Ok(FetchPlan::Needed(PackRequest { request, target_ref, files_of, head, depth: 1, present: false, partial: false }))
}

/// Returns true if the store may hold files that are too large to load. To apply a delta to a file, libgit2 holds the
/// file and the result in memory: a container that could fetch a file of 200 MB at first would be killed by a change of it.
fn has_large_pack(store: &Repository) -> bool {
    let Ok(packs) = std::fs::read_dir(store.path().join("objects/pack")) else { return false };
    packs.flatten().any(|pack| pack.metadata().is_ok_and(|data| data.len() > LARGE_PACK))
}
