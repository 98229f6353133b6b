//! Our own client for git's protocol version 2 over http(s) (gitprotocol-v2, gitprotocol-http).
//!
//! A look is one request that names the refs of interest, a fetch one that names one commit. Servers differ in how they
//! want to be asked, so the ways are tried in this order, and what worked is remembered until something fails: the POST
//! straight away; after `GET info/refs`; in version 0, if that is what the answer to the `GET` is in; not at all, which
//! leaves the remote to libgit2. It stores nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::git::error::{Cause, Error};
use crate::git::protocol::capabilities::Capabilities;
use crate::git::protocol::fetch::{FetchRequest, ShallowUpdate};
use crate::git::protocol::ls_refs::AdvertisedRef;
use crate::git::protocol::pktline::Packet;
use crate::git::protocol::version0::{Advertisement, Features};
use crate::git::protocol::{Malformed, ProtocolError, fetch, ls_refs};
use crate::git::remote::discovery::{Discovered, LONGEST_LIST, configured_base, discover};
use crate::git::remote::options::{Reference, RemoteOptions};
use crate::git::remote::resolve_ref::{Look, all_prefixes, prefixes, resolve};
use crate::git::remote::response::{Pack, Packets};
use crate::git::remote::smart_http::{Caller, Http, RESULT, Reply};
use crate::remote_url::Transport;

/// For how long a remote is left to libgit2 before version 2 is tried again: a server may learn it, a proxy may recover.
const LONGEST_OLD: Duration = Duration::from_secs(600);

/// How a fetch began.
pub(crate) enum Answered {
    Pack(ShallowUpdate, Box<Pack>),
    /// The server does not give the commit out, in its own words.
    NotOurs(Cause),
    /// It does not speak version 2.
    NotSpoken,
}

/// The client for one remote.
pub(crate) struct Client {
    http: Http,
    known: Mutex<Known>,
    /// What it can do, once that was asked; nothing if it does not speak version 2.
    can: Mutex<Option<Capabilities>>,
    /// What it can do in version 0, since it answered in that.
    old: Mutex<Option<Features>>,
}

/// What is known of the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// Its address without a slash at the end, after redirects.
    base: String,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Untried,
    Straight,
    AfterGet,
    /// It answered in version 0 then.
    Version0(Instant),
    /// Only libgit2 can talk to it, as was seen then.
    Old(Instant),
}

impl Client {
    /// `None` for a remote that is not reached over http(s).
    pub(crate) fn new(options: &RemoteOptions) -> Option<Self> {
        let over_http = matches!(options.url.transport(), Transport::Http | Transport::Https);
        // What stands behind a question mark would have to stay behind the paths that are added.
        if !over_http || options.url.bare().contains(['?', '#']) {
            return None;
        }
        Some(Self {
            http: Http::new(options)?,
            known: Mutex::new(untried(options)),
            can: Mutex::default(),
            old: Mutex::default(),
        })
    }

    /// True if making one reads certificates.
    pub(crate) fn takes_time(options: &RemoteOptions) -> bool {
        match options.url.transport() {
            Transport::Https => true,
            Transport::Http => options.route().proxy.is_some(),
            _ => false,
        }
    }

    /// True if the remote is known to be libgit2's to talk to.
    pub(crate) fn is_old(&self) -> bool {
        matches!(self.known().way, Way::Old(since) if since.elapsed() < LONGEST_OLD)
    }

    /// The address that the configured one redirects to, if it does. Without user and password.
    pub(crate) fn moved_to(&self, options: &RemoteOptions) -> Option<String> {
        let base = self.known().base;
        (base != untried(options).base).then_some(base)
    }

    /// True if it is known to answer a POST straight away.
    pub(crate) fn is_straight(&self) -> bool {
        self.known().way == Way::Straight
    }

