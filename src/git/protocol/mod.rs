//! Git's wire protocol as bytes: packet lines, `ls-refs`, `fetch`, capabilities, version 0 and the end of a pack.
//!
//! Pure: it must not know of connections, files or settings.

pub(crate) mod capabilities;
pub(crate) mod fetch;
pub(crate) mod filter;
pub(crate) mod ls_refs;
pub(crate) mod pack_checksum;
pub(crate) mod pktline;
pub(crate) mod sideband;
pub(crate) mod version0;

use super::error::{Cause, Error};

/// The reason why bytes break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Malformed {
    /// Returns the error for a remote that sent such bytes.
    pub(crate) fn into_error(self, remote: String) -> Error {
        Error::Protocol { remote, source: Cause::new(self.0) }
    }
}

/// The reason why a response is of no use.
#[derive(Debug)]
pub(crate) enum ProtocolError {
    /// The response is not version 2. Another request mode may help.
    NotSpoken(Malformed),
    /// The server refused, in its own words.
    Refused(String),
    /// The request failed below the protocol.
    Failed(Error),
}

impl From<Malformed> for ProtocolError {
    fn from(what: Malformed) -> Self {
        Self::NotSpoken(what)
    }
}

impl From<Error> for ProtocolError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
