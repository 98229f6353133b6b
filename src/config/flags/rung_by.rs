//! The group "rung by": webhooks and peers.
//!
//! Words only; what a value means is checked where it is used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::RungBy;
use super::{Flag, many, one, switch};

pub(super) const FLAGS: &[Flag] = &[
    one(RungBy, "hook-bind", "ADDRESS", Rule(":8080 once a secret is given, else none"), "Where webhooks are received"),
    one(RungBy, "hook-path", "PATH", Value("/webhook"), "The exact path that receives them"),
    many(
        RungBy,
        "hook-secret-file",
        "FILE",
        Absent,
        "A file with the webhook's secret, 16 to 512 bytes, read again when it changes. Repeatable: the current one first, then the previous one",
    ),
    switch(
        RungBy,
        "hook-secret-optional",
        "false",
        "Start although the current secret's file does not exist: webhooks are refused until it does, and when it goes",
    ),
    one(
        RungBy,
        "hook-repo",
        "NAME",
        Rule("from the URL"),
        "owner/name or host/owner/name in deliveries, if it is not what the URL says (mirrors, SSH aliases)",
    ),
    one(
        RungBy,
        "hook-rate",
        "RATE",
        Value("1"),
        "Looks a second that webhooks may cause, in bursts of up to 5; more of them are merged, not refused. 0 is no limit",
    ),
    one(
        RungBy,
        "drain",
        "DURATION",
        Value("0s"),
        "How long everything is served as before after SIGTERM, so that no delivery is lost while proxies still send some here. A second signal ends it at once",
    ),
    many(
        RungBy,
        "peers",
        "NAME:PORT",
        Absent,
        "The other replicas' hook listener, told of each webhook: a headless Service, or several hosts or IPs separated by commas. Names are resolved for each delivery, own addresses are skipped",
    ),
];
