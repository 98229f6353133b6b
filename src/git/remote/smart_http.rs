//! One request to a git server over HTTP, with authentication, and its response.
//!
//! The client follows no redirects, so that credentials stay with their server. The caller sets the deadline. It must
//! not know of packets.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};

use crate::clock::millis;
use crate::git::auth::login::Login;
use crate::git::auth::request_auth::RequestAuth;
use crate::git::error::Error;
use crate::git::http::error_response::ErrorResponse;
use crate::git::http::exchange::{HttpClient, HttpResponse};
use crate::git::http::plain::PlainClient;
use crate::git::http::transport_error::{TransportError, into_remote_error};
use crate::git::http::{client, error_response};
use crate::git::remote::options::RemoteOptions;
use crate::remote_url::Transport;

/// The most bytes that are read of an unwanted response, so that its connection can be used again.
const MOST_UNWANTED: usize = 64 * 1024;

pub(crate) const REQUEST: &str = "application/x-git-upload-pack-request";
pub(crate) const RESULT: &str = "application/x-git-upload-pack-result";
pub(crate) const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";

/// The connection to a remote, kept alive between requests.
pub(crate) struct SmartHttp {
    client: HttpClient,
    /// The client for a remote that redirects from http to https. It is created when needed, since it reads
    /// certificates.
    https_client: OnceLock<HttpClient>,
    /// The address without its password.
    proxy: Option<String>,
    /// True once the remote required credentials. Later requests carry them from the start.
    credentials_required: AtomicBool,
}

/// The remote and the authentication of a request.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub options: &'a RemoteOptions,
    pub auth: &'a RequestAuth,
}

/// A response that is no failure by itself.
pub(crate) enum Reply {
    Expected(Body),
    /// A redirect, with its location if the response has one.
    Redirect(Option<String>),
    Refused(ErrorResponse),
    /// Success with another content type than git's, such as a login page.
    OtherContent,
}

/// A response whose body is still arriving.
pub(crate) struct Body {
    answer: HttpResponse,
    remote: String,
    timeout: Duration,
}

impl SmartHttp {
    /// Returns `None` if no client can be created, for example without readable certificates. libgit2 reports the
    /// reason then.
    pub(crate) fn new(options: &RemoteOptions) -> Option<Self> {
        let route = options.route();
        let https = options.url.transport() == Transport::Https;
        let client = if !https && route.proxy.is_none() {
            HttpClient::Plain(PlainClient::new(options.timeout))
        } else {
            HttpClient::Library(client::build(&route, https, options.timeout).ok()?)
        };
        let proxy = route.proxy.map(|proxy| proxy.to_string());
        Some(Self { client, https_client: OnceLock::new(), proxy, credentials_required: AtomicBool::new(false) })
    }

    /// Forgets that credentials are required.
    pub(crate) fn forget(&self) {
        self.credentials_required.store(false, Ordering::Relaxed);
    }

    /// Sends a request, with credentials if the remote requires them. With a `body` it is a POST.
    pub(crate) async fn send(
        &self,
        caller: Caller<'_>,
        url: &str,
        wanted: &'static str,
        body: Option<&[u8]>,
    ) -> Result<Reply, Error> {
        let remote = || caller.options.url.to_string();
        let mut shown = self.credentials_required.load(Ordering::Relaxed) && caller.auth.login.is_some();
        loop {
            let answer = self.exchange(caller, url, wanted, body, shown).await?;
            let status = answer.status();
            if status.is_success() {
                let is_post = body.is_some();
                let body = Body { answer, remote: remote(), timeout: caller.options.timeout };
                // Git checks the content type of the first response only. Servers and gateways send others, or none,
                // in response to a POST.
                return Ok(if is_post || body.is(wanted) { Reply::Expected(body) } else { Reply::OtherContent });
            }
            let headers = answer.headers().clone();
            let words = read_words(answer).await;
            let refusal = ErrorResponse::new(status, &headers, &words);
            match status {
                StatusCode::UNAUTHORIZED if shown => {
                    let empty = caller.auth.login.as_ref().is_some_and(|login| login.password.expose().is_empty());
                    let note = if empty { "; the user was shown with an empty password" } else { "" };
                    return Err(refusal.refused(remote(), note));
                }
                StatusCode::UNAUTHORIZED if caller.auth.login.is_none() => {
                    // A configured header or cookie should have authenticated the request and did not.
                    let shown_nothing = caller.auth.headers(url).is_empty();
                    return Err(if shown_nothing {
                        refusal.no_credentials(remote())
                    } else {
                        refusal.refused(remote(), "")
                    });
                }
                StatusCode::UNAUTHORIZED => {
                    shown = true;
                    self.credentials_required.store(true, Ordering::Relaxed);
                }
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    let proxy = self.proxy.clone().unwrap_or_default();
                    return Err(Error::Proxy { remote: remote(), proxy, source: refusal.cause() });
                }
                // 300, 304 and the like have no location.
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => return Ok(Reply::Redirect(location(&headers))),
                _ => return Ok(Reply::Refused(refusal)),
            }
        }
    }

    async fn exchange(
        &self,
        caller: Caller<'_>,
        url: &str,
        wanted: &'static str,
        body: Option<&[u8]>,
        shown: bool,
    ) -> Result<HttpResponse, Error> {
        let mut retry = true;
        let client = self.client(caller, url).await?;
        let headers = headers(caller, url, wanted, body, shown);
        let body = body.map(Bytes::copy_from_slice);
        let asked = Instant::now();
        loop {
            match client.send(url, headers.clone(), body.clone()).await {
                Ok(answer) => {
                    let (status, bytes_up) = (answer.status().as_u16(), body.map_or(0, |body| body.len()));
                    let took_ms = millis(asked.elapsed());
                    tracing::trace!(remote = %caller.options.url, status, bytes_up, took_ms, "the remote answered a request");
                    return Ok(answer);
                }
                // The server may have closed a kept connection meanwhile. Sending the request twice does no harm.
                Err(fault) if retry && fault.is_retryable() => retry = false,
                Err(fault) => return Err(self.connection_error(caller, fault)),
            }
        }
    }
}

