//! The accept loop. Connections are limited in number, time and memory, and no connection can stop the listener.
//!
//! `axum::serve` installs no timer, so hyper's timeout for request heads would never fire. That is why this loop
//! exists. It knows nothing about the routes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::backoff::Pauses;

use super::answer;
use super::limits::Limits;
use super::opening;
use super::refusals::Refusals;
use super::socket::{Busy, Socket, Vital};

/// Closing a socket with unread bytes sends a TCP reset, which can destroy an early response (401, 413) before the
/// client has read it. Therefore the rest is read and discarded, up to this time and this size.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 * 1024 * 1024;
/// The same time once the process is stopping, and how long a connection without a request may stay open then.
const LINGER_AT_STOP: Duration = Duration::from_millis(200);
/// The first pause after a failed accept, for example when no file descriptor is left.
const FIRST_ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The hint when no file descriptor is left.
const TOO_MANY: &str = "each connection takes a file descriptor: let only the forge and the pod reach this port, or raise the limit of open files (ulimit -n)";

/// The largest number of header lines in a request. Gateways and service meshes add their own to those of the forge.
const MOST_HEADERS: usize = 100;

/// The signals that end the listeners.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// The process is about to end but still accepts: health checks fail, so that new connections go elsewhere.
    pub leaving: CancellationToken,
    /// Answer connections that have been accepted, accept no more, finish running requests.
    pub stop: CancellationToken,
    /// Close everything that is left.
    pub abandon: CancellationToken,
    pub tasks: TaskTracker,
}

/// One listener's connections.
#[derive(Clone)]
struct Listening {
    router: Router,
    limits: Limits,
    ending: Ending,
    refusals: Arc<Refusals>,
    slots: Arc<Semaphore>,
    crowd: Arc<Crowd>,
}

/// Accepts connections until `stop`, and then those that are already in the backlog.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    ending: Ending,
    refusals: Arc<Refusals>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let listening = Listening { router, limits, ending, refusals, slots, crowd: Arc::default() };
    let stop = listening.ending.stop.clone();
    let mut pauses = Pauses::new(FIRST_ACCEPT_PAUSE, LONGEST_ACCEPT_PAUSE);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                pauses.reset();
                listening.take(stream).await;
            }
            // The client closed the connection while it waited in the backlog.
            Err(error) if is_theirs(&error) => {}
            Err(error) => {
                let pause = pauses.take();
                let hint =
                    matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)).then_some(TOO_MANY);
                tracing::warn!(%error, hint, "cannot accept connections, pausing for {} ms", pause.as_millis());
                // Closing a connection frees its file descriptor.
                listening.crowd.make_room(&limits);
                // Without a pause the next call would fail at once, and the loop would keep a processor busy.
                let _ = timeout(pause, stop.cancelled()).await;
            }
        }
    }
    if let Err(error) = listening.empty_backlog(listener).await {
        tracing::debug!(%error, "the backlog of a listener that ends could not be emptied");
    }
}

impl Listening {
    /// Serves a connection on its own task as soon as there is a free slot.
    async fn take(&self, stream: TcpStream) {
        // The accept loop waits here while all slots are in use. New connections stay in the kernel's backlog
        // meanwhile.
        let slot = loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                break slot;
            }
            self.crowd.make_room(&self.limits);
            tokio::select! {
                () = self.ending.abandon.cancelled() => return,
                // Retry, because another connection may have become old enough to be evicted in the meantime.
                _ = timeout(Duration::from_millis(100), self.slots.acquire()) => {}
            }
        };
        let vital = Arc::new(Vital::new());
        let place = self.crowd.enter(&vital);
        let connection = self.clone().serve(stream, vital);
        self.ending.tasks.spawn(async move {
            connection.await;
            // Given back only now, because a connection that is still open counts.
            drop((place, slot));
        });
    }

    /// Serves the connections that the kernel has already established. Their clients have sent a request and would
    /// get a reset. The socket is asked directly, because the runtime may not have been notified of them yet.
    async fn empty_backlog(&self, listener: TcpListener) -> io::Result<()> {
        // It stays non-blocking, so that the loop ends with the backlog.
        let listener = listener.into_std()?;
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_theirs(&error) => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            self.take(TcpStream::from_std(stream)?).await;
        }
    }

    /// Waits for a connection's first bytes and examines them. Returns `None` if there is nothing to serve: the
    /// client sent nothing in time, or it speaks another protocol and has been answered.
    async fn open(&self, stream: TcpStream, vital: &Vital) -> Option<TcpStream> {
        let stopping = async {
            self.ending.stop.cancelled().await;
            sleep(LINGER_AT_STOP).await;
        };
        // The bytes are only peeked at: hyper has to read them as well.
        let mut start = [0; opening::LONGEST];
        let count = tokio::select! {
            // Prefer data that has arrived, even if this task runs late.
            biased;
            looked = timeout(self.limits.silence(), stream.peek(&mut start)) => looked.ok()?.ok()?,
            () = vital.crowded_out.cancelled() => return None,
            () = self.ending.abandon.cancelled() => return None,
            () = stopping => return None,
        };
        let Some(foreign) = opening::foreign(&start[..count]) else { return Some(stream) };
        self.refusals.note(foreign.why());
        let mut stream = stream;
        let _ = timeout(self.limits.write_stall, async {
            stream.write_all(foreign.answer().as_bytes()).await?;
            linger(stream).await
        })
        .await;
        None
    }

    async fn serve(self, stream: TcpStream, vital: Arc<Vital>) {
        let Some(stream) = self.open(stream, &vital).await else { return };
        let Self { router, limits, ending, .. } = self;
        // Responses are small and clients wait for them, so do not delay segments.
        let _ = stream.set_nodelay(true);
        let socket = Socket::new(stream, Arc::clone(&vital), !limits.keep_alive, limits.write_stall);
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .max_headers(MOST_HEADERS)
            .keep_alive(limits.keep_alive)
            // A hook client may close its sending side and still wait for the response. A client of the event stream
            // that does so is gone.
            .half_close(!limits.keep_alive)
            .serve_connection(TokioIo::new(socket), Service { router, vital: Arc::clone(&vital) });
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                // An error is caused by the client: it closed the connection, or sent invalid HTTP and got a 400.
                _ = poll_fn(|context| connection.poll_without_shutdown(context)) => break,
                () = vital.crowded_out.cancelled() => return,
                () = ending.abandon.cancelled() => return,
                () = ending.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                () = sleep(LINGER_AT_STOP), if stopping => {
                    // A connection without a request is closed. A running request is finished first.
                    if !vital.is_busy() {
                        break;
                    }
                }
            }
        }
        // `poll_without_shutdown` left the socket open: closing it with unread bytes would send a reset.
        let stream = connection.into_parts().io.into_inner().stream;
        tokio::select! {
            () = vital.crowded_out.cancelled() => {}
            () = ending.abandon.cancelled() => {}
            () = async { ending.stop.cancelled().await; sleep(LINGER_AT_STOP).await } => {}
            _ = timeout(LINGER, linger(stream)) => {}
        }
    }
}

