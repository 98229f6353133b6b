//! Requests to an LFS server and to where it leads: who is let in, which redirects are followed, what a status means.
//!
//! The server's API is shown who we are, as a git remote is: once it asks. An object's address gets the headers that the
//! API gave for it and no others; only one on the API's own server, for which it gave no authorization, is treated as the API
//! is. A redirect to another server takes nothing along.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::error::Retry;
use crate::git::auth::request_auth::RequestAuth;
use crate::git::error::{Cause, Error};
use crate::git::http::error_response::ErrorResponse;
use crate::git::http::origin::same_origin;
use crate::git::http::transport_error::{TransportError, broken};
use crate::git::http::{client, error_response, transport_error};
use crate::git::lfs::batch::{Download, MEDIA_TYPE, Malformed, Said};
use crate::git::lfs::private_addresses::Outside;
use crate::git::lfs::{batch, private_addresses};
use crate::git::remote::options::RemoteOptions;
use crate::lfs::Pointer;
use crate::worker;

const MOST_REDIRECTS: usize = 5;
/// Objects that are on their way at once.
pub(crate) const AT_ONCE: usize = 8;
/// How long an object's server may say nothing before the object is asked for again.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);
/// What is read of an answer that tells of a failure.
const LONGEST_REFUSAL: usize = 16 * 1024;
/// Objects are in one or two places; a server that names hundreds does not get a pool of connections for each.
const MOST_CLIENTS: usize = 8;

/// The clients for a server's API and for wherever else its objects are, kept between fetches.
#[derive(Clone)]
pub(crate) struct Door {
    /// The address of the API that they were made for.
    pub url: String,
    /// By origin: the way to each is its own.
    clients: Arc<Mutex<HashMap<String, Client>>>,
    /// True since the server asked who we are.
    asked: Arc<AtomicBool>,
}

/// Whose requests they are.
pub(crate) struct Caller<'a> {
    pub options: &'a RemoteOptions,
    pub pass: &'a RequestAuth,
    pub door: &'a Door,
    pub api: Url,
}

/// Why an object did not come.
pub(crate) enum Trouble {
    /// The connection broke, or the server has a problem: it may come the next time, from where it broke off.
    Passing(Error),
    /// The address is not good (any more): a new one may be.
    Stale(Cause),
    /// What is there of it is of no use to the server: from the start.
    FromTheStart(Cause),
    Lasting(Error),
}

impl Door {
    pub(crate) fn new(options: &RemoteOptions) -> Self {
        Self { url: options.url.bare().to_owned(), clients: Arc::default(), asked: Arc::default() }
    }
}

