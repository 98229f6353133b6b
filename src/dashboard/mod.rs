//! The terminal dashboard: every replica's sync history over port-forwards.
//!
//! It runs on a laptop and knows the sidecar only by its API: of this crate it imports `api` and `clock`, nothing else.

use std::ffi::OsString;

/// Runs the dashboard.
#[must_use]
pub fn main(_args: Vec<OsString>, _as_kubectl_plugin: bool) -> u8 {
    1
}
