//! Our own connections for plain http without a proxy.
//!
//! The library's client reads every certificate of the system when it is made, also if none is needed: ten milliseconds of a
//! start, of which a small first clone has forty. It must not know of git; like the other client it follows nobody elsewhere,
//! since it follows nobody.

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

/// As the other client has it: a peer that is gone is noticed by the system.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Two polls of the usual period: the connection is still there for the next.
const LONGEST_IDLE: Duration = Duration::from_secs(90);

pub(crate) struct Plain {
    client: legacy::Client<HttpConnector<Resolver>, Full<Bytes>>,
    silence: Duration,
}

/// An answer as it comes in.
pub(crate) struct Answer {
    pub head: http::response::Parts,
    body: Incoming,
    silence: Duration,
}

impl Plain {
    pub(crate) fn new(whole: Duration) -> Self {
        // The resolver has an end of its own, which comes before that of the silence.
        let mut connector = HttpConnector::new_with_resolver(Resolver::new());
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeouts::connect(whole)));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE));
        connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        connector.set_tcp_user_timeout(Some(LONGEST_UNACKNOWLEDGED));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(LONGEST_IDLE)
            .pool_max_idle_per_host(client::IDLE)
            .build(connector);
        Self { client, silence: whole }
    }

    /// Begins a request, to be completed. What the address holds is escaped as the other client does it.
    pub(crate) fn request(method: Method, url: &str) -> http::request::Builder {
        let url = Url::parse(url).map_or_else(|_| url.to_owned(), Into::into);
        Request::builder().method(method).uri(url).header(USER_AGENT, client::USER_AGENT)
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, TransportError> {
        let response = timeout(self.silence, self.client.request(request)).await.map_err(|_| TransportError::late())?;
        let (head, body) = response.map_err(|error| TransportError::of_request(&error)).map(Response::into_parts)?;
        Ok(Answer { head, body, silence: self.silence })
    }
}

impl Answer {
    /// The next part of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            let frame = timeout(self.silence, self.body.frame()).await.map_err(|_| TransportError::late())?;
            let Some(frame) = frame.transpose().map_err(|error| TransportError::of_body(&error))? else {
                return Ok(None);
            };
            // What is no data is a trailer, which says nothing to us.
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

    /// Asks a server that says this to whatever it is asked, and then nothing more.
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
        let request = Plain::request(Method::GET, &url).body(Full::default()).unwrap();
        let mut answer = Plain::new(SILENCE).send(request).await?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            body.extend_from_slice(&part);
        }
        Ok((answer.head.status.as_u16(), body, served.await.unwrap().1))
    }

    #[tokio::test]
    async fn an_answer_comes_whole_and_its_trailers_are_passed_over() {
        let says = "HTTP/1.1 418 T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
        let (status, body, request) = asked(says).await.unwrap();
        assert_eq!((status, body.as_slice()), (418, &b"abc"[..]));
        assert!(request.starts_with("GET /a%20b?c=%20 HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("\r\nhost: 127.0.0.1:") && request.contains("pushsync"), "{request}");
    }

    #[tokio::test]
    async fn silence_garbage_and_nobody_are_told_apart() {
        for says in ["", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"] {
            let fault = asked(says).await.expect_err("it says no more");
            assert!(fault.timeout && !fault.may_go_again(), "{fault:?}");
        }
        let fault = asked("SSH-2.0-OpenSSH_9.9\r\n").await.expect_err("no HTTP");
        assert!(!fault.timeout && !fault.connect && fault.source.to_string().contains("invalid HTTP"), "{fault:?}");
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let request = Plain::request(Method::GET, &format!("http://{nobody}/")).body(Full::default()).unwrap();
        let fault = Plain::new(SILENCE).send(request).await.err().expect("nobody listens");
        assert!(fault.connect && !fault.may_go_again() && fault.source.to_string().contains("refused"), "{fault:?}");
    }
}