    /// Libgit2 could talk to a remote that did not answer us in version 2.
    pub(crate) fn remember_old(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).way = Way::Old(Instant::now());
    }

    /// Something failed: what is known of the remote may be over.
    pub(crate) fn forget(&self, options: &RemoteOptions) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = untried(options);
        *self.can.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.old.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.http.forget();
    }

    /// The same for a failure of ours. A server that speaks version 2, but not as we understand it, is libgit2's to talk to
    /// next.
    pub(crate) fn failed(&self, options: &RemoteOptions, error: &Error) {
        self.forget(options);
        if matches!(error, Error::Protocol { .. }) {
            self.remember_old();
        }
    }

    /// What our ref is; `None` if the remote does not speak version 2.
    pub(crate) async fn look(&self, caller: Caller<'_>, reference: &Reference) -> Result<Option<Look>, Error> {
        let remote = caller.options.url.to_string();
        let Some(refs) = self.list(caller, &prefixes(reference)).await? else { return Ok(None) };
        match resolve(reference, &refs, &remote) {
            Ok(look) => Ok(Some(look)),
            // Is there nothing, or something else?
            Err(_) => match self.list(caller, &all_prefixes()).await? {
                Some(refs) => resolve(reference, &refs, &remote).map(Some),
                None => Ok(None),
            },
        }
    }

    async fn list(&self, caller: Caller<'_>, prefixes: &[String]) -> Result<Option<Vec<AdvertisedRef>>, Error> {
        let known = self.usable();
        let request = ls_refs::request(prefixes);
        if !matches!(known.way, Way::AfterGet | Way::Version0(_)) {
            match self.list_straight(caller, &known, &request).await {
                Ok(refs) => {
                    self.remember(&known.base, Way::Straight);
                    return Ok(Some(refs));
                }
                Err(ProtocolError::Failed(error)) => return Err(error),
                Err(ProtocolError::NotSpoken(_) | ProtocolError::Refused(_)) => {}
            }
        }
        let base = match Box::pin(discover(&self.http, caller)).await? {
            Discovered::Version2(base, _) => base,
            Discovered::Version0(base, all) => return Ok(Some(self.old_list(&base, all))),
            Discovered::Other => return Ok(None),
        };
        // Who moved has not refused to be asked straight away at the new address.
        let way = if base == known.base { Way::AfterGet } else { Way::Straight };
        match self.list_straight(caller, &Known { base: base.clone(), way }, &request).await {
            Ok(refs) => {
                self.remember(&base, way);
                Ok(Some(refs))
            }
            Err(trouble) => Err(settle(caller, trouble)),
        }
    }

    async fn list_straight(
        &self,
        caller: Caller<'_>,
        known: &Known,
        request: &[u8],
    ) -> Result<Vec<AdvertisedRef>, ProtocolError> {
        let mut packets = self.post(caller, known, request, LONGEST_LIST).await?;
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

    /// Asks for a commit, and reads the answer up to where the pack begins.
    pub(crate) async fn fetch(&self, caller: Caller<'_>, ask: &FetchRequest) -> Result<Answered, Error> {
        let mut known = self.usable();
        let request = fetch::request(ask);
        if known.way == Way::Untried {
            match answered(self.fetch_straight(caller, &known, &request, true).await) {
                Err(ProtocolError::NotSpoken(_) | ProtocolError::Refused(_)) => {}
                Err(ProtocolError::Failed(error)) => return Err(error),
                Ok(answered) => {
                    self.remember(&known.base, Way::Straight);
                    return Ok(answered);
                }
            }
        }
        if let Way::Version0(_) = known.way
            && let Some(features) = self.old_features()
        {
            return Box::pin(self.fetch_old(caller, &known, &features, ask)).await;
        }
        if known.way != Way::Straight {
            let (base, can) = match Box::pin(discover(&self.http, caller)).await? {
                Discovered::Version2(base, can) => (base, can),
                Discovered::Version0(base, all) => {
                    self.old_list(&base, all);
                    let (known, features) = (self.known(), self.old_features().unwrap_or_default());
                    return Box::pin(self.fetch_old(caller, &known, &features, ask)).await;
                }
                Discovered::Other => return Ok(Answered::NotSpoken),
            };
            if !can.shallow && (ask.deepen.is_some() || !ask.roots.is_empty()) {
                return Ok(Answered::NotSpoken);
            }
            known = Known { base, way: Way::AfterGet };
        }
        let begun = self.fetch_straight(caller, &known, &request, true).await;
        answered(begun).map_err(|trouble| settle(caller, trouble))
    }

    /// Asks for a commit that may not be ours to have yet, if the way is known. Learns nothing from the answer, and `None` is
    /// any answer but a pack: what a guess meets says little about the remote.
    pub(crate) async fn fetch_ahead(
        &self,
        caller: Caller<'_>,
        ask: &FetchRequest,
    ) -> Option<(ShallowUpdate, Box<Pack>)> {
        let known = self.known();
        if known.way != Way::Straight {
            return None;
        }
        self.fetch_straight(caller, &known, &fetch::request(ask), false).await.ok()
    }

    /// Whether the server takes a filter. It says so only in answer to a question of its own, which is asked once, and
    /// again after a failure.
    pub(crate) async fn filters(&self, caller: Caller<'_>) -> Result<bool, Error> {
        self.can(caller).await.map(|can| can.filter)
    }

    pub(crate) fn filters_as_known(&self) -> Option<bool> {
        self.can.lock().unwrap_or_else(PoisonError::into_inner).map(|can| can.filter)
    }

    /// Whether it can be asked for a ref by its name.
    pub(crate) async fn takes_names(&self, caller: Caller<'_>) -> Result<bool, Error> {
        self.can(caller).await.map(|can| can.ref_in_want)
    }

    async fn can(&self, caller: Caller<'_>) -> Result<Capabilities, Error> {
        let known = *self.can.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(can) = known {
            return Ok(can);
        }
        let can = match Box::pin(discover(&self.http, caller)).await? {
            Discovered::Version2(_, can) => can,
            Discovered::Version0(..) | Discovered::Other => Capabilities::default(),
        };
        *self.can.lock().unwrap_or_else(PoisonError::into_inner) = Some(can);
        Ok(can)
    }

    /// `wanted_again`: the connection is, if the server says no, for another way of asking.
    async fn fetch_straight(
        &self,
        caller: Caller<'_>,
        known: &Known,
        request: &[u8],
        wanted_again: bool,
    ) -> Result<(ShallowUpdate, Box<Pack>), ProtocolError> {
        let mut packets = self.post(caller, known, request, u64::MAX).await?;
        let mut reader = fetch::Reader::default();
        loop {
            let packet = packets.next().await?;
            match reader.take(&packet) {
                Ok(Some(boundary)) => return Ok((boundary, Box::new(Pack::new(packets)))),
                Ok(None) => {}
                Err(trouble) => {
                    if wanted_again && matches!(trouble, ProtocolError::Refused(_)) {
                        packets.finish().await;
                    }
                    return Err(trouble);
                }
            }
        }
    }

    async fn post(
        &self,
        caller: Caller<'_>,
        known: &Known,
        request: &[u8],
        most: u64,
    ) -> Result<Packets, ProtocolError> {
        let url = format!("{}/git-upload-pack", known.base);
        match self.http.send(caller, &url, RESULT, Some(request)).await? {
            Reply::Wanted(body) => Ok(Packets::new(body, most)),
            Reply::Refused(refusal) => Err(match refusal.error(caller.options.url.to_string()) {
                Some(error) if known.way != Way::Untried => ProtocolError::Failed(error),
                // What stands before a server may let nobody POST who has not sent a GET.
                _ => Malformed("an unexpected status").into(),
            }),
            Reply::Moved(_) => Err(Malformed("a redirect").into()),
            Reply::OtherKind => Err(Malformed("an answer of another kind").into()),
        }
    }

    /// Remembers that the server answers in version 0, and returns its refs.
    fn old_list(&self, base: &str, all: Advertisement) -> Vec<AdvertisedRef> {
        *self.old.lock().unwrap_or_else(PoisonError::into_inner) = Some(all.features);
        self.remember(base, Way::Version0(Instant::now()));
        all.refs
    }

    fn old_features(&self) -> Option<Features> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a commit in version 0.
    async fn fetch_old(
        &self,
        caller: Caller<'_>,
        known: &Known,
        features: &Features,
        ask: &FetchRequest,
    ) -> Result<Answered, Error> {
        if !features.suffice(ask) {
            return Ok(Answered::NotSpoken);
        }
        let begun = async {
            let mut packets = self.post(caller, known, &features.request(ask), u64::MAX).await?;
            let mut reader = features.answer(ask);
            loop {
                let packet = packets.next().await?;
                if let Some(boundary) = reader.take(&packet)? {
                    packets.put_back(packet);
                    return Ok((boundary, Box::new(Pack::new(packets))));
                }
            }
        };
        answered(begun.await).map_err(|trouble| settle(caller, trouble))
    }

    /// What is known, for who asks now. What is left to libgit2, or was long ago found to be old, is tried again.
    fn usable(&self) -> Known {
        let mut known = self.known();
        match known.way {
            Way::Version0(since) if since.elapsed() < LONGEST_OLD => {}
            Way::Old(_) | Way::Version0(_) => known.way = Way::Untried,
            _ => {}
        }
        known
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, base: &str, way: Way) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known { base: base.to_owned(), way };
    }
}

fn untried(options: &RemoteOptions) -> Known {
    Known { base: configured_base(options), way: Way::Untried }
}

fn answered(begun: Result<(ShallowUpdate, Box<Pack>), ProtocolError>) -> Result<Answered, ProtocolError> {
    match begun {
        Ok((boundary, pack)) => Ok(Answered::Pack(boundary, pack)),
        Err(ProtocolError::Refused(words)) if words.contains("not our ref") => {
            Ok(Answered::NotOurs(Cause::new(&words)))
        }
        Err(trouble) => Err(trouble),
    }
}

/// What trouble means where there is no other way left to ask.
fn settle(caller: Caller<'_>, trouble: ProtocolError) -> Error {
    let remote = caller.options.url.to_string();
    match trouble {
        ProtocolError::Failed(error) => error,
        ProtocolError::Refused(words) => Error::from_words(remote, &words),
        ProtocolError::NotSpoken(what) => what.into_error(remote),
    }
}
