//! A stand-in for an LFS server: the batch API and the objects, over real HTTP, with knobs for what goes wrong.
//!
//! Everything else that is asked of it goes to a git server behind it, so that both can be one origin, as with a forge.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PIECE: usize = 64 * 1024;

/// How requests are treated.
#[derive(Clone, Default)]
pub struct Knobs {
    /// The next so many answers with an object break off after so many bytes of it.
    pub cuts: usize,
    pub cut_after: usize,
    /// All of an object is sent, whatever range was asked for.
    pub ignore_range: bool,
    /// 416 to any range.
    pub refuse_range: bool,
    /// The last byte of each object is another one.
    pub wrong_bytes: bool,
    /// So many bytes are sent behind each object.
    pub too_long: usize,
    /// A pause between two pieces of 64 KiB.
    pub pause: Duration,
    /// The next so many requests for objects are 403: their addresses are not good any more.
    pub stale: usize,
    /// The validity that the API states for them.
    pub expires_in: Option<i64>,
    /// User and password that the API asks for, and objects too if they are given no header of their own.
    pub login: Option<(String, String)>,
    /// The API gives a header for each object, and objects are had with it only.
    pub own_header: bool,
    /// Questions about more objects are 413.
    pub most: Option<usize>,
    /// Where objects are said to be, if not here.
    pub elsewhere: Option<String>,
    /// 302 for each object, to the same path of this server.
    pub moved: Option<String>,
    /// Every question gets this answer.
    pub answer: Option<(u16, String)>,
}

/// One request for an object.
#[derive(Clone, Debug)]
pub struct Get {
    pub oid: String,
    /// Where the range begins that was asked for.
    pub from: Option<u64>,
    pub authorization: Option<String>,
    pub cookie: Option<String>,
    /// A header of the request.
    pub ours: Option<String>,
}

#[derive(Default)]
pub struct Books {
    pub objects: HashMap<String, Bytes>,
    pub missing: HashSet<String>,
    pub knobs: Knobs,
    /// Path and objects of each question that was let in.
    pub batches: Vec<(String, Vec<String>)>,
    pub refs: Vec<Option<String>>,
    pub gets: Vec<Get>,
    pub in_flight: usize,
    pub most_in_flight: usize,
    /// Bytes of each object that were sent.
    pub sent: BTreeMap<String, u64>,
    /// Every request that was no object's and no question, and refused questions.
    pub others: usize,
}

#[derive(Clone)]
struct Shared {
    books: Arc<Mutex<Books>>,
    address: SocketAddr,
    git: Option<String>,
    client: reqwest::Client,
}

