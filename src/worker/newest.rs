//! Blocking work of which only the newest request matters, on a thread that no caller waits for.
//!
//! While one request is carried out, which may take forever, a new request replaces the waiting one. This module
//! knows nothing of the work.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Carries out the newest request. The thread lives while there is one.
pub struct Newest<T> {
    name: &'static str,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    work: Box<dyn Fn(T) + Send + Sync>,
    state: Mutex<NewestState<T>>,
    busy: watch::Sender<bool>,
}

struct NewestState<T> {
    next: Option<T>,
    has_thread: bool,
}

impl<T: Send + 'static> Newest<T> {
    /// `name` is the name of the thread.
    #[must_use]
    pub fn new(name: &'static str, work: impl Fn(T) + Send + Sync + 'static) -> Self {
        let state = Mutex::new(NewestState { next: None, has_thread: false });
        Self { name, shared: Arc::new(Shared { work: Box::new(work), state, busy: watch::Sender::new(false) }) }
    }

    /// Queues a request. Replaces one that has not started.
    pub fn ask(&self, request: T) {
        let mut state = self.shared.lock();
        state.next = Some(request);
        self.shared.busy.send_replace(true);
        if state.has_thread {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let started = thread::Builder::new().name(self.name.to_owned()).spawn(move || shared.carry_out());
        // If no thread can be started, the next request tries again.
        state.has_thread = started.is_ok();
    }

    /// Waits until all requests are done. Returns false at the deadline.
    pub async fn done(&self, deadline: Instant) -> bool {
        let mut busy = self.shared.busy.subscribe();
        timeout_at(deadline, busy.wait_for(|busy| !busy)).await.is_ok()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, NewestState<T>> {
        self.state.lock()
    }

    fn carry_out(&self) {
        loop {
            let request = {
                let mut state = self.lock();
                let Some(request) = state.next.take() else {
                    // In the same critical section as the check, so that a request that arrives now starts the next
                    // thread.
                    state.has_thread = false;
                    self.busy.send_replace(false);
                    return;
                };
                request
            };
            // The panic has been printed; the next request may succeed.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.work)(request)));
        }
    }
}

impl<T> fmt::Debug for Newest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newest").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn while_one_request_hangs_only_the_newest_of_the_others_is_kept() {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let (began, begins) = mpsc::channel();
        let newest = Newest::new("test-newest", move |number| {
            began.send(number).unwrap();
            let _ = gate.lock().recv();
        });
        let later = || Instant::now() + Duration::from_secs(60);
        assert!(newest.done(later()).await, "nothing was asked for");
        newest.ask(1);
        assert_eq!(begins.recv().unwrap(), 1);
        for number in 2..=9 {
            newest.ask(number);
        }
        assert!(!newest.done(Instant::now() + Duration::from_millis(20)).await);
        open.send(()).unwrap();
        assert_eq!(begins.recv().unwrap(), 9);
        open.send(()).unwrap();
        assert!(newest.done(later()).await);
        assert!(begins.try_recv().is_err());
    }
}
