//! One interface over both HTTP clients: the crate's own for plain http, the library's for TLS or a proxy.
//!
//! It must not know of git or of what a status means.

use bytes::Bytes;
use http_body_util::Full;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, StatusCode};

use crate::git::error::Cause;
use crate::git::http::plain;
use crate::git::http::plain::PlainClient;
use crate::git::http::transport_error::TransportError;

pub(crate) enum HttpClient {
    Plain(PlainClient),
    Library(Client),
}

/// A response whose body is still arriving.
pub(crate) enum HttpResponse {
    Plain(plain::PlainResponse),
    Library(Response),
}

impl HttpClient {
    /// Sends a request; a body makes it a POST.
    pub(crate) async fn send(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<HttpResponse, TransportError> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        match self {
            Self::Plain(plain) => {
                let mut request = PlainClient::request(method, url)
                    .body(Full::new(body.unwrap_or_default()))
                    .map_err(|error| TransportError::from_address(Cause::new(&error.to_string())))?;
                request.headers_mut().extend(headers);
                plain.send(request).await.map(HttpResponse::Plain)
            }
            Self::Library(client) => {
                let mut request = client.request(method, url).headers(headers);
                if let Some(body) = body {
                    request = request.body(body);
                }
                request.send().await.map(HttpResponse::Library).map_err(|error| TransportError::from(&error))
            }
        }
    }
}

impl HttpResponse {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Plain(answer) => answer.head.status,
            Self::Library(response) => response.status(),
        }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Plain(answer) => &answer.head.headers,
            Self::Library(response) => response.headers(),
        }
    }

    /// Returns the next part of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        match self {
            Self::Plain(answer) => answer.chunk().await,
            Self::Library(response) => response.chunk().await.map_err(|error| TransportError::from(&error)),
        }
    }
}