fn is_theirs(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Closes the sending side, and reads until the client closes its own.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scratch = vec![0; 16 * 1024];
    let mut total = 0;
    while total < LINGER_BYTES {
        match stream.read(&mut scratch).await? {
            0 => break,
            count => total += count,
        }
    }
    Ok(())
}

/// The service of one connection: the router, with the arrival attached and panics caught.
struct Service {
    router: Router,
    vital: Arc<Vital>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = self.vital.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.vital.arrival());
        let answered = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        Box::pin(async move {
            let response = match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_panic) => {
                    tracing::error!("a request handler panicked; this is a bug in pushsync, please report it");
                    answer::internal()
                }
            };
            Ok(response.map(|body| Body::new(Guarded { body, _busy: busy })))
        })
    }
}

/// A response body that keeps its connection busy until it is sent.
struct Guarded {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        pin!(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The open connections of one listener.
#[derive(Debug, Default)]
struct Crowd(Mutex<(u64, HashMap<u64, Arc<Vital>>)>);

impl Crowd {
    fn enter(self: &Arc<Self>, vital: &Arc<Vital>) -> TableEntry {
        let mut crowd = self.0.lock();
        crowd.0 += 1;
        let number = crowd.0;
        crowd.1.insert(number, Arc::clone(vital));
        TableEntry { crowd: Arc::clone(self), number }
    }

    /// Evicts one connection, if there is a candidate: the one that has waited longest without a complete request,
    /// else the one that has been busy with one request for too long.
    fn make_room(&self, limits: &Limits) {
        let mut crowd = self.0.lock();
        // A client that sends its request at once is hardly ever the one that has waited longest.
        let idle = crowd.1.iter().filter(|(_, vital)| !vital.is_busy()).min_by_key(|(_, vital)| vital.since());
        let chosen = idle.or_else(|| {
            let patience = limits.crowded_out_after?;
            let slow = crowd.1.iter().filter(|(_, vital)| vital.since().elapsed() >= patience);
            slow.min_by_key(|(_, vital)| vital.since())
        });
        if let Some(number) = chosen.map(|(number, _)| *number)
            // Removed at once, so that the next call does not choose the same connection.
            && let Some(vital) = crowd.1.remove(&number)
        {
            vital.crowded_out.cancel();
        }
    }
}

/// A connection's entry in the table; removes itself when dropped.
struct TableEntry {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        self.crowd.0.lock().1.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    async fn status(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("accepted");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("no reset");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    async fn panics() {
        panic!("on purpose");
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_is_a_500_and_the_listener_lives_on() {
        let router = Router::new().route("/good", get(|| async { "ok" })).route("/bad", get(panics));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ending = Ending::default();
        let accepting = tokio::spawn(accept(listener, router, Limits::hook(), ending.clone(), Arc::default()));
        for _ in 0..3 {
            assert_eq!(status(address, "/bad").await, "500");
            assert_eq!(status(address, "/good").await, "200");
        }
        ending.stop.cancel();
        accepting.await.expect("ended");
    }
}
