//! The flags of polls, limits and the signal that triggers a sync.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::Polling;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Polling,
        "period",
        "DURATION",
        Value("60s"),
        "Pause between polls; with webhooks, polls are a fallback",
    )),
    shared(one(Polling, "init-period", "DURATION", Rule("--period"), "The same before the first success")),
    shared(one(Polling, "sync-timeout", "DURATION", Value("120s"), "The longest time that one sync may take")),
    shared(switch(Polling, "one-time", "false", "Publish once, then exit")),
    shared(one(
        Polling,
        "max-failures",
        "NUMBER",
        Value("-1"),
        "Exit after this many consecutive failures, at most one per period; -1 never exits (1 with --one-time)",
    )),
    shared(one(Polling, "init-max-failures", "NUMBER", Rule("--max-failures"), "The same before the first success")),
    shared(one(
        Polling,
        "sync-on-signal",
        "SIGNAL",
        Absent,
        "A signal that triggers a sync. A name (SIGHUP, HUP) or a number",
    )),
];
