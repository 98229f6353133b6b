//! The flags of the webhook listener.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::Webhook;
use super::{Flag, many, one, switch};

pub(super) const FLAGS: &[Flag] = &[
    one(
        Webhook,
        "hook-bind",
        "ADDRESS",
        Rule(":8080 once a secret is given, else none"),
        "Address of the webhook listener",
    ),
    one(Webhook, "hook-path", "PATH", Value("/webhook"), "The exact path of the webhook"),
    many(
        Webhook,
        "hook-secret-file",
        "FILE",
        Absent,
        "A file with the webhook's secret, 16 to 512 bytes, read again when it changes. Repeatable: the current one first, then the previous one",
    ),
    switch(
        Webhook,
        "hook-secret-optional",
        "false",
        "Start even if the current secret's file does not exist. Webhooks are rejected while it is missing",
    ),
    one(
        Webhook,
        "hook-repo",
        "NAME",
        Rule("from the URL"),
        "owner/name or host/owner/name in deliveries, if it differs from the URL (mirrors, SSH aliases)",
    ),
    one(
        Webhook,
        "hook-rate",
        "RATE",
        Value("1"),
        "Syncs per second that webhooks may cause, in bursts of up to 5. Further webhooks are merged, not rejected. 0 means no limit",
    ),
    one(
        Webhook,
        "drain",
        "DURATION",
        Value("0s"),
        "How long to keep serving after SIGTERM, so that no delivery is lost while proxies still send some. A second signal ends this at once",
    ),
];
