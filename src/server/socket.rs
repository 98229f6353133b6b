//! The stream between a TCP socket and hyper, with what the accept loop needs to know about the connection.
//!
//! It adds three things that hyper lacks: the time of the first byte, a timeout for writes that make no progress, and
//! a check of the raw head for contradictory lengths, which hyper would silently resolve. It knows nothing about
//! routes.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

/// How a request arrived. Handlers read it from the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// When the connection's first byte was read.
    pub first_byte: Instant,
    /// The head states the length of its body more than once. Only checked on connections that carry a single
    /// request.
    pub ambiguous_length: bool,
}

/// The activity of one connection.
#[derive(Debug)]
pub(crate) struct Vital {
    accepted: Instant,
    first_byte: OnceLock<Instant>,
    ambiguous_length: AtomicBool,
    busy: AtomicBool,
    /// Microseconds from `accepted` to the last change of `busy`.
    changed: AtomicU64,
    /// Cancelled when the connection has to be closed to make room for a new one.
    pub crowded_out: CancellationToken,
}

impl Vital {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            first_byte: OnceLock::new(),
            ambiguous_length: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            changed: AtomicU64::new(0),
            crowded_out: CancellationToken::new(),
        }
    }

    pub(crate) fn arrival(&self) -> Arrival {
        Arrival {
            first_byte: self.first_byte.get().copied().unwrap_or_else(Instant::now),
            ambiguous_length: self.ambiguous_length.load(Ordering::Relaxed),
        }
    }

    /// Marks the connection as busy until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.change(true);
        Busy(Arc::clone(self))
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Returns when it last became busy or idle.
    pub(crate) fn since(&self) -> Instant {
        self.accepted + Duration::from_micros(self.changed.load(Ordering::Relaxed))
    }

    fn change(&self, busy: bool) {
        let micros = u64::try_from(self.accepted.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.changed.store(micros, Ordering::Relaxed);
        self.busy.store(busy, Ordering::Relaxed);
    }
}

/// Keeps a connection marked as busy. Lives as long as a request and its response.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Vital>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(false);
    }
}

/// The stream that hyper reads and writes.
pub(crate) struct Socket {
    pub stream: TcpStream,
    vital: Arc<Vital>,
    head: Option<HeadWatch>,
    write_stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// `watch_head` is for connections with a single request, because only there all bytes before the empty line
    /// belong to one head.
    pub(crate) fn new(stream: TcpStream, vital: Arc<Vital>, watch_head: bool, write_stall: Duration) -> Self {
        Self { stream, vital, head: watch_head.then(HeadWatch::default), write_stall, stalled: None }
    }

    fn watch_stall<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            // Any progress starts the time again, so a slow reader is not cut off.
            self.stalled = None;
            return written;
        }
        let write_stall = self.write_stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(write_stall)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, into);
        let bytes = &into.filled()[before..];
        if !bytes.is_empty() {
            this.vital.first_byte.get_or_init(Instant::now);
            if let Some(head) = &mut this.head
                && head.read(bytes)
            {
                this.vital.ambiguous_length.store(true, Ordering::Relaxed);
            }
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch_stall(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.watch_stall(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream has no buffer of its own, so this cannot stall.
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Counts the header lines that define the length of the body. hyper ignores a second equal `Content-Length`, and one
/// beside `Transfer-Encoding`, but a proxy in front may have used the ignored one.
#[derive(Debug, Default)]
struct HeadWatch {
    /// The name of the current line in lower case, up to the length of the longest name that is compared.
    name: [u8; 20],
    length: usize,
    named: bool,
    lines: usize,
    ended: bool,
    content_lengths: u8,
    transfer_encodings: u8,
}

impl HeadWatch {
    /// Reads the next bytes and returns true if the head so far is ambiguous.
    fn read(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.ended {
                break;
            }
            match byte {
                b'\r' => {}
                b'\n' => {
                    let empty = self.length == 0 && !self.named;
                    // Empty lines before the request line are allowed (RFC 9112, section 2.2).
                    self.ended = empty && self.lines > 0;
                    self.lines += usize::from(!empty);
                    (self.length, self.named) = (0, false);
                }
                b':' if !self.named => {
                    self.named = true;
                    match self.name.get(..self.length) {
                        Some(b"content-length") => self.content_lengths = self.content_lengths.saturating_add(1),
                        Some(b"transfer-encoding") => {
                            self.transfer_encodings = self.transfer_encodings.saturating_add(1);
                        }
                        _ => {}
                    }
                }
                _ if self.named => {}
                _ => {
                    if let Some(place) = self.name.get_mut(self.length) {
                        *place = byte.to_ascii_lowercase();
                    }
                    self.length += 1;
                }
            }
        }
        u16::from(self.content_lengths) + u16::from(self.transfer_encodings) > 1
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn ambiguous(head: &str, piece: usize) -> bool {
        let mut watch = HeadWatch::default();
        head.as_bytes().chunks(piece).fold(false, |_, bytes| watch.read(bytes))
    }

    #[tokio::test]
    async fn a_response_without_a_reader_times_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (reader, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut reader, stream) = (reader.expect("connected"), accepted.expect("accepted").0);
        let mut socket = Socket::new(stream, Arc::new(Vital::new()), false, Duration::from_secs(2));
        let chunk = vec![0; 1024 * 1024];
        // A slow client that keeps reading is not disconnected, however long the whole response takes.
        let mut sink = vec![0; chunk.len()];
        for _ in 0..20 {
            let (written, read) = tokio::join!(socket.write_all(&chunk), async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                reader.read_exact(&mut sink).await
            });
            written.expect("taken");
            read.expect("read");
        }
        let error = loop {
            if let Err(error) = socket.write_all(&chunk).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_second_length_header_is_detected_for_any_chunk_size() {
        let cases = [
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nCONTENT-length: 1\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("\r\n\r\nPOST / HTTP/1.1\nContent-Length:1\ntransfer-encoding:chunked\n\n", true),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nX: content-length: 5\r\nX-Content-Length: 1\r\n\r\n", false),
            // A line in the body that looks like a header does not count.
            ("POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\nContent-Length: 1\r\n\r\n", false),
        ];
        for (head, expected) in cases {
            for piece in [1, 2, 3, 7, 1000] {
                assert_eq!(ambiguous(head, piece), expected, "{head:?} in pieces of {piece}");
            }
        }
    }
}
