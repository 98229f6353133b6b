//! Time limits that both HTTP clients and libgit2 share.

use std::time::Duration;

/// The longest that establishing a connection may take.
const LONGEST_CONNECT: Duration = Duration::from_secs(15);

/// Returns the limit for establishing a connection, TLS handshake included. It covers name resolution where the library
/// resolves names itself.
pub(crate) fn connect(timeout: Duration) -> Duration {
    timeout.min(LONGEST_CONNECT)
}
