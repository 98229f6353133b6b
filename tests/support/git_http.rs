//! A real smart HTTP server: `git http-backend`, run as CGI behind hyper, with knobs for what goes wrong in the world.
//!
//! It stands in for a forge. It runs on a thread of its own, so that blocking test code (git itself, say) can talk to it.
//! The demo and the benchmark run the same file as a program (`git_http_main.rs`), so it must use nothing of the tests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How requests are treated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Serve,
    /// The port is closed.
    Refuse,
    /// Real answers, one byte a second.
    Drip,
    /// Real answers that stop for ever after so many bytes of the body.
    StallAfter(usize),
    /// Real answers, but of those with a pack the last four bytes, which say that it is over, never come.
    NoGoodbye,
    /// Real answers that end so long after their last byte, as of a server whose programs take their time to end.
    LateEnd(Duration),
    /// Real answers whose connection is cut after so many bytes of the body.
    CutAfter(usize),
    /// No answer at all.
    Silent,
    /// This status and nothing else.
    Status(u16),
    /// 200 with the right type and nonsense in it.
    Garbage,
    /// A server from before protocol v2: it does not know the header that asks for it.
    OldProtocol,
    /// A POST is taken only from who has asked `info/refs` just before.
    GetFirst,
    /// A list of refs only for who has asked for a commit since the mode was set.
    FetchFirst,
    /// The bytes `answer` to a POST with this command of protocol v2, and `endless` behind them again and again.
    Lie { command: &'static str, answer: Vec<u8>, endless: Vec<u8> },
    /// 302 for what begins with the first path, to the same below the second.
    RedirectFrom(String, String),
    /// 302 to this address with the request's path and query behind it, for authenticated clients.
    Redirect(String),
}

#[path = "git_http_tools.rs"]
mod tools;
#[path = "git_http_wire.rs"]
mod wire;

use tools::{base64, copy_folder, lie, program, status, whole};
pub use wire::Seen;

#[derive(Default)]
struct State {
    login: Option<(String, String)>,
    /// While set, this copy is served instead of the root.
    frozen: Option<PathBuf>,
    seen: Vec<Seen>,
    /// The bodies of fetch requests.
    fetches: Vec<String>,
}

struct Shared {
    root: PathBuf,
    state: Mutex<State>,
    mode: watch::Receiver<Mode>,
    received: AtomicU64,
    sent: AtomicU64,
    fetched: AtomicBool,
    /// Each program that runs holds a clone.
    programs: Arc<()>,
    wire: Arc<wire::Count>,
}

