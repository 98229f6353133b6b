//! HTTP requests to an LFS endpoint and to the addresses that it returns: authentication, redirects, status codes.
//!
//! The endpoint gets credentials once it requires them, as a git remote does. An object's address gets the headers
//! that the endpoint returned for it, and no others; an address on the endpoint's own server without an authorization
//! header is treated like the endpoint. A redirect to another server carries no headers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::error::Retry;
use crate::git::auth::request_auth::RequestAuth;
use crate::git::error::{Cause, Error};
use crate::git::http::error_response::ErrorResponse;
use crate::git::http::origin::same_origin;
use crate::git::http::transport_error::{TransportError, into_remote_error};
use crate::git::http::{client, error_response, transport_error};
use crate::git::lfs::batch::{Download, MEDIA_TYPE, MalformedResponse, ObjectResponse};
use crate::git::lfs::private_addresses::Outside;
use crate::git::lfs::{batch, private_addresses};
use crate::git::remote::options::RemoteOptions;
use crate::lfs::Pointer;
use crate::worker;

const MOST_REDIRECTS: usize = 5;
/// How many objects are downloaded at once.
pub(crate) const AT_ONCE: usize = 8;
/// How long an object's server may be silent before the object is requested again.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);
/// The most bytes that are read of an error response.
const LONGEST_REFUSAL: usize = 16 * 1024;
/// Objects are in one or two places. A server that names hundreds does not get a connection pool for each.
const MOST_CLIENTS: usize = 8;

/// The HTTP clients for an endpoint and the servers of its objects, kept between fetches.
#[derive(Clone)]
pub(crate) struct EndpointClients {
    /// The address of the endpoint that they were created for.
    pub url: String,
    /// By origin, since each has a route of its own.
    clients: Arc<Mutex<HashMap<String, Client>>>,
    /// True once the endpoint required credentials.
    auth_required: Arc<AtomicBool>,
}

/// The endpoint and the authentication of requests.
pub(crate) struct EndpointSession<'a> {
    pub options: &'a RemoteOptions,
    pub auth: &'a RequestAuth,
    pub clients: &'a EndpointClients,
    pub api: Url,
}

/// The reason why an object could not be downloaded.
pub(crate) enum DownloadError {
    /// The connection broke, or the server has a problem. A retry may succeed, and resume.
    Temporary(Error),
    /// The address is not valid, or not any more. A new one may be.
    BadLink(Cause),
    /// The server cannot continue after the bytes that are there: start from the beginning.
    MustRestart(Cause),
    Permanent(Error),
}

impl EndpointClients {
    pub(crate) fn new(options: &RemoteOptions) -> Self {
        Self { url: options.url.bare().to_owned(), clients: Arc::default(), auth_required: Arc::default() }
    }
}