impl SmartHttp {
    async fn client(&self, caller: Caller<'_>, url: &str) -> Result<&HttpClient, Error> {
        let options = caller.options;
        if options.url.transport() == Transport::Https || !url.starts_with("https:") {
            return Ok(&self.client);
        }
        if self.https_client.get().is_none() {
            let into_error = |source| {
                Error::of_client(&source).unwrap_or_else(|| Error::Tls { remote: options.url.to_string(), source })
            };
            let client = client::build_on_thread(&options.route(), true, options.timeout).await.map_err(into_error)?;
            // Another thread may have been first; both clients are the same.
            let _ = self.https_client.set(HttpClient::Library(client));
        }
        Ok(self.https_client.get().unwrap_or(&self.client))
    }

    /// Maps an error before the response. If the connection could not be established, the proxy is at fault, if there
    /// is one.
    fn connection_error(&self, caller: Caller<'_>, fault: TransportError) -> Error {
        let connect = fault.connect;
        match (&self.proxy, into_remote_error(caller.options.url.to_string(), caller.options.timeout, fault)) {
            (Some(proxy), Error::Network { remote, source } | Error::Dns { remote, source }) if connect => {
                Error::Proxy { remote, proxy: proxy.clone(), source }
            }
            (_, broken) => broken,
        }
    }
}

/// Returns the headers of a request.
fn headers(caller: Caller<'_>, url: &str, wanted: &'static str, body: Option<&[u8]>, shown: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A server that supports version 2 by now must not mistake a request of version 0, which has no command, for one
    // of it.
    if body.is_none_or(|body| body.get(4..).is_some_and(|rest| rest.starts_with(b"command="))) {
        headers.insert("git-protocol", HeaderValue::from_static("version=2"));
    }
    headers.insert(ACCEPT, HeaderValue::from_static(wanted));
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(REQUEST));
    }
    for (name, value) in caller.auth.headers(url) {
        // Headers were checked when they were configured; invalid ones are left out.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_bytes(value.expose())) {
            // The libraries leave a sensitive value out of their debug output, and HTTP/2 out of its tables.
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    if let (true, false, Some(login)) = (shown, caller.auth.has_authorization(), &caller.auth.login) {
        headers.extend(basic(login).map(|basic| (AUTHORIZATION, basic)));
    }
    headers
}

/// Basic authentication (RFC 7617).
fn basic(login: &Login) -> Option<HeaderValue> {
    let pair = [login.user.as_bytes(), b":", login.password.expose()].concat();
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Body {
    /// Returns the next part; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.answer.chunk().await.map_err(|fault| into_remote_error(self.remote.clone(), self.timeout, fault))
    }

    pub(crate) fn remote(&self) -> &str {
        &self.remote
    }

    fn is(&self, wanted: &str) -> bool {
        let kind = self.answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted))
    }
}

fn location(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(LOCATION)?.to_str().ok()?.to_owned())
}

/// Reads the text of an error response, and the rest of a short one, so that the connection can be used again.
async fn read_words(mut answer: HttpResponse) -> Vec<u8> {
    let are_words = error_response::has_words(answer.headers());
    let (mut words, mut left) = (Vec::new(), MOST_UNWANTED);
    while let Ok(Some(part)) = answer.chunk().await {
        if are_words {
            let room = error_response::LONGEST_WORDS - words.len();
            words.extend_from_slice(&part[..part.len().min(room)]);
        }
        let Some(rest) = left.checked_sub(part.len()) else { break };
        left = rest;
    }
    words
}
