//! Properties of the parsers for responses in version 2, for any input (see src/fuzzing.rs).

use bytes::Bytes;
use git2::Oid;

use crate::git::protocol::fetch::{FetchResponseParser, ShallowUpdate};
use crate::git::protocol::ls_refs::AdvertisedRef;
use crate::git::protocol::pktline::{Decoder, LONGEST, Packet};
use crate::git::protocol::sideband::Band;
use crate::git::protocol::{Malformed, ProtocolError, capabilities, ls_refs, pktline, sideband};
use crate::git::remote::options::Reference;
use crate::git::remote::resolve_ref::resolve;

/// Returns the packets, fed `step` bytes at a time, and the error after them.
fn packets(data: &[u8], step: usize) -> (Vec<Packet>, Option<Malformed>) {
    let mut decoder = Decoder::default();
    let mut packets = Vec::new();
    for part in data.chunks(step.max(1)) {
        decoder.feed(part);
        loop {
            match decoder.next() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(wrong) => return (packets, Some(wrong)),
            }
        }
    }
    (packets, None)
}

/// Chunk borders do not matter; encoding the packets again yields the input; no packet is too long.
pub(crate) fn pkt_line(data: &[u8]) {
    let (found, wrong) = packets(data, data.len());
    let step = data.first().map_or(1, |byte| usize::from(byte % 7) + 1);
    assert_eq!(packets(data, step), (found.clone(), wrong), "chunks of {step}");
    let mut at = 0;
    for packet in &found {
        let (head, payload): (String, &[u8]) = match packet {
            Packet::Flush => ("0000".into(), b""),
            Packet::Delimiter => ("0001".into(), b""),
            Packet::End => ("0002".into(), b""),
            Packet::Data(payload) => (format!("{:04x}", payload.len() + 4), payload),
        };
        assert!(payload.len() + 4 <= LONGEST);
        assert!(data[at..at + 4].eq_ignore_ascii_case(head.as_bytes()), "the length at {at}");
        assert_eq!(&data[at + 4..at + 4 + payload.len()], payload);
        at += 4 + payload.len();
    }
    assert!(wrong.is_some() || data.len() - at < LONGEST, "a whole packet was left behind");
    // An encoded line is decoded as one packet with that text.
    // Cut, because `line` is for texts that fit into one packet, and asserts that.
    let text: String = String::from_utf8_lossy(data).chars().take(1000).collect();
    let mut message = Vec::new();
    pktline::line(&mut message, &text);
    let (back, wrong) = packets(&message, message.len());
    assert!(matches!(&back[..], [Packet::Data(line)] if pktline::text(line) == text.as_bytes()) && wrong.is_none());
}

/// Only version 2, known commands and a known object format are used.
pub(crate) fn capabilities(data: &[u8]) {
    let mut reader = capabilities::CapabilitiesParser::default();
    let (packets, _) = packets(data, data.len());
    let mut lines: Vec<&[u8]> = Vec::new();
    for packet in &packets {
        if let Packet::Data(line) = packet {
            lines.push(pktline::text(line));
        }
        match reader.take(packet) {
            capabilities::ParseStep::More => {}
            capabilities::ParseStep::Other => return,
            capabilities::ParseStep::Done(found) => {
                let has = |name: &[u8]| {
                    lines.iter().any(|line| line.strip_prefix(name).is_some_and(|rest| matches!(rest, [] | [b'=', ..])))
                };
                assert!(lines.contains(&b"version 2".as_slice()));
                let claimed = has(b"ls-refs") && has(b"fetch");
                assert!(claimed || !found.are_sufficient());
                assert!(!found.shallow || lines.iter().any(|line| line.windows(7).any(|part| part == b"shallow")));
                return;
            }
        }
    }
}

