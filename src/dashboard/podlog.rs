//! The log of one sidecar, as `kubectl logs` follows it: a bounded number of lines.

use std::collections::VecDeque;

use super::model::PodId;

/// Lines that are kept.
const LINES: usize = 2000;
/// Characters of a line.
const LENGTH: usize = 2000;

/// The lines that are here.
#[derive(Clone, Debug, Default)]
pub struct PodLog {
    /// The replica of the log; `None` if none is open.
    pub pod: Option<PodId>,
    /// Oldest first.
    pub lines: VecDeque<String>,
    /// The reason why the log has ended.
    pub ended: Option<String>,
    /// The selected line. `None`: the newest, also when further ones arrive.
    pub row: Option<usize>,
}

impl PodLog {
    /// Begins with the log of another replica.
    pub fn open(&mut self, pod: PodId) {
        *self = Self { pod: Some(pod), ..Self::default() };
    }

    /// Adds a line and drops the oldest.
    pub fn push(&mut self, line: &str) {
        self.lines.push_back(line.chars().take(LENGTH).collect());
        if self.lines.len() > LINES {
            self.lines.pop_front();
            // Every line has moved up by one, so the cursor stays on its line.
            self.row = self.row.map(|row| row.saturating_sub(1));
        }
    }

    /// Returns the position of the cursor.
    #[must_use]
    pub fn position(&self) -> usize {
        let last = self.lines.len().saturating_sub(1);
        self.row.map_or(last, |row| row.min(last))
    }

    /// Moves the cursor; on the last line it follows new ones.
    pub fn select(&mut self, row: usize) {
        self.row = (row + 1 < self.lines.len()).then_some(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_the_cursor_stays_on_its_line() {
        let mut log = PodLog::default();
        log.open(PodId::new("a"));
        (0..10).for_each(|number| log.push(&number.to_string()));
        assert_eq!(log.position(), 9, "it follows");
        log.select(4);
        (10..LINES + 3).for_each(|number| log.push(&number.to_string()));
        assert_eq!((log.lines.len(), log.lines[log.position()].as_str()), (LINES, "4"));
        log.select(LINES - 1);
        log.push("newest");
        assert_eq!(log.lines[log.position()], "newest");
    }
}
