//! The seam: errors of git and publish become [`SyncError`]s with a phase.

use crate::error::{ErrorKind, NO_THREAD_HINT, Phase, Retry, SyncError, TIMEOUT_HINT};
use crate::worker::Lost;
use crate::{git, hooks, publish};

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(&'static str);

/// An invariant that did not hold, or a panic that was caught.
pub(crate) fn internal(phase: Phase, what: &'static str) -> SyncError {
    SyncError {
        phase,
        kind: ErrorKind::Internal,
        retry: Retry::Soon,
        hint: Some("this is a defect of pushsync: please report it with the log"),
        source: Box::new(Words(what)),
    }
}

/// The system starts no more threads.
pub(crate) fn no_thread(phase: Phase, source: Box<dyn std::error::Error + Send + Sync>) -> SyncError {
    SyncError { phase, kind: ErrorKind::NoThread, retry: Retry::Soon, hint: Some(NO_THREAD_HINT), source }
}

/// A panic that was caught, with its words. Libraries panic where no thread can be started, which is no defect.
pub(crate) fn panicked(phase: Phase, panic: &(dyn std::any::Any + Send)) -> SyncError {
    match Lost::by(panic) {
        Lost::NoThread => no_thread(phase, Box::new(Lost::NoThread)),
        _ => internal(phase, "the sync panicked"),
    }
}

/// The whole sync took longer than `--sync-timeout`.
pub(crate) fn timeout(phase: Phase) -> SyncError {
    SyncError {
        phase,
        kind: ErrorKind::Timeout,
        retry: Retry::Soon,
        hint: Some(TIMEOUT_HINT),
        source: Box::new(Words("not done within --sync-timeout")),
    }
}

/// The pre-publish hook refused the commit, or could not be run, which counts the same. The next run follows the hook's
/// own backoff.
pub(crate) fn gate(error: hooks::HookError) -> SyncError {
    let (kind, hint) = (error.kind(), error.hint());
    SyncError { phase: Phase::Gate, kind, retry: Retry::Soon, hint, source: Box::new(error) }
}

pub(crate) fn git(phase: Phase, error: git::Error) -> SyncError {
    let kind = if error.store_is_damaged() { ErrorKind::StoreDamaged } else { error.kind() };
    SyncError { phase, kind, retry: error.retry(), hint: error.hint(), source: Box::new(error) }
}

pub(crate) fn publish<T>(phase: Phase, outcome: Result<Result<T, publish::Error>, Lost>) -> Result<T, SyncError> {
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let kind = if error.store_is_damaged() { ErrorKind::StoreDamaged } else { error.kind() };
            Err(SyncError { phase, kind, retry: error.retry(), hint: error.hint(), source: Box::new(error) })
        }
        Err(Lost::Deadline) => Err(timeout(phase)),
        Err(Lost::Panicked) => Err(internal(phase, "a worker thread panicked")),
        Err(Lost::NoThread) => Err(no_thread(phase, Box::new(Lost::NoThread))),
    }
}
