//! Everything that touches git: the bare object store, the remote, credentials and the protocol.
//!
//! It must not know of published trees, of webhooks or of history. Modules import only modules of lower layers; the
//! declarations below are in that order, lowest first, and `tests/architecture` holds it.

mod deadline;
mod error;

mod protocol;

mod http;
mod libgit2;

mod auth;
mod store;

mod remote;

mod fetch;
mod lfs;
mod maintenance;
mod submodules;

mod engine;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub use auth::askpass::Askpass;
pub use auth::credentials::{Account, Call, CallObserver, Credentials, Password};
pub use auth::github_app::{AppKey, GithubApp};
pub use engine::Engine;
pub use error::{Cause, Error};
pub use fetch::speculative::{ExpectedCommit, SpeculativeFetch};
pub use fetch::want::{Fetched, Want};
pub use http::certificates::{BadCertificates, check as check_certificates, has_byte_order_mark};
pub use http::network::{Network, Rewrite, Setting, SettingValue};
pub use http::scope::{BadScope, Scope};
pub use lfs::fetch::DownloadedObjects;
pub use libgit2::limits::{give_back_memory, prepare_process};
pub(crate) use libgit2::memory::limit as memory_limit;
pub use protocol::filter::{BadFilter, Filter};
pub use remote::options::{Lfs, Reference, RemoteOptions};
pub use remote::resolve_ref::RemoteHead;
pub use store::compact::Compaction;
pub use store::compact::install::Compacted;
pub use store::compact::plan::Effort;
pub use store::history::{Ancestry, Commit, Span};
pub use submodules::fetch::Modules;

pub use crate::proxy::{BadProxy, Proxies, ProxyAddress};
