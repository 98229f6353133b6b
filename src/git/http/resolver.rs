//! Names of hosts to addresses, by the system's resolver, with an end.
//!
//! The resolver of the system waits as long as its configuration says, which may be longer than a connection may take to
//! be made: a name server that is silent would be told as a remote that is. It must not know who is to be reached.

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

/// Longer than the five seconds after which a resolver asks a second time, as long as nobody has told it otherwise.
const LONGEST: Duration = Duration::from_secs(8);
/// The system's resolver cannot be stopped: so many calls that nobody waits for any more may be at work.
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

    /// The addresses of a host. The port is the URL's to say; 0 stands for that.
    fn find(&self, name: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        let (calls, patience, name) = (Arc::clone(&self.calls), self.patience, name.to_owned());
        async move {
            let asked = async move {
                let call = calls.acquire_owned().await.map_err(io::Error::other)?;
                // A task of its own: the call goes on when nobody waits, and is counted until it has ended.
                let task = tokio::spawn(async move {
                    let addresses = names::addresses(&name, 0).await;
                    drop(call);
                    addresses
                });
                task.await.map_err(io::Error::other)?
            };
            // Not of the kind "timed out": that would be taken for the connection's.
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

/// For our own over plain http.
impl Service<dns::Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    async fn names_are_resolved_and_what_is_none_is_told() {
        let resolver = Resolver::new();
        let found: Vec<_> = resolver.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        assert!(resolver.resolve("no-such-host.invalid".parse().unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn silence_has_an_end_and_says_so() {
        let resolver = Resolver { patience: Duration::from_millis(50), ..Resolver::new() };
        let all = Arc::clone(&resolver.calls).acquire_many_owned(8).await.unwrap();
        let error = resolver.resolve("localhost".parse().unwrap()).await.err().expect("nobody answers");
        assert_eq!(error.to_string(), "the name server did not answer within 0.05 s");
        drop(all);
        let patient = Resolver { patience: LONGEST, ..resolver };
        assert!(patient.resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
