//! A client for git's protocol version 2 over HTTP (gitprotocol-v2, gitprotocol-http).
//!
//! Listing refs is one request that names prefixes, and a fetch one that names a commit. Servers differ in the
//! requests that they accept, so the request modes are tried in this order, and the one that worked is remembered
//! until a failure: a direct POST; a POST after `GET info/refs`; version 0, if the answer to the `GET` is in that
//! version; none, which leaves the remote to libgit2. It stores nothing.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::git::error::{Cause, Error};
use crate::git::protocol::capabilities::Capabilities;
use crate::git::protocol::fetch::{FetchRequest, ShallowUpdate};
use crate::git::protocol::ls_refs::AdvertisedRef;
use crate::git::protocol::pktline::Packet;
use crate::git::protocol::version0::{Advertisement, Features};
use crate::git::protocol::{Malformed, ProtocolError, fetch, ls_refs};
use crate::git::remote::discovery::{Discovered, LONGEST_LIST, configured_base, discover};
use crate::git::remote::options::{Reference, RemoteOptions};
use crate::git::remote::resolve_ref::{RemoteHead, all_prefixes, prefixes, resolve};
use crate::git::remote::response::{Pack, Packets};
use crate::git::remote::smart_http::{Caller, RESULT, Reply, SmartHttp};
use crate::remote_url::Transport;

/// How long a remote is left to version 0 or to libgit2 before version 2 is tried again: the server may be updated, a
/// proxy may recover.
const RETRY_V2_AFTER: Duration = Duration::from_secs(600);

/// The beginning of the response to a fetch.
pub(crate) enum FetchResponse {
    Pack(ShallowUpdate, Box<Pack>),
    /// The server does not serve the commit, in its own words.
    NotServed(Cause),
    /// The server does not speak version 2.
    NotSpoken,
}

/// The client for one remote.
pub(crate) struct Client {
    http: SmartHttp,
    state: Mutex<RemoteState>,
    /// The server's capabilities, once they were requested; empty if it does not speak version 2.
    capabilities: Mutex<Option<Capabilities>>,
    /// The server's features in version 0, if it answered in that version.
    version0: Mutex<Option<Features>>,
}

/// The address and the request mode that worked last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RemoteState {
    /// The address after redirects, without a slash at its end.
    base: String,
    mode: RequestMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestMode {
    Untried,
    DirectPost,
    AfterGet,
    /// The server answered in version 0 at that time.
    Version0(Instant),
    /// Only libgit2 could talk to the server at that time.
    Libgit2(Instant),
}

impl Client {
    /// Returns `None` for a remote that is not reached over HTTP.
    pub(crate) fn new(options: &RemoteOptions) -> Option<Self> {
        let over_http = matches!(options.url.transport(), Transport::Http | Transport::Https);
        // Paths are appended to the address, so it must not have a query.
        if !over_http || options.url.bare().contains(['?', '#']) {
            return None;
        }
        Some(Self {
            http: SmartHttp::new(options)?,
            state: Mutex::new(untried(options)),
            capabilities: Mutex::default(),
            version0: Mutex::default(),
        })
    }

    /// Returns true if creating the client reads certificates.
    pub(crate) fn takes_time(options: &RemoteOptions) -> bool {
        match options.url.transport() {
            Transport::Https => true,
            Transport::Http => options.route().proxy.is_some(),
            _ => false,
        }
    }

    /// Returns true if only libgit2 can talk to the remote, as far as is known.
    pub(crate) fn needs_libgit2(&self) -> bool {
        matches!(self.state().mode, RequestMode::Libgit2(since) if since.elapsed() < RETRY_V2_AFTER)
    }

    /// Returns the address that the configured one redirects to, without user and password; `None` if it does not.
    pub(crate) fn redirected_to(&self, options: &RemoteOptions) -> Option<String> {
        let base = self.state().base;
        (base != untried(options).base).then_some(base)
    }

    /// Returns true if the remote may have a commit that it does not serve by its hash: it answers in version 0, and libgit2
    /// can reach it.
    pub(crate) fn may_hide_commits(&self, options: &RemoteOptions) -> bool {
        let libgit2_can = options.route().proxy.is_none() || options.url.transport() == Transport::Https;
        libgit2_can && matches!(self.state().mode, RequestMode::Version0(_))
    }

