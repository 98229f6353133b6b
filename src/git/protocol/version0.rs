//! Protocol version 0 over http(s), for servers that know no newer one (gitprotocol-pack, gitprotocol-http).
//!
//! Pure: packets in, refs and boundaries out. One answer lists all refs; a fetch is one request with everything that is
//! wanted and there, and `done` behind it, as in version 2. Without `side-band-64k` it is libgit2's to talk to the server.

use crate::git::protocol::fetch::{FetchRequest, ShallowUpdate};
use crate::git::protocol::ls_refs::{AdvertisedRef, hash, named};
use crate::git::protocol::pktline::{Packet, text};
use crate::git::protocol::{Malformed, ProtocolError, pktline};

/// More is no list of refs.
const MOST_REFS: usize = 2_000_000;
/// What stands for a name where there is no ref.
const NO_REFS: &[u8] = b"capabilities^{}";

/// What the server said it can do, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    side_band: bool,
    ofs_delta: bool,
    thin_pack: bool,
    no_progress: bool,
    shallow: bool,
    /// Commits at which the server's own history ends.
    ends: Vec<git2::Oid>,
    /// Hashes of another kind than SHA-1, which libgit2 cannot store.
    pub other_hash: bool,
}

/// Everything that the server has, and what it can do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Advertisement {
    pub refs: Vec<AdvertisedRef>,
    pub features: Features,
}

