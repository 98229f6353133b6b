//! Git LFS: the endpoint, the batch API, and downloading the objects that the volume lacks.
//!
//! The caller knows the trees and says which objects are missing. `endpoint` finds the server, `batch` builds requests and
//! parses responses, `client` sends them, `download` writes what arrives. Several objects are downloaded at once. An
//! interrupted download resumes where it stopped, in this fetch, a later one or another process. An object gets its name
//! only after its hash was compared.

pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod download;
pub(crate) mod endpoint;
pub(crate) mod fetch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod private_addresses;
