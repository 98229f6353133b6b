//! The `fetch` command: building the request for a commit, and parsing the response up to the pack (gitprotocol-v2,
//! "fetch").
//!
//! Pure. All haves are sent at once with `done` after them: the history in the store is a line at most three commits
//! wide, so there is nothing to negotiate.

use git2::Oid;

use crate::git::protocol::filter::Filter;
use crate::git::protocol::ls_refs::hash;
use crate::git::protocol::pktline::Packet;
use crate::git::protocol::{Malformed, ProtocolError, pktline};

/// The most shallow commits that a response may list.
const MOST_SHALLOW: usize = 200_000;

/// A request for a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchRequest {
    pub want: Oid,
    /// The name of a ref whose current value is requested instead of `want`, for servers with `ref-in-want`.
    pub want_ref: Option<String>,
    /// Other objects that are requested: files that a filter left out before.
    pub more_wants: Vec<Oid>,
    /// Commits that are in the store with everything that they name, except for files in a partial clone.
    pub haves: Vec<Oid>,
    /// The shallow boundary of the store.
    pub shallow: Vec<Oid>,
    /// The depth of the history in commits; `None` leaves the boundary where it is.
    pub deepen: Option<u32>,
    /// The objects to leave out.
    pub filter: Option<Filter>,
    /// True if the pack must not contain deltas against files of the `haves`: some are missing, or too large to load.
    pub self_contained: bool,
}

#[cfg(test)]
impl FetchRequest {
    /// One object, and nothing else.
    pub(crate) fn plain(want: Oid) -> Self {
        Self {
            want,
            want_ref: None,
            more_wants: Vec::new(),
            haves: Vec::new(),
            shallow: Vec::new(),
            deepen: None,
            filter: None,
            self_contained: false,
        }
    }
}

/// The lines before the pack: changes of the shallow boundary, and the value of a ref that was requested by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShallowUpdate {
    pub shallow: Vec<Oid>,
    pub unshallow: Vec<Oid>,
    pub wanted_ref: Option<Oid>,
}

pub(crate) fn request(wanted: &FetchRequest) -> Vec<u8> {
    let mut message = Vec::new();
    pktline::line(&mut message, "command=fetch");
    pktline::delimiter(&mut message);
    // A thin pack contains deltas against objects of the haves. With `blob:none` these are never files.
    if !wanted.self_contained || wanted.filter == Some(Filter::NoFiles) {
        pktline::line(&mut message, "thin-pack");
    }
    // Progress messages would be dropped, and offsets make a pack smaller.
    for flag in ["no-progress", "ofs-delta"] {
        pktline::line(&mut message, flag);
    }
    if let Some(filter) = wanted.filter {
        pktline::line(&mut message, &format!("filter {filter}"));
    }
    match &wanted.want_ref {
        Some(name) => pktline::line(&mut message, &format!("want-ref {name}")),
        None => pktline::line(&mut message, &format!("want {}", wanted.want)),
    }
    for want in &wanted.more_wants {
        pktline::line(&mut message, &format!("want {want}"));
    }
    // Without these lines the server would assume the whole history behind the haves, and leave out objects that are
    // only there (gitprotocol-v2, "fetch").
    for root in &wanted.shallow {
        pktline::line(&mut message, &format!("shallow {root}"));
    }
    if let Some(depth) = wanted.deepen {
        pktline::line(&mut message, &format!("deepen {depth}"));
    }
    for have in &wanted.haves {
        pktline::line(&mut message, &format!("have {have}"));
    }
    // Ends the negotiation: the server answers with the pack at once.
    pktline::line(&mut message, "done");
    pktline::flush(&mut message);
    message
}

/// Parses the sections before the pack.
#[derive(Debug, Default)]
pub(crate) struct FetchResponseParser {
    section: Section,
    update: ShallowUpdate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Between,
    ShallowInfo,
    Named,
    /// A section that is ignored.
    Other,
}

impl FetchResponseParser {
    /// Takes a packet. Returns the update once the next packet is the first of the pack.
    pub(crate) fn take(&mut self, packet: &Packet) -> Result<Option<ShallowUpdate>, ProtocolError> {
        let line = match packet {
            Packet::Data(line) => pktline::text(line),
            Packet::Delimiter if self.section != Section::Between => {
                self.section = Section::Between;
                return Ok(None);
            }
            // A flush before the pack means that there is none.
            Packet::Delimiter | Packet::Flush | Packet::End => return Err(Malformed("an answer without a pack").into()),
        };
        // An error packet may take the place of any other (gitprotocol-pack).
        if let Some(words) = line.strip_prefix(b"ERR ") {
            return Err(ProtocolError::Refused(String::from_utf8_lossy(words).into_owned()));
        }
        match self.section {
            Section::Between => match line {
                b"packfile" => return Ok(Some(std::mem::take(&mut self.update))),
                b"shallow-info" => self.section = Section::ShallowInfo,
                b"wanted-refs" => self.section = Section::Named,
                // Omitted after `done` by the specification; ignored where a server sends it all the same.
                b"acknowledgments" => self.section = Section::Other,
                // Not skipped: a section may change what the pack contains, as `packfile-uris` does.
                _ => return Err(Malformed("a section that was not asked for").into()),
            },
            Section::ShallowInfo => self.update.note(line)?,
            Section::Named => self.name(line)?,
            Section::Other => {}
        }
        Ok(None)
    }