/// Reads the answer to `GET info/refs`.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    begun: bool,
    read: Advertisement,
    /// `HEAD` and the branch that it names.
    symrefs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Reader {
    /// Takes a packet; what was read comes back with the last one.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<Advertisement>, ProtocolError> {
        match packet {
            // The announcement of the service ends with a flush of its own.
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
        if head == b"version 1" || head.is_empty() {
            return Ok(());
        }
        if let Some(end) = head.strip_prefix(b"shallow ") {
            self.read.features.ends.push(hash(end)?);
            return Ok(());
        }
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
    /// True if a fetch can be asked for here.
    pub(crate) fn suffice(&self, ask: &FetchRequest) -> bool {
        let moves_boundary = ask.deepen.is_some() || !ask.roots.is_empty();
        self.side_band && ask.filter.is_none() && ask.by_name.is_none() && (self.shallow || !moves_boundary)
    }

    pub(crate) fn request(&self, ask: &FetchRequest) -> Vec<u8> {
        let mut message = Vec::new();
        let features = [
            ("ofs-delta", self.ofs_delta),
            ("thin-pack", self.thin_pack && !ask.alone),
            ("no-progress", self.no_progress),
        ];
        let taken = features.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
        let features: Vec<&str> = std::iter::once("side-band-64k").chain(taken).collect();
        pktline::line(&mut message, &format!("want {} {}", ask.want, features.join(" ")));
        for want in &ask.more {
            pktline::line(&mut message, &format!("want {want}"));
        }
        for root in &ask.roots {
            pktline::line(&mut message, &format!("shallow {root}"));
        }
        if let Some(depth) = ask.deepen {
            pktline::line(&mut message, &format!("deepen {depth}"));
        }
        pktline::flush(&mut message);
        for have in &ask.haves {
            pktline::line(&mut message, &format!("have {have}"));
        }
        pktline::line(&mut message, "done");
        message
    }

    /// Reads what precedes the pack in the answer to that request.
    pub(crate) fn answer(&self, ask: &FetchRequest) -> AnswerReader {
        let boundary = ShallowUpdate { shallow: self.ends.clone(), ..ShallowUpdate::default() };
        AnswerReader { in_boundary: ask.deepen.is_some(), answered: false, boundary }
    }
}

/// Reads an answer up to where its pack begins.
#[derive(Debug)]
pub(crate) struct AnswerReader {
    in_boundary: bool,
    /// True behind the first acknowledgment. A server may send one for each commit that both have.
    answered: bool,
    boundary: ShallowUpdate,
}

impl AnswerReader {
    /// Takes a packet; the boundary comes back with the pack's first packet, which is to be read again.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<ShallowUpdate>, ProtocolError> {
        let line = match packet {
            // The number of a band.
            Packet::Data(line) if self.answered && line.first().is_some_and(|band| (1..=3).contains(band)) => {
                return Ok(Some(std::mem::take(&mut self.boundary)));
            }
            Packet::Data(line) => text(line),
            Packet::Flush if self.in_boundary => {
                self.in_boundary = false;
                return Ok(None);
            }
            Packet::Flush | Packet::Delimiter | Packet::End => {
                return Err(Malformed("an answer without a pack").into());
            }
        };
        if let Some(words) = line.strip_prefix(b"ERR ") {
            return Err(ProtocolError::Refused(String::from_utf8_lossy(words).into_owned()));
        }
        if self.in_boundary {
            self.boundary.note(line)?;
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
        let mut reader = Reader::default();
        for packet in packets {
            if let Some(read) = reader.take(packet)? {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }

    fn ask() -> FetchRequest {
        let want = Oid::from_str(ONE).unwrap();
        let (more, haves, roots) = (vec![], vec![], vec![]);
        FetchRequest { want, by_name: None, more, haves, roots, deepen: None, filter: None, alone: false }
    }

    #[test]
    fn a_list_is_read_with_its_features_its_head_and_where_its_history_ends() {
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
        assert_eq!(all.features.ends.len(), 1);
        let empty = [
            data(&format!("{} capabilities^{{}}\0side-band-64k object-format=sha256\n", "0".repeat(40))),
            Packet::Flush,
        ];
        let empty = read(&empty).unwrap().unwrap();
        assert!(empty.refs.is_empty() && empty.features.other_hash);
    }

    #[test]
    fn the_request_is_what_the_protocol_says() {
        let features =
            Features { side_band: true, ofs_delta: true, thin_pack: true, shallow: true, ..Features::default() };
        let ask = FetchRequest { haves: vec![ask().want], roots: vec![ask().want], deepen: Some(1), ..ask() };
        let expected = format!(
            "0054want {ONE} side-band-64k ofs-delta thin-pack\n0035shallow {ONE}\n000ddeepen 1\n00000032have {ONE}\n0009done\n"
        );
        assert_eq!(String::from_utf8(features.request(&ask)).unwrap(), expected);
        assert!(features.suffice(&ask) && !Features { shallow: false, ..features.clone() }.suffice(&ask));
        assert!(!Features { side_band: false, ..features }.suffice(&ask));
    }

    #[test]
    fn an_answer_begins_with_its_boundary_and_its_acknowledgments() {
        let features = Features::default();
        let mut deep = features.answer(&FetchRequest { deepen: Some(1), ..ask() });
        assert!(deep.take(&data(&format!("shallow {ONE}\n"))).unwrap().is_none());
        assert!(deep.take(&Packet::Flush).unwrap().is_none());
        assert!(deep.take(&data("NAK\n")).unwrap().is_none());
        assert_eq!(deep.take(&data("\x01PACK")).unwrap().unwrap().shallow.len(), 1);
        let mut several = features.answer(&ask());
        for _ in 0..2 {
            assert!(several.take(&data(&format!("ACK {ONE}\n"))).unwrap().is_none());
        }
        assert!(several.take(&data("\x02counting")).unwrap().is_some());
        let refused = features.answer(&ask()).take(&data("ERR go away"));
        assert!(matches!(refused, Err(ProtocolError::Refused(words)) if words == "go away"));
        assert!(features.answer(&ask()).take(&Packet::Flush).is_err());
        assert!(features.answer(&ask()).take(&data("\x01PACK")).is_err());
    }

    #[test]
    fn what_is_no_list_is_an_error() {
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
            let (mut reader, mut answer) = (Reader::default(), Features::default().answer(&ask()));
            for line in lines {
                let packet = line.map_or(Packet::Flush, |line| Packet::Data(line.into()));
                let _ = (reader.take(&packet), answer.take(&packet));
            }
        }
    }
}
