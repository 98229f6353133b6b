//! Fetches one commit: over protocol v2 where the server speaks it, else by libgit2.

use std::sync::Arc;

use git2::Oid;

use crate::git::error::Error;
use crate::git::remote::connection::Remote;
use crate::git::remote::request_auth::{Purpose, request_auth};
use crate::git::remote::transport::Libgit2Remote;
use crate::git::store::handle::Store;
use crate::git::store::repository;

use super::libgit2;
use super::state::FetchState;
use super::v2::V2Fetch;
use super::want::{Fetched, Want};

/// Brings a commit with its whole tree into the store. Does nothing, cheaply, if the store has it.
///
/// `fast_forward_from` is the commit that the wanted one is said to descend from. `depth_is_adjusted` is false while
/// `--depth` may have changed since the store was filled.
pub(crate) async fn fetch_commit(
    store: &Store,
    remote: &Remote,
    state: &Arc<FetchState>,
    want: Want,
    fast_forward_from: Option<Oid>,
    depth_is_adjusted: bool,
) -> Result<Fetched, Error> {
    let deadline = remote.deadline();
    // The hint leaves `deepen` out of the request, which must not happen while the depth has to be changed.
    let fast_forward_from = fast_forward_from.filter(|_| depth_is_adjusted);
    if let Some(client) = remote.client(&deadline).await? {
        let fetch = V2Fetch { store, remote, state, client, deadline: &deadline };
        if let Some(fetched) = fetch.commit(&want, fast_forward_from, depth_is_adjusted).await? {
            return Ok(fetched);
        }
    }
    let auth = request_auth(store, remote, Purpose::Fetch, &deadline).await?;
    let (for_job, state) = (remote.clone(), Arc::clone(state));
    let fetched = store.run(&deadline, move |path, cancel| {
        let store = repository::open(path)?;
        let link = Libgit2Remote { store: &store, options: for_job.options(), auth: &auth, cancel };
        let fetched = libgit2::fetch(&link, &want, depth_is_adjusted, &state)?;
        if fetched.objects > 0 {
            repository::remove_discarded(path);
        }
        Ok(fetched)
    });
    let fetched = fetched.await;
    if fetched.is_err() {
        remote.record_libgit2_result(false);
    }
    fetched
}
