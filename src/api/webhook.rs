//! The state of the webhook: the last delivery, and counters.
//!
//! It must not know how deliveries are classified.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// False: no secret is configured, so there is no webhook listener.
    pub enabled: bool,
    pub last_delivery_at: Option<Timestamp>,
    pub last_event: Option<String>,
    /// The result of the last delivery: `queued`, or `ignored: <reason>`.
    #[serde(default)]
    pub last_result: Option<String>,
    /// The same as separate fields.
    #[serde(default)]
    pub last: Option<LastDelivery>,
    /// Authentic deliveries since the process started.
    pub received: u64,
    pub bad_signature: u64,
    /// Commits that a poll found without an announcement by a webhook.
    pub missed: u64,
    /// The newest of them, newest first, at most 50. The commit identifies the push, so a push that several replicas
    /// missed can be counted once.
    #[serde(default)]
    pub missed_pushes: Vec<MissedPush>,
    #[serde(default)]
    pub day: DayCounts,
}

/// The last authentic delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastDelivery {
    pub at: Timestamp,
    pub event: String,
    #[serde(default)]
    pub delivery: Option<String>,
    pub result: DeliveryResult,
    /// Why it was ignored or rejected.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The result of an authentic delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryResult {
    Queued,
    /// It concerns another ref, repository or event.
    Ignored,
    /// A field is missing or contradictory.
    Malformed,
    /// The forge's test delivery for a new webhook.
    Pong,
    #[default]
    #[serde(other)]
    Unknown,
}

/// A push that a poll found because no delivery announced it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedPush {
    pub commit: String,
    pub found_at: Timestamp,
}

/// The same counts over the last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayCounts {
    pub received: u64,
    pub bad_signature: u64,
    pub missed: u64,
}
