//! `GET info/refs`: which version of the protocol a server speaks, and where it has moved.
//!
//! It must not know what is asked for afterwards.

use url::Url;

use crate::git::error::{Cause, Error};
use crate::git::http::origin::same_origin;
use crate::git::protocol::capabilities::{Capabilities, Step};
use crate::git::protocol::version0::Advertisement;
use crate::git::protocol::{ProtocolError, capabilities, version0};
use crate::git::remote::options::RemoteOptions;
use crate::git::remote::response::Packets;
use crate::git::remote::smart_http::{ADVERTISEMENT, Caller, Http, Reply};

/// How often `GET info/refs` may be sent elsewhere.
const MOST_REDIRECTS: usize = 4;
/// How a redirect of that request has to end, so that the rest is the repository's address.
const INFO_REFS: &str = "/info/refs?service=git-upload-pack";

/// The most bytes that a list of refs may have: a hundred times what a repository with thousands of branches sends.
pub(crate) const LONGEST_LIST: u64 = 32 * 1024 * 1024;

/// The configured address without a slash at its end.
pub(crate) fn configured_base(options: &RemoteOptions) -> String {
    options.url.bare().trim_end_matches('/').to_owned()
}

/// How a server answers `GET info/refs`.
pub(crate) enum Discovered {
    Version2(String, Capabilities),
    Version0(String, Advertisement),
    /// In a way that libgit2 may understand.
    Other,
}

/// Asks what the server can do. Follows redirects that stay with the origin.
pub(crate) async fn discover(http: &Http, caller: Caller<'_>) -> Result<Discovered, Error> {
    let remote = || caller.options.url.to_string();
    let mut base = configured_base(caller.options);
    for _ in 0..MOST_REDIRECTS {
        let body = match http.send(caller, &format!("{base}{INFO_REFS}"), ADVERTISEMENT, None).await? {
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
                Err(ProtocolError::Failed(error)) => return Err(error),
                Err(_) => return Ok(Discovered::Other),
            };
            // Which version it is shows in the first line; until then both read along.
            let advertised = match old.as_mut().map(|old| old.take(&packet)) {
                None => None,
                Some(Ok(advertised)) => advertised,
                Some(Err(ProtocolError::Refused(words))) => return Err(Error::from_words(remote(), &words)),
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
