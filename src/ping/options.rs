//! The parameters of `pushsync ping`, parsed.
//!
//! It must not know where they come from.

use std::path::PathBuf;

/// The parameters of one delivery. No `Debug`, because the URL may contain a password.
#[derive(Clone)]
pub(super) struct PingOptions {
    pub(super) url: reqwest::Url,
    pub(super) secret_file: PathBuf,
    /// `None` = a `ping` event.
    pub(super) push: Option<PushOptions>,
    /// `owner/name` or a clone URL.
    pub(super) repo: Option<String>,
}

/// The content of a `push` event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushOptions {
    /// The full name of the ref.
    pub(super) reference: String,
    pub(super) before: String,
    pub(super) after: String,
}
