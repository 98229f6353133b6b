//! Writes lines to standard error on its own thread, so that a reader that does not read blocks only the log.
//!
//! Lines that cannot be written are kept up to a limit. Beyond it new lines are dropped, and their number is logged
//! once the reader continues.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The limit for waiting lines, in bytes.
const MOST_WAITING: usize = 256 << 10;

/// The queue of lines and its thread.
#[derive(Clone)]
pub(super) struct Writer(Arc<WriterState>);

struct WriterState {
    state: Mutex<LineQueue>,
    changed: Condvar,
    /// Returns the line that reports a number of dropped lines.
    gap: Box<dyn Fn(u64) -> String + Send + Sync>,
}

#[derive(Default)]
struct LineQueue {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    /// True while a line is being written.
    is_writing: bool,
    /// False if the thread could not be started; then callers write directly.
    has_thread: bool,
}

impl Writer {
    pub(super) fn start(gap: impl Fn(u64) -> String + Send + Sync + 'static) -> Self {
        let shared = WriterState { state: Mutex::default(), changed: Condvar::new(), gap: Box::new(gap) };
        let writer = Self(Arc::new(shared));
        let shared = Arc::clone(&writer.0);
        let started = thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all());
        writer.0.lock().has_thread = started.is_ok();
        writer
    }

    /// Queues a line. Never waits for the reader of stderr.
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

    /// Waits until every line is written, or until `within` has passed.
    pub(super) fn flush(&self, within: Duration) {
        let end = Instant::now() + within;
        let mut state = self.0.lock();
        // A line leaves the queue before it is written, so an empty queue alone does not mean that all is done.
        while state.has_thread && (state.is_writing || !state.lines.is_empty() || state.dropped > 0) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.0.changed.wait_for(&mut state, left);
        }
    }
}

impl WriterState {
    /// Must not be held during a write.
    fn lock(&self) -> MutexGuard<'_, LineQueue> {
        self.state.lock()
    }

    fn write_all(&self) {
        loop {
            let line = self.next();
            // Without the lock: a reader of stderr that does not read would block every thread that logs.
            write(&line);
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for the next line. Dropped lines come after all queued ones, because lines are dropped only while the
    /// queue is full.
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
            self.changed.wait(&mut state);
        }
    }
}

/// Writes a line with a single call, so that lines of two processes on one terminal do not mix. Errors cannot be
/// reported anywhere, so they are ignored.
fn write(line: &str) {
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
