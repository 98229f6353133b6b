//! The events of the admin API's event stream.
//!
//! It must not know how events are created or sent.

use serde::{Deserialize, Serialize};

use super::{Record, Running, Snapshot, Webhook};

/// An event. The name is in the `event:` line, the JSON in `data:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The first event of every stream.
    Snapshot(Box<Snapshot>),
    /// A sync began. Polls that find nothing send no events.
    SyncStarted(Running),
    /// The running sync entered another phase.
    SyncPhase(Running),
    /// A sync ended.
    SyncFinished(Box<Record>),
    /// An earlier record has grown, because slow peers have responded.
    SyncAmended(Box<Record>),
    /// A delivery arrived, or a counter of the webhook changed.
    Delivery(Webhook),
    /// Another part of the snapshot changed. It contains no records (`recent` is empty).
    State(Box<Snapshot>),
    /// The client was too slow and missed events; it must read the snapshot again.
    Reset,
}

impl Event {
    /// Returns the name in the `event:` line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Snapshot(_) => "snapshot",
            Self::SyncStarted(_) => "sync_started",
            Self::SyncPhase(_) => "sync_phase",
            Self::SyncFinished(_) => "sync_finished",
            Self::SyncAmended(_) => "sync_amended",
            Self::Delivery(_) => "delivery",
            Self::State(_) => "state",
            Self::Reset => "reset",
        }
    }

    /// Returns the JSON of the `data:` line (`{}` for a reset).
    ///
    /// # Errors
    /// Only if a value cannot be serialized, which these types rule out.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Snapshot(data) | Self::State(data) => serde_json::to_string(data),
            Self::SyncStarted(data) | Self::SyncPhase(data) => serde_json::to_string(data),
            Self::SyncFinished(data) | Self::SyncAmended(data) => serde_json::to_string(data),
            Self::Delivery(data) => serde_json::to_string(data),
            Self::Reset => Ok("{}".to_owned()),
        }
    }

    /// Parses an event. `Ok(None)`: an event of a newer server, to be skipped.
    ///
    /// # Errors
    /// If the name is known but the data is invalid.
    pub fn parse(name: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match name {
            "snapshot" => Self::Snapshot(serde_json::from_str(data)?),
            "sync_started" => Self::SyncStarted(serde_json::from_str(data)?),
            "sync_phase" => Self::SyncPhase(serde_json::from_str(data)?),
            "sync_finished" => Self::SyncFinished(serde_json::from_str(data)?),
            "sync_amended" => Self::SyncAmended(serde_json::from_str(data)?),
            "delivery" => Self::Delivery(serde_json::from_str(data)?),
            "state" => Self::State(serde_json::from_str(data)?),
            "reset" => Self::Reset,
            _ => return Ok(None),
        }))
    }
}
