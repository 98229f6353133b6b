//! The client of the admin API: a few requests, each with a deadline and a limit for the response.
//!
//! It knows paths and headers, not links or screens. No response can make it use much memory.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use url::Url;

use crate::api::{
    Accepted, CHANGE_HEADER, ChangeRequest, CommitStatus, HistoryPage, PauseRequest, PinRequest, Record, Refusal,
    Snapshot, SyncDetail,
};

use crate::proxy::Proxies;

use super::message::Change;
use super::model::Problem;
use super::person;

/// Records asked for at a time; a server may give fewer.
const PAGE: usize = 500;
/// A page of 500 records with long messages fits.
const MAX_BODY: usize = 16 << 20;
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);
/// For a whole response. The largest page takes this long at 280 KiB a second, which every port-forward carries.
const WHOLE: Duration = Duration::from_secs(60);

/// Requests to one replica.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client,
    token: Option<Token>,
    /// The user who requests changes.
    by: Option<String>,
}

/// The bearer token for an admin listener that is not loopback. Never shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes the text of a token file.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The reason why a request has no good response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No HTTP response: no server listens there, or only for a moment.
    #[error("nothing answers: {0}")]
    Silent(String),
    #[error("no answer within {} s", ANSWER.as_secs())]
    Late,
    #[error("it answered {0}")]
    Status(StatusCode, Option<Refusal>),
    #[error("its answer is larger than {} MiB", MAX_BODY >> 20)]
    TooLarge,
    #[error("its answer cannot be understood: {0}")]
    Strange(String),
}

impl Http {
    /// A client for addresses such as `base`.
    ///
    /// # Errors
    /// Says in words why there is none: the TLS library cannot be set up, or the proxy cannot be used.
    pub(crate) fn new(base: &Url, token: Option<Token>) -> Result<Self, String> {
        let builder = Client::builder()
            .connect_timeout(CONNECT)
            // The admin API does not redirect. Another server at this port must not send a change or the token
            // elsewhere.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("pushsync-dashboard/", env!("CARGO_PKG_VERSION")));
        // Loopback, and with it a forwarded port, is never reached through the laptop's proxy.
        let builder = Proxies::of_environment().apply(builder, base)?;
        let client = builder.build().map_err(|error| format!("TLS cannot be set up: {error}"))?;
        Ok(Self { client, token, by: Some(person::label()) })
    }

    /// Opens the event stream. The answer is read by the caller, chunk by chunk.
    ///
    /// # Errors
    /// Any [`Failure`] before the first byte of the stream.
    pub(crate) async fn events(&self, base: &Url) -> Result<Response, Failure> {
        let request = self.client.get(at(base, "api/v1/events")).header("accept", "text/event-stream");
        self.send(request).await
    }

    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn snapshot(&self, base: &Url) -> Result<Snapshot, Failure> {
        self.read(self.client.get(at(base, "api/v1/snapshot"))).await
    }

    /// The records before `before`, newest first.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn history(&self, base: &Url, before: Option<&str>) -> Result<Vec<Record>, Failure> {
        let mut url = at(base, "api/v1/history");
        url.query_pairs_mut().append_pair("limit", &PAGE.to_string());
        if let Some(before) = before {
            url.query_pairs_mut().append_pair("before", before);
        }
        let page: HistoryPage = self.read(self.client.get(url)).await?;
        Ok(page.records)
    }

    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn detail(&self, base: &Url, id: &str) -> Result<SyncDetail, Failure> {
        let mut url = at(base, "api/v1/syncs");
        if let Ok(mut path) = url.path_segments_mut() {
            // The id comes from a replica. As a single path segment it cannot lead to another resource.
            path.push(id);
        }
        self.read(self.client.get(url)).await
    }

    /// Asks whether a commit is live on the replica.
    ///
    /// # Errors
    /// Any [`Failure`]; 404 from a sidecar of an older release.
    pub(crate) async fn commit(&self, base: &Url, commit: &str) -> Result<CommitStatus, Failure> {
        let mut url = at(base, "api/v1/commits");
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(commit);
        }
        self.read(self.client.get(url)).await
    }

    /// Requests a change. The header shows the server that no web page sent it.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn change(&self, base: &Url, change: &Change) -> Result<Accepted, Failure> {
        let strange = |error: serde_json::Error| Failure::Strange(error.to_string());
        let by = self.by.clone();
        let plain = |by: Option<String>| serde_json::to_value(ChangeRequest { by }).map_err(strange);
        let (path, body) = match change {
            Change::Sync => ("api/v1/sync", plain(by)?),
            Change::Pause { minutes } => {
                ("api/v1/pause", serde_json::to_value(PauseRequest { minutes: *minutes, by }).map_err(strange)?)
            }
            Change::Resume => ("api/v1/resume", plain(by)?),
            Change::Pin { commit } => {
                ("api/v1/pin", serde_json::to_value(PinRequest { commit: commit.clone(), by }).map_err(strange)?)
            }
            Change::Unpin => ("api/v1/unpin", plain(by)?),
        };
        // A page in a browser cannot send this header or a JSON body to another origin without a CORS preflight, which
        // the server does not allow. So a page cannot change replicas through a forwarded port.
        let request = self.client.post(at(base, path)).header(CHANGE_HEADER, "1");
        self.read(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(Token(token)) => request.bearer_auth(token),
            None => request,
        };
        let response = match tokio::time::timeout(ANSWER, request.send()).await {
            Err(_) => return Err(Failure::Late),
            Ok(Err(error)) if error.is_timeout() => return Err(Failure::Late),
            Ok(Err(error)) => return Err(Failure::Silent(innermost(&error))),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // Without a body that can be read, the status is the answer.
        let refusal = body(response, WHOLE).await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Err(Failure::Status(status, refusal))
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let bytes = body(self.send(request).await?, WHOLE).await?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::Strange(error.to_string()))
    }
}

