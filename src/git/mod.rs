//! Everything that touches git: the bare object store, the remote, credentials and the protocol.
//!
//! It must not know of published trees, of webhooks or of history: it is asked what the remote has, and to get it.

mod engine;
mod error;
mod options;

pub use engine::{Commit, Engine, Fetched, Look, Span, Want};
pub use error::Error;
pub use options::{Credentials, Password, Reference, RemoteOptions};
