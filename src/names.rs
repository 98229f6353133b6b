//! Names of hosts to addresses by the system's resolver, each question on a thread of its own.
//!
//! The runtime has threads for such calls, too, but it panics where no thread can be started, and its shutdown waits for
//! them. It must not know who is to be reached.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::AtomicUsize;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::worker;

/// The number of open queries. The resolver cannot be interrupted, so those to a silent name server stay open for long.
static OPEN: AtomicUsize = AtomicUsize::new(0);
const MOST_OPEN: usize = 64;

/// Returns every address that a host has now. An IP address is its own.
///
/// # Errors
/// The resolver's, or that no thread could be started ([`worker::Lost`]).
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    // This call blocks for as long as the resolver waits, which may be many seconds.
    let ask = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
    let answer = worker::apart_of(&OPEN, MOST_OPEN, "resolver", ask).await;
    answer.unwrap_or_else(|lost| Err(io::Error::other(lost)))
}

/// The same for the library's HTTP clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(Box::new(addresses(name.as_str(), 0).await?.into_iter()) as Addrs) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_addresses_are_resolved_and_invalid_names_are_errors() {
        let found = addresses("localhost", 80).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|one| one.ip().is_loopback() && one.port() == 80), "{found:?}");
        assert_eq!(addresses("::1", 7).await.unwrap(), ["[::1]:7".parse().unwrap()]);
        assert!(addresses("no such name", 80).await.is_err());
        let found: Vec<_> = System.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(!found.is_empty());
    }
}