impl EndpointSession<'_> {
    pub(crate) fn remote(&self) -> String {
        self.options.url.to_string()
    }

    /// Returns the client for an address, with the configured proxy and certificates.
    async fn client(&self, url: &Url) -> Result<Client, Error> {
        let origin = url.origin().ascii_serialization();
        let clients = || self.clients.clients.lock();
        if let Some(client) = clients().get(&origin) {
            return Ok(client.clone());
        }
        let unusable = |source| Error::Network { remote: self.remote(), source };
        let (route, https, timeout) = (self.options.network.route(url), url.scheme() == "https", self.options.timeout);
        let is_outside = url.host() != self.api.host();
        // On a thread of its own and without the lock, since it reads certificates from a disk.
        let made = worker::apart("client", move || {
            // A stalled download resumes where it stopped, so it need not wait for all of `--sync-timeout`.
            let silence = timeout.min(LONGEST_SILENCE);
            let mut client = client::builder(&route, https, timeout, AT_ONCE)?.read_timeout(silence);
            if is_outside {
                // `private_addresses::judge` checks only numeric hosts. Names are checked when a connection resolves
                // them, so that a name cannot change its address between the check and the use.
                client = client.dns_resolver(Arc::new(Outside));
            }
            client.build().map_err(|error| transport_error::library_cause(&error))
        });
        let client = made.await.unwrap_or_else(|lost| Err(Cause::new(&lost.to_string()))).map_err(unusable)?;
        let mut clients = clients();
        if clients.len() >= MOST_CLIENTS {
            // Downloads that are running have clones of their own.
            clients.clear();
        }
        Ok(clients.entry(origin).or_insert(client).clone())
    }

    /// Requests the addresses of objects. `None`: the server refuses requests of this length.
    pub(crate) async fn batch(
        &self,
        pointers: &[Pointer],
        full_ref: Option<&str>,
        now: i64,
    ) -> Result<Option<Vec<ObjectResponse>>, Error> {
        let body = batch::request(pointers, full_ref);
        let mut url = Url::parse(&format!("{}/objects/batch", self.api.as_str().trim_end_matches('/')))
            .map_err(|_| self.no_server("its address is none"))?;
        for _ in 0..MOST_REDIRECTS {
            let client = self.client(&url).await?;
            let ask = || {
                let request = client.post(url.clone()).header(ACCEPT, MEDIA_TYPE);
                request.header(CONTENT_TYPE, MEDIA_TYPE).body(body.clone())
            };
            let mut response = self.send_authenticated(&url, ask).await?;
            let status = response.status();
            if status.is_success() {
                let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                if kind != MEDIA_TYPE && kind != "application/json" {
                    return Err(self.no_server("what answers there is no LFS server"));
                }
                let answer = client::read(&mut response, batch::LONGEST).await;
                let answer = answer.map_err(|source| Error::LfsAnswer { remote: self.remote(), source })?;
                let said = batch::read(&answer, pointers, &self.api, now);
                return said.map(Some).map_err(|MalformedResponse(what)| self.malformed(&what));
            }
            if status.is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let there = location.and_then(|to| url.join(to).ok());
                let there = there.and_then(|there| batch::link(there.as_str(), &url).ok());
                let there = there.filter(|there| same_origin(url.as_str(), there.as_str()));
                url = there.ok_or_else(|| self.no_server("it redirects to another server, which is not followed"))?;
                continue;
            }
            let headers = response.headers().clone();
            let words = client::read(&mut response, LONGEST_REFUSAL).await.unwrap_or_default();
            let words = if error_response::has_words(&headers) { words } else { message(&words).into_bytes() };
            let refusal = ErrorResponse::new(status, &headers, &words);
            let (remote, source) = (self.remote(), refusal.cause());
            return Err(match status {
                StatusCode::PAYLOAD_TOO_LARGE => return Ok(None),
                StatusCode::NOT_FOUND
                | StatusCode::GONE
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED => Error::NoLfs { remote, source },
                _ => refusal.error(remote).unwrap_or(Error::LfsAnswer { remote: self.remote(), source }),
            });
        }
        Err(self.no_server("it redirects without an end"))
    }

    /// Requests an object's bytes from `from` on. The flag is true if the response begins at `from`.
    pub(crate) async fn get(
        &self,
        download: &Download,
        pointer: &Pointer,
        from: u64,
    ) -> Result<(Response, bool), DownloadError> {
        let mut url = download.href.clone();
        let mut with_headers = true;
        for _ in 0..MOST_REDIRECTS {
            let inside = |inside: private_addresses::Inside| {
                let source = Cause::new(&inside.to_string());
                DownloadError::Permanent(Error::LfsAnswer { remote: self.remote(), source })
            };
            private_addresses::judge(&url, &self.api).map_err(inside)?;
            let client = self.client(&url).await.map_err(DownloadError::Permanent)?;
            let ask = || {
                let mut request = client.get(url.clone());
                if from > 0 {
                    request = request.header(RANGE, format!("bytes={from}-"));
                }
                // After a redirect to another server the headers are left out.
                for (name, value) in download.header.iter().filter(|_| with_headers) {
                    request = request.header(name.clone(), value.clone());
                }
                request
            };
            let home = with_headers && !download.has_authorization() && same_origin(self.api.as_str(), url.as_str());
            let response = if home { self.send_authenticated(&url, ask).await } else { self.exchange(ask()).await };
            let response = response.map_err(|error| match error.retry() {
                Retry::Soon => DownloadError::Temporary(error),
                Retry::NextPoll | Retry::After(_) => DownloadError::Permanent(error),
            })?;
            let status = response.status();
            if status.is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let there = location.and_then(|to| url.join(to).ok());
                let there = there.and_then(|there| batch::link(there.as_str(), &url).ok());
                let nowhere = || DownloadError::BadLink(Cause::new("a redirect that is not followed"));
                let there = there.ok_or_else(nowhere)?;
                with_headers &= same_origin(url.as_str(), there.as_str());
                url = there;
                continue;
            }
            return self.judge(response, pointer, from);
        }
        Err(DownloadError::BadLink(Cause::new("too many redirects")))
    }

    fn judge(&self, response: Response, pointer: &Pointer, from: u64) -> Result<(Response, bool), DownloadError> {
        let status = response.status();
        let refusal = ErrorResponse::new(status, response.headers(), b"");
        let words = || refusal.cause();
        match status {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
                let begins = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
                // Other bytes would be appended in the wrong place.
                if begins == Some(from) {
                    return Ok((response, true));
                }
                Err(DownloadError::MustRestart(Cause::new("it sent another range than was asked for")))
            }
            StatusCode::OK => {
                // The length is checked before any byte is read.
                match response.content_length() {
                    Some(length) if length != pointer.size => {
                        let what = format!("it has {length} bytes, and its pointer says {}", pointer.size);
                        Err(DownloadError::BadLink(Cause::new(&what)))
                    }
                    _ => Ok((response, from == 0)),
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Err(DownloadError::MustRestart(words())),
            // Object storage also gives these answers to a signed address that has expired.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(DownloadError::BadLink(words()))
            }
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                let error = refusal.error(self.remote()).unwrap_or_else(|| self.malformed("an unexpected status"));
                Err(match error.retry() {
                    Retry::Soon => DownloadError::Temporary(error),
                    Retry::NextPoll | Retry::After(_) => DownloadError::Permanent(error),
                })
            }
            _ => Err(DownloadError::Permanent(Error::LfsAnswer { remote: self.remote(), source: words() })),
        }
    }

    /// Sends a request to the endpoint's server, with the configured headers, and with credentials once it requires
    /// them.
    async fn send_authenticated(&self, url: &Url, ask: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        let mut shown = self.clients.auth_required.load(Ordering::Relaxed) && self.auth.login.is_some();
        loop {
            let mut request = ask();
            for (name, value) in self.auth.headers(url.as_str()) {
                // Headers were checked when they were configured; invalid ones are left out.
                if let Ok(mut value) = HeaderValue::from_bytes(value.expose()) {
                    value.set_sensitive(true);
                    request = request.header(name, value);
                }
            }
            if let (true, false, Some(login)) = (shown, self.auth.has_authorization(), &self.auth.login) {
                request = request.basic_auth(&login.user, login.password.expose_str());
            }
            let response = self.exchange(request).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let refusal = ErrorResponse::new(response.status(), response.headers(), b"");
            if self.auth.login.is_none() && !self.auth.has_authorization() {
                return Err(refusal.no_credentials(self.remote()));
            }
            if shown || self.auth.login.is_none() {
                self.clients.auth_required.store(false, Ordering::Relaxed);
                return Err(refusal.refused(self.remote(), ""));
            }
            shown = true;
            self.clients.auth_required.store(true, Ordering::Relaxed);
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response, Error> {
        let sent = request.try_clone();
        let mut outcome = request.send().await;
        // The server may have closed a kept connection meanwhile. Sending the request twice does no harm.
        if let (Err(error), Some(again)) = (&outcome, sent)
            && error.is_request()
            && !error.is_connect()
            && !error.is_timeout()
        {
            outcome = again.send().await;
        }
        let response = outcome.map_err(|error| self.broken(error))?;
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let proxy = self.options.route().proxy.map(|proxy| proxy.to_string()).unwrap_or_default();
            let source = ErrorResponse::new(response.status(), response.headers(), b"").cause();
            return Err(Error::Proxy { remote: self.remote(), proxy, source });
        }
        Ok(response)
    }

    /// Maps an error below HTTP. The address of an object often grants access to it, so it is not repeated.
    pub(crate) fn broken(&self, error: reqwest::Error) -> Error {
        into_remote_error(self.remote(), self.options.timeout, TransportError::from(&error.without_url()))
    }

    fn no_server(&self, why: &str) -> Error {
        Error::NoLfs { remote: self.remote(), source: Cause::new(why) }
    }

    pub(crate) fn malformed(&self, what: &str) -> Error {
        Error::LfsAnswer { remote: self.remote(), source: Cause::new(what) }
    }
}

/// Returns the message of an LFS server's error response.
fn message(answer: &[u8]) -> String {
    let answer: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    let message = answer.as_ref().and_then(|answer| answer.get("message")?.as_str());
    message.unwrap_or("it does not say why").to_owned()
}
