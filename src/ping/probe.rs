//! Additional probes of a port that gave no usable response: whether it uses TLS, plain HTTP, or the PROXY protocol.
//!
//! Each is one small connection with a short timeout, and only the kind of response is used. Never through a proxy,
//! because a proxy's response says nothing about the port.

use std::time::Duration;

use reqwest::{Client, Method, Url, redirect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::names;

const PATIENCE: Duration = Duration::from_secs(3);

/// The protocol that a port uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Tls,
    PlainHttp,
    ProxyProtocol,
}

/// Determines the protocol of a port that did not respond to its URL's scheme. Returns `None` if none of the three
/// works.
pub(super) async fn detect_protocol(url: &Url) -> Option<Spoken> {
    if url.scheme() == "https" {
        return answers(url, "http").await.then_some(Spoken::PlainHttp);
    }
    if answers(url, "https").await {
        return Some(Spoken::Tls);
    }
    takes_proxy_protocol(url).await.then_some(Spoken::ProxyProtocol)
}

/// Returns true if the same host and port responds at all with another scheme.
async fn answers(url: &Url, scheme: &str) -> bool {
    let mut other = url.clone();
    // Keep the port, because a new scheme would change a default port.
    let port = url.port_or_known_default();
    if other.set_scheme(scheme).is_err() || other.set_port(port).is_err() {
        return false;
    }
    let _ = (other.set_username(""), other.set_password(None));
    other.set_path("/");
    other.set_query(None);
    let client = Client::builder()
        .timeout(PATIENCE)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .dns_resolver(names::System)
        // Only the protocol matters, and nothing secret is sent.
        .tls_danger_accept_invalid_certs(true)
        .build();
    let Ok(client) = client else { return false };
    client.request(Method::HEAD, other).send().await.is_ok()
}

/// Returns true if the port responds with HTTP after a PROXY protocol header (version 1, section 2.1).
async fn takes_proxy_protocol(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    let exchange = async {
        let addresses = names::addresses(host.trim_matches(['[', ']']), port).await?;
        let mut stream = TcpStream::connect(&*addresses).await?;
        let request = format!("PROXY UNKNOWN\r\nHEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await?;
        // A server that does not know the protocol responds with 400.
        Ok::<_, std::io::Error>(start.starts_with(b"HTTP/1.") && !start.ends_with(b"400"))
    };
    matches!(timeout(PATIENCE, exchange).await, Ok(Ok(true)))
}
