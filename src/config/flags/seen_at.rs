//! The group "seen at": listeners, history and log.
//!
//! Words only; what a value means is checked where it is used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::SeenAt;
use super::{Flag, Kind, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        SeenAt,
        "http-bind",
        "ADDRESS",
        Rule("none"),
        "Where the probes are answered: / /livez /readyz /startupz",
    )),
    shared(switch(SeenAt, "http-metrics", "false", "Serve /metrics there, too")),
    one(
        SeenAt,
        "admin-bind",
        "ADDRESS",
        Rule("127.0.0.1:9180, or the next free port up to 9189"),
        "Where the dashboard's API is served, or off",
    ),
    one(
        SeenAt,
        "admin-token-file",
        "FILE",
        Absent,
        "A file with the token that the API asks for, 16 to 512 bytes. Required if the address is not loopback",
    ),
    one(SeenAt, "history-limit", "NUMBER", Value("1000"), "How many records the history keeps"),
    one(SeenAt, "log-format", "FORMAT", Rule("text on a terminal, else json"), "json or text, on stderr"),
    Flag {
        short: Some('v'),
        kind: Kind::Level,
        ..shared(one(
            SeenAt,
            "verbose",
            "LEVEL",
            Value("0"),
            "Log more, 0 to 9: 1 adds debug lines, 2 and above each request to the remote. Also -vv",
        ))
    },
];