    /// At most one ref is requested, so its name is not needed.
    fn name(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let id = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if self.update.wanted_ref.replace(hash(id)?).is_some() {
            return Err(Malformed("more refs than were asked for"));
        }
        Ok(())
    }
}

impl ShallowUpdate {
    /// Parses one line about the shallow boundary.
    pub(crate) fn note(&mut self, line: &[u8]) -> Result<(), Malformed> {
        // Counted before it is kept, so that an endless list does not fill the memory.
        if self.shallow.len() + self.unshallow.len() >= MOST_SHALLOW {
            return Err(Malformed("too many ends of the history"));
        }
        if let Some(id) = line.strip_prefix(b"shallow ") {
            self.shallow.push(hash(id)?);
        } else if let Some(id) = line.strip_prefix(b"unshallow ") {
            self.unshallow.push(hash(id)?);
        } else {
            return Err(Malformed("a shallow line without a valid hash"));
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
        let mut parser = FetchResponseParser::default();
        for packet in packets {
            if let Some(update) = parser.take(packet)? {
                return Ok(Some(update));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_request_follows_the_protocol() {
        let wanted = FetchRequest { haves: vec![id(0x22)], shallow: vec![id(0x22)], deepen: Some(1), ..plain() };
        let (new, old) = ("11".repeat(20), "22".repeat(20));
        let expected = format!(
            "0012command=fetch\n0001000ethin-pack\n0010no-progress\n000eofs-delta\n0032want {new}\n\
             0035shallow {old}\n000ddeepen 1\n0032have {old}\n0009done\n0000"
        );
        assert_eq!(String::from_utf8(request(&wanted)).unwrap(), expected);
        assert!(!text(&plain()).contains("deepen"));
    }

    fn plain() -> FetchRequest {
        FetchRequest::plain(id(0x11))
    }

    fn text(wanted: &FetchRequest) -> String {
        String::from_utf8(request(wanted)).unwrap()
    }

    #[test]
    fn filtered_files_are_requested_by_hash_and_never_a_base_of_deltas() {
        let filtered = text(&FetchRequest { filter: Some(Filter::Below(1024)), ..plain() });
        assert!(filtered.contains("001bfilter blob:limit=1024\n") && filtered.contains("thin-pack"), "{filtered}");
        let self_contained = FetchRequest { self_contained: true, ..plain() };
        assert!(!text(&self_contained).contains("thin-pack"));
        assert!(
            !text(&FetchRequest { filter: Some(Filter::Below(1)), ..self_contained.clone() }).contains("thin-pack")
        );
        assert!(text(&FetchRequest { filter: Some(Filter::NoFiles), ..self_contained.clone() }).contains("thin-pack"));
        let more_wants = text(&FetchRequest { more_wants: vec![id(0x22)], ..self_contained });
        assert!(
            more_wants.contains(&format!("0032want {}\n0032want {}\n", "11".repeat(20), "22".repeat(20))),
            "{more_wants}"
        );
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
        let expected = ShallowUpdate { shallow: vec![id(0x11)], unshallow: vec![id(0x22)], wanted_ref: None };
        assert!(matches!(read(&packets), Ok(Some(update)) if update == expected));
        assert!(matches!(read(&[data("packfile\n")]), Ok(Some(update)) if update == ShallowUpdate::default()));
    }

    #[test]
    fn want_ref_requests_a_ref_by_name_and_accepts_one_hash() {
        let wanted = FetchRequest { want_ref: Some("refs/heads/main".into()), ..plain() };
        assert!(text(&wanted).contains("001dwant-ref refs/heads/main\n0009done"), "{}", text(&wanted));
        let line = data(&format!("{} refs/heads/main\n", "33".repeat(20)));
        let packets = [data("wanted-refs\n"), line.clone(), Packet::Delimiter, data("packfile\n")];
        assert!(matches!(read(&packets), Ok(Some(update)) if update.wanted_ref == Some(id(0x33))));
        assert!(read(&[data("wanted-refs\n"), line.clone(), line]).is_err());
        assert!(read(&[data("wanted-refs\n"), data("refs/heads/main\n")]).is_err());
    }

    #[test]
    fn malformed_responses_are_errors() {
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
    fn an_endless_list_of_shallow_commits_is_refused() {
        let mut parser = FetchResponseParser::default();
        parser.take(&data("shallow-info")).unwrap();
        let line = data(&format!("shallow {}", "11".repeat(20)));
        let refused = (0..=MOST_SHALLOW).find(|_| parser.take(&line).is_err());
        assert_eq!(refused, Some(MOST_SHALLOW));
    }

    proptest! {
        #[test]
        fn no_packets_make_it_panic(lines in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 0..20)) {
            let mut parser = FetchResponseParser::default();
            for line in lines {
                let _ = parser.take(&line.map_or(Packet::Delimiter, |line| Packet::Data(line.into())));
            }
        }
    }
}