pub struct LfsServer {
    books: Arc<Mutex<Books>>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LfsServer {
    /// `git`: the base address of the git server behind it.
    pub fn start(git: Option<String>) -> Self {
        let books: Arc<Mutex<Books>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let (bound, address_of) = std::sync::mpsc::channel();
        let for_thread = books.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
                let shared = Shared { books: for_thread, address, git, client: client.build().unwrap() };
                let router = axum::Router::new().fallback(answer).with_state(shared);
                bound.send(address).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        let address = address_of.recv().unwrap();
        Self { books, address, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what goes wrong.
    pub fn set(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.books().knobs);
    }

    /// Takes an object in and answers its pointer.
    pub fn add(&self, content: impl Into<Bytes>) -> String {
        let content = content.into();
        let oid = hash(&content);
        let pointer = pointer(&oid, content.len() as u64);
        self.books().objects.insert(oid, content);
        pointer
    }

    /// Requests for objects since the last call.
    pub fn take_gets(&self) -> Vec<Get> {
        std::mem::take(&mut self.books().gets)
    }

    /// The objects of each question since the last call.
    pub fn take_batches(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.books().batches).into_iter().map(|(_, objects)| objects).collect()
    }
}

impl Drop for LfsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn hash(content: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(content) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

pub fn pointer(oid: &str, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path.ends_with("/objects/batch") && request.method() == Method::POST {
        return batch(&shared, &path, request).await;
    }
    if let Some(oid) = path.strip_prefix("/objects/") {
        return object(&shared, oid, request.uri().query().unwrap_or_default(), request.headers());
    }
    shared.books().others += 1;
    match &shared.git {
        Some(git) => forward(&shared, git, request).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn lets_in(knobs: &Knobs, headers: &HeaderMap) -> bool {
    knobs.login.as_ref().is_none_or(|(user, password)| {
        let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        text(headers, header::AUTHORIZATION) == Some(expected)
    })
}

async fn batch(shared: &Shared, path: &str, request: Request) -> Response {
    const KIND: &str = "application/vnd.git-lfs+json";
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 10 << 20).await.unwrap();
    let mut books = shared.books();
    let knobs = books.knobs.clone();
    let said = |code: u16, body: Value| {
        let code = StatusCode::from_u16(code).unwrap();
        (code, [(header::CONTENT_TYPE, KIND)], body.to_string()).into_response()
    };
    if !lets_in(&knobs, &head.headers) {
        books.others += 1;
        return said(401, json!({"message": "who are you?"}));
    }
    for name in [header::ACCEPT, header::CONTENT_TYPE] {
        assert_eq!(text(&head.headers, name).as_deref(), Some(KIND));
    }
    let question: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&question["operation"], &question["hash_algo"]), (&json!("download"), &json!("sha256")));
    assert_eq!(question["transfers"], json!(["basic"]));
    let asked: Vec<(String, u64)> = question["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| (object["oid"].as_str().unwrap().to_owned(), object["size"].as_u64().unwrap()))
        .collect();
    if knobs.most.is_some_and(|most| asked.len() > most) {
        books.others += 1;
        return said(413, json!({"message": "too many"}));
    }
    books.batches.push((path.to_owned(), asked.iter().map(|(oid, _)| oid.clone()).collect()));
    books.refs.push(question["ref"]["name"].as_str().map(str::to_owned));
    if let Some((code, body)) = knobs.answer {
        let code = StatusCode::from_u16(code).unwrap();
        return (code, [(header::CONTENT_TYPE, KIND)], body).into_response();
    }
    let token = books.batches.len();
    let base = knobs.elsewhere.clone().unwrap_or_else(|| format!("http://{}", shared.address));
    let objects: Vec<Value> = asked
        .iter()
        .map(|(oid, size)| {
            if books.missing.contains(oid) || !books.objects.contains_key(oid) {
                let error = json!({"code": 404, "message": "Object does not exist"});
                return json!({"oid": oid, "size": size, "error": error});
            }
            let mut download = json!({"href": format!("{base}/objects/{oid}?token={token}")});
            if knobs.own_header {
                download["header"] = json!({"Authorization": "Bearer of-this-object"});
            }
            if let Some(seconds) = knobs.expires_in {
                download["expires_in"] = json!(seconds);
            }
            json!({"oid": oid, "size": size, "actions": {"download": download}})
        })
        .collect();
    said(200, json!({"transfer": "basic", "objects": objects}))
}

fn object(shared: &Shared, oid: &str, query: &str, headers: &HeaderMap) -> Response {
    let mut books = shared.books();
    let range = text(headers, header::RANGE);
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<u64>().ok());
    let authorization = text(headers, header::AUTHORIZATION);
    let cookie = text(headers, header::COOKIE);
    let ours = text(headers, header::HeaderName::from_static("x-ours"));
    books.gets.push(Get { oid: oid.to_owned(), from, authorization: authorization.clone(), cookie, ours });
    let knobs = books.knobs.clone();
    if let Some(there) = &knobs.moved {
        return (StatusCode::FOUND, [(header::LOCATION, format!("{there}/objects/{oid}?{query}"))]).into_response();
    }
    let owner = if knobs.own_header {
        authorization.as_deref() == Some("Bearer of-this-object")
    } else {
        lets_in(&knobs, headers)
    };
    if !owner {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if knobs.stale > 0 {
        books.knobs.stale -= 1;
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some(mut content) = books.objects.get(oid).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    if knobs.refuse_range && from.is_some() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    if knobs.wrong_bytes || knobs.too_long > 0 {
        let mut other = content.to_vec();
        if let Some(last) = other.last_mut().filter(|_| knobs.wrong_bytes) {
            *last ^= 1;
        }
        other.extend(vec![7; knobs.too_long]);
        content = other.into();
    }
    let whole = content.len();
    let from = usize::try_from(from.filter(|_| !knobs.ignore_range).unwrap_or(0)).unwrap();
    let mut rest = content.slice(from.min(whole)..);
    let cut = knobs.cuts > 0 && rest.len() > knobs.cut_after;
    if cut {
        books.knobs.cuts -= 1;
        rest = rest.slice(..knobs.cut_after);
    }
    books.in_flight += 1;
    books.most_in_flight = books.most_in_flight.max(books.in_flight);
    let flight = Flight { shared: shared.clone(), oid: oid.to_owned() };
    let pieces = stream::unfold((rest, flight, cut), move |(mut rest, flight, cut)| async move {
        if rest.is_empty() {
            if !cut {
                return None;
            }
            // The sent bytes must arrive before the connection is closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Some((Err(std::io::Error::other("cut")), (rest, flight, false)));
        }
        tokio::time::sleep(knobs.pause).await;
        let piece = rest.split_to(rest.len().min(PIECE));
        *flight.shared.books().sent.entry(flight.oid.clone()).or_default() += piece.len() as u64;
        Some((Ok::<_, std::io::Error>(piece), (rest, flight, cut)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let length = if knobs.too_long > 0 { None } else { Some(whole - from.min(whole)) };
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    if from > 0 {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{whole}", whole - 1);
        response.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
    }
    response
}

/// One object on its way.
struct Flight {
    shared: Shared,
    oid: String,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.books().in_flight -= 1;
    }
}

async fn forward(shared: &Shared, git: &str, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let body = axum::body::to_bytes(body, 10 << 20).await.unwrap();
    let mut asked = shared.client.request(head.method, format!("{git}{target}")).body(body);
    for (name, value) in &head.headers {
        if name != header::HOST && name != header::CONTENT_LENGTH {
            asked = asked.header(name, value);
        }
    }
    let answered = match asked.send().await {
        Ok(answered) => answered,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let (status, headers) = (answered.status(), answered.headers().clone());
    let mut response = Response::new(Body::from(answered.bytes().await.unwrap()));
    *response.status_mut() = status;
    for (name, value) in &headers {
        if name != header::TRANSFER_ENCODING && name != header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}
