//! Submodules: `.gitmodules`, their addresses, flattening them into the published tree, and fetching their commits.

pub(crate) mod config;
pub(crate) mod fetch;
pub(crate) mod flatten;
pub(crate) mod url;
