//! `GET info/refs`: which version of the protocol a server speaks, and where it has moved.
//!
//! It must not know what is asked for afterwards.

use url::Url;

use crate::git::credentials::same_origin;
use crate::git::{Cause, Error};

use super::answer::Packets;
use super::capabilities::{self, Capabilities, Step};
use super::http::{ADVERTISEMENT, Caller, Reply};
use super::version0::{self, Advertisement};
use super::{Client, LONGEST_LIST, Trouble, untried};

/// How often `GET info/refs` may be sent elsewhere.
const MOST_REDIRECTS: usize = 4;
/// How a redirect of that request has to end, so that the rest is the repository's address.
const INFO_REFS: &str = "/info/refs?service=git-upload-pack";

/// How a server answers `GET info/refs`.
pub(super) enum Discovered {
    Version2(String, Capabilities),
    Version0(String, Advertisement),
    /// In a way that libgit2 may understand.
    Other,
}

impl Client {
    /// Asks what the server can do. Follows redirects that stay with the origin.
    pub(super) async fn discover(&self, caller: Caller<'_>) -> Result<Discovered, Error> {
        let remote = || caller.options.url.to_string();
        let mut base = untried(caller.options).base;
        for _ in 0..MOST_REDIRECTS {
            let body = match self.http.send(caller, &format!("{base}{INFO_REFS}"), ADVERTISEMENT, None).await? {
                Reply::Wanted(body) => body,
                Reply::Moved(location) => {
                    base = moved(caller, &base, location.as_deref())?;
                    continue;
                }
                Reply::Refused(refusal) => {
                    return Err(refusal
                        .error(remote())
                        .unwrap_or(Error::Protocol { remote: remote(), source: refusal.cause() }));
                }
                Reply::OtherKind => return Ok(Discovered::Other),
            };
            let mut packets = Packets::new(body, LONGEST_LIST);
            let (mut reader, mut old) = (capabilities::Reader::default(), Some(version0::Reader::default()));
            loop {
                let packet = match packets.next().await {
                    Ok(packet) => packet,
                    Err(Trouble::Failed(error)) => return Err(error),
                    Err(_) => return Ok(Discovered::Other),
                };
                // Which version it is shows in the first line; until then both read along.
                let advertised = match old.as_mut().map(|old| old.take(&packet)) {
                    None => None,
                    Some(Ok(advertised)) => advertised,
                    Some(Err(Trouble::Told(words))) => return Err(Error::from_words(remote(), &words)),
                    Some(Err(_)) => {
                        old = None;
                        None
                    }
                };
                if let Some(advertised) = advertised {
                    packets.finish().await;
                    if advertised.features.other_hash {
                        return Err(Error::ObjectFormat { remote: remote() });
                    }
                    return Ok(Discovered::Version0(base, advertised));
                }
                match reader.take(&packet) {
                    Step::More => {}
                    Step::Done(can) => {
                        packets.finish().await;
                        if can.other_hash {
                            return Err(Error::ObjectFormat { remote: remote() });
                        }
                        let suffices = can.suffice();
                        return Ok(if suffices { Discovered::Version2(base, can) } else { Discovered::Other });
                    }
                    Step::Other if old.is_some() => {}
                    Step::Other => return Ok(Discovered::Other),
                }
            }
        }
        let source = Cause::new("too many redirects");
        Err(Error::Misled { remote: caller.options.url.to_string(), source })
    }
}

/// Where a redirect of `GET info/refs` leads, if it stays with the origin.
fn moved(caller: Caller<'_>, base: &str, location: Option<&str>) -> Result<String, Error> {
    let remote = || caller.options.url.to_string();
    let misled = |words: &str| Error::Misled { remote: remote(), source: Cause::new(words) };
    let here = Url::parse(&format!("{base}{INFO_REFS}")).map_err(|_| misled("from an address that is none"))?;
    let there = location.and_then(|location| here.join(location).ok()).ok_or_else(|| misled("to nowhere"))?;
    let origin = there.origin().ascii_serialization();
    let trusted = same_origin(base, there.as_str()) && there.username().is_empty() && there.password().is_none();
    if !trusted {
        return Err(Error::Redirected { remote: remote(), source: Cause::new(&format!("redirect to {origin}")) });
    }
    let base = there.as_str().strip_suffix(INFO_REFS).ok_or_else(|| misled("redirect to what is no repository"))?;
    Ok(base.to_owned())
}
