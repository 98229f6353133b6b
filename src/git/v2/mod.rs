//! Our own client for git's protocol version 2 over http(s) (gitprotocol-v2, gitprotocol-http).
//!
//! A look is one request that names the refs of interest, a fetch one that names one commit. Servers differ in how they
//! want to be asked, so the ways are tried in this order, and what worked is remembered until something fails: the POST
//! straight away; after `GET info/refs`; in version 0, if that is what the answer to the `GET` is in; not at all, which
//! leaves the remote to libgit2. It stores nothing.

mod answer;
mod capabilities;
mod discover;
mod fetch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod ls_refs;
mod pktline;
mod sideband;
mod version0;
mod wire;

use std::sync::{Mutex, PoisonError};

use std::time::{Duration, Instant};

use crate::remote_url::Transport;

use super::look::{Advertised, resolve};
use super::{Cause, Error, Look, Reference, RemoteOptions};

use answer::Packets;
use capabilities::Capabilities;
use discover::Discovered;
use http::{Http, RESULT, Reply};
use pktline::Packet;
use version0::{Advertisement, Features};

pub(super) use answer::Pack;
pub(super) use fetch::{Ask, Boundary};
pub(super) use http::{Caller, broken};

/// The most bytes that a list of refs may have: a hundred times what a repository with thousands of branches sends.
const LONGEST_LIST: u64 = 32 * 1024 * 1024;
/// For how long a remote is left to libgit2 before version 2 is tried again: a server may learn it, a proxy may recover.
const LONGEST_OLD: Duration = Duration::from_secs(600);
/// Why bytes are no protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed(&'static str);

/// Why an answer is of no use.
#[derive(Debug)]
enum Trouble {
    /// It is not version 2: another way of asking may help.
    NotSpoken(Malformed),
    /// The server said no, in its own words.
    Told(String),
    Failed(Error),
}

