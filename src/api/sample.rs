//! A record for tests and fuzz targets, so that a new field is added in one place.

use jiff::Timestamp;

use super::{Outcome, Phases, Record, SCHEMA, Trigger};

/// Returns a published record at the epoch with no other data.
pub fn record(id: impl ToString) -> Record {
    Record {
        schema: SCHEMA,
        id: id.to_string(),
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        trigger: Trigger::default(),
        old: None,
        new: None,
        outcome: Outcome::Published,
        commits: None,
        files: None,
        bytes: None,
        objects: None,
        phases: Phases::default(),
        received_to_published_ms: None,
        held_ms: None,
        chased: 0,
        missed_webhook: false,
        ignored_webhook: None,
        rewritten: false,
        fast_forward: None,
        pinned: None,
        withheld: None,
        peers: Vec::new(),
        error: None,
    }
}
