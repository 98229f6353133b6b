//! Tests of the running program (`CARGO_BIN_EXE_pushsync`): syncs, faults, hooks, kill points. Run by `cargo test --test app`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod support;

mod app;
