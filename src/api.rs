//! The wire types of the admin API, shared by the sidecar and the dashboard.
//!
//! Only serde, no logic and no I/O. The versions of a dashboard and of a pod's image may differ, so unknown fields
//! are ignored and unknown enum values are read as `Unknown`. Times are RFC 3339 UTC, durations end in `_ms`, ids are
//! strings.

mod changes;
mod commit;
mod detail;
mod event;
mod record;
mod webhook;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use changes::{Accepted, ChangeRequest, LONGEST_PAUSE_MINUTES, PauseRequest, PinRequest, Refusal};
pub use commit::{CommitHow, CommitStatus};
pub use detail::{Change, Commit, Detail, FileChange, HistoryPage, LogLine, SyncDetail};
pub use event::Event;
pub use history::HistoryState;
pub use record::{Action, Commits, ErrorInfo, Files, Outcome, PeerResult, Phase, Phases, Record, Trigger, TriggerKind};
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
    /// The version of the format, [`SCHEMA`].
    pub schema: u32,
    /// The replica's clock. Ages are computed from it, because the laptop's clock may differ.
    pub now: Timestamp,
    /// The process that answers.
    pub replica: Replica,
    /// The remote, redacted.
    pub repo: String,
    /// The ref as configured (`HEAD`, `main`, `refs/tags/v1`, a hash).
    #[serde(rename = "ref")]
    pub reference: String,
    /// The version that the link names; null until the first publish.
    pub published: Option<Published>,
    /// The newest commit of the followed ref that was seen at the remote.
    pub head: Option<Head>,
    /// The newest announced commit that is neither published nor seen at the remote yet.
    #[serde(default)]
    pub announced: Option<Announcement>,
    /// The replica's state, derived from the other fields.
    pub state: State,
    /// The running sync.
    #[serde(default)]
    pub running: Option<Running>,
    /// Attempts that failed since the last one that did not.
    pub failures_in_row: u32,
    /// Why the last attempt failed, while `failures_in_row` is not 0.
    #[serde(default)]
    pub last_error: Option<ErrorInfo>,
    /// The webhook's last delivery and counters.
    pub webhook: Webhook,
    /// The polls of the remote.
    pub poll: Poll,
    /// The end of a pause; null without one.
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

/// The process that answers a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// The pod's name (its host name).
    pub name: String,
    /// The release of the program, such as `0.1.0`.
    pub version: String,
    /// When the process started.
    pub started_at: Timestamp,
}

/// A published version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The full hash.
    pub commit: String,
    /// The first line of the commit's message. Empty if the store does not have the commit.
    pub subject: String,
    /// The author's name. Empty if the store does not have the commit.
    pub author: String,
    /// The committer's time, if the commit contains one.
    pub committed_at: Option<Timestamp>,
    /// When the link was set to it; null if the history does not tell.
    pub published_at: Option<Timestamp>,
}

/// The head of the followed ref.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The full hash.
    pub commit: String,
    /// When a listing of the refs last showed it.
    pub seen_at: Timestamp,
}

/// A commit that a verified webhook or peer message named as the new head of the ref. For display only; it does not
/// determine what is fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// The full hash.
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
    /// The newest known commit is published.
    InSync,
    /// A sync is running.
    Syncing,
    /// The remote has a newer commit than the published one, and no sync is running.
    Behind,
    /// The last attempt failed; the previous version stays published.
    Failed,
    /// A user stopped the syncs until `paused_until`.
    Paused,
    /// A user chose the published commit; newer ones are not published.
    Pinned,
    /// Another process owns the volume; this one takes over when that one exits.
    Standby,
    /// A state of a newer release.
    #[serde(other)]
    Unknown,
}

/// The running sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The id that its record will have.
    pub id: String,
    /// The reason for it.
    pub trigger: TriggerKind,
    /// What it is doing now.
    pub phase: Phase,
    /// When it began.
    pub started_at: Timestamp,
}

/// The polls of the remote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// The longest time between two polls (`--period`), in milliseconds.
    pub period_ms: u64,
    /// When a poll last listed the refs; null before the first one ended.
    pub last_at: Option<Timestamp>,
    /// When the next poll is due, if that is known.
    pub next_at: Option<Timestamp>,
    /// Checks that found no change; they leave no record.
    #[serde(default)]
    pub unchanged: u64,
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
