//! What a person may ask of a replica, and the answers.
//!
//! It must not know what carries a change out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::State;

/// Body of `POST /api/v1/pause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRequest {
    pub minutes: u32,
    /// The person who asks, as `user@host`. A label: it is shown and recorded, and grants nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Body of `POST /api/v1/sync`, `/resume` and `/unpin`. It may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// As in [`PauseRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Body of `POST /api/v1/pin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// The full hash, or a prefix that a record or a kept tree makes unique.
    pub commit: String,
    /// As in [`PauseRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The answer to a change: 202.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    pub schema: u32,
    /// The sync that will carry it out, if one is needed.
    #[serde(default)]
    pub sync: Option<String>,
    pub state: State,
    #[serde(default)]
    pub paused_until: Option<Timestamp>,
    #[serde(default)]
    pub pinned: Option<String>,
}

/// The answer to anything refused: 4xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub hint: Option<String>,
}
