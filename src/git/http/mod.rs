//! HTTP below git: two clients behind one interface, name resolution, certificates, settings by address, and errors.
//!
//! It must not know of git's protocol or of accounts.

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod error_response;
pub(crate) mod exchange;
pub(crate) mod network;
pub(crate) mod origin;
pub(crate) mod plain;
pub(crate) mod resolver;
pub(crate) mod scope;
pub(crate) mod timeouts;
pub(crate) mod transport_error;
