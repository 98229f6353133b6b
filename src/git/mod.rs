//! Everything that touches git: the bare object store, the remote, credentials and the protocol.
//!
//! It must not know of published trees, of webhooks or of history: it is asked what the remote has, and to get it.
//! `engine` is the door; `look` and `fetch` say what is asked of a remote, and only `v2` and `transport` talk to one.

mod engine;
mod options;

mod access;
mod pass;

mod certificates;
mod client;
mod fault;
mod network;
mod plain;
mod refusal;
mod resolve;

mod look;

mod fetch;
mod local;
mod shallow;

mod transport;

mod ahead;
mod arrive;
mod contents;
mod filter;
mod lfs;
mod over_http;
mod partial;
mod trailer;
mod v2;

mod credentials;
mod known_hosts;

mod compact;
mod depth;
mod locks;
mod pem;
mod ssh_keys;
mod store;
mod upkeep;

mod gitmodules;
mod graft;
mod module_url;
mod submodules;

mod describe;

mod error;

mod limits;
mod memory;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub use access::{Account, AppKey, Askpass, BadScope, Call, Credentials, GithubApp, Password, Scope, Tell};
pub use ahead::{Ahead, Early};
pub use certificates::{BadCertificates, check as check_certificates, has_mark};
pub use compact::{Compacted, Compaction, Effort};
pub use engine::{Ancestry, Commit, Engine, Fetched, Look, Span, Want};
pub use error::{Cause, Error};
pub use filter::{BadFilter, Filter};
pub use lfs::{Brought, Lfs};
pub use limits::{give_back_memory, prepare_process};
pub(crate) use memory::limit as memory_limit;
pub use network::{Network, Rewrite, Setting, What};
pub use options::{Reference, RemoteOptions};
pub use submodules::Modules;

pub use crate::proxy::{BadProxy, Proxies, ProxyAddress};
