//! Tests of the dashboard, of the command line, and of the layout of the sources. Run by `cargo test --test dashboard`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod support;

mod architecture;
mod cli;
mod dashboard;
