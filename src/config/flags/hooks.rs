//! The flags of hooks and outgoing webhooks.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Value};
use super::Group::Hooks;
use super::{Flag, one, shared};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Hooks,
        "exechook-command",
        "PROGRAM",
        Absent,
        "A program to run after each publish, in the published tree, with $GITSYNC_HASH: a path or a name in $PATH, no arguments, no shell. Retried until it succeeds",
    )),
    shared(one(Hooks, "exechook-timeout", "DURATION", Value("30s"), "The longest time that it may run")),
    shared(one(Hooks, "exechook-backoff", "DURATION", Value("3s"), "Pause before it is retried")),
    shared(one(
        Hooks,
        "pre-publish-exechook-command",
        "PROGRAM",
        Absent,
        "A program to run before each publish, in the tree that is about to be published. If it fails, the commit is not published and the previous one stays live",
    )),
    shared(one(Hooks, "pre-publish-exechook-timeout", "DURATION", Value("30s"), "The longest time that it may run")),
    shared(one(
        Hooks,
        "pre-publish-exechook-backoff",
        "DURATION",
        Value("3s"),
        "Pause before the same commit is tried again; doubles each time, up to the period. Manual syncs and webhooks do not wait for it",
    )),
    shared(one(
        Hooks,
        "webhook-url",
        "URL",
        Absent,
        "A URL to call after each publish, with the header Gitsync-Hash. Retried until it succeeds",
    )),
    shared(one(Hooks, "webhook-method", "METHOD", Value("POST"), "The HTTP method of that request")),
    shared(one(
        Hooks,
        "webhook-success-status",
        "STATUS",
        Value("200"),
        "The status that counts as success; 0 means any",
    )),
    shared(one(Hooks, "webhook-timeout", "DURATION", Value("1s"), "The longest time for the response")),
    shared(one(Hooks, "webhook-backoff", "DURATION", Value("3s"), "Pause before it is retried")),
];
