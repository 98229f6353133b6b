//! The part of a snapshot about records that are not on the disk yet. serde only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Records that wait for the disk. They are shown and counted all the same; a crash of the process would lose them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryState {
    /// How many records wait.
    #[serde(default)]
    pub waiting: u64,
    /// When the oldest of them ended.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Records that left the memory before the disk took them, or of which only the short part was kept, since the process
    /// started.
    #[serde(default)]
    pub dropped: u64,
}

impl HistoryState {
    /// Returns true if no record waits and none was dropped.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        *self == Self::default()
    }
}