async fn body(mut response: Response, whole: Duration) -> Result<Vec<u8>, Failure> {
    let read = async {
        let mut bytes = Vec::new();
        loop {
            let chunk = tokio::time::timeout(ANSWER, response.chunk()).await.map_err(|_| Failure::Late)?;
            match chunk.map_err(|error| Failure::Silent(innermost(&error)))? {
                None => return Ok(bytes),
                // Checked at each chunk, because a Content-Length may be missing or wrong.
                Some(chunk) if bytes.len() + chunk.len() > MAX_BODY => return Err(Failure::TooLarge),
                Some(chunk) => bytes.extend_from_slice(&chunk),
            }
        }
    };
    // The time for one chunk alone would let a server that sends a byte every nine seconds hold the request for years.
    tokio::time::timeout(whole, read).await.map_err(|_| Failure::Late)?
}

/// Appends a path to the base, which may have a path itself (an ingress).
fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

/// Returns the last cause: "connection refused" is more helpful than "error sending request".
#[must_use]
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

impl Failure {
    /// For the screen.
    #[must_use]
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Status(StatusCode::UNAUTHORIZED, _) => Problem::new("the replica requires a token")
                .hint("give the sidecar's --admin-token-file to this dashboard as --token-file")
                .word("no token"),
            Self::Status(StatusCode::FORBIDDEN, refusal) => {
                let problem = Problem::new(match refusal {
                    Some(refusal) => refusal.message.clone(),
                    None => "the replica refused the request (403)".to_owned(),
                });
                match refusal.as_ref().and_then(|refusal| refusal.hint.clone()) {
                    Some(hint) => problem.hint(hint).word("forbidden"),
                    None => problem.word("forbidden"),
                }
            }
            Self::Status(StatusCode::NOT_FOUND, _) => Problem::new("there is no pushsync admin API at this address")
                .hint("is it the admin port (--admin-bind, 9180 by default), and the sidecar of this release?"),
            Self::Silent(_) | Self::Late | Self::Status(..) | Self::TooLarge | Self::Strange(_) => {
                Problem::new(self.to_string())
            }
        }
    }

    /// As the answer to a change.
    #[must_use]
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Status(_, Some(refusal)) => refusal,
            other => {
                let problem = other.problem();
                Refusal { code: "unreachable".to_owned(), message: problem.reason, hint: problem.hint }
            }
        }
    }

    /// Returns true if another server, or none, listens on this port.
    #[must_use]
    pub(crate) fn wrong_port(&self) -> bool {
        // Our API answers an unknown path with a refusal as JSON. A 404 without one comes from another program.
        matches!(self, Self::Silent(_) | Self::Status(StatusCode::NOT_FOUND, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_below_the_base_and_ids_cannot_leave_it() {
        let base = Url::parse("http://127.0.0.1:9180/pod-a/?x=1").expect("a url");
        assert_eq!(at(&base, "api/v1/events").as_str(), "http://127.0.0.1:9180/pod-a/api/v1/events");
        let mut url = at(&base, "api/v1/syncs");
        url.path_segments_mut().expect("a base").push("../../x?y");
        assert_eq!(url.path(), "/pod-a/api/v1/syncs/..%2F..%2Fx%3Fy");
    }

    #[test]
    fn a_token_is_trimmed_and_never_shown() {
        let token = Token::new(" abc\n");
        assert_eq!(token.0, "abc");
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
    /// A byte for each time the client waits, without an end: each chunk is in time, and the response never is.
    #[tokio::test]
    async fn a_response_that_drips_without_an_end_is_late() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut stream, _) = listener.accept().await.expect("a client");
            // A response before its request is an error to the client.
            assert!(stream.read(&mut [0; 4096]).await.expect("a request") > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.expect("sent");
            while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let response = reqwest::get(url).await.expect("a head");
        assert!(matches!(body(response, Duration::from_millis(100)).await, Err(Failure::Late)));
        // The connection is closed with the response, so the server ends by itself.
        server.await.expect("the server ends");
    }
}
