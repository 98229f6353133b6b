//! `fetch`: asking for one commit, and reading the answer up to where the pack begins (gitprotocol-v2, "fetch").
//!
//! Pure. All haves are sent at once and `done` behind them: what the store has is one line of history at most three
//! commits wide, there is nothing to negotiate.

use git2::Oid;

use crate::git::protocol::filter::Filter;
use crate::git::protocol::ls_refs::hash;
use crate::git::protocol::pktline::Packet;
use crate::git::protocol::{Malformed, ProtocolError, pktline};

/// A store's history ends at this many commits at most; more is no answer to our question.
const MOST_ROOTS: usize = 200_000;

/// What is asked for, and what is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchRequest {
    pub want: Oid,
    /// Whatever this ref is now, instead of `want`: for servers with `ref-in-want`.
    pub by_name: Option<String>,
    /// Other objects besides: files, when some were left out before.
    pub more: Vec<Oid>,
    /// Commits that are in the store with everything they name, files excepted if it is partial.
    pub haves: Vec<Oid>,
    /// Where the store's history ends.
    pub roots: Vec<Oid>,
    /// How many commits deep; `None` leaves the boundary where it is.
    pub deepen: Option<u32>,
    /// What is left out.
    pub filter: Option<Filter>,
    /// True if no file of the `haves` may be built upon: some are not there, or too large to be held in memory for it.
    pub alone: bool,
}

/// What an answer says before its pack: how the ends of the store's history move with it, and what a ref is that was asked
/// for by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShallowUpdate {
    pub shallow: Vec<Oid>,
    pub unshallow: Vec<Oid>,
    pub named: Option<Oid>,
}

pub(crate) fn request(ask: &FetchRequest) -> Vec<u8> {
    let mut message = Vec::new();
    pktline::line(&mut message, "command=fetch");
    pktline::delimiter(&mut message);
    // A thin pack builds upon what the haves have. Where files are left out that is never a file.
    if !ask.alone || ask.filter == Some(Filter::NoFiles) {
        pktline::line(&mut message, "thin-pack");
    }
    for flag in ["no-progress", "ofs-delta"] {
        pktline::line(&mut message, flag);
    }
    if let Some(filter) = ask.filter {
        pktline::line(&mut message, &format!("filter {filter}"));
    }
    match &ask.by_name {
        Some(name) => pktline::line(&mut message, &format!("want-ref {name}")),
        None => pktline::line(&mut message, &format!("want {}", ask.want)),
    }
    for want in &ask.more {
        pktline::line(&mut message, &format!("want {want}"));
    }
    for root in &ask.roots {
        pktline::line(&mut message, &format!("shallow {root}"));
    }
    if let Some(depth) = ask.deepen {
        pktline::line(&mut message, &format!("deepen {depth}"));
    }
    for have in &ask.haves {
        pktline::line(&mut message, &format!("have {have}"));
    }
    pktline::line(&mut message, "done");
    pktline::flush(&mut message);
    message
}

/// Reads the sections before the pack.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    section: Section,
    boundary: ShallowUpdate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Between,
    ShallowUpdate,
    Named,
    /// One that says nothing to us.
    Other,
}

impl Reader {
    /// Takes a packet; the boundary comes back when the next packet is the pack's first.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<ShallowUpdate>, ProtocolError> {
        let line = match packet {
            Packet::Data(line) => pktline::text(line),
            Packet::Delimiter if self.section != Section::Between => {
                self.section = Section::Between;
                return Ok(None);
            }
            Packet::Delimiter | Packet::Flush | Packet::End => return Err(Malformed("an answer without a pack").into()),
        };
        if let Some(words) = line.strip_prefix(b"ERR ") {
            return Err(ProtocolError::Refused(String::from_utf8_lossy(words).into_owned()));
        }
        match self.section {
            Section::Between => match line {
                b"packfile" => return Ok(Some(std::mem::take(&mut self.boundary))),
                b"shallow-info" => self.section = Section::ShallowUpdate,
                b"wanted-refs" => self.section = Section::Named,
                b"acknowledgments" => self.section = Section::Other,
                _ => return Err(Malformed("a section that was not asked for").into()),
            },
            Section::ShallowUpdate => self.boundary.note(line)?,
            Section::Named => self.name(line)?,
            Section::Other => {}
        }
        Ok(None)
    }

    /// One ref is asked for at most, so its name says nothing new.
    fn name(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let id = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if self.boundary.named.replace(hash(id)?).is_some() {
            return Err(Malformed("more refs than were asked for"));
        }
        Ok(())
    }
}

