//! Protocol version 0 over HTTP, for servers that know no newer one (gitprotocol-pack, gitprotocol-http).
//!
//! Pure. One response lists all refs. A fetch is one request with all wants and haves and `done` after them, as in
//! version 2. libgit2 talks to servers without `side-band-64k`.

use crate::git::protocol::fetch::{FetchRequest, ShallowUpdate};
use crate::git::protocol::ls_refs::{AdvertisedRef, hash, named};
use crate::git::protocol::pktline::{Packet, text};
use crate::git::protocol::{Malformed, ProtocolError, pktline};

/// The most refs that a list may have.
const MOST_REFS: usize = 2_000_000;
/// The placeholder name in the list of a repository without refs.
const NO_REFS: &[u8] = b"capabilities^{}";

/// The features of the server that are used here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    side_band: bool,
    ofs_delta: bool,
    thin_pack: bool,
    no_progress: bool,
    shallow: bool,
    /// The shallow commits of the server's own repository.
    shallow_commits: Vec<git2::Oid>,
    /// The object format is not SHA-1; libgit2 cannot store it.
    pub other_hash: bool,
}

/// The refs and the features of the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Advertisement {
    pub refs: Vec<AdvertisedRef>,
    pub features: Features,
}

/// Parses the response to `GET info/refs`.
#[derive(Debug, Default)]
pub(crate) struct AdvertisementParser {
    begun: bool,
    read: Advertisement,
    /// Symbolic refs such as `HEAD`, with their targets.
    symrefs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl AdvertisementParser {
    /// Takes a packet. Returns the advertisement with the last one.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<Advertisement>, ProtocolError> {
        match packet {
            // The service line is followed by a flush of its own.
            Packet::Data(line) if !self.begun && line.starts_with(b"# service=") => Ok(None),
            Packet::Flush if !self.begun => {
                self.begun = true;
                Ok(None)
            }
            Packet::Data(line) => {
                self.begun = true;
                self.line(line)?;
                Ok(None)
            }
            Packet::Flush => {
                // `symref` stands with the features on the first line, before most of the refs that it is about.
                let mut read = std::mem::take(&mut self.read);
                for (name, target) in &self.symrefs {
                    let target = std::str::from_utf8(target).ok().map(str::to_owned);
                    for one in read.refs.iter_mut().filter(|one| one.name.as_bytes() == name) {
                        one.target.clone_from(&target);
                    }
                }
                Ok(Some(read))
            }
            Packet::Delimiter | Packet::End => Err(Malformed("a list of refs with sections").into()),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        if let Some(words) = line.strip_prefix(b"ERR ") {
            return Err(ProtocolError::Refused(String::from_utf8_lossy(text(words)).into_owned()));
        }
        let (head, features) = match line.iter().position(|byte| *byte == 0) {
            Some(at) => (&line[..at], Some(text(&line[at + 1..]))),
            None => (text(line), None),
        };
        if let Some(features) = features {
            features.split(|byte| *byte == b' ').for_each(|feature| self.feature(feature));
        }
        // Version 1 differs from version 0 only in this line.
        if head == b"version 1" || head.is_empty() {
            return Ok(());
        }
        if let Some(end) = head.strip_prefix(b"shallow ") {
            self.read.features.shallow_commits.push(hash(end)?);
            return Ok(());
        }
        // An endless list must not fill the memory.
        if self.read.refs.len() >= MOST_REFS {
            return Err(Malformed("too many refs").into());
        }
        let (id, name) = head.split_at_checked(40).ok_or(Malformed("a ref without a name"))?;
        let (id, name) = (hash(id)?, name.strip_prefix(b" ").ok_or(Malformed("a ref without a name"))?);
        if name != NO_REFS {
            self.read.refs.extend(named(name).map(|name| AdvertisedRef { name, id, target: None }));
        }
        Ok(())
    }

    fn feature(&mut self, feature: &[u8]) {
        let known = &mut self.read.features;
        match feature {
            b"side-band-64k" => known.side_band = true,
            b"ofs-delta" => known.ofs_delta = true,
            b"thin-pack" => known.thin_pack = true,
            b"no-progress" => known.no_progress = true,
            b"shallow" => known.shallow = true,
            _ => {
                if let Some(format) = feature.strip_prefix(b"object-format=") {
                    known.other_hash = format != b"sha1";
                } else if let Some(pair) = feature.strip_prefix(b"symref=")
                    && let Some(colon) = pair.iter().position(|byte| *byte == b':')
                {
                    self.symrefs.push((pair[..colon].to_vec(), pair[colon + 1..].to_vec()));
                }
            }
        }
    }
}

impl Features {
    /// Returns true if the server supports the request.
    pub(crate) fn support(&self, wanted: &FetchRequest) -> bool {
        let moves_boundary = wanted.deepen.is_some() || !wanted.shallow.is_empty();
        self.side_band && wanted.filter.is_none() && wanted.want_ref.is_none() && (self.shallow || !moves_boundary)
    }

