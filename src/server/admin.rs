//! The admin API that the dashboard uses: state, history, events, and requests for changes.
//!
//! No GET has a side effect. Changes are passed to the sync loop, which carries them out and answers.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use axum::{Router, middleware};
use http_body_util::{BodyExt as _, Limited};
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::api::{ChangeRequest, HistoryPage, LONGEST_PAUSE_MINUTES, PauseRequest, PinRequest, Refusal, SCHEMA};
use crate::sync::{Command, Handle};

use super::answer;
use super::events::Streams;
use super::guard::{self, Guard};
use super::limits::Limits;

/// The largest body of a change.
const LARGEST_BODY: usize = 4 * 1024;
/// How long the sync loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long reading the details of a sync from the volume may take.
const DISK_PATIENCE: Duration = Duration::from_secs(2);
const DEFAULT_LIMIT: usize = 100;
const LARGEST_LIMIT: usize = 1000;
/// Longer than any record's id, so that a longer one needs no search.
const LONGEST_ID: usize = 128;

/// The state that the routes share.
#[derive(Clone)]
struct Api {
    handle: Handle,
    streams: Streams,
    body_timeout: Duration,
}

/// A request that is refused before it reaches the sync loop.
type Refused = Response<Body>;

/// The routes of the admin listener.
pub(crate) fn router(handle: Handle, streams: Streams, guard: Guard, limits: &Limits) -> Router {
    let api = Api { handle, streams, body_timeout: limits.body };
    Router::new()
        .route("/healthz", get(|| async { answer::text(StatusCode::OK, "ok\n") }))
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/history", get(history))
        .route("/api/v1/syncs/{id}", get(detail))
        .route("/api/v1/commits/{hash}", get(commit))
        .route("/api/v1/events", get(events))
        .route("/api/v1/sync", post(sync))
        .route("/api/v1/pause", post(pause))
        .route("/api/v1/resume", post(resume))
        .route("/api/v1/pin", post(pin))
        .route("/api/v1/unpin", post(unpin))
        .fallback(|| async { answer::refusal(StatusCode::NOT_FOUND, "not_found", "there is no such path", None) })
        .method_not_allowed_fallback(|| async {
            let message = "this path takes another method";
            answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, None)
        })
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .with_state(api)
}

async fn snapshot(State(api): State<Api>) -> Response<Body> {
    answer::json(StatusCode::OK, &api.handle.snapshot())
}

async fn history(State(api): State<Api>, request: Request) -> Response<Body> {
    let mut limit = DEFAULT_LIMIT;
    let mut before = None;
    for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "limit" => match value.parse() {
                Ok(count @ 1..=LARGEST_LIMIT) => limit = count,
                _ => return bad_request("limit", "`limit` must be a number from 1 to 1000"),
            },
            "before" if !value.is_empty() && value.len() <= LONGEST_ID => before = Some(value.into_owned()),
            "before" => return bad_request("before", "`before` must be the id of a record"),
            // A newer dashboard may send parameters that this version does not know.
            _ => {}
        }
    }
    let records = api.handle.history().page(before.as_deref(), limit);
    answer::json(StatusCode::OK, &HistoryPage { schema: SCHEMA, records })
}

async fn detail(State(api): State<Api>, id: Result<Path<String>, PathRejection>) -> Response<Body> {
    // No record has an id that is not UTF-8, so it is unknown.
    let id = id.ok().map(|Path(id)| id).filter(|id| id.len() <= LONGEST_ID);
    let found = match id {
        Some(id) => api.handle.history().detail(&id, Instant::now() + DISK_PATIENCE).await,
        None => Ok(None),
    };
    let Ok(detail) = found else {
        let hint = Some("the list of syncs needs no disk and is complete; try again when the disk answers");
        let message = "the volume did not answer in time; the details of a sync are stored only there";
        return answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "history_busy", message, hint);
    };
    let Some(detail) = detail else {
        let hint = Some("the history is bounded; it may have been dropped (--history-limit)");
        return answer::refusal(StatusCode::NOT_FOUND, "unknown_sync", "there is no record with this id", hint);
    };
    answer::json(StatusCode::OK, &detail)
}

