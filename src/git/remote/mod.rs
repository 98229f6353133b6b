//! One remote: its options, resolving its refs, the protocol v2 client and the libgit2 transport.
//!
//! It must not know which commits are wanted or what the store keeps of them.

pub(crate) mod connection;
pub(crate) mod credential_callbacks;
pub(crate) mod discovery;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod local;
pub(crate) mod ls_remote;
pub(crate) mod options;
pub(crate) mod request_auth;
pub(crate) mod resolve_ref;
pub(crate) mod response;
pub(crate) mod smart_http;
pub(crate) mod transport;
pub(crate) mod v2;
