//! Counts what goes over the connections of the test server, headers and all, and what is kept of a request.
//!
//! It knows nothing of http: bytes of a socket in, the same bytes out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The `Git-Protocol` header.
    pub protocol: Option<String>,
    /// True if it carried an `Authorization` header, right or wrong.
    pub credentials: bool,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

#[derive(Default)]
pub struct Count {
    connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

impl Count {
    pub fn counted(self: &Arc<Self>, stream: TcpStream) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted { stream, count: Arc::clone(self) }
    }

    /// Connections, bytes from clients, bytes to clients.
    pub fn so_far(&self) -> (u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.connections), of(&self.up), of(&self.down))
    }
}

pub struct Counted {
    stream: TcpStream,
    count: Arc<Count>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.count.up.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.count.down.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Every header as text.
pub fn headers(headers: &hyper::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// The beginning of a request's body.
#[derive(Default)]
pub struct Kept(Vec<u8>);

impl Kept {
    const MOST: usize = 64 * 1024;

    pub fn add(&mut self, data: &[u8]) {
        self.0.extend_from_slice(&data[..data.len().min(Self::MOST - self.0.len())]);
    }

    /// The text, if it is the `fetch` command of protocol v2.
    pub fn fetch(self) -> Option<String> {
        Some(String::from_utf8_lossy(&self.0).into_owned()).filter(|text| text.contains("command=fetch"))
    }
}
