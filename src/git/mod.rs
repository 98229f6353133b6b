//! Everything that touches git: the bare object store, the remote, credentials and the protocol.
//!
//! It must not know of published trees, of webhooks or of history: it is asked what the remote has, and to get it.
//! `engine` is the door; `look` and `fetch` say what is asked of a remote, and only `v2` and `transport` talk to one.

mod engine;
mod options;

mod look;

mod fetch;
mod shallow;

mod transport;

mod arrive;
mod over_http;
mod v2;

mod credentials;
mod known_hosts;

mod store;

mod describe;

mod error;

mod limits;

pub use engine::{Commit, Engine, Fetched, Look, Span, Want};
pub use error::{Cause, Error};
pub use options::{Credentials, Password, Reference, RemoteOptions};
