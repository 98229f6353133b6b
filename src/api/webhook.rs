//! The state of the webhook: the last delivery, and counters.
//!
//! It must not know how deliveries are classified.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of the webhook listener. The counts begin with the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// False: no secret is configured, so there is no webhook listener.
    pub enabled: bool,
    /// When the last authentic delivery arrived.
    pub last_delivery_at: Option<Timestamp>,
    /// The event that it named, such as `push` or `ping`.
    pub last_event: Option<String>,
    /// The result of the last delivery: `queued`, or `ignored: <reason>`.
    #[serde(default)]
    pub last_result: Option<String>,
    /// The same as separate fields.
    #[serde(default)]
    pub last: Option<LastDelivery>,
    /// Authentic deliveries since the process started.
    pub received: u64,
    /// Requests without a valid signature, which got 401.
    pub bad_signature: u64,
    /// Commits that a poll found without an announcement by a webhook.
    pub missed: u64,
    /// The newest of them, newest first, at most 50. The commit identifies the push, so a push that several replicas
    /// missed can be counted once.
    #[serde(default)]
    pub missed_pushes: Vec<MissedPush>,
    /// The counts of the last 24 hours.
    #[serde(default)]
    pub day: DayCounts,
}

/// The last authentic delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastDelivery {
    /// When it arrived.
    pub at: Timestamp,
    /// The event that it named, such as `push` or `ping`.
    pub event: String,
    /// The forge's id of the delivery.
    #[serde(default)]
    pub delivery: Option<String>,
    /// What was done with it.
    pub result: DeliveryResult,
    /// Why it was ignored or rejected.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The result of an authentic delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryResult {
    /// It triggered a sync.
    Queued,
    /// It concerns another ref, repository or event.
    Ignored,
    /// A field is missing or contradictory.
    Malformed,
    /// The forge's test delivery for a new webhook.
    Pong,
    /// A result of a newer release.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A push that a poll found because no delivery announced it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedPush {
    /// The full hash.
    pub commit: String,
    /// When the poll found it.
    pub found_at: Timestamp,
}

/// The same counts over the last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayCounts {
    /// Authentic deliveries.
    pub received: u64,
    /// Requests without a valid signature.
    pub bad_signature: u64,
    /// Commits that a poll found without an announcement.
    pub missed: u64,
}
