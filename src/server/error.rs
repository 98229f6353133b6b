//! Errors of starting the listeners. Each names the flag to change.
//!
//! Only the start can fail. A fault on a connection becomes a response, a counter or a log line.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::secret_file::BadSecretFile;

/// A listener could not be started; no socket is left open.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address} ({flag}){}", hint(.source))]
    Listen { address: SocketAddr, flag: &'static str, source: io::Error },
    #[error("--admin-bind {0} is not a loopback address, so --admin-token-file is required")]
    OpenAdmin(SocketAddr),
    #[error("--hook-bind requires --hook-secret-file, because only signed webhooks are accepted")]
    NoSecret,
    #[error("{flag} {}", path.display())]
    Secret { flag: &'static str, path: PathBuf, source: BadSecretFile },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another process or container of this pod uses it, choose another port",
        io::ErrorKind::AddrNotAvailable => "; the address is not one of this machine's",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege, choose a higher one",
        _ => "",
    }
}
