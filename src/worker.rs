//! A dedicated thread for blocking work that a watchdog can abandon and replace.
//!
//! libgit2 cannot be interrupted while it waits in a read, and a disk can hang. A job that is still running at its
//! deadline is abandoned: it is asked to stop, its thread is left behind, and the next job gets a new thread. Tokio's
//! blocking pool is unsuitable, because its shutdown waits for every job. This module knows nothing of the jobs.

mod newest;
mod raised;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use newest::Newest;
pub use raised::Raised;

/// Signals a job that its result is no longer needed. Jobs check it between files and in libgit2's callbacks.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the job to stop at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a job has no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("it was still running at its deadline and was abandoned")]
    Deadline,
    #[error("it panicked")]
    Panicked,
    #[error("no thread could be started for it, or too many abandoned ones are still stuck")]
    NoThread,
}

impl Lost {
    /// Interprets a caught panic. The standard library and tokio panic if no thread can be started, which is no bug
    /// in the job.
    #[must_use]
    pub fn by(panic: &(dyn Any + Send)) -> Self {
        let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        let is_want_of_threads =
            |words: &str| words.contains("failed to spawn thread") || words.contains("can't spawn worker thread");
        if words.is_some_and(is_want_of_threads) { Self::NoThread } else { Self::Panicked }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The most living threads of one worker, nearly all of them abandoned. A server that never finishes a response must
/// not cost one more thread with each poll; at this limit jobs are rejected until a thread ends.
const MOST_THREADS: usize = 32;

/// The number of living threads of [`apart`].
static APART: AtomicUsize = AtomicUsize::new(0);

/// Runs one job on a new thread and waits for it. Dropping the returned future leaves the thread behind.
///
/// # Errors
/// [`Lost`], if the job panicked, or if too many such threads hang.
pub async fn apart<T: Send + 'static>(name: &'static str, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    apart_of(&APART, MOST_THREADS, name, job).await
}

/// The same among at most so many threads, which are counted in `alive`.
///
/// # Errors
/// [`Lost`], as for [`apart`].
pub async fn apart_of<T: Send + 'static>(
    alive: &'static AtomicUsize,
    most: usize,
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    let one_more = |count| (count < most).then_some(count + 1);
    alive.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).map_err(|_| Lost::NoThread)?;
    let (answer, answered) = oneshot::channel();
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(job));
        alive.fetch_sub(1, Ordering::Relaxed);
        // The receiver is gone if the caller no longer waits for the job.
        let _ = answer.send(outcome);
    });
    if started.is_err() {
        alive.fetch_sub(1, Ordering::Relaxed);
        return Err(Lost::NoThread);
    }
    answered.await.map_err(|_closed| Lost::Panicked)?.map_err(|panic| Lost::by(panic.as_ref()))
}

/// Runs one job at a time on its own thread, which is kept alive between jobs.
#[derive(Debug)]
pub struct Worker {
    name: &'static str,
    /// True if its threads have a low priority.
    quiet: bool,
    current: Mutex<Option<Thread>>,
    alive: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Thread {
    jobs: mpsc::Sender<Job>,
    /// Identifies this thread, so that a caller that abandons it does not abandon its successor.
    mark: Arc<()>,
}

impl Worker {
    /// `name` is the thread's name in `top -H` and in panic messages.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, quiet: false, current: Mutex::new(None), alive: Arc::default() }
    }

    /// The same for background work: its threads have a low priority. Not the lowest, because on a machine that is always
    /// busy such work would take minutes.
    #[must_use]
    pub fn quiet(name: &'static str) -> Self {
        Self { quiet: true, ..Self::new(name) }
    }

