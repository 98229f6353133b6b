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

/// Listens for the admin API; `None` if it is off, or if the address was left to us and none is free: that nobody can look
/// on is no reason not to sync.
///
/// # Errors
/// [`Error::Listen`]
pub fn listen_admin(bind: AdminBind) -> Result<Option<TcpListener>, Error> {
    match bind {
        AdminBind::Off => Ok(None),
        AdminBind::Address(address) => listen(address, ADMIN_FLAG).map(Some),
        AdminBind::Default => first_free(DEFAULT_ADMIN_PORT..=LAST_ADMIN_PORT),
    }
}

fn first_free(ports: RangeInclusive<u16>) -> Result<Option<TcpListener>, Error> {
    let (preferred, last) = (*ports.start(), *ports.end());
    for port in ports {
        match listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ADMIN_FLAG) {
            // Another sidecar of the same pod was there first.
            Err(Error::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
            Ok(listener) => {
                if port != preferred {
                    tracing::info!(port, "port {preferred} is taken, the admin API is on {port}");
                }
                return Ok(Some(listener));
            }
        }
    }
    tracing::warn!(
        "no port of 127.0.0.1 from {preferred} to {last} is free for the admin API: there is nothing for a dashboard to \
         connect to; give another address with {ADMIN_FLAG}, or say that none is wanted by `{ADMIN_FLAG} off`"
    );
    Ok(None)
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
    async fn a_taken_port_is_skipped_and_when_all_are_taken_nobody_can_look_on() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let taken = listen(local, ADMIN_FLAG).expect("a port");
        let port = taken.local_addr().expect("an address").port();
        assert!(first_free(port..=port).expect("no error").is_none());
        drop(taken);
        assert!(first_free(port..=port).expect("no error").is_some());
    }
}