impl ShallowUpdate {
    /// Reads one line about where the history ends.
    pub(crate) fn note(&mut self, line: &[u8]) -> Result<(), Malformed> {
        if self.shallow.len() + self.unshallow.len() >= MOST_ROOTS {
            return Err(Malformed("too many ends of the history"));
        }
        if let Some(id) = line.strip_prefix(b"shallow ") {
            self.shallow.push(hash(id)?);
        } else if let Some(id) = line.strip_prefix(b"unshallow ") {
            self.unshallow.push(hash(id)?);
        } else {
            return Err(Malformed("an end of the history that is none"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn id(digit: u8) -> Oid {
        Oid::from_bytes(&[digit; 20]).unwrap()
    }

    fn data(text: &str) -> Packet {
        Packet::Data(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn read(packets: &[Packet]) -> Result<Option<ShallowUpdate>, ProtocolError> {
        let mut reader = Reader::default();
        for packet in packets {
            if let Some(boundary) = reader.take(packet)? {
                return Ok(Some(boundary));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_request_is_what_the_protocol_says() {
        let ask = FetchRequest { haves: vec![id(0x22)], roots: vec![id(0x22)], deepen: Some(1), ..plain() };
        let (new, old) = ("11".repeat(20), "22".repeat(20));
        let expected = format!(
            "0012command=fetch\n0001000ethin-pack\n0010no-progress\n000eofs-delta\n0032want {new}\n\
             0035shallow {old}\n000ddeepen 1\n0032have {old}\n0009done\n0000"
        );
        assert_eq!(String::from_utf8(request(&ask)).unwrap(), expected);
        assert!(!text(&plain()).contains("deepen"));
    }

    fn plain() -> FetchRequest {
        let (more, haves, roots) = (vec![], vec![], vec![]);
        FetchRequest { want: id(0x11), by_name: None, more, haves, roots, deepen: None, filter: None, alone: false }
    }

    fn text(ask: &FetchRequest) -> String {
        String::from_utf8(request(ask)).unwrap()
    }

    #[test]
    fn what_is_left_out_is_asked_for_by_its_hash_and_never_built_upon() {
        let filtered = text(&FetchRequest { filter: Some(Filter::Below(1024)), ..plain() });
        assert!(filtered.contains("001bfilter blob:limit=1024\n") && filtered.contains("thin-pack"), "{filtered}");
        let alone = FetchRequest { alone: true, ..plain() };
        assert!(!text(&alone).contains("thin-pack"));
        assert!(!text(&FetchRequest { filter: Some(Filter::Below(1)), ..alone.clone() }).contains("thin-pack"));
        assert!(text(&FetchRequest { filter: Some(Filter::NoFiles), ..alone.clone() }).contains("thin-pack"));
        let more = text(&FetchRequest { more: vec![id(0x22)], ..alone });
        assert!(more.contains(&format!("0032want {}\n0032want {}\n", "11".repeat(20), "22".repeat(20))), "{more}");
    }

    #[test]
    fn sections_before_the_pack_are_read() {
        let packets = [
            data("acknowledgments\n"),
            data("NAK\n"),
            Packet::Delimiter,
            data("shallow-info\n"),
            data(&format!("shallow {}\n", "11".repeat(20))),
            data(&format!("unshallow {}\n", "22".repeat(20))),
            Packet::Delimiter,
            data("packfile\n"),
        ];
        let expected = ShallowUpdate { shallow: vec![id(0x11)], unshallow: vec![id(0x22)], named: None };
        assert!(matches!(read(&packets), Ok(Some(boundary)) if boundary == expected));
        assert!(matches!(read(&[data("packfile\n")]), Ok(Some(boundary)) if boundary == ShallowUpdate::default()));
    }

    #[test]
    fn a_ref_is_asked_for_by_its_name_and_one_hash_is_the_answer() {
        let ask = FetchRequest { by_name: Some("refs/heads/main".into()), ..plain() };
        assert!(text(&ask).contains("001dwant-ref refs/heads/main\n0009done"), "{}", text(&ask));
        let line = data(&format!("{} refs/heads/main\n", "33".repeat(20)));
        let packets = [data("wanted-refs\n"), line.clone(), Packet::Delimiter, data("packfile\n")];
        assert!(matches!(read(&packets), Ok(Some(boundary)) if boundary.named == Some(id(0x33))));
        assert!(read(&[data("wanted-refs\n"), line.clone(), line]).is_err());
        assert!(read(&[data("wanted-refs\n"), data("refs/heads/main\n")]).is_err());
    }

    #[test]
    fn an_answer_that_is_none_is_told() {
        assert!(matches!(read(&[data("ERR upload-pack: not our ref 1\n")]), Err(ProtocolError::Refused(words))
            if words == "upload-pack: not our ref 1"));
        let lies: [&[Packet]; 7] = [
            &[Packet::Flush],
            &[Packet::Delimiter],
            &[Packet::End],
            &[data("packfile-uris\n")],
            &[data("PACK")],
            &[data("shallow-info"), data("shallow 12")],
            &[data("shallow-info"), Packet::Flush],
        ];
        for lie in lies {
            assert!(matches!(read(lie), Err(ProtocolError::NotSpoken(_))), "{lie:?}");
        }
    }

    #[test]
    fn a_boundary_without_end_is_refused() {
        let mut reader = Reader::default();
        reader.take(&data("shallow-info")).unwrap();
        let line = data(&format!("shallow {}", "11".repeat(20)));
        let refused = (0..=MOST_ROOTS).find(|_| reader.take(&line).is_err());
        assert_eq!(refused, Some(MOST_ROOTS));
    }

    proptest! {
        #[test]
        fn no_packets_make_it_panic(lines in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 0..20)) {
            let mut reader = Reader::default();
            for line in lines {
                let _ = reader.take(&line.map_or(Packet::Delimiter, |line| Packet::Data(line.into())));
            }
        }
    }
}
