//! Which client a request goes by: our own for plain http, the library's where there is TLS or a proxy.
//!
//! It must not know of git, nor what a status means.

use bytes::Bytes;
use http_body_util::Full;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, StatusCode};

use super::super::Cause;
use super::super::fault::Fault;
use super::super::plain::{self, Plain};

pub(super) enum Wire {
    Plain(Plain),
    Library(Client),
}

/// An answer as it comes in.
pub(super) enum Answer {
    Plain(plain::Answer),
    Library(Response),
}

impl Wire {
    /// Sends a request; a body makes it a POST.
    pub(super) async fn send(&self, url: &str, headers: HeaderMap, body: Option<Bytes>) -> Result<Answer, Fault> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        match self {
            Self::Plain(plain) => {
                let mut request = Plain::request(method, url)
                    .body(Full::new(body.unwrap_or_default()))
                    .map_err(|error| Fault::of_address(Cause::new(&error.to_string())))?;
                request.headers_mut().extend(headers);
                plain.send(request).await.map(Answer::Plain)
            }
            Self::Library(client) => {
                let mut request = client.request(method, url).headers(headers);
                if let Some(body) = body {
                    request = request.body(body);
                }
                request.send().await.map(Answer::Library).map_err(|error| Fault::from(&error))
            }
        }
    }
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Plain(answer) => answer.head.status,
            Self::Library(response) => response.status(),
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Plain(answer) => &answer.head.headers,
            Self::Library(response) => response.headers(),
        }
    }

    /// The next part of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Plain(answer) => answer.chunk().await,
            Self::Library(response) => response.chunk().await.map_err(|error| Fault::from(&error)),
        }
    }
}
