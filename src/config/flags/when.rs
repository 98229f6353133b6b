//! The group "when": polls, limits and grace periods.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::When;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        When,
        "period",
        "DURATION",
        Value("60s"),
        "Pause between polls; with webhooks, polls are only the fallback",
    )),
    shared(one(When, "init-period", "DURATION", Rule("--period"), "The same before the first success")),
    shared(one(When, "sync-timeout", "DURATION", Value("120s"), "The longest time that one sync may take")),
    shared(switch(When, "one-time", "false", "Publish once, then exit")),
    shared(one(
        When,
        "max-failures",
        "NUMBER",
        Value("-1"),
        "Exit after this many consecutive failures, at most one per period; -1 never exits (1 with --one-time)",
    )),
    shared(one(When, "init-max-failures", "NUMBER", Rule("--max-failures"), "The same before the first success")),
    shared(one(
        When,
        "sync-on-signal",
        "SIGNAL",
        Absent,
        "A signal that triggers a sync. A name (SIGHUP, HUP) or a number",
    )),
    shared(one(
        When,
        "stale-worktree-timeout",
        "DURATION",
        Value("60s"),
        "How long a replaced tree is kept for readers that still use it",
    )),
];
