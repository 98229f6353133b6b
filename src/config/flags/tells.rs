//! The group "tells": programs and addresses that hear of a publish, and the gate before it.
//!
//! Words only; what a value means is checked where it is used.

use super::Fallback::{None as Absent, Value};
use super::Group::Tells;
use super::{Flag, one, shared};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Tells,
        "exechook-command",
        "PROGRAM",
        Absent,
        "A program to run after each publish, in the published tree, with $GITSYNC_HASH: a path or a name in $PATH, no arguments, no shell. Run again until it succeeds",
    )),
    shared(one(Tells, "exechook-timeout", "DURATION", Value("30s"), "The longest that it may run")),
    shared(one(Tells, "exechook-backoff", "DURATION", Value("3s"), "Pause before it is run again")),
    shared(one(
        Tells,
        "pre-publish-exechook-command",
        "PROGRAM",
        Absent,
        "A program to run before each publish, in the tree that is about to be published. If it fails, that is not published and what was before stays",
    )),
    shared(one(Tells, "pre-publish-exechook-timeout", "DURATION", Value("30s"), "The longest that it may run")),
    shared(one(
        Tells,
        "pre-publish-exechook-backoff",
        "DURATION",
        Value("3s"),
        "Pause before the same commit is tried again; doubles each time, up to the period. A person or a webhook need not wait for it",
    )),
    shared(one(
        Tells,
        "webhook-url",
        "URL",
        Absent,
        "An address that is told of each publish, by a request with the header Gitsync-Hash. Told again until it succeeds",
    )),
    shared(one(Tells, "webhook-method", "METHOD", Value("POST"), "The method of that request")),
    shared(one(Tells, "webhook-success-status", "STATUS", Value("200"), "The status that means success; 0 is any")),
    shared(one(Tells, "webhook-timeout", "DURATION", Value("1s"), "The longest that the answer may take")),
    shared(one(Tells, "webhook-backoff", "DURATION", Value("3s"), "Pause before it is told again")),
];
