//! One request and its answer over HTTP: who is let in, what a status means, what a broken connection is called.
//!
//! Redirects are never followed by the client itself, so that credentials go nowhere by themselves. Nothing here waits
//! for itself: whoever calls has a deadline around it all. It knows nothing of packets.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};

use crate::git::auth::login::Login;
use crate::git::auth::request_auth::RequestAuth;
use crate::git::error::Error;
use crate::git::http::error_response::ErrorResponse;
use crate::git::http::exchange::{HttpClient, HttpResponse};
use crate::git::http::plain::Plain;
use crate::git::http::transport_error::{TransportError, broken};
use crate::git::http::{client, error_response};
use crate::git::remote::options::RemoteOptions;
use crate::remote_url::Transport;

/// What is read of an answer that is not wanted, so that its connection can be used again.
const MOST_UNWANTED: usize = 64 * 1024;

pub(crate) const REQUEST: &str = "application/x-git-upload-pack-request";
pub(crate) const RESULT: &str = "application/x-git-upload-pack-result";
pub(crate) const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";

/// The connection to a remote, kept alive between requests.
pub(crate) struct Http {
    wire: HttpClient,
    /// For a remote over http that moved to https: nobody has read certificates for it so far.
    moved: OnceLock<HttpClient>,
    /// Redacted.
    proxy: Option<String>,
    /// True since the remote asked for credentials: they are shown at once from then on.
    asked: AtomicBool,
}

/// Whose request it is.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub options: &'a RemoteOptions,
    pub pass: &'a RequestAuth,
}

/// An answer that is no failure by itself.
pub(crate) enum Reply {
    Wanted(Body),
    /// A redirect, and where it leads if it says so.
    Moved(Option<String>),
    Refused(ErrorResponse),
    /// Success, but something else than git's answer: a login page, say.
    OtherKind,
}

/// An answer as it comes in.
pub(crate) struct Body {
    answer: HttpResponse,
    remote: String,
    timeout: Duration,
}

impl Http {
    /// `None` if no client can be made here (no trusted certificates that can be read, say): libgit2 says why then.
    pub(crate) fn new(options: &RemoteOptions) -> Option<Self> {
        let way = options.route();
        let https = options.url.transport() == Transport::Https;
        let wire = if !https && way.proxy.is_none() {
            HttpClient::Plain(Plain::new(options.timeout))
        } else {
            HttpClient::Library(client::build(&way, https, options.timeout).ok()?)
        };
        let proxy = way.proxy.map(|proxy| proxy.to_string());
        Some(Self { wire, moved: OnceLock::new(), proxy, asked: AtomicBool::new(false) })
    }

