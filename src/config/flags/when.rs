//! The group "when": polls, limits and grace.
//!
//! Words only; what a value means is checked where it is used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::When;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        When,
        "period",
        "DURATION",
        Value("60s"),
        "Pause between polls, which are only the fallback when webhooks are on",
    )),
    shared(one(When, "init-period", "DURATION", Rule("--period"), "The same before the first success")),
    shared(one(When, "sync-timeout", "DURATION", Value("120s"), "The longest that one sync may take")),
    shared(switch(When, "one-time", "false", "Publish once, then exit")),
    shared(one(
        When,
        "max-failures",
        "NUMBER",
        Value("-1"),
        "Exit after this many failures in a row, one a period; -1 never exits (1 with --one-time)",
    )),
    shared(one(When, "init-max-failures", "NUMBER", Rule("--max-failures"), "The same before the first success")),
    shared(one(
        When,
        "sync-on-signal",
        "SIGNAL",
        Absent,
        "A signal that means: look now. A name (SIGHUP, HUP) or a number",
    )),
    shared(one(
        When,
        "stale-worktree-timeout",
        "DURATION",
        Value("60s"),
        "How long a replaced tree is kept for readers that are still in it",
    )),
];
