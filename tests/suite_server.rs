//! Tests of the listeners, of the messages between replicas, and of the manifests. Run by `cargo test --test server`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod support;

mod kubernetes;
mod peers;
mod server;
