//! Reads the terminal's bytes on a thread of its own and passes them on with the time at which they came.
//!
//! A read of a terminal may block for ever, so nothing waits for this thread; it ends with the process. It knows bytes,
//! not keys.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use tokio::sync::mpsc;
use tokio::time::Instant;

/// Bytes of one read.
const CHUNK: usize = 4096;
/// Reads that may wait. A paste of any length is taken piece by piece, and the thread waits for the screen.
const WAITING: usize = 64;

/// What one read brought.
#[derive(Debug)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    pub at: Instant,
}

/// Starts reading standard input. The channel closes when the terminal is gone.
///
/// # Errors
/// Standard input cannot be duplicated, or the thread cannot be started.
pub fn start() -> io::Result<mpsc::Receiver<Chunk>> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    let chunk = Chunk { bytes: buffer[..count].to_vec(), at: Instant::now() };
                    if sender.blocking_send(chunk).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })?;
    Ok(receiver)
}
