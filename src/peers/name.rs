//! The name of a peer: a host and a port, as the command line gives them. It knows no resolver.

use std::fmt;

/// A host and port as configured. A host name is resolved for each delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
