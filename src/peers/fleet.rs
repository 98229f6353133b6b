//! The fleet: which other replicas there are, how they are reached, and what this replica says of itself.
//!
//! It resolves and counts addresses. It must not know when messages are sent or what they mean.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::secret::Secret;

use super::message::Message;
use super::name::Name;
use super::names::Names;
use super::network::Network;

/// The most connections of all fan-outs together.
pub(super) const CONNECTIONS: usize = 256;
/// The most fan-outs at their second or third attempt. Any more make only a first attempt.
pub(super) const RETRIES: usize = 64;

/// The addresses of the other replicas, and what all replicas follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerOptions {
    /// Empty: no messages are sent, but received ones are accepted.
    pub names: Vec<Name>,
    /// The remote, redacted, and the ref, both as configured.
    pub repo: String,
    pub reference: String,
}

/// Returns the secrets in use, the current one first.
pub type Secrets = Arc<dyn Fn() -> Vec<Secret> + Send + Sync>;

/// The environment of this replica.
pub struct Surroundings {
    /// The address on which this replica receives peer messages.
    pub own: Option<SocketAddr>,
    /// The path that peers listen on.
    pub path: String,
    pub secrets: Secrets,
    pub network: Arc<dyn Network>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// The tasks that a process that is about to end waits for, up to a limit.
    pub tasks: TaskTracker,
}

/// The other replicas, as this one reaches them.
pub(super) struct Fleet {
    pub names: Vec<Name>,
    pub known: Names,
    /// The template of outgoing messages.
    pub own: Message,
    pub around: Surroundings,
    pub retries: Arc<Semaphore>,
    pub connections: Semaphore,
}

impl Fleet {
    pub(crate) fn new(options: PeerOptions, around: Surroundings) -> Self {
        Self {
            own: Message::new(&options.repo, &options.reference, &unique()),
            names: options.names,
            known: Names::default(),
            around,
            retries: Arc::new(Semaphore::new(RETRIES)),
            connections: Semaphore::new(CONNECTIONS),
        }
    }

    /// Counts the replicas that the names resolve to within `patience`.
    pub(crate) async fn count(&self, patience: Duration) -> u32 {
        let end = Instant::now() + patience;
        let lookups = self.names.iter().map(|name| self.known.find(&self.around.network, name, end));
        let found: HashSet<SocketAddr> = join_all(lookups).await.into_iter().flatten().flatten().collect();
        replicas(&found)
    }

    pub(crate) fn is_own(&self, address: SocketAddr) -> bool {
        let Some(own) = self.around.own else { return false };
        // A listener on 0.0.0.0 or :: is reached by every address of the pod.
        own.port() == address.port()
            && (own.ip() == address.ip() || (own.ip().is_unspecified() && self.around.network.is_local(address.ip())))
    }
}

/// Counts replicas. In a dual-stack fleet each replica has two addresses.
pub(super) fn replicas(addresses: &HashSet<SocketAddr>) -> u32 {
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    u32::try_from(v4.max(addresses.len() - v4)).unwrap_or(u32::MAX)
}

/// Returns a different value each time. It need not be unpredictable, because messages are signed.
pub(super) fn unique() -> String {
    format!("{:032x}", fastrand::u128(..))
}
