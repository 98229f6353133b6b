//! One remote with the HTTP client that is kept for it between requests.

use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::time::{Instant, timeout_at};

use crate::git::deadline::Deadline;
use crate::git::error::Error;
use crate::worker;

use super::options::RemoteOptions;
use super::v2::Client;

/// A remote. Clones share the client.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Inner>);

struct Inner {
    options: RemoteOptions,
    /// Created by the first call that needs it. `None` inside: libgit2 has to talk to this remote.
    client: OnceLock<Option<Client>>,
}

impl Remote {
    /// Connects to nothing.
    pub(crate) fn new(options: RemoteOptions) -> Self {
        Self(Arc::new(Inner { options, client: OnceLock::new() }))
    }

    /// Returns the options of the remote.
    pub(crate) fn options(&self) -> &RemoteOptions {
        &self.0.options
    }

    /// Returns the end of an operation that starts now.
    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline_at(Instant::now() + self.0.options.timeout)
    }

    /// Returns the deadline for an operation that has to end at `at`.
    pub(crate) fn deadline_at(&self, at: Instant) -> Deadline {
        Deadline::new(at, self.0.options.url.to_string(), self.0.options.timeout)
    }

    /// Starts creating the client on a thread of its own, if that takes time: for https, or for a proxy, the library reads
    /// the certificates of the system, which takes some ten milliseconds. The first request waits for the rest of it.
    pub(crate) fn prepare_client(&self) {
        if Client::takes_time(self.options()) {
            let remote = self.clone();
            // If no thread can be started, the first request creates the client.
            let _ = thread::Builder::new().name("client".to_owned()).spawn(move || remote.created_client().is_some());
        }
    }

    /// Returns the protocol v2 client, or `None` if libgit2 has to talk to the remote.
    pub(crate) async fn client(&self, deadline: &Deadline) -> Result<Option<&Client>, Error> {
        if self.0.client.get().is_none() && Client::takes_time(self.options()) {
            let remote = self.clone();
            let created = worker::apart("client", move || remote.created_client().is_some());
            // How the thread ended does not matter, only whether there is a client now.
            if timeout_at(deadline.at(), created).await.is_err() || self.0.client.get().is_none() {
                return Err(deadline.error());
            }
        }
        Ok(self.created_client())
    }

    fn created_client(&self) -> Option<&Client> {
        let client = self.0.client.get_or_init(|| Client::new(&self.0.options));
        client.as_ref().filter(|client| !client.needs_libgit2())
    }

    /// Records how libgit2 fared in place of the client: if it helped, it is used for a while; if it failed, all request
    /// modes are tried again.
    pub(crate) fn record_libgit2_result(&self, succeeded: bool) {
        match self.0.client.get() {
            Some(Some(client)) if succeeded => client.leave_to_libgit2(),
            Some(Some(client)) => client.forget(self.options()),
            _ => {}
        }
    }

    /// Returns the address that the last request was redirected to. `None` if it was not, or if the remote is not reached
    /// over HTTP.
    pub(crate) fn redirected_to(&self) -> Option<String> {
        // Without a client no request was sent, so nothing was redirected.
        let client = self.0.client.get().and_then(Option::as_ref).filter(|client| !client.needs_libgit2())?;
        client.redirected_to(self.options())
    }
}
