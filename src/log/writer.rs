//! Writes lines to standard error on a thread of its own, so that a reader who does not read stops nothing but the log.
//!
//! What it does not take is kept up to a limit; after that new lines are dropped, and their number is logged as soon as the
//! reader reads on.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait may take so many bytes.
const MOST_WAITING: usize = 256 << 10;

/// The queue of lines and the thread that empties it.
#[derive(Clone)]
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// What stands in the log for lines that were dropped.
    gap: Box<dyn Fn(u64) -> String + Send + Sync>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    /// True while a line is being written.
    is_writing: bool,
    /// False: no thread could be started, so callers write themselves.
    has_thread: bool,
}

impl Writer {
    pub(super) fn start(gap: impl Fn(u64) -> String + Send + Sync + 'static) -> Self {
        let shared = Shared { state: Mutex::default(), changed: Condvar::new(), gap: Box::new(gap) };
        let writer = Self(Arc::new(shared));
        let shared = Arc::clone(&writer.0);
        let started = thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all());
        writer.0.lock().has_thread = started.is_ok();
        writer
    }

    /// Queues a line. Never waits for its reader.
    pub(super) fn write(&self, line: &str) {
        let mut state = self.0.lock();
        if !state.has_thread {
            return write(line);
        }
        if state.bytes + line.len() > MOST_WAITING {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_owned());
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until every line is written, or for so long.
    pub(super) fn flush(&self, within: Duration) {
        let end = Instant::now() + within;
        let mut state = self.0.lock();
        while state.has_thread && (state.is_writing || !state.lines.is_empty() || state.dropped > 0) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    /// Never held over a write.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self) {
        loop {
            let line = self.next();
            write(&line);
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for the next line. What was dropped came after all that waited.
    fn next(&self) -> String {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return line;
            }
            let dropped = std::mem::take(&mut state.dropped);
            if dropped > 0 {
                state.is_writing = true;
                return (self.gap)(dropped);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One write a line, so that lines of two processes on one terminal do not mix. A failure cannot be reported anywhere.
fn write(line: &str) {
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
