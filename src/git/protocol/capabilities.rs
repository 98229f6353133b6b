//! What a server says it can do, in answer to `GET info/refs` (gitprotocol-http; gitprotocol-v2, "Capability Advertisement").
//!
//! Pure. A server that answers in another version is no error here: it is told by `None`, and spoken to in another way.

use crate::git::protocol::pktline::{Packet, text};

/// The part of it that we use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    ls_refs: bool,
    fetch: bool,
    /// `fetch` takes `deepen` and `shallow`.
    pub shallow: bool,
    /// `fetch` takes `filter`.
    pub filter: bool,
    /// `fetch` takes `want-ref`.
    pub ref_in_want: bool,
    /// Hashes of another kind than SHA-1, which libgit2 cannot store.
    pub other_hash: bool,
}

impl Capabilities {
    /// True if all that we need is there.
    pub(crate) fn suffice(self) -> bool {
        self.ls_refs && self.fetch && !self.other_hash
    }
}

/// Reads the advertisement packet by packet.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    version_seen: bool,
    found: Capabilities,
}

/// What a packet meant for the reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More,
    Done(Capabilities),
    /// This is no advertisement of version 2.
    Other,
}

impl Reader {
    pub(crate) fn take(&mut self, packet: &Packet) -> Step {
        match packet {
            // The announcement of the service, and its flush, come before the version on some servers.
            Packet::Data(line) if !self.version_seen && line.starts_with(b"# service=") => Step::More,
            Packet::Flush if !self.version_seen => Step::More,
            Packet::Data(line) if !self.version_seen => {
                self.version_seen = text(line) == b"version 2";
                if self.version_seen { Step::More } else { Step::Other }
            }
            Packet::Data(line) => {
                self.note(text(line));
                Step::More
            }
            Packet::Flush => Step::Done(self.found),
            Packet::Delimiter | Packet::End => Step::Other,
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
            b"object-format" => self.found.other_hash = value != b"sha1",
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&'static str]) -> Step {
        let mut reader = Reader::default();
        for line in lines {
            let packet =
                if line.is_empty() { Packet::Flush } else { Packet::Data(Bytes::from_static(line.as_bytes())) };
            match reader.take(&packet) {
                Step::More => {}
                step => return step,
            }
        }
        Step::More
    }

    #[test]
    fn an_advertisement_of_version_2_is_read_with_and_without_its_service_line() {
        let lines = ["version 2\n", "agent=git/2.47\n", "ls-refs=unborn\n", "fetch=shallow wait-for-done\n", ""];
        let Step::Done(found) = read(&lines) else { panic!("it ends") };
        assert!(found.suffice() && found.shallow && !found.filter);
        let Step::Done(filters) = read(&["version 2", "ls-refs", "fetch=shallow wait-for-done filter", ""]) else {
            panic!()
        };
        assert!(filters.shallow && filters.filter);
        let with_service: Vec<_> = ["# service=git-upload-pack\n", ""].into_iter().chain(lines).collect();
        assert_eq!(read(&with_service), Step::Done(found));
        let Step::Done(plain) = read(&["version 2", "ls-refs", "fetch", "object-format=sha1", ""]) else { panic!() };
        assert!(plain.suffice() && !plain.shallow);
        let Step::Done(sha256) = read(&["version 2", "ls-refs", "fetch", "object-format=sha256", ""]) else { panic!() };
        assert!(!sha256.suffice());
    }

    #[test]
    fn other_versions_are_told() {
        let hash = "1111111111111111111111111111111111111111 HEAD\0multi_ack";
        assert_eq!(read(&["# service=git-upload-pack\n", "", hash]), Step::Other);
        assert_eq!(read(&["version 1\n"]), Step::Other);
        assert_eq!(read(&["version 20\n"]), Step::Other);
    }

    proptest! {
        #[test]
        fn no_lines_make_it_panic(lines in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut reader = Reader::default();
            reader.take(&Packet::Data(Bytes::from_static(b"version 2")));
            for line in lines {
                reader.take(&Packet::Data(line.into()));
            }
        }
    }
}
