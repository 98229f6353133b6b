//! The flags of git-sync that have no effect here, so that its container specs work.
//!
//! A warning at the start gives the reason; see `src/config/accepted.rs`.

use super::Fallback::Value;
use super::Group::Compatibility;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(switch(Compatibility, "add-user", "false", "pushsync does not look up its user in /etc/passwd")),
    shared(one(Compatibility, "git", "PROGRAM", Value("git"), "pushsync runs no git program")),
    shared(switch(Compatibility, "http-pprof", "false", "There is no Go runtime to profile; see --http-metrics")),
];