/// A running server; it ends when this is dropped.
pub struct GitHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    mode: watch::Sender<Mode>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl GitHttp {
    /// Serves every repository below `root` on a free loopback port.
    pub fn start(root: &Path) -> Self {
        Self::start_on(root, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub fn start_on(root: &Path, address: SocketAddr) -> Self {
        let (mode, seen_mode) = watch::channel(Mode::Serve);
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            state: Mutex::default(),
            mode: seen_mode,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            fetched: AtomicBool::new(false),
            programs: Arc::default(),
            wire: Arc::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let (bound, address_of) = std::sync::mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind(address).await.expect("the address is free");
                bound.send(listener.local_addr().expect("it is bound")).expect("the starter waits");
                tokio::select! {
                    () = accept(listener, for_thread) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        let address = address_of.recv().expect("the server starts");
        Self { address, shared, mode, stop: Some(stop), thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT/site.git`
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    pub fn set(&self, mode: Mode) {
        self.shared.fetched.store(false, Ordering::Relaxed);
        self.mode.send_replace(mode.clone());
        // Refusing begins when the listener is closed, and ends when it is open again: wait for the kernel's word.
        let want_open = mode != Mode::Refuse;
        let end = std::time::Instant::now() + Duration::from_secs(10);
        // Each connection has a hold on what counts its bytes: it too is over before anything else is served.
        let is_over = || want_open || Arc::strong_count(&self.shared.wire) == 1;
        while std::net::TcpStream::connect(self.address).is_ok() != want_open || !is_over() {
            assert!(std::time::Instant::now() < end, "the listener did not change to {mode:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Demands basic authentication from now on; `None` accepts all clients.
    pub fn require(&self, login: Option<(&str, &str)>) {
        self.shared.state().login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
    }

    /// Serves the repositories as they are now until [`release`](Self::release), whatever is pushed: a forge whose
    /// webhook outruns its refs.
    pub fn hold(&self) {
        let copy = self.shared.root.with_extension("frozen");
        let _ = std::fs::remove_dir_all(&copy);
        copy_folder(&self.shared.root, &copy);
        self.shared.state().frozen = Some(copy);
    }

    pub fn release(&self) {
        self.shared.state().frozen = None;
    }

    /// Every request since the start.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    pub fn requests(&self) -> usize {
        self.shared.state().seen.len()
    }

    /// The first 64 KiB of the body of each `fetch` command of protocol v2 since the start.
    pub fn fetches(&self) -> Vec<String> {
        self.shared.state().fetches.clone()
    }

    /// True if no program of git runs for a request.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.shared.programs) == 1
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        Arc::strong_count(&self.shared.wire) - 1
    }

    /// Bytes of request bodies.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Connections so far, bytes up and bytes down on them, headers included.
    pub fn wire(&self) -> (u64, u64, u64) {
        self.shared.wire.so_far()
    }

    /// Bytes of response bodies.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut mode = shared.mode.clone();
    let address = listener.local_addr().expect("it is bound");
    let mut listener = Some(listener);
    loop {
        if *mode.borrow_and_update() == Mode::Refuse {
            listener = None;
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let Some(open) = listener.take() else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((stream, _)) = accepted {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(connection(shared.wire.counted(stream), Arc::clone(&shared)));
                }
            }
            changed = mode.changed() => if changed.is_err() { return },
        }
        listener = Some(open);
    }
}

async fn connection(stream: wire::Counted, shared: Arc<Shared>) {
    let watched = Arc::clone(&shared);
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, shared).await) }
    });
    // A peer that goes away in the middle is part of what is tested.
    let mut mode = watched.mode.clone();
    tokio::select! {
        _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
        // A server that went down keeps no connection open either.
        _ = mode.wait_for(|mode| *mode == Mode::Refuse) => {}
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Body> {
    let mode = shared.mode.borrow().clone();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let login = {
        let mut state = shared.state();
        state.seen.push(Seen {
            method: request.method().to_string(),
            target: target.clone(),
            protocol: header("git-protocol"),
            credentials: request.headers().contains_key(AUTHORIZATION),
            headers: wire::headers(request.headers()),
        });
        state.login.clone()
    };
    let got_before = matches!(&*shared.state().seen, [.., before, _] if before.method == "GET");
    match &mode {
        Mode::GetFirst if request.method() == "POST" && !got_before => return status(StatusCode::BAD_REQUEST),
        Mode::Silent => std::future::pending().await,
        Mode::Status(code) => return status(StatusCode::from_u16(*code).expect("a status")),
        Mode::Garbage => {
            let kind = if target.ends_with("git-upload-pack") && request.method() == "POST" {
                "application/x-git-upload-pack-result"
            } else {
                "application/x-git-upload-pack-advertisement"
            };
            let mut response = Response::new(whole("zzzz this is not\0 a packet line\n".repeat(40)));
            response.headers_mut().insert(CONTENT_TYPE, kind.parse().expect("a type"));
            return response;
        }
        _ => {}
    }
    let user = login.as_ref().map(|(user, _)| user.clone());
    if let Some((user, password)) = login {
        let expected = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        if header("authorization").as_deref() != Some(&expected) {
            let mut response = status(StatusCode::UNAUTHORIZED);
            response.headers_mut().insert(WWW_AUTHENTICATE, "Basic realm=\"git\"".parse().expect("a header"));
            return response;
        }
    }
    let location = match &mode {
        Mode::Redirect(base) => Some(format!("{base}{target}")),
        Mode::RedirectFrom(old, new) => target.strip_prefix(old).map(|rest| format!("{new}{rest}")),
        _ => None,
    };
    if let Some(location) = location {
        let mut response = status(StatusCode::FOUND);
        response.headers_mut().insert(LOCATION, location.parse().expect("an address"));
        return response;
    }
    let (head, body) = request.into_parts();
    let request = if mode == Mode::FetchFirst {
        let body = body.collect().await.expect("the whole request").to_bytes();
        if body.windows(13).any(|part| part == b"command=fetch") {
            shared.fetched.store(true, Ordering::Relaxed);
        }
        while !shared.fetched.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Request::from_parts(head, Full::new(body).map_err(|never| match never {}).boxed_unsync())
    } else if let Mode::Lie { command, answer, endless } = &mode {
        let body = body.collect().await.expect("the whole request").to_bytes();
        if body.windows(command.len()).any(|part| part == command.as_bytes()) {
            return lie(answer, endless);
        }
        Request::from_parts(head, Full::new(body).map_err(|never| match never {}).boxed_unsync())
    } else {
        Request::from_parts(head, body.map_err(std::io::Error::other).boxed_unsync())
    };
    backend(request, shared, mode, user).await.unwrap_or_else(|error| {
        let mut response = status(StatusCode::BAD_GATEWAY);
        *response.body_mut() = whole(error.to_string());
        response
    })
}

/// Runs the CGI program for one request (RFC 3875), streaming both ways.
async fn backend(
    request: Request<Body>,
    shared: Arc<Shared>,
    mode: Mode,
    user: Option<String>,
) -> std::io::Result<Response<Body>> {
    let root = shared.state().frozen.clone().unwrap_or_else(|| shared.root.clone());
    let mut command = Command::new(program());
    command.env_clear();
    for (name, value) in [
        // The owner check is git's guard for its own user; this server decides by its root.
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", "*"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_HTTP_EXPORT_ALL", "1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("PATH_INFO", request.uri().path()),
        ("QUERY_STRING", request.uri().query().unwrap_or_default()),
        ("REQUEST_METHOD", request.method().as_str()),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ] {
        command.env(name, value);
    }
    command.env("GIT_PROJECT_ROOT", &root).env("HOME", &root);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    if let Some(user) = user {
        command.env("REMOTE_USER", user);
    }
    for (name, header) in [
        ("CONTENT_TYPE", CONTENT_TYPE.as_str()),
        ("CONTENT_LENGTH", CONTENT_LENGTH.as_str()),
        ("HTTP_CONTENT_ENCODING", CONTENT_ENCODING.as_str()),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        if (name, &mode) == ("GIT_PROTOCOL", &Mode::OldProtocol) {
            continue;
        }
        if let Some(value) = request.headers().get(header).and_then(|value| value.to_str().ok()) {
            command.env(name, value);
        }
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let counter = Arc::clone(&shared);
    let mut body = request.into_body();
    tokio::spawn(async move {
        let mut kept = wire::Kept::default();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                counter.received.fetch_add(data.len() as u64, Ordering::Relaxed);
                kept.add(&data);
                if input.write_all(&data).await.is_err() {
                    break;
                }
            }
        }
        counter.state().fetches.extend(kept.fetch());
    });
    let mut response = Response::new(());
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::other("git http-backend ended before its headers did"));
        }
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(": ") else { break };
        if name == "Status" {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = code.expect("CGI gives a status code");
        } else {
            let name: hyper::header::HeaderName = name.parse().expect("CGI gives header names");
            response.headers_mut().append(name, value.parse().expect("CGI gives header values"));
        }
    }
    let (chunks, receiver) = mpsc::channel(4);
    let running = Arc::clone(&shared.programs);
    tokio::spawn(async move {
        pump(child, output, chunks, mode, shared).await;
        drop(running);
    });
    let stream = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    Ok(response.map(|()| StreamBody::new(stream).boxed_unsync()))
}

/// Carries the program's output to the response as the mode says.
async fn pump(
    mut child: Child,
    mut output: impl tokio::io::AsyncRead + Unpin,
    chunks: mpsc::Sender<std::io::Result<Frame<Bytes>>>,
    mode: Mode,
    shared: Arc<Shared>,
) {
    let limit = match mode {
        Mode::StallAfter(bytes) | Mode::CutAfter(bytes) => bytes,
        _ => usize::MAX,
    };
    let piece = if mode == Mode::Drip { 1 } else { 64 * 1024 };
    let (mut sent, mut has_pack) = (0, false);
    let mut buffer = vec![0; piece];
    while let Ok(read) = output.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        has_pack |= buffer[..read].windows(9).any(|part| part == b"packfile\n");
        let held = if mode == Mode::NoGoodbye && has_pack && buffer[..read].ends_with(b"0000") { 4 } else { 0 };
        let part = (read - held).min(limit - sent);
        sent += part;
        shared.sent.fetch_add(part as u64, Ordering::Relaxed);
        if chunks.send(Ok(Frame::data(Bytes::copy_from_slice(&buffer[..part])))).await.is_err() {
            return;
        }
        if sent == limit || held > 0 {
            if matches!(mode, Mode::StallAfter(_) | Mode::NoGoodbye) {
                chunks.closed().await;
            } else {
                let _ = chunks.send(Err(std::io::Error::other("cut"))).await;
            }
            return;
        }
        if mode == Mode::Drip {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    if let Mode::LateEnd(late) = mode {
        tokio::time::sleep(late).await;
    }
    let _ = child.wait().await;
}
