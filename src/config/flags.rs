//! The one table of flags. The parser, the environment, `--help` and the reference in docs/ are all made from it.
//!
//! It must not know what a value means beyond its words: that is checked where the value is used.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--flag`, `--flag=true` or `--flag=false`, as pflag has it.
    Switch,
    /// `-v`, `-vv`, `-v 5` or `--verbose=5`: git-sync takes a number there, everybody else repeats the letter.
    Level,
    /// One value; given twice, the last one counts.
    One,
    /// One value each time it is given.
    Many,
}

/// What holds if neither the flag nor its variable is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    None,
    /// Read exactly as if somebody had typed it.
    Value(&'static str),
    /// Words for the reader; the rule itself is where the value is used.
    Rule(&'static str),
}

/// The headings of `--help`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    What,
    Where,
    When,
    RungBy,
    Credentials,
    SeenAt,
}

impl Group {
    pub const ALL: [Self; 6] = [Self::What, Self::Where, Self::When, Self::RungBy, Self::Credentials, Self::SeenAt];

    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::What => "What",
            Self::Where => "Where",
            Self::When => "When",
            Self::RungBy => "Rung by",
            Self::Credentials => "Credentials",
            Self::SeenAt => "Seen at",
        }
    }
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    /// The word for its value in `--help`; empty for a switch.
    pub value: &'static str,
    pub fallback: Fallback,
    pub group: Group,
    pub help: &'static str,
    /// True if kubernetes/git-sync v4 has the same flag, so that its variable is read as well.
    pub in_git_sync: bool,
}

impl Flag {
    /// Variables that stand for the flag, the first one found counts.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let upper = self.name.to_ascii_uppercase().replace('-', "_");
        let mut names = vec![format!("{OURS}{upper}")];
        if self.in_git_sync {
            names.push(format!("{GIT_SYNC}{upper}"));
        }
        if self.name == "repo" {
            names.push(TUTORIAL.to_owned());
        }
        names
    }
}

/// The prefix of our variables.
pub const OURS: &str = "PUSHSYNC_";
/// The prefix of git-sync's.
pub const GIT_SYNC: &str = "GITSYNC_";
/// The variable of the tutorial that this program grew out of.
pub const TUTORIAL: &str = "GIT_REPO";
/// A password has variables but no flag: arguments can be read by every process of the machine.
pub const PASSWORDS: [&str; 2] = ["PUSHSYNC_PASSWORD", "GITSYNC_PASSWORD"];

const fn one(group: Group, name: &'static str, value: &'static str, fallback: Fallback, help: &'static str) -> Flag {
    Flag { name, short: None, kind: Kind::One, value, fallback, group, help, in_git_sync: false }
}

const fn many(group: Group, name: &'static str, value: &'static str, fallback: Fallback, help: &'static str) -> Flag {
    Flag { kind: Kind::Many, ..one(group, name, value, fallback, help) }
}

const fn switch(group: Group, name: &'static str, on: &'static str, help: &'static str) -> Flag {
    Flag { kind: Kind::Switch, ..one(group, name, "", Fallback::Value(on), help) }
}

/// Marks a flag that git-sync has under the same name.
const fn shared(flag: Flag) -> Flag {
    Flag { in_git_sync: true, ..flag }
}

use Fallback::{None as Absent, Rule, Value};
use Group::{Credentials, RungBy, SeenAt, What, When, Where};

/// Every flag of `pushsync run`, in the order of `--help`.
pub const FLAGS: &[Flag] = &[
    shared(one(
        What,
        "repo",
        "URL",
        Absent,
        "The repository: https://, http://, ssh://, user@host:path, file:// or a path. Required",
    )),
    shared(one(
        What,
        "ref",
        "REF",
        Value("HEAD"),
        "The branch or tag to follow; HEAD is the remote's default branch, a full hash follows nothing",
    )),
    shared(one(What, "depth", "NUMBER", Value("1"), "Commits of history to fetch; 0 is all of it")),
    shared(one(Where, "root", "DIR", Absent, "The folder on the shared volume; made if it does not exist. Required")),
    shared(one(
        Where,
        "link",
        "PATH",
        Rule("the last part of the URL"),
        "The symlink that readers use: absolute, or relative to the root",
    )),
    one(
        Where,
        "spare-trees",
        "NUMBER",
        Value("1"),
        "Trees kept ready, so that a push writes only what it changes; each takes the space of one more tree. 0 for tight volumes, or an emptyDir with a tight sizeLimit",
    ),
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
        "Exit after this many failures in a row; -1 never exits (1 with --one-time)",
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
    many(
        RungBy,
        "peers",
        "NAME:PORT",
        Absent,
        "The other replicas' hook listener, told of each webhook: a headless Service, or several hosts or IPs separated by commas. Names are resolved for each delivery, own addresses are skipped",
    ),
    shared(one(
        Credentials,
        "username",
        "NAME",
        Absent,
        "User for http(s); its password is in --password-file or in $PUSHSYNC_PASSWORD",
    )),
    shared(one(
        Credentials,
        "password-file",
        "FILE",
        Absent,
        "A file with the password or token, read again for each look",
    )),
    shared(many(
        Credentials,
        "ssh-key-file",
        "FILE",
        Value("/etc/git-secret/ssh"),
        "A private key for SSH. Repeatable: they are tried in turn",
    )),
    shared(switch(Credentials, "ssh-known-hosts", "true", "Check the keys of SSH hosts")),
    shared(one(
        Credentials,
        "ssh-known-hosts-file",
        "FILE",
        Value("/etc/git-secret/known_hosts"),
        "The keys of SSH hosts",
    )),
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
            "Log more: 1 adds debug lines, 2 and above trace lines. Also -vv",
        ))
    },
];

/// The flag of that name.
#[must_use]
pub fn flag(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_flags_stand_in_the_order_of_their_groups() {
        for (at, one) in FLAGS.iter().enumerate() {
            assert!(FLAGS[at + 1..].iter().all(|other| other.name != one.name), "{} stands twice", one.name);
            assert_eq!(one.kind == Kind::Switch, one.value.is_empty(), "{}", one.name);
        }
        let order: Vec<usize> =
            FLAGS.iter().filter_map(|flag| Group::ALL.iter().position(|group| *group == flag.group)).collect();
        assert!(order.is_sorted() && order.len() == FLAGS.len());
    }

    #[test]
    fn variables_are_ours_then_git_syncs_then_the_tutorials() {
        let names = |name| flag(name).map(Flag::variables).unwrap_or_default();
        assert_eq!(names("repo"), ["PUSHSYNC_REPO", "GITSYNC_REPO", "GIT_REPO"]);
        assert_eq!(names("sync-timeout"), ["PUSHSYNC_SYNC_TIMEOUT", "GITSYNC_SYNC_TIMEOUT"]);
        assert_eq!(names("hook-path"), ["PUSHSYNC_HOOK_PATH"]);
    }
}
