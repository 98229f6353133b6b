//! The wire types of the admin API, shared by the sidecar and the dashboard.
//!
//! Only serde, no logic and no I/O. The versions of a dashboard and of a pod's image may differ, so unknown fields
//! are ignored and unknown enum values are read as `Unknown`. Times are RFC 3339 UTC, durations end in `_ms`, ids are
//! strings.

mod changes;
mod commit;
mod event;
mod webhook;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use changes::{Accepted, ChangeRequest, LONGEST_PAUSE_MINUTES, PauseRequest, PinRequest, Refusal};
pub use commit::{CommitHow, CommitStatus};
pub use event::Event;
pub use history::HistoryState;
pub use webhook::{DayCounts, DeliveryResult, LastDelivery, MissedPush, Webhook};

/// The version in every document. It changes only if readers of the old version would misinterpret the new one.
pub const SCHEMA: u32 = 1;

/// The default port of `--admin-bind`. If it is taken, the next nine are tried.
pub const DEFAULT_ADMIN_PORT: u16 = 9180;

/// The last port that is tried for the admin listener, and checked by the dashboard.
pub const LAST_ADMIN_PORT: u16 = 9189;

/// A header that every change must have. A web page cannot add it without a CORS preflight, which is never granted.
pub const CHANGE_HEADER: &str = "x-pushsync";

/// The current state of one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub schema: u32,
    /// The replica's clock. Ages are computed from it, because the laptop's clock may differ.
    pub now: Timestamp,
    pub replica: Replica,
    /// The remote, redacted.
    pub repo: String,
    /// The ref as configured (`HEAD`, `main`, `refs/tags/v1`, a hash).
    #[serde(rename = "ref")]
    pub reference: String,
    pub published: Option<Published>,
    /// The newest commit of the followed ref that was seen at the remote.
    pub head: Option<Head>,
    /// The newest announced commit that is neither published nor seen at the remote yet.
    #[serde(default)]
    pub announced: Option<Announcement>,
    pub state: State,
    /// The running sync.
    #[serde(default)]
    pub running: Option<Running>,
    pub failures_in_row: u32,
    /// Why the last attempt failed, while `failures_in_row` is not 0.
    #[serde(default)]
    pub last_error: Option<ErrorInfo>,
    pub webhook: Webhook,
    pub poll: Poll,
    pub paused_until: Option<Timestamp>,
    /// The user who paused it, if known: a label that the dashboard sent.
    #[serde(default)]
    pub paused_by: Option<String>,
    /// The commit that a user pinned this replica to.
    pub pinned: Option<String>,
    /// The user who pinned it, if known.
    #[serde(default)]
    pub pinned_by: Option<String>,
    /// True if it takes pins and pauses over from other replicas when it starts on an empty volume (`--peers`). Absent in
    /// earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<bool>,
    /// A description of the process that owns the volume, while it is not this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// The newest 50 records, newest first.
    pub recent: Vec<Record>,
    /// The records that wait for the history's disk; omitted if there are none.
    #[serde(default, skip_serializing_if = "HistoryState::is_settled")]
    pub history: HistoryState,
    /// The number of the newest event that this snapshot includes.
    pub seq: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// The pod's name (its host name).
    pub name: String,
    pub version: String,
    pub started_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    pub commit: String,
    pub subject: String,
    pub author: String,
    pub committed_at: Option<Timestamp>,
    pub published_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub commit: String,
    pub seen_at: Timestamp,
}

/// A commit that a verified webhook or peer message named as the new head of the ref. For display only; it does not
/// determine what is fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    pub commit: String,
    /// When the message arrived.
    pub seen_at: Timestamp,
    /// The id of the webhook's delivery.
    #[serde(default)]
    pub delivery: Option<String>,
    /// `webhook` or `peer`.
    #[serde(default)]
    pub source: TriggerKind,
}

/// The state of the whole replica in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No version is published yet.
    #[default]
    Starting,
    InSync,
    Syncing,
    /// The remote has a newer commit than the published one, and no sync is running.
    Behind,
    /// The last attempt failed; the previous version stays published.
    Failed,
    Paused,
    Pinned,
    /// Another process owns the volume; this one takes over when that one exits.
    Standby,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub id: String,
    pub trigger: TriggerKind,
    pub phase: Phase,
    pub started_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    pub period_ms: u64,
    pub last_at: Option<Timestamp>,
    pub next_at: Option<Timestamp>,
    /// Checks that found no change; they leave no record.
    #[serde(default)]
    pub unchanged: u64,
}

