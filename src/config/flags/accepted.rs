//! The group "accepted": flags of git-sync that have nothing to act on here, so that its container specs start.
//!
//! Each is told at the start, with the reason; the reasons are in `src/config/accepted.rs`.

use super::Fallback::Value;
use super::Group::Accepted;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(switch(Accepted, "add-user", "false", "Nothing here looks up its user in /etc/passwd")),
    shared(one(Accepted, "git", "PROGRAM", Value("git"), "No git program is run")),
    shared(switch(Accepted, "http-pprof", "false", "There is no Go runtime to profile; see --http-metrics")),
];
