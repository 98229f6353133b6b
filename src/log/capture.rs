//! The log lines of one sync, collected while it runs, for its record.

use std::collections::VecDeque;

use jiff::Timestamp;
use tracing::{Level, Span};
use tracing_subscriber::registry::{LookupSpan as _, Registry};

use crate::api::LogLine;

/// The name of the span whose lines are collected.
pub const SYNC_SPAN: &str = "sync";

/// Lines kept of one sync. Beyond that the oldest go: the end of a story explains its outcome.
const MOST_LINES: usize = 200;

/// What a sync span has collected so far; lives in the span's extensions.
#[derive(Debug, Default)]
pub(super) struct Captured {
    lines: VecDeque<LogLine>,
}

impl Captured {
    pub(super) fn push(&mut self, at: Timestamp, level: Level, message: String) {
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine { at, level: level.as_str().to_ascii_lowercase(), message });
    }
}

/// Collects this crate's lines of level info and above that are logged within a span named `sync`.
///
/// Run the work inside [`Capture::span`] (`.instrument(capture.span().clone())`, and `span.in_scope` for what runs on
/// another thread), then ask for the [`Capture::lines`].
#[derive(Clone, Debug)]
pub struct Capture {
    span: Span,
}

impl Capture {
    /// `id` becomes the field `sync.id` of every line of the sync.
    #[must_use]
    pub fn start(id: &str) -> Self {
        Self { span: tracing::info_span!(target: "pushsync::sync", "sync", sync.id = id) }
    }

    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// What was logged so far, oldest first, at most 200 lines; nothing if the process logs by other means than [`super::init`].
    #[must_use]
    pub fn lines(&self) -> Vec<LogLine> {
        let lines = self.span.with_subscriber(|(id, dispatch)| {
            let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
            let extensions = span.extensions();
            Some(extensions.get::<Captured>()?.lines.iter().cloned().collect())
        });
        lines.flatten().unwrap_or_default()
    }
}
