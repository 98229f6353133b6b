//! An HTTP client for one way: its proxy, whom it trusts, and that it follows nobody elsewhere.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Response, redirect};

use crate::git::error::Cause;
use crate::git::http::network::Route;
use crate::git::http::resolver::Resolver;
use crate::git::http::transport_error::library;
use crate::git::http::{certificates, timeouts};
use crate::proxy::ProxyAddress;
use crate::worker;

/// Some forges give git's own address to git only, and know it by this word.
pub(crate) const USER_AGENT: &str = concat!("git/2.0 (pushsync ", env!("CARGO_PKG_VERSION"), ")");

/// A look, and beside it the fetch of what was announced.
pub(crate) const IDLE: usize = 2;

/// Makes a client for addresses over https, or for others only. Files with certificates are read here, and not again.
pub(crate) fn build(way: &Route, https: bool, timeout: Duration) -> Result<Client, Cause> {
    builder(way, https, timeout, IDLE)?.build().map_err(|error| library(&error))
}

/// The same, to be completed; it keeps so many connections that are not in use.
pub(crate) fn builder(way: &Route, https: bool, timeout: Duration, idle: usize) -> Result<ClientBuilder, Cause> {
    let mut client = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(timeouts::connect(timeout))
        .read_timeout(timeout)
        // Within the time for the connection, so that a name server that is silent is told as one.
        .dns_resolver(Resolver::new())
        .pool_max_idle_per_host(idle)
        // Ours was chosen already; the environment must not choose again.
        .no_proxy();
    if let Some(address) = &way.proxy {
        client = client.proxy(address.for_client().map_err(|error| library(&error))?);
    }
    let tls = https || way.proxy.as_ref().is_some_and(ProxyAddress::is_https);
    if !tls {
        // The library reads them all the same, but lets them go.
        client = client.tls_certs_only([]);
    } else if let Some(path) = &way.ca_file {
        let pem = std::fs::read(path).map_err(|error| Cause::new(&format!("{}: {error}", path.display())))?;
        client = client.tls_certs_only(bundle(&pem)?);
    } else if let Some(path) = &way.more_trusted {
        let pem = std::fs::read(path).map_err(|error| Cause::new(&format!("{}: {error}", path.display())))?;
        client = client.tls_certs_merge(bundle(&pem)?);
    }
    if !way.verify {
        client = client.tls_danger_accept_invalid_certs(true);
    }
    Ok(client)
}

/// The same, on a thread of its own: a disk with certificates that hangs must stop nothing but what needs them.
pub(crate) async fn build_apart(way: &Route, https: bool, timeout: Duration) -> Result<Client, Cause> {
    let way = way.clone();
    let built = worker::apart("client", move || build(&way, https, timeout)).await;
    built.unwrap_or_else(|lost| Err(Cause::new(&lost.to_string())))
}

fn bundle(pem: &[u8]) -> Result<Vec<Certificate>, Cause> {
    Certificate::from_pem_bundle(certificates::unmarked(pem)).map_err(|error| library(&error))
}

/// Makes it once.
pub(crate) async fn cached<'a>(
    kept: &'a OnceLock<Client>,
    way: &Route,
    https: bool,
    timeout: Duration,
) -> Result<&'a Client, Cause> {
    if kept.get().is_none() {
        // Another thread may have been first; either will do.
        let _ = kept.set(build_apart(way, https, timeout).await?);
    }
    kept.get().ok_or_else(|| Cause::new("no HTTP client could be made"))
}

/// Reads an answer of at most so many bytes.
pub(crate) async fn read(response: &mut Response, most: usize) -> Result<Vec<u8>, Cause> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| library(&error))? {
        if body.len() + part.len() > most {
            return Err(Cause::new("the answer is longer than it may be"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
