//! The side-band: the first byte of a packet says whether the rest is pack data, progress or an error (gitprotocol-v2,
//! "packfile").
//!
//! Pure.

use bytes::{Buf as _, Bytes};

use crate::git::protocol::{Malformed, pktline};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Band {
    /// A part of the pack. An empty one is a keep-alive.
    Pack(Bytes),
    /// Progress messages for a terminal, which are ignored.
    Progress,
    /// The server gave up, in its own words.
    Fatal(String),
}

pub(crate) fn split(mut packet: Bytes) -> Result<Band, Malformed> {
    let Some(band) = packet.first().copied() else { return Err(Malformed("a packet without a band")) };
    packet.advance(1);
    match band {
        1 => Ok(Band::Pack(packet)),
        2 => Ok(Band::Progress),
        3 => Ok(Band::Fatal(String::from_utf8_lossy(pktline::text(&packet)).into_owned())),
        _ => Err(Malformed("a packet in a band that does not exist")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_distinguished() {
        let of = |bytes: &'static [u8]| split(Bytes::from_static(bytes));
        assert_eq!(of(b"\x01PACK"), Ok(Band::Pack(Bytes::from_static(b"PACK"))));
        assert_eq!(of(b"\x01"), Ok(Band::Pack(Bytes::new())));
        assert_eq!(of(b"\x02counting"), Ok(Band::Progress));
        assert_eq!(of(b"\x03out of \xff memory\n"), Ok(Band::Fatal("out of \u{fffd} memory".into())));
        assert!(of(b"").is_err() && of(b"\x00").is_err() && of(b"PACK").is_err());
    }
}
