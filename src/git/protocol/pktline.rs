//! Packet lines, git's framing: four hex digits of length, then the payload (gitprotocol-common, "pkt-line Format").
//!
//! Pure: it must not know where bytes come from or what packets mean. Its memory is bounded by one packet and the
//! bytes that were fed at once.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::git::protocol::Malformed;

/// The longest packet, including its four digits (gitprotocol-common).
pub(crate) const LONGEST: usize = 65_520;
/// The number of digits of the length.
const HEAD: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Data(Bytes),
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section (gitprotocol-v2).
    Delimiter,
    /// `0002`: the end of a response, for transports that do not show it.
    End,
}

/// Splits a stream of bytes into packets.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    waiting: BytesMut,
}

impl Decoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Returns the next complete packet; `None` if more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, Malformed> {
        let Some(head) = self.waiting.first_chunk::<HEAD>() else { return Ok(None) };
        let special = match length(*head)? {
            0 => Packet::Flush,
            1 => Packet::Delimiter,
            2 => Packet::End,
            // The length counts its own four digits, so 3 cannot occur.
            3 => return Err(Malformed("a packet of three bytes")),
            // Refused before it is buffered, so that a server cannot make the buffer grow.
            length if length > LONGEST => return Err(Malformed("a packet longer than git allows")),
            length if self.waiting.len() < length => return Ok(None),
            length => {
                let mut packet = self.waiting.split_to(length).freeze();
                packet.advance(HEAD);
                return Ok(Some(Packet::Data(packet)));
            }
        };
        self.waiting.advance(HEAD);
        Ok(Some(special))
    }

    /// Returns true if no part of a packet is left over.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn length(head: [u8; HEAD]) -> Result<usize, Malformed> {
    let mut length = 0;
    for byte in head {
        // Digit by digit, because `usize::from_str_radix` would accept a sign.
        let digit = char::from(byte).to_digit(16).ok_or(Malformed("a packet whose length is no number"))?;
        length = length * 16 + digit as usize;
    }
    Ok(length)
}

/// Appends one line. All lines are commands and hashes, far shorter than the longest packet.
pub(crate) fn line(message: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() + HEAD < LONGEST, "our own lines are short");
    // The length counts its own digits and the newline that ends a text line (gitprotocol-common).
    message.extend_from_slice(format!("{:04x}{text}\n", text.len() + HEAD + 1).as_bytes());
}

pub(crate) fn delimiter(message: &mut Vec<u8>) {
    message.extend_from_slice(b"0001");
}

pub(crate) fn flush(message: &mut Vec<u8>) {
    message.extend_from_slice(b"0000");
}

/// Returns the payload of a text line without the newline, which git adds and other servers may leave out.
pub(crate) fn text(packet: &[u8]) -> &[u8] {
    packet.strip_suffix(b"\n").unwrap_or(packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<Packet>, Malformed> {
        let mut packets = Vec::new();
        while let Some(packet) = decoder.next()? {
            packets.push(packet);
        }
        Ok(packets)
    }

    #[test]
    fn all_kinds_of_packets_are_decoded_even_byte_by_byte() {
        let bytes = b"0006a\n0005b0004000000010002";
        let expected = vec![
            Packet::Data(Bytes::from_static(b"a\n")),
            Packet::Data(Bytes::from_static(b"b")),
            Packet::Data(Bytes::new()),
            Packet::Flush,
            Packet::Delimiter,
            Packet::End,
        ];
        let mut decoder = Decoder::default();
        let mut packets = Vec::new();
        for byte in bytes {
            decoder.feed(&[*byte]);
            packets.extend(all(&mut decoder).unwrap());
        }
        assert_eq!(packets, expected);
        assert!(decoder.is_empty());
    }

    #[test]
    fn invalid_lengths_are_refused_before_data_is_buffered() {
        for bytes in [b"0003", b"fff1", b"ffff", b"+00a", b"zzzz", b" 00a", b"\xff\xff\xff\xff"] {
            let mut decoder = Decoder::default();
            decoder.feed(bytes);
            assert!(decoder.next().is_err(), "{bytes:?}");
        }
        let mut decoder = Decoder::default();
        decoder.feed(b"fff0");
        assert_eq!(decoder.next(), Ok(None), "the longest there is");
        decoder.feed(&vec![7; LONGEST - HEAD]);
        assert!(matches!(decoder.next(), Ok(Some(Packet::Data(data))) if data.len() == LONGEST - HEAD));
    }

    proptest! {
        #[test]
        fn encoded_packets_are_decoded_for_any_chunk_size(
            lines in prop::collection::vec("[ -~]{0,200}", 0..20),
            cut in 1usize..50,
        ) {
            let mut message = Vec::new();
            for one in &lines {
                line(&mut message, one);
            }
            flush(&mut message);
            let mut decoder = Decoder::default();
            let mut packets = Vec::new();
            for piece in message.chunks(cut) {
                decoder.feed(piece);
                packets.extend(all(&mut decoder).unwrap());
            }
            prop_assert_eq!(packets.pop(), Some(Packet::Flush));
            let texts: Vec<_> = packets
                .iter()
                .map(|packet| match packet {
                    Packet::Data(data) => String::from_utf8(text(data).to_vec()).unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(texts, lines);
        }

        #[test]
        fn no_input_makes_the_decoder_panic_or_buffer_more_than_a_packet(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.feed(&piece);
                if all(&mut decoder).is_err() {
                    break;
                }
                prop_assert!(decoder.waiting.len() < LONGEST);
            }
        }
    }
}
