//! The table of all flags. The parser, the environment variables, `--help` and the reference in docs/ are generated
//! from it.
//!
//! It contains only texts. Values are checked where they are used.

mod access;
mod checkout;
mod compatibility;
mod endpoints;
mod hooks;
mod older;
mod peers;
mod polling;
mod repository;
mod volume;
mod webhook;

use std::sync::LazyLock;

pub(crate) use older::GIT_SYNC_3;
pub use older::{Became, Older, older, older_variables};

/// How often a flag may be given, and the form of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// `--flag`, `--flag=true` or `--flag=false`, as in pflag.
    Switch,
    /// `-v`, `-vv`, `-v 5` or `--verbose=5`. git-sync accepts a number; repeating the letter is the common
    /// convention.
    Level,
    /// One value. If the flag is repeated, the last value is used.
    One,
    /// A list. Each occurrence of the flag adds a value.
    Many,
    /// The same, but its variable holds a single value, which is not split at commas or colons.
    Whole,
}

/// The default, used if neither the flag nor its variable is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    None,
    /// Parsed like a given value.
    Value(&'static str),
    /// A description for the reader. The code that uses the value implements it.
    Rule(&'static str),
}

/// The headings of `--help`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Repository,
    Checkout,
    Volume,
    Polling,
    Webhook,
    Peers,
    Hooks,
    Access,
    Endpoints,
    Compatibility,
}

impl Group {
    pub const ALL: [Self; 10] = [
        Self::Repository,
        Self::Checkout,
        Self::Volume,
        Self::Polling,
        Self::Webhook,
        Self::Peers,
        Self::Hooks,
        Self::Access,
        Self::Endpoints,
        Self::Compatibility,
    ];

    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Repository => "Repository",
            Self::Checkout => "Checkout",
            Self::Volume => "Volume",
            Self::Polling => "Polling and limits",
            Self::Webhook => "Webhook",
            Self::Peers => "Peers",
            Self::Hooks => "Hooks and notifications",
            Self::Access => "Access to the repository",
            Self::Endpoints => "Endpoints and logging",
            Self::Compatibility => "Compatibility with git-sync (accepted without effect)",
        }
    }
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    pub short: Option<char>,
    pub kind: FlagKind,
    /// The placeholder for its value in `--help`; empty for a switch.
    pub value: &'static str,
    pub fallback: Fallback,
    pub group: Group,
    pub help: &'static str,
    /// True if kubernetes/git-sync v4 has the same flag, so that its variable is read as well.
    pub in_git_sync: bool,
}

impl Flag {
    /// Returns the variables for the flag; the first one that is set is used. [`older_variables`] follow right after
    /// ours.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let upper = self.name.to_ascii_uppercase().replace('-', "_");
        let mut names = vec![format!("{OURS}{upper}")];
        if self.in_git_sync {
            names.push(format!("{GIT_SYNC}{upper}"));
        }
        if self.name == "repo" {
            // After git-sync's, because the other names say for which program they are.
            names.push(TUTORIAL.to_owned());
        }
        if let Some(earlier) = self.earlier_name() {
            names.push(format!("{OURS}{}", earlier.to_ascii_uppercase().replace('-', "_")));
        }
        names
    }

    /// The words that the value may be, if these are all there are.
    #[must_use]
    pub fn choices(&self) -> &'static [&'static str] {
        match self.name {
            "submodules" => &["recursive", "shallow", "off"],
            "durability" => &["normal", "full"],
            "git-gc" => &["auto", "always", "aggressive", "off"],
            "log-format" => &["json", "text"],
            // Also a path.
            "cookie-file" => &[],
            _ if self.kind == FlagKind::Switch => &["true", "false"],
            _ => &[],
        }
    }

    /// True if `-h` shows the flag. `--help` shows every flag.
    #[must_use]
    pub fn is_common(&self) -> bool {
        COMMON.contains(&self.name)
    }

    /// The name that the flag had in an earlier release, which is still taken.
    #[must_use]
    pub fn earlier_name(&self) -> Option<&'static str> {
        // Container specs that set the earlier name go on working after an upgrade.
        (self.name == "standby-trees").then_some("spare-trees")
    }
}

