//! The terminal dashboard: every replica's sync history over port-forwards.
//!
//! It runs on a laptop and knows the sidecar only by its API: of this crate it imports `api` and `clock`, nothing else.
