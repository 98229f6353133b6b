//! Why the listeners could not be started, in words that name the flag to change.
//!
//! Only start-up can fail; what goes wrong on a connection later is an answer, a counter or a log line.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::secret_file::BadSecretFile;

/// Start-up failed; nothing is listening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} ({flag}){}", hint(.source))]
    Listen { address: SocketAddr, flag: &'static str, source: io::Error },
    #[error("--admin-bind {0} is not a loopback address, so --admin-token-file is required")]
    OpenAdmin(SocketAddr),
    #[error("--hook-bind is given without --hook-secret-file; nobody could ring")]
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
