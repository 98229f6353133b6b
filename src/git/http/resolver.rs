//! Name resolution by the system's resolver, with a time limit.
//!
//! The system's resolver waits as long as its configuration says. That may be longer than the limit for connecting,
//! and a silent name server would be reported as a silent remote. It must not know what the names are for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use hyper_util::client::legacy::connect::dns;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::Service;

use crate::names;

/// Longer than the default of five seconds after which a resolver tries a second time.
const LONGEST: Duration = Duration::from_secs(8);
/// How many calls may run at once. The system's resolver cannot be cancelled, so abandoned calls count.
const MOST_AT_ONCE: usize = 8;

/// The system's resolver.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    calls: Arc<Semaphore>,
    patience: Duration,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self { calls: Arc::new(Semaphore::new(MOST_AT_ONCE)), patience: LONGEST }
    }

    /// Returns the addresses of a host, with port 0: the caller sets the port of the URL.
    fn find(&self, name: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        let (calls, patience, name) = (Arc::clone(&self.calls), self.patience, name.to_owned());
        async move {
            let asked = async move {
                let call = calls.acquire_owned().await.map_err(io::Error::other)?;
                // A task of its own, because the call continues after the caller has gone, and counts until it ends.
                let task = tokio::spawn(async move {
                    let addresses = names::addresses(&name, 0).await;
                    drop(call);
                    addresses
                });
                task.await.map_err(io::Error::other)?
            };
            // Not the error kind `TimedOut`, which would be taken for a time-out of the connection.
            let silent = |_| {
                let seconds = patience.as_secs_f32();
                Err(io::Error::other(format!("the name server did not answer within {seconds} s")))
            };
            timeout(patience, asked).await.unwrap_or_else(silent)
        }
    }
}

/// For the library's client.
impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.find(name.as_str());
        Box::pin(async move { Ok(Box::new(addresses.await?.into_iter()) as Addrs) })
    }
}

/// For the plain client.
impl Service<dns::Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Calls wait for their permit in `find`, where the wait counts against the time limit.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        let addresses = self.find(name.as_str());
        Box::pin(async move { Ok(addresses.await?.into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_resolved_and_unknown_ones_are_errors() {
        let resolver = Resolver::new();
        let found: Vec<_> = resolver.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        assert!(resolver.resolve("no-such-host.invalid".parse().unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn a_silent_name_server_times_out_with_its_own_message() {
        let resolver = Resolver { patience: Duration::from_millis(50), ..Resolver::new() };
        let all = Arc::clone(&resolver.calls).acquire_many_owned(8).await.unwrap();
        let error = resolver.resolve("localhost".parse().unwrap()).await.err().expect("no permit is free");
        assert_eq!(error.to_string(), "the name server did not answer within 0.05 s");
        drop(all);
        let patient = Resolver { patience: LONGEST, ..resolver };
        assert!(patient.resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