    /// Runs `job` on the thread and waits for it until `deadline`.
    ///
    /// Dropping the returned future also cancels the job and abandons the thread.
    ///
    /// # Errors
    /// [`Lost`], if there is no result by then or the job panicked.
    pub async fn run<T, F>(&self, deadline: Instant, job: F) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: FnOnce(&Cancel) -> T + Send + 'static,
    {
        let cancel = Cancel::default();
        let (answer, answered) = oneshot::channel();
        let for_job = cancel.clone();
        let mark = self.send(Box::new(move || {
            if for_job.is_cancelled() {
                // Abandoned while it was queued.
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| job(&for_job)));
            // The receiver is gone if the job was abandoned; its result is not needed then.
            let _ = answer.send(outcome);
        }))?;
        // It also acts if the caller drops this future.
        let mut guard = Abandon { worker: self, mark, cancel: Some(cancel) };
        let outcome = timeout_at(deadline, answered).await;
        match outcome {
            Err(_elapsed) => Err(Lost::Deadline),
            Ok(Err(_closed)) => Err(Lost::Panicked),
            Ok(Ok(answer)) => {
                guard.cancel = None;
                answer.map_err(|panic| Lost::by(&*panic))
            }
        }
    }

    /// Queues `job` without waiting for its result. If it is still running when a later job reaches its deadline, the
    /// thread is abandoned.
    pub fn post(&self, job: impl FnOnce() + Send + 'static) {
        // If no thread can be started, the job is dropped.
        let _ = self.send(Box::new(move || drop(catch_unwind(AssertUnwindSafe(job)))));
    }

    /// Ends the thread unless a caller waits for one of its jobs, which also frees the memory that malloc caches for
    /// that thread. The next job gets a new thread.
    pub fn rest(&self) {
        let mut current = self.current.lock();
        // Every waiting caller holds a clone of the mark.
        current.take_if(|thread| Arc::strong_count(&thread.mark) == 1);
    }

    fn send(&self, job: Job) -> Result<Arc<()>, Lost> {
        let mut current = self.current.lock();
        let job = match current.as_ref() {
            None => job,
            // Sending on this channel never waits, so the lock is held only for a moment.
            Some(thread) => match thread.jobs.send(job) {
                Ok(()) => return Ok(Arc::clone(&thread.mark)),
                Err(mpsc::SendError(job)) => job,
            },
        };
        let alive = Alive::count(&self.alive).ok_or(Lost::NoThread)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let quiet = self.quiet;
        thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || {
                let _alive = alive;
                if quiet {
                    // On Linux this sets the priority of the calling thread only.
                    let _ = rustix::process::setpriority_process(None, 10);
                }
                for job in queue {
                    job();
                }
            })
            .map_err(|_| Lost::NoThread)?;
        // The thread has just been started and owns the receiver.
        jobs.send(job).map_err(|_| Lost::NoThread)?;
        let mark = Arc::new(());
        *current = Some(Thread { jobs, mark: Arc::clone(&mark) });
        Ok(mark)
    }
}

