//! Resolves the peers' names: retries until there is an answer, and remembers the addresses of the last delivery.
//!
//! A lost packet costs the system's resolver five seconds, so a second concurrent query is often answered sooner.
//! This module must not know what the addresses are for.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::name::Name;
use super::network::Network;

/// The pauses between two queries for one name; the last one repeats.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The most open queries for one name in the whole process. The system's resolver cannot be interrupted, so each
/// query occupies a thread until the resolver gives up.
const MOST_OPEN: usize = 3;
/// After this many answers that the name does not exist, it is not queried again. A headless Service has no addresses
/// while it has no pods.
const MOST_DENIALS: usize = 3;

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAddress {
    /// The name server answered that the name does not exist or has no address.
    NoSuchName,
    /// No name server answered, or it reported an error.
    NoAnswer,
}

/// The state of all names.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, ResolvedName>>);

#[derive(Debug)]
struct ResolvedName {
    /// The addresses of the last answer.
    addresses: Vec<SocketAddr>,
    open: Arc<Semaphore>,
}

impl Default for ResolvedName {
    fn default() -> Self {
        Self { addresses: Vec::new(), open: Arc::new(Semaphore::new(MOST_OPEN)) }
    }
}

impl Names {
    /// Returns the addresses that need no query: the address itself if the name is one, else those of the last
    /// answer.
    pub(super) fn at_hand(&self, name: &Name) -> Vec<SocketAddr> {
        match literal(name) {
            Some(address) => vec![address],
            None => self.with(name, |known| known.addresses.clone()),
        }
    }

    /// Queries a name until it has addresses, or until `end`. The first answer counts, whichever query it belongs to.
    ///
    /// # Errors
    /// [`NoAddress`]
    pub(super) async fn find(
        &self,
        network: &Arc<dyn Network>,
        name: &Name,
        end: Instant,
    ) -> Result<Vec<SocketAddr>, NoAddress> {
        if let Some(address) = literal(name) {
            return Ok(vec![address]);
        }
        let open = self.with(name, |known| Arc::clone(&known.open));
        let mut queries = FuturesUnordered::new();
        let mut pauses = PAUSES.into_iter();
        let mut again = Instant::now();
        let mut denials = 0;
        loop {
            tokio::select! {
                Some(answer) = queries.next() => match answer {
                    Ok(addresses) => {
                        let addresses = canonical(addresses);
                        self.with(name, |known| known.addresses.clone_from(&addresses));
                        return Ok(addresses);
                    }
                    Err(NoAddress::NoSuchName) => {
                        denials += 1;
                        if denials == MOST_DENIALS {
                            return Err(NoAddress::NoSuchName);
                        }
                    }
                    Err(NoAddress::NoAnswer) => {}
                },
                () = sleep_until(again), if again < end => {
                    again = Instant::now() + pauses.next().unwrap_or(PAUSES[PAUSES.len() - 1]);
                    queries.push(query(Arc::clone(network), Arc::clone(&open), name.clone()));
                }
                () = sleep_until(end) => {
                    // A name server that denied the name did answer, so the name is reported and not the server.
                    return Err(if denials > 0 { NoAddress::NoSuchName } else { NoAddress::NoAnswer });
                }
            }
        }
    }

    fn with<T>(&self, name: &Name, look: impl FnOnce(&mut ResolvedName) -> T) -> T {
        let mut known = self.0.lock();
        look(known.entry(name.to_string()).or_default())
    }
}

/// Sends one query. It continues, and counts as open, even if the caller no longer waits for the answer.
async fn query(network: Arc<dyn Network>, open: Arc<Semaphore>, name: Name) -> Result<Vec<SocketAddr>, NoAddress> {
    // Waits while too many queries for this name hang. The wait counts against the caller's `end`.
    let permit = open.acquire_owned().await.map_err(|_closed| NoAddress::NoAnswer)?;
    let query = tokio::spawn(async move {
        let answer = network.resolve(&name.host, name.port).await;
        drop(permit);
        answer
    });
    match query.await {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(NoAddress::NoSuchName),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(NoAddress::NoSuchName),
        Ok(Err(_)) | Err(_) => Err(NoAddress::NoAnswer),
    }
}

fn literal(name: &Name) -> Option<SocketAddr> {
    let ip = name.host.parse::<IpAddr>().ok()?;
    Some(SocketAddr::new(ip.to_canonical(), name.port))
}

/// Each address once, IPv4 addresses in IPv6 form as what they are.
fn canonical(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut known = std::collections::HashSet::new();
    let plain = addresses.into_iter().map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    plain.filter(|address| known.insert(*address)).collect()
}
