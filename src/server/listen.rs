//! Opens the listening sockets. Errors name the flag to change.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use tokio::net::{TcpListener, TcpSocket};

use crate::api::{DEFAULT_ADMIN_PORT, LAST_ADMIN_PORT};

use super::{AdminBind, ServeError};

/// How many established connections the kernel queues while the accept loop is busy.
const BACKLOG: u32 = 1024;
const ADMIN_FLAG: &str = "--admin-bind";

/// Listens on one address.
///
/// # Errors
/// [`ServeError::Listen`]
pub(crate) fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServeError> {
    open(address).map_err(|source| ServeError::Listen { address, flag, source })
}

/// Listens for the admin API. Returns `None` if it is off, or if the address was left to the default and no port of
/// the range is free: a missing admin API is no reason not to sync.
///
/// # Errors
/// [`ServeError::Listen`]
pub(crate) fn listen_admin(bind: AdminBind) -> Result<Option<TcpListener>, ServeError> {
    match bind {
        AdminBind::Off => Ok(None),
        AdminBind::Address(address) => listen(address, ADMIN_FLAG).map(Some),
        AdminBind::Default => first_free(DEFAULT_ADMIN_PORT..=LAST_ADMIN_PORT),
    }
}

fn first_free(ports: RangeInclusive<u16>) -> Result<Option<TcpListener>, ServeError> {
    let (preferred, last) = (*ports.start(), *ports.end());
    for port in ports {
        match listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ADMIN_FLAG) {
            // Another sidecar of the same pod uses this port.
            Err(ServeError::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
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
        "no port of 127.0.0.1 from {preferred} to {last} is free for the admin API, so dashboards cannot connect; \
         set another address with {ADMIN_FLAG}, or turn the API off with `{ADMIN_FLAG} off`"
    );
    Ok(None)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without this a restart would have to wait until the connections of the previous process have expired.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_skipped_and_without_a_free_one_there_is_no_listener() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let taken = listen(local, ADMIN_FLAG).expect("a port");
        let port = taken.local_addr().expect("an address").port();
        assert!(first_free(port..=port).expect("no error").is_none());
        drop(taken);
        assert!(first_free(port..=port).expect("no error").is_some());
    }
}
