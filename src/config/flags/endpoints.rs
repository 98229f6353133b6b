//! The flags of listeners, history and log.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::Endpoints;
use super::{Flag, FlagKind, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(Endpoints, "http-bind", "ADDRESS", Rule("none"), "Address of the probes: / /livez /readyz /startupz")),
    shared(switch(Endpoints, "http-metrics", "false", "Serve /metrics on that address, too")),
    one(
        Endpoints,
        "admin-bind",
        "ADDRESS",
        Rule("127.0.0.1:9180, or the next free port up to 9189"),
        "Address of the admin API for the dashboard, or off",
    ),
    one(
        Endpoints,
        "admin-token-file",
        "FILE",
        Absent,
        "A file with the token for the admin API, 16 to 512 bytes. Required if the address is not loopback",
    ),
    one(Endpoints, "history-limit", "NUMBER", Value("1000"), "The number of records that the history keeps"),
    one(Endpoints, "log-format", "FORMAT", Rule("text on a terminal, else json"), "json or text, on stderr"),
    Flag {
        short: Some('v'),
        kind: FlagKind::Level,
        ..shared(one(
            Endpoints,
            "verbose",
            "LEVEL",
            Value("0"),
            "Log more, 0 to 9: 1 adds debug lines, 2 and above each request to the remote. Also -vv",
        ))
    },
];
