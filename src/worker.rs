//! A dedicated thread for blocking work that a watchdog can abandon and replace.
//!
//! libgit2 cannot be interrupted while it waits in a read, and a disk can hang. A job that is still running at its
//! deadline is given up: its thread is told to stop, left behind, and the next job gets a new one. Tokio's blocking pool
//! would not do, because its shutdown waits for every job. Knows nothing of what the jobs do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Tells a job that nobody waits for it any more. Jobs look at it between files and in libgit2's callbacks.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the job to stop at its next look.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a job gave no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("it was still running at its deadline and was abandoned")]
    Deadline,
    #[error("it panicked")]
    Panicked,
    #[error("the thread for it could not be started")]
    NoThread,
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs one job at a time on a thread of its own, kept alive between jobs.
#[derive(Debug)]
pub struct Worker {
    name: &'static str,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl Worker {
    /// `name` is what the thread is called in `top -H` and in panics.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, jobs: Mutex::new(None) }
    }

    /// Runs `job` on the thread and waits for it until `deadline`.
    ///
    /// Dropping the returned future cancels the job, too, and abandons the thread.
    ///
    /// # Errors
    /// [`Lost`], if there is no answer by then or the job panicked.
    pub async fn run<T, F>(&self, deadline: Instant, job: F) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: FnOnce(&Cancel) -> T + Send + 'static,
    {
        let cancel = Cancel::default();
        let (answer, answered) = oneshot::channel();
        let for_job = cancel.clone();
        self.send(Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| job(&for_job)));
            // The receiver is gone if the job was abandoned; its answer is of no use then.
            let _ = answer.send(outcome);
        }))?;
        let mut guard = Abandon { worker: self, cancel: Some(cancel) };
        let outcome = timeout_at(deadline, answered).await;
        match outcome {
            Err(_elapsed) => Err(Lost::Deadline),
            Ok(Err(_closed)) => Err(Lost::Panicked),
            Ok(Ok(answer)) => {
                guard.cancel = None;
                answer.map_err(|_panic| Lost::Panicked)
            }
        }
    }

    fn send(&self, job: Job) -> Result<(), Lost> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match jobs.as_ref() {
            None => job,
            Some(sender) => match sender.send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(job)) => job,
            },
        };
        let (sender, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || queue.iter().for_each(|job| job()))
            .map_err(|_| Lost::NoThread)?;
        // The thread has just been started and holds the other end.
        sender.send(job).map_err(|_| Lost::NoThread)?;
        *jobs = Some(sender);
        Ok(())
    }
}

struct Abandon<'a> {
    worker: &'a Worker,
    cancel: Option<Cancel>,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.cancel();
            *self.worker.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

    #[tokio::test]
    async fn jobs_share_one_thread_until_one_is_abandoned() {
        let worker = Worker::new("test-worker");
        let first = worker.run(soon(), |_| thread::current().id()).await.expect("an answer");
        let second = worker.run(soon(), |_| thread::current().id()).await.expect("an answer");
        assert_eq!(first, second);

        let (told, tells) = mpsc::channel();
        let stuck = worker.run(soon(), move |cancel| {
            while !cancel.is_cancelled() {
                thread::sleep(Duration::from_millis(5));
            }
            told.send(()).expect("the test listens");
        });
        assert_eq!(stuck.await, Err(Lost::Deadline));
        tells.recv_timeout(Duration::from_secs(5)).expect("the job was told to stop");

        let third = worker.run(soon(), |_| thread::current().id()).await.expect("an answer");
        assert_ne!(first, third);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_next_job_runs() {
        let worker = Worker::new("test-worker");
        // Printing the panic takes its time.
        let deadline = Instant::now() + Duration::from_secs(60);
        let lost = worker.run(deadline, |_| -> u8 { panic!("on purpose") }).await;
        assert_eq!(lost, Err(Lost::Panicked));
        assert_eq!(worker.run(deadline, |_| 7).await, Ok(7));
    }
}
