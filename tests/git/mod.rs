//! Git against real remotes: http, ssh and files.

mod support;
