//! Tests of the object store, the remotes and the published trees. Run by `cargo test --test git`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod support;

mod git;
mod publish;
