//! Opens the listening sockets, and says which flag to change when that fails.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use tokio::net::{TcpListener, TcpSocket};

use crate::api::{DEFAULT_ADMIN_PORT, LAST_ADMIN_PORT};

use super::{AdminBind, Error};

/// Connections that the kernel holds for us while we are busy accepting others.
const BACKLOG: u32 = 1024;
const ADMIN_FLAG: &str = "--admin-bind";

/// Listens on one address.
///
/// # Errors
/// [`Error::Listen`]
pub fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    open(address).map_err(|source| Error::Listen { address, flag, source })
}

/// Listens for the admin API; `None` if it is off.
///
/// # Errors
/// [`Error::Listen`], or [`Error::NoAdminPort`] if the address was left to us and none is free.
pub fn listen_admin(bind: AdminBind) -> Result<Option<TcpListener>, Error> {
    match bind {
        AdminBind::Off => Ok(None),
        AdminBind::Address(address) => listen(address, ADMIN_FLAG).map(Some),
        AdminBind::Default => first_free(DEFAULT_ADMIN_PORT..=LAST_ADMIN_PORT).map(Some),
    }
}

fn first_free(mut ports: RangeInclusive<u16>) -> Result<TcpListener, Error> {
    let preferred = *ports.start();
    let tried = ports.find_map(|port| match listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ADMIN_FLAG) {
        // Another sidecar of the same pod was there first.
        Err(Error::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => None,
        tried => Some((port, tried)),
    });
    let (port, listener) = tried.ok_or(Error::NoAdminPort)?;
    if port != preferred && listener.is_ok() {
        tracing::info!(port, "port {preferred} is taken, the admin API is on {port}");
    }
    listener
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the process before to expire.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_skipped_and_when_all_are_taken_the_flag_is_named() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let taken = listen(local, ADMIN_FLAG).expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let error = first_free(port..=port).expect_err("taken");
        assert!(matches!(error, Error::NoAdminPort));
        assert!(error.to_string().contains("--admin-bind off"), "{error}");
        drop(taken);
        assert!(first_free(port..=port).is_ok());
    }
}
