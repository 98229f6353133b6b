//! Reads a program's output. Everything is read so that the program never blocks on the pipe, and only the last lines
//! are kept.
//!
//! The output is untrusted. Secrets are replaced before lines are cut, so that no half of one remains.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use crate::secret::scrub;
use crate::text::one_line;

/// How many bytes are kept.
const KEPT: usize = 16 * 1024;
/// If output was cut and contains no line break, this much of it may be part of a secret and is dropped.
const DOUBTFUL: usize = 4 * 1024;
const MOST_LINES: usize = 20;
/// The most characters of a line.
const LONGEST_LINE: usize = 300;

/// The reading end of the pipe that a program writes its output to.
pub(super) struct Output {
    pipe: Receiver,
    last: Last,
    ended: bool,
    part: Box<[u8]>,
}

impl Output {
    pub(super) fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        let part = vec![0; 64 * 1024].into_boxed_slice();
        Ok(Self { pipe: Receiver::from_owned_fd(pipe)?, last: Last::default(), ended: false, part })
    }

    /// Reads a part of the output. Never returns once every writer has closed the pipe. Cancel safe.
    pub(super) async fn read(&mut self) {
        if self.ended {
            return std::future::pending().await;
        }
        match self.pipe.read(&mut self.part).await {
            Ok(0) | Err(_) => self.ended = true,
            Ok(length) => self.last.push(&self.part[..length]),
        }
    }

    /// Reads until every writer has closed the pipe, or until `most` has passed. Returns false if the pipe is still
    /// open.
    pub(super) async fn read_to_end(&mut self, most: Duration) -> bool {
        let reading = async {
            while !self.ended {
                self.read().await;
            }
        };
        timeout(most, reading).await.is_ok()
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.last.lines()
    }
}

/// A buffer with the last bytes of a stream.
#[derive(Default)]
struct Last {
    bytes: Vec<u8>,
    cut: bool,
}

impl Last {
    fn push(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        // Only beyond twice the size, so that the bytes are not moved with each part.
        if self.bytes.len() > 2 * KEPT {
            self.bytes.drain(..self.bytes.len() - KEPT);
            self.cut = true;
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        // Before anything is split or cut, which could leave a part of a secret that is not recognized.
        let text = scrub(&text);
        let whole = match text.split_once('\n') {
            _ if !self.cut => &text,
            // The first line may begin in the middle of a secret.
            Some((_, rest)) => rest,
            None => {
                let start = (DOUBTFUL..text.len()).find(|at| text.is_char_boundary(*at));
                start.map_or("", |start| &text[start..])
            }
        };
        let lines: Vec<String> = whole
            .split(['\n', '\r'])
            .filter(|line| !line.trim().is_empty())
            .map(|line| one_line(line, LONGEST_LINE))
            .collect();
        lines[lines.len().saturating_sub(MOST_LINES)..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let mut last = Last::default();
        for part in parts {
            last.push(part);
        }
        last.lines()
    }

    #[test]
    fn the_last_lines_stay_bounded_escaped_and_without_secrets() {
        let _secret = Secret::new("output-secret-value");
        assert_eq!(
            lines(&[b"one\n\n  \ntwo \x1b[31m", b"red\xff\r\nout", b"put-secret-value\n"]),
            ["one", "two \u{fffd}[31mred\u{fffd}", "***",]
        );
        let many: Vec<String> = (0..100_000).map(|number| format!("line {number}\n")).collect();
        let parts: Vec<&[u8]> = many.iter().map(String::as_bytes).collect();
        let kept = lines(&parts);
        assert_eq!((kept.len(), kept[0].as_str(), kept[19].as_str()), (20, "line 99980", "line 99999"));
        assert_eq!(lines(&[]), Vec::<String>::new());
        assert_eq!(lines(&["x".repeat(1000).as_bytes()])[0].chars().count(), LONGEST_LINE);
    }

    #[test]
    fn a_secret_that_the_bound_cuts_in_half_is_not_shown() {
        let _secret = Secret::new("half-a-secret-is-too-much");
        let filler = vec![b'x'; 2 * KEPT + 1];
        for cut in 1..24 {
            let after = vec![b'y'; KEPT - cut];
            let told = lines(&[&filler, b"half-a-secret-is-too-much", &after]).concat();
            assert!(!told.is_empty() && !told.contains("much"), "{cut}: {told}");
            let told = lines(&[&filler, b"half-a-secret-is-too-much\n", &after[1..]]).concat();
            assert!(!told.is_empty() && !told.contains("much"), "{cut}: {told}");
        }
    }
}
