//! Unix signals: SIGTERM and SIGINT, which end the process, and the one of `--sync-on-signal`.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::TriggerKind;
use crate::sync::{Handle, Request};

/// Exit codes for these signals, as a shell reports them: 128 + the signal's number.
const TERMINATED: u8 = 143;
const INTERRUPTED: u8 = 130;

/// Receives the signals that end the process, from the moment it is created.
#[derive(Debug)]
pub struct Endings {
    terminate: Signal,
    interrupt: Signal,
}

impl Endings {
    /// # Errors
    /// If the system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for SIGTERM or SIGINT and returns the exit code that goes with it.
    pub async fn received(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => TERMINATED,
            _ = self.interrupt.recv() => INTERRUPTED,
        }
    }
}

/// Triggers a sync whenever signal `number` arrives. Never returns.
///
/// # Errors
/// If the system refuses a handler for that signal.
pub async fn ring_on(number: i32, handle: Handle) -> io::Result<()> {
    let mut signals = signal(SignalKind::from_raw(number))?;
    while signals.recv().await.is_some() {
        handle.request_sync(Request::new(TriggerKind::Signal, handle.now()));
    }
    Ok(())
}