    /// Returns true if the remote is known to accept a direct POST.
    pub(crate) fn accepts_direct_post(&self) -> bool {
        self.state().mode == RequestMode::DirectPost
    }

    /// Records that libgit2 reached a remote that does not answer in version 2.
    pub(crate) fn leave_to_libgit2(&self) {
        self.state.lock().mode = RequestMode::Libgit2(Instant::now());
    }

    /// Forgets what is known about the remote, after a failure.
    pub(crate) fn forget(&self, options: &RemoteOptions) {
        *self.state.lock() = untried(options);
        *self.capabilities.lock() = None;
        *self.version0.lock() = None;
        self.http.forget();
    }

    /// Forgets what is known after a failed request of this client. A server whose version 2 cannot be parsed is left
    /// to libgit2.
    pub(crate) fn failed(&self, options: &RemoteOptions, error: &Error) {
        self.forget(options);
        // libgit2 may understand what this client cannot parse.
        if matches!(error, Error::Protocol { .. }) {
            self.leave_to_libgit2();
        }
    }

    /// Resolves the followed ref; `None` if the remote does not speak version 2.
    pub(crate) async fn resolve(&self, caller: Caller<'_>, reference: &Reference) -> Result<Option<RemoteHead>, Error> {
        let remote = caller.options.url.to_string();
        let Some(refs) = self.list(caller, &prefixes(reference)).await? else { return Ok(None) };
        match resolve(reference, &refs, &remote) {
            Ok(look) => Ok(Some(look)),
            // Lists all branches and tags, to tell an empty repository from a missing ref.
            Err(_) => match self.list(caller, &all_prefixes()).await? {
                Some(refs) => resolve(reference, &refs, &remote).map(Some),
                None => Ok(None),
            },
        }
    }

    async fn list(&self, caller: Caller<'_>, prefixes: &[String]) -> Result<Option<Vec<AdvertisedRef>>, Error> {
        let state = self.usable();
        let request = ls_refs::request(prefixes);
        if !matches!(state.mode, RequestMode::AfterGet | RequestMode::Version0(_)) {
            match self.post_ls_refs(caller, &state, &request).await {
                Ok(refs) => {
                    self.remember(&state.base, RequestMode::DirectPost);
                    return Ok(Some(refs));
                }
                Err(ProtocolError::Failed(error)) => return Err(error),
                Err(ProtocolError::NotSpoken(_) | ProtocolError::Refused(_)) => {}
            }
        }
        // Boxed, because this path is rare and its future is large.
        let base = match Box::pin(discover(&self.http, caller)).await? {
            Discovered::Version2(base, _) => base,
            Discovered::Version0(base, all) => return Ok(Some(self.use_version0(&base, all))),
            Discovered::Other => return Ok(None),
        };
        // After a redirect the new address has not refused a direct POST yet.
        let mode = if base == state.base { RequestMode::AfterGet } else { RequestMode::DirectPost };
        match self.post_ls_refs(caller, &RemoteState { base: base.clone(), mode }, &request).await {
            Ok(refs) => {
                self.remember(&base, mode);
                Ok(Some(refs))
            }
            Err(failure) => Err(into_error(caller, failure)),
        }
    }

    async fn post_ls_refs(
        &self,
        caller: Caller<'_>,
        state: &RemoteState,
        request: &[u8],
    ) -> Result<Vec<AdvertisedRef>, ProtocolError> {
        let mut packets = self.post(caller, state, request, LONGEST_LIST).await?;
        let mut refs = Vec::new();
        loop {
            match packets.next().await? {
                Packet::Data(line) => match line.strip_prefix(b"ERR ") {
                    Some(words) => return Err(ProtocolError::Refused(String::from_utf8_lossy(words).into_owned())),
                    None => ls_refs::read(&line, &mut refs)?,
                },
                Packet::Flush => break,
                Packet::Delimiter | Packet::End => return Err(Malformed("a list of refs with sections").into()),
            }
        }
        packets.finish().await;
        Ok(refs)
    }

