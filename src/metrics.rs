//! Counters for Prometheus: git-sync's names for the same facts, ours for what it cannot tell.
//!
//! `sync` and `server` count, the http listener renders.

use crate::api::Record;

/// Thread-safe; every method is cheap.
#[derive(Debug, Default)]
pub struct Metrics;

impl Metrics {
    /// `repo` is redacted already.
    #[must_use]
    pub fn new(_version: &str, _repo: &str, _reference: &str) -> Self {
        Self
    }

    /// A sync ended with a record (published, failed, refused, or an unchanged one that somebody rang for).
    pub fn record(&self, _record: &Record) {}

    /// A poll found nothing new.
    pub fn unchanged(&self, _took: std::time::Duration) {}

    /// A poll failed like the one before it, so that no record was kept.
    pub fn failed(&self, _took: std::time::Duration) {}

    /// A webhook request was answered: `queued`, `ignored`, `bad_signature`, `malformed`, `too_large`, `timeout`.
    pub fn delivery(&self, _result: &'static str) {}

    /// What is published now.
    pub fn published(&self, _commit: &str) {}

    pub fn paused(&self, _paused: bool) {}

    pub fn pinned(&self, _pinned: bool) {}

    /// `kind` is `store` or `trees`.
    pub fn volume_bytes(&self, _kind: &'static str, _bytes: u64) {}

    /// The exposition text (version 0.0.4 or OpenMetrics), as `GET /metrics` answers.
    #[must_use]
    pub fn render(&self) -> String {
        String::new()
    }
}
