//! The crate's own HTTP client, for plain http without a proxy.
//!
//! The library's client reads all certificates of the system when it is created, even if it needs none: that takes ten
//! milliseconds of a start, in which a small first clone takes forty. It must not know of git. Like the other client
//! it follows no redirects.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::USER_AGENT;
use hyper::{Method, Request, Response, http};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use url::Url;

use crate::git::http::resolver::Resolver;
use crate::git::http::transport_error::TransportError;
use crate::git::http::{client, timeouts};

/// The library's values: the system notices a peer that is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Longer than the default poll period, so that the connection is still there for the next poll.
const LONGEST_IDLE: Duration = Duration::from_secs(90);

pub(crate) struct PlainClient {
    client: legacy::Client<HttpConnector<Resolver>, Full<Bytes>>,
    read_timeout: Duration,
}

/// A response whose body is still arriving.
pub(crate) struct PlainResponse {
    pub head: http::response::Parts,
    body: Incoming,
    read_timeout: Duration,
}

impl PlainClient {
    pub(crate) fn new(whole: Duration) -> Self {
        // The resolver has a limit of its own, which is shorter than this one.
        let mut connector = HttpConnector::new_with_resolver(Resolver::new());
        // Otherwise a small write may wait for the acknowledgment of the one before it (tcp(7), `TCP_NODELAY`).
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeouts::connect(whole)));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE));
        connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        // Ends a connection whose peer has vanished while sent data is not acknowledged, when no keepalive is sent
        // (tcp(7)).
        connector.set_tcp_user_timeout(Some(LONGEST_UNACKNOWLEDGED));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(LONGEST_IDLE)
            .pool_max_idle_per_host(client::IDLE)
            .build(connector);
        Self { client, read_timeout: whole }
    }

    /// Starts building a request. The address is escaped as by the other client.
    pub(crate) fn request(method: Method, url: &str) -> http::request::Builder {
        let url = Url::parse(url).map_or_else(|_| url.to_owned(), Into::into);
        Request::builder().method(method).uri(url).header(USER_AGENT, client::USER_AGENT)
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<PlainResponse, TransportError> {
        let response =
            timeout(self.read_timeout, self.client.request(request)).await.map_err(|_| TransportError::timed_out())?;
        let (head, body) = response.map_err(|error| TransportError::from_request(&error)).map(Response::into_parts)?;
        Ok(PlainResponse { head, body, read_timeout: self.read_timeout })
    }
}

impl PlainResponse {
    /// Returns the next part of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            let frame = timeout(self.read_timeout, self.body.frame()).await.map_err(|_| TransportError::timed_out())?;
            let Some(frame) = frame.transpose().map_err(|error| TransportError::from_body(&error))? else {
                return Ok(None);
            };
            // Frames without data are trailers, which are not needed.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SILENCE: Duration = Duration::from_millis(300);

    /// Sends a request to a server that answers with these bytes and then stays silent.
    async fn asked(says: &'static str) -> Result<(u16, Vec<u8>, String), TransportError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a b?c=%20", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = peer.read(&mut request).await.unwrap();
            peer.write_all(says.as_bytes()).await.unwrap();
            request.truncate(length);
            (peer, String::from_utf8(request).unwrap())
        });
        let request = PlainClient::request(Method::GET, &url).body(Full::default()).unwrap();
        let mut answer = PlainClient::new(SILENCE).send(request).await?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            body.extend_from_slice(&part);
        }
        Ok((answer.head.status.as_u16(), body, served.await.unwrap().1))
    }

    #[tokio::test]
    async fn a_response_is_complete_and_its_trailers_are_skipped() {
        let says = "HTTP/1.1 418 T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
        let (status, body, request) = asked(says).await.unwrap();
        assert_eq!((status, body.as_slice()), (418, &b"abc"[..]));
        assert!(request.starts_with("GET /a%20b?c=%20 HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("\r\nhost: 127.0.0.1:") && request.contains("pushsync"), "{request}");
    }

    #[tokio::test]
    async fn silence_garbage_and_a_closed_port_are_distinguished() {
        for says in ["", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"] {
            let error = asked(says).await.expect_err("it says no more");
            assert!(error.timeout && !error.is_retryable(), "{error:?}");
        }
        let error = asked("SSH-2.0-OpenSSH_9.9\r\n").await.expect_err("no HTTP");
        assert!(!error.timeout && !error.connect && error.source.to_string().contains("invalid HTTP"), "{error:?}");
        let closed_port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let request =
            PlainClient::request(Method::GET, &format!("http://{closed_port}/")).body(Full::default()).unwrap();
        let error = PlainClient::new(SILENCE).send(request).await.err().expect("the port is closed");
        assert!(error.connect && !error.is_retryable() && error.source.to_string().contains("refused"), "{error:?}");
    }
}