    /// Requests a commit, and parses the response up to the pack.
    pub(crate) async fn fetch(&self, caller: Caller<'_>, wanted: &FetchRequest) -> Result<FetchResponse, Error> {
        let mut state = self.usable();
        let request = fetch::request(wanted);
        if state.mode == RequestMode::Untried {
            match fetch_response(self.post_fetch(caller, &state, &request, true).await) {
                Err(ProtocolError::NotSpoken(_) | ProtocolError::Refused(_)) => {}
                Err(ProtocolError::Failed(error)) => return Err(error),
                Ok(answered) => {
                    self.remember(&state.base, RequestMode::DirectPost);
                    return Ok(answered);
                }
            }
        }
        if let RequestMode::Version0(_) = state.mode
            && let Some(features) = self.version0_features()
        {
            return Box::pin(self.fetch_version0(caller, &state, &features, wanted)).await;
        }
        if state.mode != RequestMode::DirectPost {
            let (base, capabilities) = match Box::pin(discover(&self.http, caller)).await? {
                Discovered::Version2(base, capabilities) => (base, capabilities),
                Discovered::Version0(base, all) => {
                    self.use_version0(&base, all);
                    let (state, features) = (self.state(), self.version0_features().unwrap_or_default());
                    return Box::pin(self.fetch_version0(caller, &state, &features, wanted)).await;
                }
                Discovered::Other => return Ok(FetchResponse::NotSpoken),
            };
            if !capabilities.shallow && (wanted.deepen.is_some() || !wanted.shallow.is_empty()) {
                return Ok(FetchResponse::NotSpoken);
            }
            state = RemoteState { base, mode: RequestMode::AfterGet };
        }
        let response = self.post_fetch(caller, &state, &request, true).await;
        fetch_response(response).map_err(|failure| into_error(caller, failure))
    }

    /// Requests a commit that the server may not serve yet, if a direct POST is known to work. A failure says little
    /// about the remote, so nothing is learned from it, and any response but a pack is `None`.
    pub(crate) async fn fetch_speculatively(
        &self,
        caller: Caller<'_>,
        wanted: &FetchRequest,
    ) -> Option<(ShallowUpdate, Box<Pack>)> {
        let state = self.state();
        if state.mode != RequestMode::DirectPost {
            return None;
        }
        self.post_fetch(caller, &state, &fetch::request(wanted), false).await.ok()
    }

    /// Returns whether the server supports filters. Its capabilities are requested once, and again after a failure.
    pub(crate) async fn supports_filter(&self, caller: Caller<'_>) -> Result<bool, Error> {
        self.capabilities(caller).await.map(|capabilities| capabilities.filter)
    }

    pub(crate) fn known_filter_support(&self) -> Option<bool> {
        self.capabilities.lock().map(|capabilities| capabilities.filter)
    }

    /// Returns whether a ref can be requested by its name.
    pub(crate) async fn supports_want_ref(&self, caller: Caller<'_>) -> Result<bool, Error> {
        self.capabilities(caller).await.map(|capabilities| capabilities.ref_in_want)
    }

    async fn capabilities(&self, caller: Caller<'_>) -> Result<Capabilities, Error> {
        // Copied, because the lock must not be held during the request.
        let known = *self.capabilities.lock();
        if let Some(capabilities) = known {
            return Ok(capabilities);
        }
        let capabilities = match Box::pin(discover(&self.http, caller)).await? {
            Discovered::Version2(_, capabilities) => capabilities,
            Discovered::Version0(..) | Discovered::Other => Capabilities::default(),
        };
        *self.capabilities.lock() = Some(capabilities);
        Ok(capabilities)
    }

    /// `reuse_connection`: wait for the end of a refusal, so that the next request can use its connection.
    async fn post_fetch(
        &self,
        caller: Caller<'_>,
        state: &RemoteState,
        request: &[u8],
        reuse_connection: bool,
    ) -> Result<(ShallowUpdate, Box<Pack>), ProtocolError> {
        let mut packets = self.post(caller, state, request, u64::MAX).await?;
        let mut parser = fetch::FetchResponseParser::default();
        loop {
            let packet = packets.next().await?;
            match parser.take(&packet) {
                Ok(Some(boundary)) => return Ok((boundary, Box::new(Pack::new(packets)))),
                Ok(None) => {}
                Err(failure) => {
                    if reuse_connection && matches!(failure, ProtocolError::Refused(_)) {
                        packets.finish().await;
                    }
                    return Err(failure);
                }
            }
        }
    }