/// Names with control characters are skipped, hashes are complete, and the followed ref is one that was listed.
pub(crate) fn ls_refs(data: &[u8]) {
    let mut refs = Vec::new();
    for packet in packets(data, data.len()).0 {
        let Packet::Data(line) = packet else { break };
        if ls_refs::read(&line, &mut refs).is_err() {
            break;
        }
    }
    for one in &refs {
        harmless(&one.name);
        one.target.as_deref().into_iter().for_each(harmless);
        let target = one.target.as_ref().map(|target| format!(" symref-target:{target}")).unwrap_or_default();
        let mut again: Vec<AdvertisedRef> = Vec::new();
        assert!(ls_refs::read(format!("{} {}{target}\n", one.id, one.name).as_bytes(), &mut again).is_ok());
        assert_eq!(again, std::slice::from_ref(one), "printed and read again");
    }
    for reference in [
        Reference::Head,
        Reference::Name("main".into()),
        Reference::Full("refs/tags/v1".into()),
        Reference::Hash(Oid::ZERO_SHA1),
    ] {
        match resolve(&reference, &refs, "https://git.test/a") {
            Ok(look) => {
                let listed = refs.iter().any(|one| one.id == look.commit);
                assert!(listed || matches!(reference, Reference::Hash(_)), "{} was not advertised", look.commit);
                look.full_ref.as_deref().into_iter().chain(look.default_branch.as_deref()).for_each(harmless);
            }
            Err(error) => harmless(&error.to_string()),
        }
    }
}

fn harmless(text: &str) {
    assert!(!text.chars().any(crate::text::is_deceptive), "{text:?}");
}

/// The result of parsing a response to `fetch`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    boundary: Option<ShallowUpdate>,
    pack: Vec<u8>,
    ended: bool,
    told: Option<String>,
}

fn fetch(packets: &[Packet]) -> Read {
    let mut read = Read::default();
    let mut reader = FetchResponseParser::default();
    for packet in packets {
        if read.boundary.is_none() {
            match reader.take(packet) {
                Ok(boundary) => read.boundary = boundary,
                Err(ProtocolError::Refused(words)) => return Read { told: Some(words), ..read },
                Err(_) => return read,
            }
            continue;
        }
        match packet {
            Packet::Data(data) => match sideband::split(data.clone()) {
                Ok(Band::Pack(part)) => read.pack.extend_from_slice(&part),
                Ok(Band::Progress) => {}
                Ok(Band::Fatal(words)) => return Read { told: Some(words), ..read },
                Err(_) => return read,
            },
            Packet::Flush | Packet::End => return Read { ended: true, ..read },
            Packet::Delimiter => return read,
        }
    }
    read
}

/// No byte of a pack is invented or lost, every shallow commit and every ref is one that the server named, and an
/// encoded response is parsed as it was meant.
pub(crate) fn fetch_answer(data: &[u8]) {
    let read = fetch(&packets(data, data.len()).0);
    assert_eq!(fetch(&packets(data, 3).0), read, "chunk borders do not matter");
    assert!(read.pack.len() <= data.len());
    let Some(boundary) = &read.boundary else {
        assert!(read.pack.is_empty());
        return;
    };
    let lower = data.to_ascii_lowercase();
    for id in boundary.shallow.iter().chain(&boundary.unshallow).chain(&boundary.wanted_ref) {
        let digits = id.to_string();
        assert!(lower.windows(40).any(|part| part == digits.as_bytes()), "{digits} was not in the answer");
    }
    let mut again = Vec::new();
    if !boundary.shallow.is_empty() || !boundary.unshallow.is_empty() {
        pktline::line(&mut again, "shallow-info");
        boundary.shallow.iter().for_each(|id| pktline::line(&mut again, &format!("shallow {id}")));
        boundary.unshallow.iter().for_each(|id| pktline::line(&mut again, &format!("unshallow {id}")));
        pktline::delimiter(&mut again);
    }
    if let Some(id) = boundary.wanted_ref {
        pktline::line(&mut again, "wanted-refs");
        pktline::line(&mut again, &format!("{id} refs/heads/main"));
        pktline::delimiter(&mut again);
    }
    pktline::line(&mut again, "packfile");
    for part in read.pack.chunks(1000) {
        again.extend(format!("{:04x}\x01", part.len() + 5).bytes());
        again.extend(part);
    }
    pktline::flush(&mut again);
    let expected = Read { boundary: read.boundary.clone(), pack: read.pack.clone(), ended: true, told: None };
    assert_eq!(fetch(&packets(&Bytes::from(again), 7).0), expected);
}
