//! The HTTP client of the library, configured for one route: proxy, trusted certificates, no redirects.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Response, redirect};

use crate::git::error::Cause;
use crate::git::http::network::Route;
use crate::git::http::resolver::Resolver;
use crate::git::http::transport_error::library_cause;
use crate::git::http::{certificates, timeouts};
use crate::proxy::ProxyAddress;
use crate::worker;

/// The user agent. Some forges recognize git by its prefix and serve git's addresses only to git.
pub(crate) const USER_AGENT: &str = concat!("git/2.0 (pushsync ", env!("CARGO_PKG_VERSION"), ")");

/// Idle connections that are kept: one for listing refs, one for the speculative fetch beside it.
pub(crate) const IDLE: usize = 2;

/// Creates a client for https, or for other addresses only. Certificate files are read here, once.
pub(crate) fn build(route: &Route, https: bool, timeout: Duration) -> Result<Client, Cause> {
    builder(route, https, timeout, IDLE)?.build().map_err(|error| library_cause(&error))
}

/// Like [`build`], as a builder. The client keeps `idle` unused connections.
pub(crate) fn builder(route: &Route, https: bool, timeout: Duration, idle: usize) -> Result<ClientBuilder, Cause> {
    let mut client = Client::builder()
        .user_agent(USER_AGENT)
        // The callers follow redirects themselves, because only they know which address may see the credentials.
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(timeouts::connect(timeout))
        .read_timeout(timeout)
        // Its limit is below that for connecting, so that a silent name server is reported as such.
        .dns_resolver(Resolver::new())
        .pool_max_idle_per_host(idle)
        // The route has the proxy already; the environment must not choose another.
        .no_proxy();
    if let Some(address) = &route.proxy {
        client = client.proxy(address.for_client().map_err(|error| library_cause(&error))?);
    }
    let tls = https || route.proxy.as_ref().is_some_and(ProxyAddress::is_https);
    if !tls {
        // The library reads the system's certificates all the same, but frees them.
        client = client.tls_certs_only([]);
    } else if let Some(path) = &route.ca_file {
        let pem = std::fs::read(path).map_err(|error| Cause::new(&format!("{}: {error}", path.display())))?;
        client = client.tls_certs_only(bundle(&pem)?);
    } else if let Some(path) = &route.more_trusted {
        let pem = std::fs::read(path).map_err(|error| Cause::new(&format!("{}: {error}", path.display())))?;
        client = client.tls_certs_merge(bundle(&pem)?);
    }
    if !route.verify {
        client = client.tls_danger_accept_invalid_certs(true);
    }
    Ok(client)
}

/// Like [`build`], on a thread of its own: a disk that hangs must stop only the callers that need its certificates.
pub(crate) async fn build_on_thread(route: &Route, https: bool, timeout: Duration) -> Result<Client, Cause> {
    let route = route.clone();
    let built = worker::apart("client", move || build(&route, https, timeout)).await;
    built.unwrap_or_else(|lost| Err(Cause::new(&lost.to_string())))
}

fn bundle(pem: &[u8]) -> Result<Vec<Certificate>, Cause> {
    Certificate::from_pem_bundle(certificates::without_byte_order_mark(pem)).map_err(|error| library_cause(&error))
}

/// Returns the client in `kept`, creating it the first time.
pub(crate) async fn cached<'a>(
    kept: &'a OnceLock<Client>,
    route: &Route,
    https: bool,
    timeout: Duration,
) -> Result<&'a Client, Cause> {
    if kept.get().is_none() {
        // Another thread may have been first; both clients are the same.
        let _ = kept.set(build_on_thread(route, https, timeout).await?);
    }
    kept.get().ok_or_else(|| Cause::new("no HTTP client could be made"))
}

/// Reads a response of at most `most` bytes.
pub(crate) async fn read(response: &mut Response, most: usize) -> Result<Vec<u8>, Cause> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| library_cause(&error))? {
        // Counted as it arrives: a `Content-Length` may be missing or wrong.
        if body.len() + part.len() > most {
            return Err(Cause::new("the answer is longer than it may be"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
