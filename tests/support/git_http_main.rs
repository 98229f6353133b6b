//! The test server as a program, for `scripts/demo` and `scripts/bench`: `git-http --root DIR [--listen ADDRESS]`.
//!
//! It prints its address on the first line and serves until it is ended. It is no server for the open: anybody may read.
#![allow(clippy::print_stdout, reason = "the address on stdout is its interface")]

#[path = "git_http.rs"]
#[allow(dead_code, reason = "the faults are for tests")]
mod git_http;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut root = None;
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--root" => root = Some(PathBuf::from(value)),
            "--listen" => listen = value.parse().context("--listen needs ADDRESS:PORT")?,
            _ => anyhow::bail!("usage: git-http --root DIR [--listen 127.0.0.1:0]"),
        }
    }
    let root = root.context("usage: git-http --root DIR [--listen 127.0.0.1:0]")?;
    // http-backend refuses relative paths: it changes its folder.
    let root = root.canonicalize().with_context(|| format!("{} cannot be served", root.display()))?;
    let server = git_http::GitHttp::start_on(&root, listen);
    println!("http://{}", server.address());
    loop {
        std::thread::park();
    }
}