    pub(crate) fn request(&self, wanted: &FetchRequest) -> Vec<u8> {
        let mut message = Vec::new();
        let features = [
            ("ofs-delta", self.ofs_delta),
            ("thin-pack", self.thin_pack && !wanted.self_contained),
            ("no-progress", self.no_progress),
        ];
        let taken = features.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
        let features: Vec<&str> = std::iter::once("side-band-64k").chain(taken).collect();
        // The capabilities follow the first want (gitprotocol-pack, "Packfile Negotiation").
        pktline::line(&mut message, &format!("want {} {}", wanted.want, features.join(" ")));
        for want in &wanted.more_wants {
            pktline::line(&mut message, &format!("want {want}"));
        }
        for root in &wanted.shallow {
            pktline::line(&mut message, &format!("shallow {root}"));
        }
        if let Some(depth) = wanted.deepen {
            pktline::line(&mut message, &format!("deepen {depth}"));
        }
        // In version 0 a flush ends the wants, and the haves follow.
        pktline::flush(&mut message);
        for have in &wanted.haves {
            pktline::line(&mut message, &format!("have {have}"));
        }
        pktline::line(&mut message, "done");
        message
    }

    /// Returns the parser for the response to that request.
    pub(crate) fn response_parser(&self, wanted: &FetchRequest) -> FetchResponseParser {
        // A server whose own repository is shallow says where its history ends only in the list of refs. The store's
        // history ends there, too.
        let update = ShallowUpdate { shallow: self.shallow_commits.clone(), ..ShallowUpdate::default() };
        FetchResponseParser { in_shallow_section: wanted.deepen.is_some(), answered: false, update }
    }
}

/// Parses a response up to the pack.
#[derive(Debug)]
pub(crate) struct FetchResponseParser {
    in_shallow_section: bool,
    /// True after the first acknowledgment. A server may send one for each common commit.
    answered: bool,
    update: ShallowUpdate,
}

impl FetchResponseParser {
    /// Takes a packet. Returns the update with the first packet of the pack, which has to be read again.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<ShallowUpdate>, ProtocolError> {
        let line = match packet {
            // The number of a side-band.
            Packet::Data(line) if self.answered && line.first().is_some_and(|band| (1..=3).contains(band)) => {
                return Ok(Some(std::mem::take(&mut self.update)));
            }
            Packet::Data(line) => text(line),
            Packet::Flush if self.in_shallow_section => {
                self.in_shallow_section = false;
                return Ok(None);
            }
            Packet::Flush | Packet::Delimiter | Packet::End => {
                return Err(Malformed("an answer without a pack").into());
            }
        };
        if let Some(words) = line.strip_prefix(b"ERR ") {
            return Err(ProtocolError::Refused(String::from_utf8_lossy(words).into_owned()));
        }
        if self.in_shallow_section {
            self.update.note(line)?;
            return Ok(None);
        }
        match line {
            line if line == b"NAK" || line.starts_with(b"ACK ") => {
                self.answered = true;
                Ok(None)
            }
            _ => Err(Malformed("an answer that neither takes nor refuses").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use git2::Oid;
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";

    fn data(text: &str) -> Packet {
        Packet::Data(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn read(packets: &[Packet]) -> Result<Option<Advertisement>, ProtocolError> {
        let mut parser = AdvertisementParser::default();
        for packet in packets {
            if let Some(read) = parser.take(packet)? {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }

    fn wanted() -> FetchRequest {
        FetchRequest::plain(Oid::from_str(ONE).unwrap())
    }

    #[test]
    fn an_advertisement_is_parsed_with_features_head_and_shallow_commits() {
        let first =
            format!("{ONE} HEAD\0multi_ack side-band-64k ofs-delta shallow symref=HEAD:refs/heads/main agent=x\n");
        let packets = [
            data("# service=git-upload-pack\n"),
            Packet::Flush,
            data(&first),
            data(&format!("{ONE} refs/heads/main\n")),
            data(&format!("shallow {ONE}\n")),
            Packet::Flush,
        ];
        let all = read(&packets).unwrap().unwrap();
        let names: Vec<_> = all.refs.iter().map(|one| (one.name.as_str(), one.target.as_deref())).collect();
        assert_eq!(names, [("HEAD", Some("refs/heads/main")), ("refs/heads/main", None)]);
        assert!(all.features.side_band && all.features.shallow && !all.features.thin_pack && !all.features.other_hash);
        assert_eq!(all.features.shallow_commits.len(), 1);
        let empty = [
            data(&format!("{} capabilities^{{}}\0side-band-64k object-format=sha256\n", "0".repeat(40))),
            Packet::Flush,
        ];
        let empty = read(&empty).unwrap().unwrap();
        assert!(empty.refs.is_empty() && empty.features.other_hash);
    }

    #[test]
    fn the_request_follows_the_protocol() {
        let features =
            Features { side_band: true, ofs_delta: true, thin_pack: true, shallow: true, ..Features::default() };
        let wanted =
            FetchRequest { haves: vec![wanted().want], shallow: vec![wanted().want], deepen: Some(1), ..wanted() };
        let expected = format!(
            "0054want {ONE} side-band-64k ofs-delta thin-pack\n0035shallow {ONE}\n000ddeepen 1\n00000032have {ONE}\n0009done\n"
        );
        assert_eq!(String::from_utf8(features.request(&wanted)).unwrap(), expected);
        assert!(features.support(&wanted) && !Features { shallow: false, ..features.clone() }.support(&wanted));
        assert!(!Features { side_band: false, ..features }.support(&wanted));
    }

    #[test]
    fn a_fetch_response_is_parsed_up_to_the_pack() {
        let features = Features::default();
        let mut deep = features.response_parser(&FetchRequest { deepen: Some(1), ..wanted() });
        assert!(deep.take(&data(&format!("shallow {ONE}\n"))).unwrap().is_none());
        assert!(deep.take(&Packet::Flush).unwrap().is_none());
        assert!(deep.take(&data("NAK\n")).unwrap().is_none());
        assert_eq!(deep.take(&data("\x01PACK")).unwrap().unwrap().shallow.len(), 1);
        let mut several = features.response_parser(&wanted());
        for _ in 0..2 {
            assert!(several.take(&data(&format!("ACK {ONE}\n"))).unwrap().is_none());
        }
        assert!(several.take(&data("\x02counting")).unwrap().is_some());
        let refused = features.response_parser(&wanted()).take(&data("ERR go away"));
        assert!(matches!(refused, Err(ProtocolError::Refused(words)) if words == "go away"));
        assert!(features.response_parser(&wanted()).take(&Packet::Flush).is_err());
        assert!(features.response_parser(&wanted()).take(&data("\x01PACK")).is_err());
    }

    #[test]
    fn malformed_lists_are_errors() {
        for line in ["nonsense", ONE, &format!("{ONE}refs/heads/a"), "shallow 12"] {
            assert!(matches!(read(&[data(line)]), Err(ProtocolError::NotSpoken(_))), "{line}");
        }
        assert!(
            matches!(read(&[data("ERR Repository not found.\n")]), Err(ProtocolError::Refused(words)) if words == "Repository not found.")
        );
    }

    proptest! {
        #[test]
        fn no_packets_make_it_panic(lines in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 0..20)) {
            let (mut parser, mut answer) = (AdvertisementParser::default(), Features::default().response_parser(&wanted()));
            for line in lines {
                let packet = line.map_or(Packet::Flush, |line| Packet::Data(line.into()));
                let _ = (parser.take(&packet), answer.take(&packet));
            }
        }
    }
}
