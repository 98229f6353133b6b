//! Changes that users can request from a replica, and the responses.
//!
//! It must not know how a change is carried out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::State;

/// The longest pause, in minutes: a week. A longer one would be forgotten, and the replica would never sync again.
pub const LONGEST_PAUSE_MINUTES: u32 = 7 * 24 * 60;

/// Body of `POST /api/v1/pause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// The length of the pause, from 1 to [`LONGEST_PAUSE_MINUTES`].
    pub minutes: u32,
    /// The user, as `user@host`. A label that is shown and recorded; it grants no permission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Body of `POST /api/v1/sync`, `/resume` and `/unpin`. Optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// As in [`PauseRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Body of `POST /api/v1/pin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// The full hash, or a prefix that is unique among the records and the kept trees.
    pub commit: String,
    /// As in [`PauseRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The response to a change: 202.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The version of the format, [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The sync that will carry it out, if one is needed.
    #[serde(default)]
    pub sync: Option<String>,
    /// The state after the change.
    pub state: State,
    /// The end of the pause that is in force now.
    #[serde(default)]
    pub paused_until: Option<Timestamp>,
    /// The full hash of the pinned commit.
    #[serde(default)]
    pub pinned: Option<String>,
}

/// The response to any rejected request: 4xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable word for programs, such as `bad_minutes`.
    pub code: String,
    /// The reason, for people.
    pub message: String,
    /// What the user can do about it, if that is known.
    #[serde(default)]
    pub hint: Option<String>,
}
