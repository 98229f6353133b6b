//! Builds the responses of all listeners.

use axum::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::api::Refusal;

/// A JSON document. `no-store` and `nosniff` keep caches and browsers from storing or reinterpreting it.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(bytes) => with_type(status, "application/json", bytes),
        Err(error) => {
            tracing::error!(%error, "a document could not be written as JSON");
            internal()
        }
    }
}

/// An error with a stable code.
pub(crate) fn refusal(
    status: StatusCode,
    code: &str,
    message: impl Into<String>,
    hint: Option<&str>,
) -> Response<Body> {
    let refusal = Refusal { code: code.to_owned(), message: message.into(), hint: hint.map(str::to_owned) };
    json(status, &refusal)
}

/// A line of text.
pub(crate) fn text(status: StatusCode, line: &'static str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", line)
}

/// An empty body with a status.
pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An internal error, without details.
pub(crate) fn internal() -> Response<Body> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
}

/// A body with its content type.
pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
