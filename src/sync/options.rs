//! The options of the sync loop, as `config` has checked them.

use std::time::Duration;

use crate::git::Compaction;
use crate::{hooks, notices};

/// When to sync, how long to try, and when to give up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pause between polls.
    pub period: Duration,
    /// The same before the first success, if it differs.
    pub init_period: Option<Duration>,
    /// The longest that one sync may take.
    pub timeout: Duration,
    /// Publish once and exit.
    pub one_time: bool,
    /// End the process after this many failures in a row (0 as 1); negative = never.
    pub max_failures: i64,
    /// The same before the first success, if it differs.
    pub init_max_failures: Option<i64>,
    /// The number of a signal that requests a sync.
    pub sync_on_signal: Option<i32>,
    /// The syncs a second that webhooks may cause, sustained; 0 = no limit.
    pub hook_rate: f64,
    /// True if a webhook secret is configured.
    pub webhooks: bool,
    /// True if other replicas are named, so that a pin is taken over by a replica that starts.
    pub peers: bool,
    /// How many records the history keeps.
    pub history_limit: usize,
    /// When the object store is compacted.
    pub compaction: Compaction,
    /// The ref as configured, for the snapshot.
    pub reference: String,
    /// The remote, redacted, for the snapshot.
    pub repo: String,
    /// The replica's name (its host name).
    pub replica: String,
    /// The hooks: they are notified of a publish, and the pre-publish hook may refuse one.
    pub hooks: hooks::HookOptions,
    /// The touch file and the error file.
    pub notices: notices::NoticeOptions,
}
