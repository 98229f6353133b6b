//! The progress of `--wait` on stderr: once a second in one line on a terminal, a line at each change elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::encoding::Encoding;
use crate::dashboard::model::Model;
use crate::dashboard::text;
use crate::dashboard::verdict::{Verdict, words};

/// The state of the report.
#[derive(Debug)]
pub struct Progress {
    limit: Duration,
    encoding: Encoding,
    terminal: bool,
    /// The text that was written last, and the second of writing it.
    last: Option<(String, u64)>,
}

impl Progress {
    #[must_use]
    pub fn new(limit: Duration, encoding: Encoding) -> Self {
        Self { limit, encoding, terminal: io::stderr().is_terminal(), last: None }
    }

    /// Reports the verdict if the report has changed. A closed stderr does not end the wait.
    pub fn show(&mut self, model: &Model, verdict: &Verdict, waited: Duration) {
        let words = match (&model.listing_problem, verdict.groups.is_empty()) {
            (Some(problem), true) => format!("cannot list the pods: {}", text::clean(&problem.reason)),
            _ => words::waiting(verdict),
        };
        let second = waited.as_secs();
        let same = match &self.last {
            Some((last, at)) => *last == words && (!self.terminal || *at == second),
            None => false,
        };
        if same {
            return;
        }
        let line = format!("{words} {}", words::time(waited, self.limit));
        let line = self.encoding.lines(&line);
        let mut err = io::stderr().lock();
        let _ = if self.terminal {
            // One line that is overwritten; it is cut, because a wrapped line could not be overwritten.
            write!(err, "\r\x1b[K{}", text::cut(&line, 100, text::ELLIPSIS)).and_then(|()| err.flush())
        } else {
            writeln!(err, "{line}")
        };
        self.last = Some((words, second));
    }

    /// Ends the line, so that the next output begins on its own.
    pub fn end(&mut self) {
        if self.terminal && self.last.take().is_some() {
            let _ = writeln!(io::stderr().lock());
        }
    }
}