/// One attempt to update the published tree. Also one line of the history file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub schema: u32,
    pub id: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub trigger: Trigger,
    /// The commit that was published before.
    pub old: Option<String>,
    /// The target commit, once it was known.
    pub new: Option<String>,
    pub outcome: Outcome,
    #[serde(default)]
    pub commits: Option<Commits>,
    #[serde(default)]
    pub files: Option<Files>,
    /// Bytes received by the fetch.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Objects received by the fetch.
    #[serde(default)]
    pub objects: Option<u64>,
    pub phases: Phases,
    /// From the first byte of the webhook to the moment when the link named the commit. Time spent paused or pinned
    /// does not count. Absent for pin, rollback and unpin.
    #[serde(default)]
    pub received_to_published_ms: Option<u64>,
    /// How long the trigger waited for the end of a pause or pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
    /// Additional checks that were needed because the webhook arrived before the ref had changed.
    #[serde(default)]
    pub chased: u32,
    /// True if a poll found this commit although webhooks are enabled.
    #[serde(default)]
    pub missed_webhook: bool,
    /// Why the delivery that announced this commit was ignored. The poll found the commit, but no webhook was missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored_webhook: Option<String>,
    /// True if the old commit is not an ancestor of the new one: history was rewritten, or another branch is
    /// followed. Always false for a pin and a rollback.
    #[serde(default)]
    pub rewritten: bool,
    /// Whether the new commit descends from the old one according to the store; absent if a shallow history cannot
    /// tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast_forward: Option<bool>,
    /// The commit that the replica was pinned to during this sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// The commit at the remote or in an announcement that was not published because of the pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
    #[serde(default)]
    pub peers: Vec<PeerResult>,
    #[serde(default)]
    pub error: Option<ErrorInfo>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub kind: TriggerKind,
    /// `X-GitHub-Delivery` of the webhook that triggered the sync.
    #[serde(default)]
    pub delivery: Option<String>,
    #[serde(default)]
    pub event: Option<String>,
    /// The secret that verified it: `current` or `previous`.
    #[serde(default)]
    pub secret: Option<String>,
    /// True if a delivery with the same id arrived before.
    #[serde(default)]
    pub redelivered: bool,
    /// How many triggers were merged into this sync.
    #[serde(default)]
    pub merged: u32,
    /// The requested action, if one of the merged triggers was manual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The user, if known: a label that the dashboard sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// An action that a user requested from a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Sync,
    Resume,
    /// Publish one commit and keep it.
    Pin,
    /// A pin to a commit that was published before, or that is an ancestor of the published one.
    Rollback,
    Unpin,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    Startup,
    Webhook,
    #[default]
    Poll,
    Peer,
    Signal,
    Manual,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Published,
    Unchanged,
    Failed,
    /// The pre-publish hook rejected the commit.
    Refused,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Queue,
    Look,
    Fetch,
    Build,
    Gate,
    Publish,
    Record,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commits {
    /// The number of commits between old and new; absent if a shallow history cannot tell.
    pub count: Option<u32>,
    pub subject: String,
    pub author: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    pub added: u64,
    pub modified: u64,
    pub deleted: u64,
}

/// How long each phase took. A phase that was not reached is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    #[serde(default)]
    pub queue_ms: Option<u64>,
    /// Listing the refs and fetching together.
    #[serde(default)]
    pub fetch_ms: Option<u64>,
    #[serde(default)]
    pub build_ms: Option<u64>,
    #[serde(default)]
    pub gate_ms: Option<u64>,
    #[serde(default)]
    pub publish_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerResult {
    /// `IP:port`; the configured name if it could not be resolved; `N others` in the summary of a large fleet.
    pub address: String,
    /// `told`, `refused` (optionally with a colon and the reason), `not_ours`, `timed_out`, `unreachable`,
    /// `bad_answer`, `unresolved`, `no_dns_answer`, `no_secret` or `not_tried`.
    pub result: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorInfo {
    pub phase: Phase,
    /// The word of an `ErrorKind`. Not the enum: a record of another version may have a word that this one does not know,
    /// and keeps it.
    pub kind: String,
    pub message: String,
    pub hint: Option<String>,
}

/// `GET /api/v1/history`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryPage {
    pub schema: u32,
    pub records: Vec<Record>,
}

/// `GET /api/v1/syncs/ID`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncDetail {
    pub schema: u32,
    pub record: Record,
    #[serde(flatten)]
    pub detail: Detail,
}

/// The details of a record, which are too long for lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// The newest 50 commits between old and new.
    #[serde(default)]
    pub commits: Vec<Commit>,
    /// The first 500 changed files.
    #[serde(default)]
    pub files: Vec<FileChange>,
    #[serde(default)]
    pub files_total: u64,
    #[serde(default)]
    pub log: Vec<LogLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub commit: String,
    pub subject: String,
    pub author: String,
    pub committed_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileChange {
    pub path: String,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Modified,
    Deleted,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: Timestamp,
    pub level: String,
    pub message: String,
}

macro_rules! display_as_serde {
    ($($name:ident { $($variant:ident => $word:literal),+ $(,)? })+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // `pad`, so that a width in a format string has an effect.
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    )+};
}

display_as_serde! {
    Phase {
        Queue => "queue", Look => "look", Fetch => "fetch", Build => "build", Gate => "gate",
        Publish => "publish", Record => "record", Unknown => "unknown",
    }
    TriggerKind {
        Startup => "startup", Webhook => "webhook", Poll => "poll", Peer => "peer", Signal => "signal",
        Manual => "manual", Unknown => "unknown",
    }
    Outcome {
        Published => "published", Unchanged => "unchanged", Failed => "failed", Refused => "refused", Unknown => "unknown",
    }
    Action {
        Sync => "sync", Resume => "resume", Pin => "pin", Rollback => "rollback", Unpin => "unpin", Unknown => "unknown",
    }
    DeliveryResult {
        Queued => "queued", Ignored => "ignored", Malformed => "malformed", Pong => "pong", Unknown => "unknown",
    }
    CommitHow {
        Published => "published", Contained => "contained", Replaced => "replaced",
        ForcePushedAway => "force_pushed_away", NotPublished => "not_published", NeverSeen => "never_seen",
        Unknown => "unknown",
    }
    State {
        Starting => "starting", InSync => "in_sync", Syncing => "syncing", Behind => "behind", Failed => "failed",
        Paused => "paused", Pinned => "pinned", Standby => "standby", Unknown => "unknown",
    }
}

mod history;
#[cfg(any(test, fuzzing))]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