/// Counts one living thread.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn count(threads: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |count| (count < MOST_THREADS).then_some(count + 1);
        threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(Arc::clone(threads)))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Abandon<'a> {
    worker: &'a Worker,
    mark: Arc<()>,
    cancel: Option<Cancel>,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.cancel();
            let mut current = self.worker.current.lock();
            if current.as_ref().is_some_and(|thread| Arc::ptr_eq(&thread.mark, &self.mark)) {
                *current = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(100)
    }

    /// Long enough for a loaded machine.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Runs until it is cancelled.
    fn stubborn(cancel: &Cancel) {
        while !cancel.is_cancelled() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[tokio::test]
    async fn jobs_share_one_thread_until_one_is_abandoned() {
        let worker = Worker::new("test-worker");
        let first = worker.run(later(), |_| thread::current().id()).await.expect("an answer");
        let second = worker.run(later(), |_| thread::current().id()).await.expect("an answer");
        assert_eq!(first, second);

        let (told, tells) = mpsc::channel();
        let stuck = worker.run(soon(), move |cancel| {
            stubborn(cancel);
            told.send(()).expect("the test listens");
        });
        assert_eq!(stuck.await, Err(Lost::Deadline));
        tells.recv_timeout(Duration::from_secs(30)).expect("the job was told to stop");

        let third = worker.run(later(), |_| thread::current().id()).await.expect("an answer");
        assert_ne!(first, third);
    }

    #[tokio::test]
    async fn a_thread_ends_only_while_no_caller_waits_for_it() {
        let worker = Worker::new("test-worker");
        let first = worker.run(later(), |_| thread::current().id()).await.expect("an answer");
        let (open, gate) = mpsc::channel::<()>();
        let (start, started) = oneshot::channel();
        let busy = worker.run(later(), move |_| {
            start.send(()).expect("the test waits");
            let _ = gate.recv();
            thread::current().id()
        });
        tokio::pin!(busy);
        tokio::select! {
            _ = &mut busy => panic!("the gate is closed"),
            begun = started => begun.expect("the job began"),
        }
        worker.rest();
        let behind = worker.run(later(), |_| thread::current().id());
        open.send(()).expect("the job waits");
        let (busy, behind) = tokio::join!(busy, behind);
        assert_eq!((busy, behind), (Ok(first), Ok(first)), "one job at a time");

        worker.rest();
        let end = later();
        while worker.alive.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < end, "the thread does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let next = worker.run(later(), |_| thread::current().id()).await.expect("an answer");
        assert_ne!(next, first);
    }

    /// Starts a job that blocks on the gate, and abandons it by dropping its future.
    async fn strand(worker: &Worker, gate: Arc<Mutex<mpsc::Receiver<()>>>) {
        let (start, started) = oneshot::channel();
        let stuck = worker.run(later(), move |_| {
            start.send(()).expect("the test waits");
            let _ = gate.lock().recv();
        });
        tokio::select! {
            _ = stuck => panic!("the gate is closed"),
            begun = started => begun.expect("the job began"),
        }
    }

    #[tokio::test]
    async fn a_job_queued_behind_a_stuck_one_neither_runs_late_nor_abandons_the_next_thread() {
        let worker = Worker::new("test-worker");
        let (open, gate) = mpsc::channel::<()>();
        let (start, started) = oneshot::channel();
        let mut stuck = Box::pin(worker.run(later(), move |_| {
            start.send(()).expect("the test waits");
            gate.recv()
        }));
        tokio::select! {
            _ = &mut stuck => panic!("the gate is closed"),
            begun = started => begun.expect("the job began"),
        }
        let (ran, runs) = mpsc::channel::<()>();
        assert_eq!(worker.run(soon(), move |_| ran.send(())).await, Err(Lost::Deadline));
        let before = worker.run(later(), |_| thread::current().id()).await.expect("an answer");
        drop(stuck);
        let after = worker.run(later(), |_| thread::current().id()).await.expect("an answer");
        assert_eq!(before, after, "the new thread was kept");
        open.send(()).expect("the first job still waits");
        // The sender is dropped with the job, without sending.
        assert_eq!(runs.recv_timeout(Duration::from_secs(30)), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[tokio::test]
    async fn stuck_threads_are_bounded_and_room_comes_back() {
        let worker = Worker::new("test-worker");
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..MOST_THREADS {
            strand(&worker, Arc::clone(&gate)).await;
        }
        assert_eq!(worker.run(later(), |_| 1).await, Err(Lost::NoThread));
        drop(open);
        let end = later();
        while worker.run(later(), |_| 1).await != Ok(1) {
            assert!(Instant::now() < end, "no thread ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_reported_and_the_next_job_runs() {
        let worker = Worker::new("test-worker");
        let lost = worker.run(later(), |_| -> u8 { panic!("on purpose") }).await;
        assert_eq!(lost, Err(Lost::Panicked));
        assert_eq!(worker.run(later(), |_| 7).await, Ok(7));
    }
}
