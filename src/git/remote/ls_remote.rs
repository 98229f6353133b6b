//! Resolves the followed ref at the remote: over protocol v2 where the server speaks it, else by libgit2.

use crate::git::auth::request_auth::RequestAuth;
use crate::git::deadline::Deadline;
use crate::git::error::Error;
use crate::git::store::handle::Store;
use crate::git::store::repository;

use super::connection::Remote;
use super::options::Reference;
use super::request_auth::{Purpose, request_auth};
use super::resolve_ref::{RemoteHead, resolve};
use super::smart_http::Caller;
use super::transport::Libgit2Remote;
use super::v2::Client;

/// Asks the remote which commit the followed ref names. A missing ref is an error. A configured hash costs no request.
pub(crate) async fn ls_remote(store: &Store, remote: &Remote) -> Result<RemoteHead, Error> {
    let head = list_and_resolve(store, remote).await;
    if matches!(head, Err(Error::Refused { .. })) {
        // A token may be revoked before it expires. The next request gets a new one.
        remote.options().credentials.forget_token(&remote.options().url);
    }
    head
}

async fn list_and_resolve(store: &Store, remote: &Remote) -> Result<RemoteHead, Error> {
    if let Reference::Hash(commit) = remote.options().reference {
        return Ok(RemoteHead { commit, full_ref: None, default_branch: None });
    }
    let deadline = remote.deadline();
    let auth = request_auth(store, remote, Purpose::LsRefs, &deadline).await?;
    if let Some(client) = remote.client(&deadline).await?
        && let Some(head) = over_v2(remote, client, &auth, &deadline).await?
    {
        return Ok(head);
    }
    let for_job = remote.clone();
    let head = store.run(&deadline, move |path, cancel| {
        let options = for_job.options();
        let store = repository::open(path)?;
        let link = Libgit2Remote { store: &store, options, auth: &auth, cancel };
        resolve(&options.reference, &link.list()?, &options.url.to_string())
    });
    let head = head.await;
    // After a success, libgit2 is used for a while without another attempt at version 2.
    remote.record_libgit2_result(head.is_ok());
    head
}

/// Returns `None` if the remote does not speak version 2.
async fn over_v2(
    remote: &Remote,
    client: &Client,
    auth: &RequestAuth,
    deadline: &Deadline,
) -> Result<Option<RemoteHead>, Error> {
    let options = remote.options();
    let head = deadline.limit(client.resolve(Caller { options, auth }, &options.reference)).await;
    if let Err(error) = &head {
        client.failed(options, error);
    }
    head
}
