//! The accept loop: every connection bounded in number, time and memory, none able to end the listener.
//!
//! `axum::serve` installs no timer, so hyper's own head timeout never fires there; hence this loop. It knows nothing of
//! what the routes do.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
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
use rustix::io::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::answer;
use super::limits::Limits;
use super::opening;
use super::refusals::Refusals;
use super::socket::{Busy, Socket, Vital};

/// An early answer (401, 413) is lost in a TCP reset if unread bytes remain when the socket is closed, so they are read
/// and thrown away for this long, and this many.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 * 1024 * 1024;
/// The same, and how long a connection without a request may stay, once the process is about to end.
const LINGER_AT_STOP: Duration = Duration::from_millis(200);
/// The first and the longest pause after a failed accept (no file descriptors left, for one).
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What helps then.
const TOO_MANY: &str = "each connection takes a file descriptor: let only the forge and the pod reach this port, or raise the limit of open files (ulimit -n)";

/// The most header lines of a request. Gateways and service meshes add their own to those of the forge.
const MOST_HEADERS: usize = 100;

/// How the listeners are told to end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The process was told to end and still accepts: health checks should send new connections elsewhere.
    pub leaving: CancellationToken,
    /// Answer what has connected already, accept nothing more, finish what runs.
    pub stop: CancellationToken,
    /// Drop what is left.
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

/// Accepts connections until told to stop, and then those that are in the backlog already.
pub async fn accept(listener: TcpListener, router: Router, limits: Limits, ending: Ending, refusals: Arc<Refusals>) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let listening = Listening { router, limits, ending, refusals, slots, crowd: Arc::default() };
    let stop = listening.ending.stop.clone();
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                pause = ACCEPT_PAUSE.0;
                listening.take(stream).await;
            }
            // The client hung up while it waited in the backlog.
            Err(error) if is_theirs(&error) => {}
            Err(error) => {
                let hint =
                    matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)).then_some(TOO_MANY);
                tracing::warn!(%error, hint, "cannot accept connections, pausing for {} ms", pause.as_millis());
                listening.crowd.make_room(&limits);
                let _ = timeout(pause, stop.cancelled()).await;
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
    if let Err(error) = listening.empty_backlog(listener).await {
        tracing::debug!(%error, "the backlog of a listener that ends could not be emptied");
    }
}

impl Listening {
    /// Serves a connection on a task of its own as soon as there is room for it.
    async fn take(&self, stream: TcpStream) {
        let slot = loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                break slot;
            }
            self.crowd.make_room(&self.limits);
            tokio::select! {
                () = self.ending.abandon.cancelled() => return,
                // A connection may become old enough to be crowded out meanwhile.
                _ = timeout(Duration::from_millis(100), self.slots.acquire()) => {}
            }
        };
        let vital = Arc::new(Vital::new());
        let place = self.crowd.enter(&vital);
        let connection = self.clone().serve(stream, vital);
        self.ending.tasks.spawn(async move {
            connection.await;
            drop((place, slot));
        });
    }

    /// Serves the connections that the kernel has completed already: their clients have sent their request and would get a
    /// reset. The socket itself is asked, because the runtime may not have heard yet that there are any.
    async fn empty_backlog(&self, listener: TcpListener) -> io::Result<()> {
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

    /// Waits for a connection's first bytes and looks at them. Returns `None` if there is nothing to serve: the client sent
    /// nothing in time, or speaks something else than HTTP and was told so.
    async fn open(&self, stream: TcpStream, vital: &Vital) -> Option<TcpStream> {
        let stopping = async {
            self.ending.stop.cancelled().await;
            sleep(LINGER_AT_STOP).await;
        };
        let mut start = [0; opening::LONGEST];
        let count = tokio::select! {
            // What has arrived is read, however late this task gets its turn.
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
        // Answers are small and somebody waits for each.
        let _ = stream.set_nodelay(true);
        let socket = Socket::new(stream, Arc::clone(&vital), !limits.keep_alive, limits.write_stall);
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .max_headers(MOST_HEADERS)
            .keep_alive(limits.keep_alive)
            // A client may close its sending side and still wait for the answer; a reader of a stream that goes away may not.
            .half_close(!limits.keep_alive)
            .serve_connection(TokioIo::new(socket), Service { router, vital: Arc::clone(&vital) });
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                // An error is the peer's (it hung up, or sent what is not HTTP and got its 400).
                _ = poll_fn(|context| connection.poll_without_shutdown(context)) => break,
                () = vital.crowded_out.cancelled() => return,
                () = ending.abandon.cancelled() => return,
                () = ending.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                () = sleep(LINGER_AT_STOP), if stopping => {
                    if !vital.is_busy() {
                        break;
                    }
                }
            }
        }
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

/// Says that nothing more will be sent, and reads until the other side says the same.
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

/// One connection's service: the router, with the arrival attached and panics caught.
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

/// An answer's body that keeps its connection busy until it is sent.
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
    fn enter(self: &Arc<Self>, vital: &Arc<Vital>) -> Place {
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        crowd.0 += 1;
        let number = crowd.0;
        crowd.1.insert(number, Arc::clone(vital));
        Place { crowd: Arc::clone(self), number }
    }

    /// Ends one connection, if there is one that may be ended: first whoever has waited longest without a whole
    /// request, else whoever has been at one request for too long.
    fn make_room(&self, limits: &Limits) {
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = crowd.1.iter().filter(|(_, vital)| !vital.is_busy()).min_by_key(|(_, vital)| vital.since());
        let chosen = idle.or_else(|| {
            let patience = limits.crowded_out_after?;
            let slow = crowd.1.iter().filter(|(_, vital)| vital.since().elapsed() >= patience);
            slow.min_by_key(|(_, vital)| vital.since())
        });
        if let Some(number) = chosen.map(|(number, _)| *number)
            && let Some(vital) = crowd.1.remove(&number)
        {
            vital.crowded_out.cancel();
        }
    }
}

/// A connection's entry in the crowd.
struct Place {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
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