impl From<Malformed> for Trouble {
    fn from(what: Malformed) -> Self {
        Self::NotSpoken(what)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// How a fetch began.
pub(super) enum Answered {
    Pack(Boundary, Box<Pack>),
    /// The server does not give the commit out, in its own words.
    NotOurs(Cause),
    /// It does not speak version 2.
    NotSpoken,
}

/// The client for one remote.
pub(super) struct Client {
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
    pub(super) fn new(options: &RemoteOptions) -> Option<Self> {
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
    pub(super) fn takes_time(options: &RemoteOptions) -> bool {
        match options.url.transport() {
            Transport::Https => true,
            Transport::Http => options.way().proxy.is_some(),
            _ => false,
        }
    }

    /// True if the remote is known to be libgit2's to talk to.
    pub(super) fn is_old(&self) -> bool {
        matches!(self.known().way, Way::Old(since) if since.elapsed() < LONGEST_OLD)
    }

    /// The address that the configured one redirects to, if it does. Without user and password.
    pub(super) fn moved_to(&self, options: &RemoteOptions) -> Option<String> {
        let base = self.known().base;
        (base != untried(options).base).then_some(base)
    }

    /// True if it is known to answer a POST straight away.
    pub(super) fn is_straight(&self) -> bool {
        self.known().way == Way::Straight
    }

    /// Libgit2 could talk to a remote that did not answer us in version 2.
    pub(super) fn remember_old(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).way = Way::Old(Instant::now());
    }

    /// Something failed: what is known of the remote may be over.
    pub(super) fn forget(&self, options: &RemoteOptions) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = untried(options);
        *self.can.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.old.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.http.forget();
    }

    /// The same for a failure of ours. A server that speaks version 2, but not as we understand it, is libgit2's to talk to
    /// next.
    pub(super) fn failed(&self, options: &RemoteOptions, error: &Error) {
        self.forget(options);
        if matches!(error, Error::Protocol { .. }) {
            self.remember_old();
        }
    }

    /// What our ref is; `None` if the remote does not speak version 2.
    pub(super) async fn look(&self, caller: Caller<'_>, reference: &Reference) -> Result<Option<Look>, Error> {
        let remote = caller.options.url.to_string();
        let Some(refs) = self.list(caller, &ls_refs::prefixes(reference)).await? else { return Ok(None) };
        match resolve(reference, &refs, &remote) {
            Ok(look) => Ok(Some(look)),
            // Is there nothing, or something else?
            Err(_) => match self.list(caller, &ls_refs::all()).await? {
                Some(refs) => resolve(reference, &refs, &remote).map(Some),
                None => Ok(None),
            },
        }
    }

    async fn list(&self, caller: Caller<'_>, prefixes: &[String]) -> Result<Option<Vec<Advertised>>, Error> {
        let known = self.usable();
        let request = ls_refs::request(prefixes);
        if !matches!(known.way, Way::AfterGet | Way::Version0(_)) {
            match self.list_straight(caller, &known, &request).await {
                Ok(refs) => {
                    self.remember(&known.base, Way::Straight);
                    return Ok(Some(refs));
                }
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::NotSpoken(_) | Trouble::Told(_)) => {}
            }
        }
        let base = match Box::pin(self.discover(caller)).await? {
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
    ) -> Result<Vec<Advertised>, Trouble> {
        let mut packets = self.post(caller, known, request, LONGEST_LIST).await?;
        let mut refs = Vec::new();
        loop {
            match packets.next().await? {
                Packet::Data(line) => match line.strip_prefix(b"ERR ") {
                    Some(words) => return Err(Trouble::Told(String::from_utf8_lossy(words).into_owned())),
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
    pub(super) async fn fetch(&self, caller: Caller<'_>, ask: &Ask) -> Result<Answered, Error> {
        let mut known = self.usable();
        let request = fetch::request(ask);
        if known.way == Way::Untried {
            match answered(self.fetch_straight(caller, &known, &request, true).await) {
                Err(Trouble::NotSpoken(_) | Trouble::Told(_)) => {}
                Err(Trouble::Failed(error)) => return Err(error),
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
            let (base, can) = match Box::pin(self.discover(caller)).await? {
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
    pub(super) async fn fetch_ahead(&self, caller: Caller<'_>, ask: &Ask) -> Option<(Boundary, Box<Pack>)> {
        let known = self.known();
        if known.way != Way::Straight {
            return None;
        }
        self.fetch_straight(caller, &known, &fetch::request(ask), false).await.ok()
    }

    /// Whether the server takes a filter. It says so only in answer to a question of its own, which is asked once, and
    /// again after a failure.
    pub(super) async fn filters(&self, caller: Caller<'_>) -> Result<bool, Error> {
        self.can(caller).await.map(|can| can.filter)
    }

    pub(super) fn filters_as_known(&self) -> Option<bool> {
        self.can.lock().unwrap_or_else(PoisonError::into_inner).map(|can| can.filter)
    }

    /// Whether it can be asked for a ref by its name.
    pub(super) async fn takes_names(&self, caller: Caller<'_>) -> Result<bool, Error> {
        self.can(caller).await.map(|can| can.ref_in_want)
    }

    async fn can(&self, caller: Caller<'_>) -> Result<Capabilities, Error> {
        let known = *self.can.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(can) = known {
            return Ok(can);
        }
        let can = match Box::pin(self.discover(caller)).await? {
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
    ) -> Result<(Boundary, Box<Pack>), Trouble> {
        let mut packets = self.post(caller, known, request, u64::MAX).await?;
        let mut reader = fetch::Reader::default();
        loop {
            let packet = packets.next().await?;
            match reader.take(&packet) {
                Ok(Some(boundary)) => return Ok((boundary, Box::new(Pack::new(packets)))),
                Ok(None) => {}
                Err(trouble) => {
                    if wanted_again && matches!(trouble, Trouble::Told(_)) {
                        packets.finish().await;
                    }
                    return Err(trouble);
                }
            }
        }
    }

    async fn post(&self, caller: Caller<'_>, known: &Known, request: &[u8], most: u64) -> Result<Packets, Trouble> {
        let url = format!("{}/git-upload-pack", known.base);
        match self.http.send(caller, &url, RESULT, Some(request)).await? {
            Reply::Wanted(body) => Ok(Packets::new(body, most)),
            Reply::Refused(refusal) => Err(match refusal.error(caller.options.url.to_string()) {
                Some(error) if known.way != Way::Untried => Trouble::Failed(error),
                // What stands before a server may let nobody POST who has not sent a GET.
                _ => Malformed("an unexpected status").into(),
            }),
            Reply::Moved(_) => Err(Malformed("a redirect").into()),
            Reply::OtherKind => Err(Malformed("an answer of another kind").into()),
        }
    }

    /// Remembers that the server answers in version 0, and returns its refs.
    fn old_list(&self, base: &str, all: Advertisement) -> Vec<Advertised> {
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
        ask: &Ask,
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
    Known { base: options.url.bare().trim_end_matches('/').to_owned(), way: Way::Untried }
}

fn answered(begun: Result<(Boundary, Box<Pack>), Trouble>) -> Result<Answered, Trouble> {
    match begun {
        Ok((boundary, pack)) => Ok(Answered::Pack(boundary, pack)),
        Err(Trouble::Told(words)) if words.contains("not our ref") => Ok(Answered::NotOurs(Cause::new(&words))),
        Err(trouble) => Err(trouble),
    }
}

/// What trouble means where there is no other way left to ask.
fn settle(caller: Caller<'_>, trouble: Trouble) -> Error {
    let remote = caller.options.url.to_string();
    match trouble {
        Trouble::Failed(error) => error,
        Trouble::Told(words) => Error::from_words(remote, &words),
        Trouble::NotSpoken(what) => as_protocol(remote, what),
    }
}

fn as_protocol(remote: String, Malformed(what): Malformed) -> Error {
    Error::Protocol { remote, source: Cause::new(what) }
}