/// The flags that most container specs need.
const COMMON: [&str; 13] = [
    "repo",
    "ref",
    "root",
    "link",
    "period",
    "one-time",
    "hook-secret-file",
    "peers",
    "pre-publish-exechook-command",
    "exechook-command",
    "password-file",
    "ssh-key-file",
    "http-bind",
];

/// The prefix of our variables.
pub(crate) const OURS: &str = "PUSHSYNC_";
/// The prefix of git-sync's variables.
pub(crate) const GIT_SYNC: &str = "GITSYNC_";
/// The variable in the tutorial for which this program is a replacement.
pub(crate) const TUTORIAL: &str = "GIT_REPO";
/// Passwords have variables but no flag, because every process of the machine can read arguments.
pub(crate) const PASSWORDS: [&str; 3] = ["PUSHSYNC_PASSWORD", "GIT_SYNC_PASSWORD", "GITSYNC_PASSWORD"];
/// The same for the private key of a GitHub App.
pub(crate) const APP_KEYS: [&str; 2] = ["PUSHSYNC_GITHUB_APP_PRIVATE_KEY", "GITSYNC_GITHUB_APP_PRIVATE_KEY"];

const fn one(group: Group, name: &'static str, value: &'static str, fallback: Fallback, help: &'static str) -> Flag {
    Flag { name, short: None, kind: FlagKind::One, value, fallback, group, help, in_git_sync: false }
}

const fn many(group: Group, name: &'static str, value: &'static str, fallback: Fallback, help: &'static str) -> Flag {
    Flag { kind: FlagKind::Many, ..one(group, name, value, fallback, help) }
}

const fn whole(group: Group, name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { kind: FlagKind::Whole, ..one(group, name, value, Fallback::None, help) }
}

const fn switch(group: Group, name: &'static str, on: &'static str, help: &'static str) -> Flag {
    Flag { kind: FlagKind::Switch, ..one(group, name, "", Fallback::Value(on), help) }
}

/// Marks a flag that git-sync has under the same name.
const fn shared(flag: Flag) -> Flag {
    Flag { in_git_sync: true, ..flag }
}

/// Every flag of `pushsync run`, in the order of `--help`.
pub static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    [
        repository::FLAGS,
        checkout::FLAGS,
        volume::FLAGS,
        polling::FLAGS,
        webhook::FLAGS,
        peers::FLAGS,
        hooks::FLAGS,
        access::FLAGS,
        endpoints::FLAGS,
        compatibility::FLAGS,
    ]
    .concat()
});

/// Returns the flag with that name.
#[must_use]
pub(crate) fn flag(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_flags_stand_in_the_order_of_their_groups() {
        for (at, one) in FLAGS.iter().enumerate() {
            assert!(FLAGS[at + 1..].iter().all(|other| other.name != one.name), "{} appears twice", one.name);
            assert_eq!(one.kind == FlagKind::Switch, one.value.is_empty(), "{}", one.name);
        }
        let order: Vec<usize> =
            FLAGS.iter().filter_map(|flag| Group::ALL.iter().position(|group| *group == flag.group)).collect();
        assert!(order.is_sorted() && order.len() == FLAGS.len());
        for name in COMMON {
            assert!(flag(name).is_some(), "{name} is no flag");
        }
    }

    #[test]
    fn variables_are_ours_then_git_syncs_then_the_tutorials() {
        let names = |name| flag(name).map(Flag::variables).unwrap_or_default();
        assert_eq!(names("repo"), ["PUSHSYNC_REPO", "GITSYNC_REPO", "GIT_REPO"]);
        assert_eq!(names("sync-timeout"), ["PUSHSYNC_SYNC_TIMEOUT", "GITSYNC_SYNC_TIMEOUT"]);
        assert_eq!(names("hook-path"), ["PUSHSYNC_HOOK_PATH"]);
    }
}