async fn commit(State(api): State<Api>, hash: Result<Path<String>, PathRejection>) -> Response<Body> {
    // A name that is not UTF-8 is no hash either.
    let hash = hash.map(|Path(hash)| hash).unwrap_or_default();
    match api.handle.commit(&hash).await {
        Ok(status) => answer::json(StatusCode::OK, &status),
        Err(refusal) if refusal.code == "bad_commit" => answer::json(StatusCode::BAD_REQUEST, &refusal),
        Err(refusal) => answer::json(StatusCode::CONFLICT, &refusal),
    }
}

async fn events(State(api): State<Api>) -> Response<Body> {
    api.streams.open(api.handle)
}

async fn sync(State(api): State<Api>, request: Request) -> Response<Body> {
    api.without_body(request, Command::Sync).await
}

async fn resume(State(api): State<Api>, request: Request) -> Response<Body> {
    api.without_body(request, Command::Resume).await
}

async fn unpin(State(api): State<Api>, request: Request) -> Response<Body> {
    api.without_body(request, Command::Unpin).await
}

async fn pause(State(api): State<Api>, request: Request) -> Response<Body> {
    let PauseRequest { minutes, by } = match api.read(request).await {
        Ok(pause) => pause,
        Err(refused) => return refused,
    };
    if !(1..=LONGEST_PAUSE_MINUTES).contains(&minutes) {
        return bad_request("minutes", "`minutes` must be from 1 to 10080 (a week)");
    }
    api.command(Command::Pause { minutes }, by).await
}

async fn pin(State(api): State<Api>, request: Request) -> Response<Body> {
    let PinRequest { commit, by } = match api.read(request).await {
        Ok(pin) => pin,
        Err(refused) => return refused,
    };
    if !crate::hash::is_prefix(&commit, 4) {
        return bad_request("commit", "`commit` must be 4 to 40 hexadecimal digits");
    }
    // Hashes are compared as text, and git prints them in lower case.
    api.command(Command::Pin { commit: commit.to_ascii_lowercase() }, by).await
}

fn bad_request(code: &str, message: &str) -> Refused {
    answer::refusal(StatusCode::BAD_REQUEST, code, message, None)
}

impl Api {
    /// Carries out a change that needs no parameters. The body may be empty; else it is an object.
    async fn without_body(&self, request: Request, command: Command) -> Response<Body> {
        let bytes = match self.body(request).await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
        let by = if bytes.is_empty() {
            None
        } else {
            match object::<ChangeRequest>(&bytes) {
                Ok(change) => change.by,
                Err(error) => return unreadable(&error),
            }
        };
        self.command(command, by).await
    }

    async fn read<T: DeserializeOwned>(&self, request: Request) -> Result<T, Refused> {
        object(&self.body(request).await?).map_err(|error| unreadable(&error))
    }

    async fn body(&self, request: Request) -> Result<bytes::Bytes, Refused> {
        let body = Limited::new(request.into_body(), LARGEST_BODY);
        match timeout(self.body_timeout, body.collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let message = "the body is larger than 4096 bytes";
                Err(answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, None))
            }
            Ok(Err(_broken)) => Err(bad_request("bad_request", "the body did not arrive whole")),
            Err(_elapsed) => {
                Err(answer::refusal(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long", None))
            }
        }
    }

    async fn command(&self, command: Command, by: Option<String>) -> Response<Body> {
        let hint = "the change may still be carried out; check the state before trying again";
        // The loop may wait for a disk. A command that it has received cannot be taken back, which the hint says.
        match timeout(PATIENCE, self.handle.command(command, by)).await {
            Ok(Ok(accepted)) => answer::json(StatusCode::ACCEPTED, &accepted),
            Ok(Err(refusal)) => answer::json(status_of(&refusal), &refusal),
            Err(_elapsed) => {
                let message = "the sync loop did not answer within 10 s";
                answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", message, Some(hint))
            }
        }
    }
}

/// Parses a body that must be an object; serde would also accept an array with the fields in order.
fn object<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)?;
    serde_json::from_value(serde_json::Value::Object(fields))
}

/// 409 if the state of the replica forbids the change, 503 if the process is stopping.
fn status_of(refusal: &Refusal) -> StatusCode {
    if refusal.code == "stopping" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT }
}

fn unreadable(error: &serde_json::Error) -> Refused {
    bad_request("bad_request", &format!("the body is invalid: {error}"))
}
