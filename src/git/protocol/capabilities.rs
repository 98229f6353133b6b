//! The capabilities of a server that speaks version 2, as answered to `GET info/refs` (gitprotocol-http;
//! gitprotocol-v2, "Capability Advertisement").
//!
//! Pure. An answer in another version is no error here; the reader reports it.

use crate::git::protocol::pktline::{Packet, text};

/// The capabilities that are used here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    ls_refs: bool,
    fetch: bool,
    /// `fetch` supports `deepen` and `shallow`.
    pub shallow: bool,
    /// `fetch` supports `filter`.
    pub filter: bool,
    /// `fetch` supports `want-ref`.
    pub ref_in_want: bool,
    /// The object format is not SHA-1; libgit2 cannot store it.
    pub other_hash: bool,
}

impl Capabilities {
    /// Returns true if the server has everything that is required.
    pub(crate) fn are_sufficient(self) -> bool {
        self.ls_refs && self.fetch && !self.other_hash
    }
}

/// Parses the advertisement packet by packet.
#[derive(Debug, Default)]
pub(crate) struct CapabilitiesParser {
    version_seen: bool,
    found: Capabilities,
}

/// The result of one packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParseStep {
    More,
    Done(Capabilities),
    /// The answer is no advertisement of version 2.
    Other,
}

impl CapabilitiesParser {
    pub(crate) fn take(&mut self, packet: &Packet) -> ParseStep {
        match packet {
            // Some servers send the service line and its flush before the version.
            Packet::Data(line) if !self.version_seen && line.starts_with(b"# service=") => ParseStep::More,
            Packet::Flush if !self.version_seen => ParseStep::More,
            Packet::Data(line) if !self.version_seen => {
                self.version_seen = text(line) == b"version 2";
                if self.version_seen { ParseStep::More } else { ParseStep::Other }
            }
            Packet::Data(line) => {
                self.note(text(line));
                ParseStep::More
            }
            Packet::Flush => ParseStep::Done(self.found),
            Packet::Delimiter | Packet::End => ParseStep::Other,
        }
    }

    fn note(&mut self, line: &[u8]) {
        let mut halves = line.splitn(2, |byte| *byte == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        match name {
            b"ls-refs" => self.found.ls_refs = true,
            b"fetch" => {
                self.found.fetch = true;
                let takes = |wanted: &[u8]| value.split(|byte| *byte == b' ').any(|feature| feature == wanted);
                (self.found.shallow, self.found.filter) = (takes(b"shallow"), takes(b"filter"));
                self.found.ref_in_want = takes(b"ref-in-want");
            }
            // Servers without this capability have SHA-1.
            b"object-format" => self.found.other_hash = value != b"sha1",
            // Clients must ignore keys that they do not know (gitprotocol-v2, "Capability Advertisement").
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&'static str]) -> ParseStep {
        let mut parser = CapabilitiesParser::default();
        for line in lines {
            let packet =
                if line.is_empty() { Packet::Flush } else { Packet::Data(Bytes::from_static(line.as_bytes())) };
            match parser.take(&packet) {
                ParseStep::More => {}
                step => return step,
            }
        }
        ParseStep::More
    }

    #[test]
    fn an_advertisement_of_version_2_is_read_with_and_without_its_service_line() {
        let lines = ["version 2\n", "agent=git/2.47\n", "ls-refs=unborn\n", "fetch=shallow wait-for-done\n", ""];
        let ParseStep::Done(found) = read(&lines) else { panic!("it ends") };
        assert!(found.are_sufficient() && found.shallow && !found.filter);
        let ParseStep::Done(filters) = read(&["version 2", "ls-refs", "fetch=shallow wait-for-done filter", ""]) else {
            panic!()
        };
        assert!(filters.shallow && filters.filter);
        let with_service: Vec<_> = ["# service=git-upload-pack\n", ""].into_iter().chain(lines).collect();
        assert_eq!(read(&with_service), ParseStep::Done(found));
        let ParseStep::Done(plain) = read(&["version 2", "ls-refs", "fetch", "object-format=sha1", ""]) else {
            panic!()
        };
        assert!(plain.are_sufficient() && !plain.shallow);
        let ParseStep::Done(sha256) = read(&["version 2", "ls-refs", "fetch", "object-format=sha256", ""]) else {
            panic!()
        };
        assert!(!sha256.are_sufficient());
    }

    #[test]
    fn other_versions_are_recognized() {
        let hash = "1111111111111111111111111111111111111111 HEAD\0multi_ack";
        assert_eq!(read(&["# service=git-upload-pack\n", "", hash]), ParseStep::Other);
        assert_eq!(read(&["version 1\n"]), ParseStep::Other);
        assert_eq!(read(&["version 20\n"]), ParseStep::Other);
    }

    proptest! {
        #[test]
        fn no_lines_make_it_panic(lines in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut parser = CapabilitiesParser::default();
            parser.take(&Packet::Data(Bytes::from_static(b"version 2")));
            for line in lines {
                parser.take(&Packet::Data(line.into()));
            }
        }
    }
}
