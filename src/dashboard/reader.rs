//! Reads the terminal's bytes on a thread of its own and passes them on.
//!
//! A read of a terminal may block forever, so no other thread waits for this one; it ends with the process. It knows bytes,
//! not keys.
//!
//! The thread also reports pauses in the input. The kernel keeps no times of arrival, and on a busy machine the thread may
//! run late, so the time between two reads does not show the time between their bytes. At the end of each wait the thread
//! asks the kernel whether input has arrived meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use tokio::sync::mpsc;

/// Bytes of one read.
const CHUNK: usize = 4096;
/// Messages that may wait. A paste of any length is taken piece by piece, and the thread waits for the screen.
const WAITING: usize = 64;
/// The pause between two checks where the terminal cannot be polled.
const STEP: Duration = Duration::from_millis(5);

/// An event of the terminal's input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The bytes of one read.
    Bytes(Vec<u8>),
    /// Nothing has arrived for at least this long, and nothing is waiting to be read.
    Quiet(Duration),
}

/// Starts reading standard input. After each read, [`Heard::Quiet`] is reported once for each of `quiet`, in ascending
/// order, until further input. The channel closes when the terminal is gone.
///
/// # Errors
/// Standard input cannot be duplicated, or the thread cannot be started.
pub(crate) fn start(quiet: &'static [Duration]) -> io::Result<mpsc::Receiver<Heard>> {
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(move || read(input, quiet, |heard| sender.blocking_send(heard).is_ok()))?;
    Ok(receiver)
}

/// Reads until the input ends or `tell` returns false.
fn read(mut input: File, quiet: &[Duration], mut tell: impl FnMut(Heard) -> bool) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // On Linux this is EIO: the terminal was closed. The channel closes with this thread, and the screen ends.
            Err(_) => return,
        };
        if !tell(Heard::Bytes(buffer[..count].to_vec())) {
            return;
        }
        let mut waited = Duration::ZERO;
        for &until in quiet {
            if !stays_quiet(&input, until.saturating_sub(waited)) {
                break;
            }
            waited = until;
            if !tell(Heard::Quiet(until)) {
                return;
            }
        }
    }
}

/// Waits for this long, or until there is something to read. Returns true if there is nothing to read at the end.
fn stays_quiet(input: &File, wait: Duration) -> bool {
    let Ok(timeout) = Timespec::try_from(wait) else { return false };
    loop {
        let mut polled = [PollFd::new(input, PollFlags::IN)];
        return match poll(&mut polled, Some(&timeout)) {
            Ok(0) => true,
            // Some systems cannot poll a terminal.
            Ok(_) if polled[0].revents().contains(PollFlags::NVAL) => stays_empty(input, wait),
            Ok(_) => false,
            Err(Errno::INTR) => continue,
            Err(_) => stays_empty(input, wait),
        };
    }
}

/// The same by checking for input repeatedly.
fn stays_empty(input: &File, wait: Duration) -> bool {
    let end = Instant::now() + wait;
    loop {
        match ioctl_fionread(input) {
            Ok(0) if Instant::now() >= end => return true,
            Ok(0) => std::thread::sleep(STEP),
            // The next read reports the error.
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const QUIET: [Duration; 2] = [Duration::from_millis(40), Duration::from_millis(120)];

    /// Writes the pieces, each after the thread that reads has been held for so long before it looked again.
    fn heard(pieces: &[(&str, Duration)]) -> Vec<Heard> {
        let (reading, writing) = io::pipe().unwrap();
        let mut writing = Some(writing);
        let mut pieces = pieces.iter();
        let mut write_next = || match pieces.next() {
            Some((piece, held)) => {
                writing.as_mut().unwrap().write_all(piece.as_bytes()).unwrap();
                std::thread::sleep(*held);
            }
            None => writing = None,
        };
        write_next();
        let mut all = Vec::new();
        read(File::from(std::os::fd::OwnedFd::from(reading)), &QUIET, |heard| {
            let is_last = heard == Heard::Quiet(QUIET[1]);
            if matches!(heard, Heard::Bytes(_)) || is_last {
                write_next();
            }
            all.push(heard);
            true
        });
        all
    }

    fn bytes(text: &str) -> Heard {
        Heard::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn a_reader_that_runs_late_reports_no_pause() {
        // Each piece has arrived when the thread checks, however late that is.
        let late = Duration::from_millis(300);
        let found = heard(&[("P", Duration::ZERO), ("A", late), ("y", late)]);
        assert_eq!(found, [bytes("P"), bytes("A"), bytes("y")]);
    }

    #[test]
    fn a_pause_is_reported_once_for_each_length() {
        let (reading, mut writing) = io::pipe().unwrap();
        let mut all = Vec::new();
        writing.write_all(b"P").unwrap();
        let started = Instant::now();
        read(File::from(std::os::fd::OwnedFd::from(reading)), &QUIET, |heard| {
            all.push((heard, started.elapsed()));
            all.len() < 3
        });
        let told: Vec<&Heard> = all.iter().map(|(heard, _)| heard).collect();
        assert_eq!(told, [&bytes("P"), &Heard::Quiet(QUIET[0]), &Heard::Quiet(QUIET[1])]);
        assert!(all[1].1 >= QUIET[0] && all[2].1 >= QUIET[1], "{all:?}");
    }

    #[test]
    fn a_terminal_that_cannot_be_polled_is_checked_repeatedly() {
        let (reading, mut writing) = io::pipe().unwrap();
        let input = File::from(std::os::fd::OwnedFd::from(reading));
        let started = Instant::now();
        assert!(stays_empty(&input, QUIET[0]));
        assert!(started.elapsed() >= QUIET[0]);
        writing.write_all(b"P").unwrap();
        assert!(!stays_empty(&input, Duration::ZERO));
        assert!(!stays_quiet(&input, Duration::ZERO));
    }
}
