//! One test binary: every module drives the real crate or the real program (`CARGO_BIN_EXE_pushsync`).
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod support;

mod app;
mod architecture;
mod cli;
mod dashboard;
mod git;
mod kubernetes;
mod peers;
mod publish;
mod server;
