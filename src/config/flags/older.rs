//! Names of git-sync v3 that v4 still accepts: flags with other units or spellings, and variables.
//!
//! Texts only. They are not in `--help`; a warning at the start names the replacement of each one that is used.

use super::flag;

/// How a flag of git-sync v3 is handled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Renamed. The value `unset`, v3's default, counts as not given.
    Renamed { now: &'static str, unset: &'static str },
    /// The same, but as a number of seconds; 0 counts as not given.
    Seconds { now: &'static str },
    /// A secret, which has no flag any more.
    Password,
    /// Not needed any more.
    Needless,
    /// Removed from v4, which rejects any value but 0.
    Gone { instead: &'static str },
}

/// A flag of git-sync v3 that v4 renamed or removed.
#[derive(Clone, Copy, Debug)]
pub struct Older {
    /// Without the dashes.
    pub name: &'static str,
    pub variable: Option<&'static str>,
    pub became: Became,
}

impl Older {
    /// Returns the flag that replaces it, if there is one.
    #[must_use]
    pub fn now(&self) -> Option<&'static str> {
        match self.became {
            Became::Renamed { now, .. } | Became::Seconds { now } => Some(now),
            Became::Password | Became::Needless | Became::Gone { .. } => None,
        }
    }
}

const fn renamed(name: &'static str, variable: Option<&'static str>, now: &'static str, unset: &'static str) -> Older {
    Older { name, variable, became: Became::Renamed { now, unset } }
}

const TABLE: [Older; 11] = [
    // `--rev=HEAD` was v3's default beside `--branch`, so it means nothing.
    renamed("rev", Some("GIT_SYNC_REV"), "ref", "HEAD"),
    renamed("branch", Some("GIT_SYNC_BRANCH"), "ref", ""),
    renamed("dest", Some("GIT_SYNC_DEST"), "link", ""),
    renamed("max-sync-failures", Some("GIT_SYNC_MAX_SYNC_FAILURES"), "max-failures", "0"),
    renamed("sync-hook-command", Some("GIT_SYNC_HOOK_COMMAND"), "exechook-command", ""),
    renamed("v", None, "verbose", "-1"),
    Older { name: "timeout", variable: Some("GIT_SYNC_TIMEOUT"), became: Became::Seconds { now: "sync-timeout" } },
    Older { name: "wait", variable: Some("GIT_SYNC_WAIT"), became: Became::Seconds { now: "period" } },
    // Its variable is read with the other passwords (`PASSWORDS`).
    Older { name: "password", variable: None, became: Became::Password },
    Older { name: "ssh", variable: Some("GIT_SYNC_SSH"), became: Became::Needless },
    Older {
        name: "change-permissions",
        variable: Some("GIT_SYNC_PERMISSIONS"),
        became: Became::Gone { instead: "group-write" },
    },
];

/// Returns every flag of git-sync v3 that is accepted.
pub fn older() -> impl Iterator<Item = &'static Older> {
    TABLE.iter().filter(|older| older.now().is_none_or(|now| flag(now).is_some()))
}

/// Flags whose variable was `GIT_SYNC_` followed by their name.
const PLAIN: [&str; 31] = [
    "repo",
    "depth",
    "submodules",
    "sparse-checkout-file",
    "root",
    "link",
    "error-file",
    "period",
    "sync-timeout",
    "one-time",
    "sync-on-signal",
    "max-failures",
    "touch-file",
    "add-user",
    "group-write",
    "exechook-command",
    "exechook-timeout",
    "exechook-backoff",
    "webhook-url",
    "webhook-method",
    "webhook-success-status",
    "webhook-timeout",
    "webhook-backoff",
    "username",
    "password-file",
    "git",
    "git-config",
    "git-gc",
    "http-bind",
    "http-metrics",
    "http-pprof",
];

/// Flags with several spellings of their variable. If several are set, the last one is used, as in git-sync.
const SPELT: [(&str, &[&str]); 5] = [
    ("ssh-key-file", &["GIT_SYNC_SSH_KEY_FILE", "GIT_SSH_KEY_FILE"]),
    ("ssh-known-hosts", &["GIT_SYNC_KNOWN_HOSTS", "GIT_KNOWN_HOSTS"]),
    ("ssh-known-hosts-file", &["GIT_SYNC_SSH_KNOWN_HOSTS_FILE", "GIT_SSH_KNOWN_HOSTS_FILE"]),
    ("cookie-file", &["GIT_SYNC_COOKIE_FILE", "GIT_COOKIE_FILE"]),
    ("askpass-url", &["GIT_SYNC_ASKPASS_URL", "GIT_ASKPASS_URL"]),
];

/// The prefix of git-sync v3's variables.
pub(crate) const GIT_SYNC_3: &str = "GIT_SYNC_";

/// Returns git-sync v3's variables for a flag that has kept its name; the first one that is set is used.
#[must_use]
pub fn older_variables(name: &str) -> Vec<String> {
    if PLAIN.contains(&name) {
        return vec![format!("{GIT_SYNC_3}{}", name.to_ascii_uppercase().replace('-', "_"))];
    }
    let spelt = SPELT.iter().find(|(flag, _)| *flag == name).map_or(&[][..], |(_, spelt)| spelt);
    // The caller takes the first that is set, and of these the last counts.
    spelt.iter().rev().map(|name| (*name).to_owned()).collect()
}