    /// Forgets that credentials were asked for.
    pub(crate) fn forget(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Sends a request; with credentials if the remote asks for them. `body` makes it a POST.
    pub(crate) async fn send(
        &self,
        caller: Caller<'_>,
        url: &str,
        wanted: &'static str,
        body: Option<&[u8]>,
    ) -> Result<Reply, Error> {
        let remote = || caller.options.url.to_string();
        let mut shown = self.asked.load(Ordering::Relaxed) && caller.pass.login.is_some();
        loop {
            let answer = self.exchange(caller, url, wanted, body, shown).await?;
            let status = answer.status();
            if status.is_success() {
                let is_post = body.is_some();
                let body = Body { answer, remote: remote(), timeout: caller.options.timeout };
                // Git looks at the type of the first answer only; servers and gateways send others, or none, to a POST.
                return Ok(if is_post || body.is(wanted) { Reply::Wanted(body) } else { Reply::OtherKind });
            }
            let headers = answer.headers().clone();
            let words = read_words(answer).await;
            let refusal = ErrorResponse::new(status, &headers, &words);
            match status {
                StatusCode::UNAUTHORIZED if shown => {
                    let empty = caller.pass.login.as_ref().is_some_and(|login| login.password.expose().is_empty());
                    let note = if empty { "; the user was shown with an empty password" } else { "" };
                    return Err(refusal.refused(remote(), note));
                }
                StatusCode::UNAUTHORIZED if caller.pass.login.is_none() => {
                    // A header or a cookie that was to let us in did not.
                    let shown_nothing = caller.pass.headers(url).is_empty();
                    return Err(if shown_nothing {
                        refusal.no_credentials(remote())
                    } else {
                        refusal.refused(remote(), "")
                    });
                }
                StatusCode::UNAUTHORIZED => {
                    shown = true;
                    self.asked.store(true, Ordering::Relaxed);
                }
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    let proxy = self.proxy.clone().unwrap_or_default();
                    return Err(Error::Proxy { remote: remote(), proxy, source: refusal.cause() });
                }
                // 300, 304 and the like lead nowhere.
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => return Ok(Reply::Moved(location(&headers))),
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
        let mut again = true;
        let wire = self.wire(caller, url).await?;
        let headers = headers(caller, url, wanted, body, shown);
        let body = body.map(Bytes::copy_from_slice);
        let asked = Instant::now();
        loop {
            match wire.send(url, headers.clone(), body.clone()).await {
                Ok(answer) => {
                    let (status, bytes_up) = (answer.status().as_u16(), body.map_or(0, |body| body.len()));
                    let took_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::trace!(remote = %caller.options.url, status, bytes_up, took_ms, "the remote answered a request");
                    return Ok(answer);
                }
                // A kept connection may have been closed while the request was on its way; asking twice does no harm.
                Err(fault) if again && fault.may_go_again() => again = false,
                Err(fault) => return Err(self.before(caller, fault)),
            }
        }
    }
}

impl Http {
    async fn wire(&self, caller: Caller<'_>, url: &str) -> Result<&HttpClient, Error> {
        let options = caller.options;
        if options.url.transport() == Transport::Https || !url.starts_with("https:") {
            return Ok(&self.wire);
        }
        if self.moved.get().is_none() {
            let told = |source| {
                Error::of_client(&source).unwrap_or_else(|| Error::Tls { remote: options.url.to_string(), source })
            };
            let client = client::build_apart(&options.route(), true, options.timeout).await.map_err(told)?;
            // Another thread may have been first; either will do.
            let _ = self.moved.set(HttpClient::Library(client));
        }
        Ok(self.moved.get().unwrap_or(&self.wire))
    }

    /// A connection that could not be made is the proxy's affair, if there is one.
    fn before(&self, caller: Caller<'_>, fault: TransportError) -> Error {
        let connect = fault.connect;
        match (&self.proxy, broken(caller.options.url.to_string(), caller.options.timeout, fault)) {
            (Some(proxy), Error::Network { remote, source } | Error::Dns { remote, source }) if connect => {
                Error::Proxy { remote, proxy: proxy.clone(), source }
            }
            (_, broken) => broken,
        }
    }
}

/// What a request says of itself and of who sends it.
fn headers(caller: Caller<'_>, url: &str, wanted: &'static str, body: Option<&[u8]>, shown: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A server that has learned version 2 meanwhile must not take a request of version 0, which has no command, for one.
    if body.is_none_or(|body| body.get(4..).is_some_and(|rest| rest.starts_with(b"command="))) {
        headers.insert("git-protocol", HeaderValue::from_static("version=2"));
    }
    headers.insert(ACCEPT, HeaderValue::from_static(wanted));
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(REQUEST));
    }
    for (name, value) in caller.pass.headers(url) {
        // Checked when they were read; what is no header is left out.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_bytes(value.expose())) {
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    if let (true, false, Some(login)) = (shown, caller.pass.has_authorization(), &caller.pass.login) {
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
    /// The next part; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.answer.chunk().await.map_err(|fault| broken(self.remote.clone(), self.timeout, fault))
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

/// Reads the words of a refusal, and the rest of a small answer, so that the connection need not be closed.
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
