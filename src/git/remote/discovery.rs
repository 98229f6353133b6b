//! `GET info/refs`: finds out the protocol version of a server and its address after redirects.
//!
//! It must not know which request follows.

use url::Url;

use crate::git::error::{Cause, Error};
use crate::git::http::origin::same_origin;
use crate::git::protocol::capabilities::{Capabilities, ParseStep};
use crate::git::protocol::version0::Advertisement;
use crate::git::protocol::{ProtocolError, capabilities, version0};
use crate::git::remote::options::RemoteOptions;
use crate::git::remote::response::Packets;
use crate::git::remote::smart_http::{ADVERTISEMENT, Caller, Reply, SmartHttp};

/// The most redirects of `GET info/refs`.
const MOST_REDIRECTS: usize = 4;
/// The path of that request. A redirect has to end in it, so that the rest is the repository's address.
const INFO_REFS: &str = "/info/refs?service=git-upload-pack";

/// The most bytes of a list of refs: a hundred times what a repository with thousands of branches sends.
pub(crate) const LONGEST_LIST: u64 = 32 * 1024 * 1024;

/// Returns the configured address without a slash at its end.
pub(crate) fn configured_base(options: &RemoteOptions) -> String {
    options.url.bare().trim_end_matches('/').to_owned()
}

/// The answer to `GET info/refs`.
pub(crate) enum Discovered {
    Version2(String, Capabilities),
    Version0(String, Advertisement),
    /// Another answer, which libgit2 may understand.
    Other,
}

/// Asks the server for its capabilities. Follows redirects within the origin.
pub(crate) async fn discover(http: &SmartHttp, caller: Caller<'_>) -> Result<Discovered, Error> {
    let remote = || caller.options.url.to_string();
    let mut base = configured_base(caller.options);
    for _ in 0..MOST_REDIRECTS {
        let body = match http.send(caller, &format!("{base}{INFO_REFS}"), ADVERTISEMENT, None).await? {
            Reply::Expected(body) => body,
            Reply::Redirect(location) => {
                base = redirected_base(caller, &base, location.as_deref())?;
                continue;
            }
            Reply::Refused(refusal) => {
                return Err(refusal
                    .error(remote())
                    .unwrap_or(Error::Protocol { remote: remote(), source: refusal.cause() }));
            }
            Reply::OtherContent => return Ok(Discovered::Other),
        };
        let mut packets = Packets::new(body, LONGEST_LIST);
        let (mut parser, mut old) =
            (capabilities::CapabilitiesParser::default(), Some(version0::AdvertisementParser::default()));
        loop {
            let packet = match packets.next().await {
                Ok(packet) => packet,
                Err(ProtocolError::Failed(error)) => return Err(error),
                // No packet lines: a server for the dumb protocol, for example.
                Err(_) => return Ok(Discovered::Other),
            };
            // The first line shows the version. Until then both parsers read it.
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
                // Reported here, before a fetch would fail for a less clear reason.
                if advertised.features.other_hash {
                    return Err(Error::ObjectFormat { remote: remote() });
                }
                return Ok(Discovered::Version0(base, advertised));
            }
            match parser.take(&packet) {
                ParseStep::More => {}
                ParseStep::Done(can) => {
                    packets.finish().await;
                    if can.other_hash {
                        return Err(Error::ObjectFormat { remote: remote() });
                    }
                    let suffices = can.are_sufficient();
                    return Ok(if suffices { Discovered::Version2(base, can) } else { Discovered::Other });
                }
                ParseStep::Other if old.is_some() => {}
                ParseStep::Other => return Ok(Discovered::Other),
            }
        }
    }
    let source = Cause::new("too many redirects");
    Err(Error::Misled { remote: caller.options.url.to_string(), source })
}

/// Returns the address of a redirect of `GET info/refs`, if it stays within the origin.
fn redirected_base(caller: Caller<'_>, base: &str, location: Option<&str>) -> Result<String, Error> {
    let remote = || caller.options.url.to_string();
    let misled = |words: &str| Error::Misled { remote: remote(), source: Cause::new(words) };
    let here = Url::parse(&format!("{base}{INFO_REFS}")).map_err(|_| misled("from an invalid address"))?;
    let there = location.and_then(|location| here.join(location).ok()).ok_or_else(|| misled("to nowhere"))?;
    let origin = there.origin().ascii_serialization();
    // A user and a password in the location would let the server choose the credentials of the next requests.
    let trusted = same_origin(base, there.as_str()) && there.username().is_empty() && there.password().is_none();
    if !trusted {
        return Err(Error::Redirected { remote: remote(), source: Cause::new(&format!("redirect to {origin}")) });
    }
    let base = there.as_str().strip_suffix(INFO_REFS).ok_or_else(|| misled("redirect to what is no repository"))?;
    Ok(base.to_owned())
}