impl Caller<'_> {
    pub(crate) fn remote(&self) -> String {
        self.options.url.to_string()
    }

    /// The client for an address, with the proxy and the certificates that are configured for it.
    async fn client(&self, url: &Url) -> Result<Client, Error> {
        let origin = url.origin().ascii_serialization();
        let clients = || self.door.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients().get(&origin) {
            return Ok(client.clone());
        }
        let unusable = |source| Error::Network { remote: self.remote(), source };
        let (way, https, timeout) = (self.options.network.route(url), url.scheme() == "https", self.options.timeout);
        let is_outside = url.host() != self.api.host();
        // On a thread of its own and without the lock: it reads certificates from a disk.
        let made = worker::apart("client", move || {
            // A transfer that stalls goes on where it ended, so it need not wait for all of `--sync-timeout`.
            let silence = timeout.min(LONGEST_SILENCE);
            let mut client = client::builder(&way, https, timeout, AT_ONCE)?.read_timeout(silence);
            if is_outside {
                client = client.dns_resolver(Arc::new(Outside));
            }
            client.build().map_err(|error| transport_error::library(&error))
        });
        let client = made.await.unwrap_or_else(|lost| Err(Cause::new(&lost.to_string()))).map_err(unusable)?;
        let mut clients = clients();
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        Ok(clients.entry(origin).or_insert(client).clone())
    }

    /// Asks how objects are had. `None`: the server takes no such long questions.
    pub(crate) async fn batch(
        &self,
        pointers: &[Pointer],
        full_ref: Option<&str>,
        now: i64,
    ) -> Result<Option<Vec<Said>>, Error> {
        let question = batch::question(pointers, full_ref);
        let mut url = Url::parse(&format!("{}/objects/batch", self.api.as_str().trim_end_matches('/')))
            .map_err(|_| self.no_server("its address is none"))?;
        for _ in 0..MOST_REDIRECTS {
            let client = self.client(&url).await?;
            let ask = || {
                let request = client.post(url.clone()).header(ACCEPT, MEDIA_TYPE);
                request.header(CONTENT_TYPE, MEDIA_TYPE).body(question.clone())
            };
            let mut response = self.let_in(&url, ask).await?;
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
                return said.map(Some).map_err(|Malformed(what)| self.malformed(&what));
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

    /// Asks for an object's bytes from `from` on. The answer is one that has them; true if it begins at `from`.
    pub(crate) async fn get(
        &self,
        download: &Download,
        pointer: &Pointer,
        from: u64,
    ) -> Result<(Response, bool), Trouble> {
        let mut url = download.href.clone();
        let mut with_headers = true;
        for _ in 0..MOST_REDIRECTS {
            let inside = |inside: private_addresses::Inside| {
                let source = Cause::new(&inside.to_string());
                Trouble::Lasting(Error::LfsAnswer { remote: self.remote(), source })
            };
            private_addresses::judge(&url, &self.api).map_err(inside)?;
            let client = self.client(&url).await.map_err(Trouble::Lasting)?;
            let ask = || {
                let mut request = client.get(url.clone());
                if from > 0 {
                    request = request.header(RANGE, format!("bytes={from}-"));
                }
                for (name, value) in download.header.iter().filter(|_| with_headers) {
                    request = request.header(name.clone(), value.clone());
                }
                request
            };
            let home = with_headers && !download.has_authorization() && same_origin(self.api.as_str(), url.as_str());
            let response = if home { self.let_in(&url, ask).await } else { self.exchange(ask()).await };
            let response = response.map_err(|error| match error.retry() {
                Retry::Soon => Trouble::Passing(error),
                Retry::NextPoll | Retry::After(_) => Trouble::Lasting(error),
            })?;
            let status = response.status();
            if status.is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let there = location.and_then(|to| url.join(to).ok());
                let there = there.and_then(|there| batch::link(there.as_str(), &url).ok());
                let nowhere = || Trouble::Stale(Cause::new("a redirect that is not followed"));
                let there = there.ok_or_else(nowhere)?;
                with_headers &= same_origin(url.as_str(), there.as_str());
                url = there;
                continue;
            }
            return self.judge(response, pointer, from);
        }
        Err(Trouble::Stale(Cause::new("too many redirects")))
    }

    fn judge(&self, response: Response, pointer: &Pointer, from: u64) -> Result<(Response, bool), Trouble> {
        let status = response.status();
        let refusal = ErrorResponse::new(status, response.headers(), b"");
        let words = || refusal.cause();
        match status {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
                let begins = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
                if begins == Some(from) {
                    return Ok((response, true));
                }
                Err(Trouble::FromTheStart(Cause::new("it sent another range than was asked for")))
            }
            StatusCode::OK => {
                // Known before a byte of it is read.
                match response.content_length() {
                    Some(length) if length != pointer.size => {
                        let what = format!("it has {length} bytes, and its pointer says {}", pointer.size);
                        Err(Trouble::Stale(Cause::new(&what)))
                    }
                    _ => Ok((response, from == 0)),
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Err(Trouble::FromTheStart(words())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(Trouble::Stale(words()))
            }
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                let error = refusal.error(self.remote()).unwrap_or_else(|| self.malformed("an unexpected status"));
                Err(match error.retry() {
                    Retry::Soon => Trouble::Passing(error),
                    Retry::NextPoll | Retry::After(_) => Trouble::Lasting(error),
                })
            }
            _ => Err(Trouble::Lasting(Error::LfsAnswer { remote: self.remote(), source: words() })),
        }
    }

    /// Sends a request to our own server, with what is configured for it, and who we are once it asks.
    async fn let_in(&self, url: &Url, ask: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        let mut shown = self.door.asked.load(Ordering::Relaxed) && self.pass.login.is_some();
        loop {
            let mut request = ask();
            for (name, value) in self.pass.headers(url.as_str()) {
                // Checked when they were read; what is no header is left out.
                if let Ok(mut value) = HeaderValue::from_bytes(value.expose()) {
                    value.set_sensitive(true);
                    request = request.header(name, value);
                }
            }
            if let (true, false, Some(login)) = (shown, self.pass.has_authorization(), &self.pass.login) {
                request = request.basic_auth(&login.user, login.password.expose_str());
            }
            let response = self.exchange(request).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let refusal = ErrorResponse::new(response.status(), response.headers(), b"");
            if self.pass.login.is_none() && !self.pass.has_authorization() {
                return Err(refusal.no_credentials(self.remote()));
            }
            if shown || self.pass.login.is_none() {
                self.door.asked.store(false, Ordering::Relaxed);
                return Err(refusal.refused(self.remote(), ""));
            }
            shown = true;
            self.door.asked.store(true, Ordering::Relaxed);
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response, Error> {
        let sent = request.try_clone();
        let mut outcome = request.send().await;
        // A kept connection may have been closed while the request was on its way; asking twice does no harm.
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

    /// An address of an object is often a key to it: it is not repeated.
    pub(crate) fn broken(&self, error: reqwest::Error) -> Error {
        broken(self.remote(), self.options.timeout, TransportError::from(&error.without_url()))
    }

    fn no_server(&self, why: &str) -> Error {
        Error::NoLfs { remote: self.remote(), source: Cause::new(why) }
    }

    pub(crate) fn malformed(&self, what: &str) -> Error {
        Error::LfsAnswer { remote: self.remote(), source: Cause::new(what) }
    }
}

/// The message of an LFS server's refusal, or nothing.
fn message(answer: &[u8]) -> String {
    let answer: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    let message = answer.as_ref().and_then(|answer| answer.get("message")?.as_str());
    message.unwrap_or("it does not say why").to_owned()
}
