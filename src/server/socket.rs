//! One accepted socket as hyper reads and writes it, and what the accept loop wants to know about it meanwhile.
//!
//! It adds three things that hyper lacks: when the first byte came, a limit for answers that nobody reads, and a look at
//! the raw head for lengths that hyper would silently reconcile. It knows nothing of routes.

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

/// How a request came in; every handler finds it among the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When the connection's first byte was read.
    pub first_byte: Instant,
    /// The head names its body's length more than once. (Looked for only where a connection carries one request.)
    pub ambiguous_length: bool,
}

/// The signs of life of one connection.
#[derive(Debug)]
pub struct Vital {
    accepted: Instant,
    first_byte: OnceLock<Instant>,
    ambiguous_length: AtomicBool,
    busy: AtomicBool,
    /// Microseconds from `accepted` to the last change of `busy`.
    changed: AtomicU64,
    /// Cancelled when the connection has to make room for another one.
    pub crowded_out: CancellationToken,
}

impl Vital {
    pub fn new() -> Self {
        Self {
            accepted: Instant::now(),
            first_byte: OnceLock::new(),
            ambiguous_length: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            changed: AtomicU64::new(0),
            crowded_out: CancellationToken::new(),
        }
    }

    pub fn arrival(&self) -> Arrival {
        Arrival {
            first_byte: self.first_byte.get().copied().unwrap_or_else(Instant::now),
            ambiguous_length: self.ambiguous_length.load(Ordering::Relaxed),
        }
    }

    /// A request is being answered until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.change(true);
        Busy(Arc::clone(self))
    }

    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// When it last began to answer, or to wait for a request.
    pub fn since(&self) -> Instant {
        self.accepted + Duration::from_micros(self.changed.load(Ordering::Relaxed))
    }

    fn change(&self, busy: bool) {
        let micros = u64::try_from(self.accepted.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.changed.store(micros, Ordering::Relaxed);
        self.busy.store(busy, Ordering::Relaxed);
    }
}

/// Lives as long as a request and its answer.
#[derive(Debug)]
pub struct Busy(Arc<Vital>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(false);
    }
}

/// The stream that hyper is given.
pub struct Socket {
    pub stream: TcpStream,
    vital: Arc<Vital>,
    head: Option<HeadWatch>,
    write_stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// `watch_head` is for connections with a single request: only there is it certain which bytes are a head.
    pub fn new(stream: TcpStream, vital: Arc<Vital>, watch_head: bool, write_stall: Duration) -> Self {
        Self { stream, vital, head: watch_head.then(HeadWatch::default), write_stall, stalled: None }
    }

    fn watch_stall<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
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
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Counts the header lines that say where the body ends. hyper drops a second equal `Content-Length`, and one beside
/// `Transfer-Encoding`; a proxy in front may have believed the one that was dropped.
#[derive(Debug, Default)]
struct HeadWatch {
    /// The name of the current line, in lower case, as far as it can matter.
    name: [u8; 20],
    length: usize,
    named: bool,
    lines: usize,
    ended: bool,
    content_lengths: u8,
    transfer_encodings: u8,
}

impl HeadWatch {
    /// Takes the next bytes in and returns true if the head so far is ambiguous.
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
    async fn an_answer_that_nobody_reads_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (reader, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut reader, stream) = (reader.expect("connected"), accepted.expect("accepted").0);
        let mut socket = Socket::new(stream, Arc::new(Vital::new()), false, Duration::from_secs(2));
        let chunk = vec![0; 1024 * 1024];
        // While the other side reads, nothing is given up, however long it takes altogether.
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
    fn a_second_length_is_seen_however_the_head_is_cut() {
        let cases = [
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nCONTENT-length: 1\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("\r\n\r\nPOST / HTTP/1.1\nContent-Length:1\ntransfer-encoding:chunked\n\n", true),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nX: content-length: 5\r\nX-Content-Length: 1\r\n\r\n", false),
            // What looks like a header in the body is none.
            ("POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\nContent-Length: 1\r\n\r\n", false),
        ];
        for (head, expected) in cases {
            for piece in [1, 2, 3, 7, 1000] {
                assert_eq!(ambiguous(head, piece), expected, "{head:?} in pieces of {piece}");
            }
        }
    }
}
