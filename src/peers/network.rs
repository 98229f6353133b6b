//! The network access of peers: name resolution and a small POST over a plain connection.
//!
//! A trait, so that tests can simulate a fleet of a thousand replicas. It must not know what is sent, nor what a
//! response means.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::message::SIGNATURE;
use crate::names;

/// How much of a response body is read. The server at a peer's address may not be a pushsync.
const LONGEST_ANSWER: usize = 4 * 1024;
/// The smallest buffer for a response head that hyper accepts.
const LONGEST_HEAD: usize = 8 * 1024;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Post {
    /// The `Host` header.
    pub host: String,
    pub path: String,
    /// The value of the signature header.
    pub seal: String,
    pub body: Vec<u8>,
}

/// The response to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAnswer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Name resolution and connections. The caller applies time limits.
pub trait Network: Send + Sync {
    /// Returns every current address of a name. The error kind is `NotFound` only if the name does not exist.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Returns true if packets to this address do not leave the machine (the pod).
    fn is_local(&self, ip: IpAddr) -> bool;

    /// Sends a message and returns the response.
    fn post(&self, to: SocketAddr, post: Post) -> BoxFuture<'_, io::Result<PeerAnswer>>;

    /// The same, with the response's `Date` header if there is one.
    fn post_dated(&self, to: SocketAddr, post: Post) -> BoxFuture<'_, io::Result<(PeerAnswer, Option<String>)>> {
        Box::pin(async move { Ok((self.post(to, post).await?, None)) })
    }
}

/// The system's resolver and TCP. No proxy, redirect or TLS: the peers are inside the cluster, and messages are
/// signed and contain no secret.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Network for Tcp {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            match names::addresses(host, port).await {
                Ok(addresses) => Ok(addresses),
                Err(error) if is_denial(&error) => Err(io::Error::new(io::ErrorKind::NotFound, error)),
                Err(error) => Err(error),
            }
        })
    }

    /// Connecting a UDP socket sends nothing, but makes the kernel choose the source address. For a local destination
    /// that is the destination itself. (Listing the interfaces would take unsafe code.)
    fn is_local(&self, ip: IpAddr) -> bool {
        let any: IpAddr = match ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let chosen = UdpSocket::bind((any, 0)).and_then(|socket| {
            // Any port except 0.
            socket.connect((ip, 9))?;
            socket.local_addr()
        });
        chosen.is_ok_and(|chosen| chosen.ip() == ip)
    }

    fn post(&self, to: SocketAddr, post: Post) -> BoxFuture<'_, io::Result<PeerAnswer>> {
        Box::pin(async move { Ok(self.post_dated(to, post).await?.0) })
    }

    fn post_dated(&self, to: SocketAddr, post: Post) -> BoxFuture<'_, io::Result<(PeerAnswer, Option<String>)>> {
        Box::pin(async move {
            let stream = TcpStream::connect(to).await?;
            let _ = stream.set_nodelay(true);
            let (mut sender, connection) = http1::Builder::new()
                .max_buf_size(LONGEST_HEAD)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
            let request = Request::post(post.path)
                .header(HOST, post.host)
                .header(CONNECTION, "close")
                .header(CONTENT_TYPE, "application/json")
                .header(USER_AGENT, concat!("pushsync/", env!("CARGO_PKG_VERSION")))
                .header(SIGNATURE, post.seal)
                .body(Full::new(Bytes::from(post.body)))
                .map_err(io::Error::other)?;
            let exchange = async {
                let response = sender.send_request(request).await.map_err(io::Error::other)?;
                let status = response.status().as_u16();
                let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
                let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
                let body = body.map_err(io::Error::other)?.to_bytes().to_vec();
                Ok((PeerAnswer { status, body }, date))
            };
            tokio::pin!(exchange);
            tokio::select! {
                answer = &mut exchange => answer,
                // The other side has closed the connection, but its response may still be in the buffer.
                _ = connection => exchange.await,
            }
        })
    }
}

/// Returns true if the name does not exist or has no address (getaddrinfo(3), `EAI_NONAME` and `EAI_NODATA`). The
/// standard library only exposes the resolver's text, which the C library does not translate for a program that sets
/// no locale.
fn is_denial(error: &io::Error) -> bool {
    let words = error.to_string();
    [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "nodename nor servname",
    ]
    .iter()
    .any(|denial| words.contains(denial))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn own_addresses_are_recognized() {
        assert!(Tcp.is_local(Ipv4Addr::LOCALHOST.into()));
        // An address of the documentation network (RFC 5737), which no machine has.
        assert!(!Tcp.is_local(Ipv4Addr::new(192, 0, 2, 1).into()));
    }

    #[tokio::test]
    async fn a_name_resolves_and_a_bad_one_does_not() {
        let found = Tcp.resolve("localhost", 80).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        // The resolver rejects it without asking a name server.
        let error = Tcp.resolve("no such name", 80).await.expect_err("it has blanks");
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        let lost = io::Error::other("failed to lookup address information: Temporary failure in name resolution");
        assert!(!is_denial(&lost));
    }

    /// Answers one connection with these bytes and returns the request.
    async fn exchange(answer: &'static [u8]) -> (io::Result<PeerAnswer>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let mut length = 0;
            while !asked[..length].ends_with(b"the body") {
                length += stream.read(&mut asked[length..]).await.unwrap();
            }
            asked.truncate(length);
            // A client that stops reading closes the connection.
            let _ = stream.write_all(answer).await;
            String::from_utf8(asked).unwrap()
        });
        let post = Post {
            host: "peers:8080".into(),
            path: "/webhook/peer".into(),
            seal: "t=1,v1=0".into(),
            body: b"the body".to_vec(),
        };
        (Tcp.post(to, post).await, serving.await.unwrap())
    }

    #[tokio::test]
    async fn a_message_is_one_plain_post() {
        let (answer, asked) = exchange(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(answer.unwrap(), PeerAnswer { status: 202, body: b"ok".to_vec() });
        assert!(asked.starts_with("POST /webhook/peer HTTP/1.1\r\n"), "{asked}");
        for line in ["host: peers:8080", "x-pushsync-signature: t=1,v1=0", "content-length: 8", "connection: close"] {
            assert!(asked.contains(&format!("\r\n{line}\r\n")), "{asked}");
        }
    }

    #[tokio::test]
    async fn invalid_and_endless_responses_are_errors() {
        let filler = "x".repeat(100_000);
        let long: &'static str = format!("HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n{filler}").leak();
        let endless: &'static str = format!("HTTP/1.1 202 Accepted\r\nX: {filler}").leak();
        let cut = "HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n";
        for answer in [long, endless, "SSH-2.0-OpenSSH\r\n", "", cut] {
            assert!(exchange(answer.as_bytes()).await.0.is_err());
        }
    }
}
