//! The record of one sync: what triggered it, its result, and how long each part took.
//!
//! It must not know how records are made or stored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One attempt to update the published tree. Also one line of the history file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format, [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// Unique on this replica. Ids are decimal numbers that grow with each sync.
    pub id: String,
    /// When the sync began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The reason for it.
    pub trigger: Trigger,
    /// The commit that was published before.
    pub old: Option<String>,
    /// The target commit, once it was known.
    pub new: Option<String>,
    /// Its result.
    pub outcome: Outcome,
    /// The commits between `old` and `new`, in brief; absent if they are not known.
    #[serde(default)]
    pub commits: Option<Commits>,
    /// The files that changed between `old` and `new`; absent if they are not known.
    #[serde(default)]
    pub files: Option<Files>,
    /// Bytes received by the fetch.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Objects received by the fetch.
    #[serde(default)]
    pub objects: Option<u64>,
    /// The time that each phase took.
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
    /// The results of the messages to the other replicas.
    #[serde(default)]
    pub peers: Vec<PeerResult>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<ErrorInfo>,
}

/// The reason for a sync. Of several that were merged, the one that announced the commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// The kind of the trigger.
    pub kind: TriggerKind,
    /// `X-GitHub-Delivery` of the webhook that triggered the sync.
    #[serde(default)]
    pub delivery: Option<String>,
    /// The event that the webhook's delivery named, such as `push`.
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
    /// Sync now.
    Sync,
    /// End a pause.
    Resume,
    /// Publish one commit and keep it.
    Pin,
    /// A pin to a commit that was published before, or that is an ancestor of the published one.
    Rollback,
    /// Follow the ref again.
    Unpin,
    /// An action of a newer release.
    #[serde(other)]
    Unknown,
}

/// The kind of a trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// The start of the process.
    Startup,
    /// A delivery of the forge.
    Webhook,
    /// The time of a poll, without a trigger from outside.
    #[default]
    Poll,
    /// A message of another replica.
    Peer,
    /// The signal of `--sync-on-signal`.
    Signal,
    /// A user's request.
    Manual,
    /// A trigger of a newer release.
    #[serde(other)]
    Unknown,
}

/// The result of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new version is published.
    Published,
    /// There was nothing to publish.
    Unchanged,
    /// An error; the version before stays published.
    Failed,
    /// The pre-publish hook rejected the commit.
    Refused,
    /// A result of a newer release.
    #[serde(other)]
    Unknown,
}

/// A part of a sync, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for its turn.
    Queue,
    /// Listing the remote's refs.
    Look,
    /// Fetching the commit and what it needs.
    Fetch,
    /// Building the tree.
    Build,
    /// Running the pre-publish hook.
    Gate,
    /// Setting the link.
    Publish,
    /// Writing the record.
    Record,
    /// A phase of a newer release.
    #[serde(other)]
    Unknown,
}

/// The commits of a sync, in brief.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commits {
    /// The number of commits between old and new; absent if a shallow history cannot tell.
    pub count: Option<u32>,
    /// The first line of the new commit's message.
    pub subject: String,
    /// The author's name of the new commit.
    pub author: String,
}

/// The number of files that changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Files that only the new commit has.
    pub added: u64,
    /// Files with another content, mode or type.
    pub modified: u64,
    /// Files that only the old commit has.
    pub deleted: u64,
}

/// How long each phase took. A phase that was not reached is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// From the trigger to the start of the sync.
    #[serde(default)]
    pub queue_ms: Option<u64>,
    /// Listing the refs and fetching together.
    #[serde(default)]
    pub fetch_ms: Option<u64>,
    /// Building the tree, with the flush of `--durability full`.
    #[serde(default)]
    pub build_ms: Option<u64>,
    /// The pre-publish hook.
    #[serde(default)]
    pub gate_ms: Option<u64>,
    /// Setting the link.
    #[serde(default)]
    pub publish_ms: Option<u64>,
}

/// The result of the message to one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerResult {
    /// `IP:port`; the configured name if it could not be resolved; `N others` in the summary of a large fleet.
    pub address: String,
    /// `told`, `refused` (optionally with a colon and the reason), `not_ours`, `timed_out`, `unreachable`,
    /// `bad_answer`, `unresolved`, `no_dns_answer`, `no_secret` or `not_tried`.
    pub result: String,
}

/// An error as it is recorded and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// The part of the sync in which it happened.
    pub phase: Phase,
    /// The word of an `ErrorKind`. Not the enum: a record of another version may have a word that this one does not know,
    /// and keeps it.
    pub kind: String,
    /// What happened, in one line.
    pub message: String,
    /// What a user can do about it, if that is known.
    pub hint: Option<String>,
}
