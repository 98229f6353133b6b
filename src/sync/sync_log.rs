//! The events of one sync, in lines that go to the log and stay with its record.

use crate::api::LogLine;
use crate::clock::Clock;
use crate::secret::scrub;

/// A record's detail should stay readable, and its line in the journal bounded.
const MOST_LINES: usize = 200;

#[derive(Debug)]
pub(crate) struct SyncLog {
    clock: Clock,
    lines: Vec<LogLine>,
}

impl SyncLog {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, lines: Vec::new() }
    }

    /// Detail that only the record and a verbose log need.
    pub(crate) fn info(&mut self, message: String) {
        tracing::debug!("{message}");
        self.push("info", message);
    }

    /// A warning: the sync continues.
    pub(crate) fn warn(&mut self, message: String) {
        tracing::warn!("{message}");
        self.push("warn", message);
    }

    pub(crate) fn error(&mut self, message: String) {
        // The loop logs one line for the whole sync, so that an error is logged once.
        self.push("error", message);
    }

    pub(crate) fn into_lines(self) -> Vec<LogLine> {
        self.lines
    }

    fn push(&mut self, level: &str, message: String) {
        if self.lines.len() < MOST_LINES {
            let message = scrub(&message).into_owned();
            self.lines.push(LogLine { at: self.clock.now(), level: level.to_owned(), message });
        }
    }
}