    async fn post(
        &self,
        caller: Caller<'_>,
        state: &RemoteState,
        request: &[u8],
        most: u64,
    ) -> Result<Packets, ProtocolError> {
        let url = format!("{}/git-upload-pack", state.base);
        match self.http.send(caller, &url, RESULT, Some(request)).await? {
            Reply::Expected(body) => Ok(Packets::new(body, most)),
            Reply::Refused(refusal) => Err(match refusal.error(caller.options.url.to_string()) {
                // The request mode has worked before, so the status says what is wrong.
                Some(error) if state.mode != RequestMode::Untried => ProtocolError::Failed(error),
                // A gateway may refuse a POST before a GET.
                _ => Malformed("an unexpected status").into(),
            }),
            Reply::Redirect(_) => Err(Malformed("a redirect").into()),
            Reply::OtherContent => Err(Malformed("an answer of another kind").into()),
        }
    }

    /// Records that the server answers in version 0, and returns its refs.
    fn use_version0(&self, base: &str, all: Advertisement) -> Vec<AdvertisedRef> {
        *self.version0.lock() = Some(all.features);
        self.remember(base, RequestMode::Version0(Instant::now()));
        all.refs
    }

    fn version0_features(&self) -> Option<Features> {
        self.version0.lock().clone()
    }

    /// Requests a commit in version 0.
    async fn fetch_version0(
        &self,
        caller: Caller<'_>,
        state: &RemoteState,
        features: &Features,
        wanted: &FetchRequest,
    ) -> Result<FetchResponse, Error> {
        if !features.support(wanted) {
            return Ok(FetchResponse::NotSpoken);
        }
        let response = async {
            let mut packets = self.post(caller, state, &features.request(wanted), u64::MAX).await?;
            let mut parser = features.response_parser(wanted);
            loop {
                let packet = packets.next().await?;
                if let Some(boundary) = parser.take(&packet)? {
                    // In version 0 no line separates the pack: its first packet was needed to see that it begins.
                    packets.put_back(packet);
                    return Ok((boundary, Box::new(Pack::new(packets))));
                }
            }
        };
        fetch_response(response.await).map_err(|failure| into_error(caller, failure))
    }

    /// Returns what is known. A remote that was left to libgit2, or to version 0 for long enough, is tried again.
    fn usable(&self) -> RemoteState {
        let mut state = self.state();
        match state.mode {
            RequestMode::Version0(since) if since.elapsed() < RETRY_V2_AFTER => {}
            RequestMode::Libgit2(_) | RequestMode::Version0(_) => state.mode = RequestMode::Untried,
            _ => {}
        }
        state
    }

    fn state(&self) -> RemoteState {
        self.state.lock().clone()
    }

    fn remember(&self, base: &str, mode: RequestMode) {
        let mut state = self.state.lock();
        *state = RemoteState { base: base.to_owned(), mode };
    }
}

fn untried(options: &RemoteOptions) -> RemoteState {
    RemoteState { base: configured_base(options), mode: RequestMode::Untried }
}

fn fetch_response(response: Result<(ShallowUpdate, Box<Pack>), ProtocolError>) -> Result<FetchResponse, ProtocolError> {
    match response {
        Ok((boundary, pack)) => Ok(FetchResponse::Pack(boundary, pack)),
        // The words of git and of JGit for an object that they do not serve.
        Err(ProtocolError::Refused(words)) if words.contains("not our ref") || is_jgits_refusal(&words) => {
            Ok(FetchResponse::NotServed(Cause::new(&words)))
        }
        Err(failure) => Err(failure),
    }
}

/// `JGit`, and so Gerrit, says "want HASH not valid".
fn is_jgits_refusal(words: &str) -> bool {
    words.contains("want ") && words.contains(" not valid")
}

/// Returns the error where no other request mode is left.
fn into_error(caller: Caller<'_>, failure: ProtocolError) -> Error {
    let remote = caller.options.url.to_string();
    match failure {
        ProtocolError::Failed(error) => error,
        ProtocolError::Refused(words) => Error::from_words(remote, &words),
        ProtocolError::NotSpoken(what) => what.into_error(remote),
    }
}
