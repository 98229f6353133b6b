//! An answer, packet by packet, and the pack in it.
//!
//! It knows what ends an answer, and bounds how much of one is read; what the packets say is `ls_refs`' and `fetch`'s.

use std::time::Duration;

use bytes::Bytes;

use crate::git::error::Error;
use crate::git::protocol::pktline::{Decoder, Packet};
use crate::git::protocol::sideband::Band;
use crate::git::protocol::{Malformed, ProtocolError, sideband};
use crate::git::remote::smart_http::Body;

/// How long the end of an answer is waited for after its last packet: only then is the connection free again.
const LONGEST_TAIL: Duration = Duration::from_secs(1);

pub(crate) struct Packets {
    body: Body,
    decoder: Decoder,
    left: u64,
    /// Read, and to be read again.
    again: Option<Packet>,
}

impl Packets {
    /// `most` bytes are read and no more.
    pub(crate) fn new(body: Body, most: u64) -> Self {
        Self { body, decoder: Decoder::default(), left: most, again: None }
    }

    /// The next packet will be this one.
    pub(crate) fn put_back(&mut self, packet: Packet) {
        self.again = Some(packet);
    }

    pub(crate) async fn next(&mut self) -> Result<Packet, ProtocolError> {
        if let Some(packet) = self.again.take() {
            return Ok(packet);
        }
        loop {
            if let Some(packet) = self.decoder.next()? {
                return Ok(packet);
            }
            let Some(part) = self.body.chunk().await? else { return Err(Malformed("an answer without an end").into()) };
            let Some(left) = self.left.checked_sub(part.len() as u64) else {
                return Err(Malformed("an answer longer than it may be").into());
            };
            self.left = left;
            self.decoder.feed(&part);
        }
    }

    /// To be called after the last packet.
    pub(crate) async fn finish(mut self) {
        let _ = tokio::time::timeout(LONGEST_TAIL, self.body.chunk()).await;
    }
}

/// The pack that a fetch brings.
pub(crate) struct Pack {
    packets: Packets,
    over: bool,
}

impl Pack {
    /// What follows in these packets has to be a pack.
    pub(crate) fn new(packets: Packets) -> Self {
        Self { packets, over: false }
    }

    /// The next part of the pack; `None` when it is over. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let malformed =
            |packets: &Packets, malformed: Malformed| malformed.into_error(packets.body.remote().to_owned());
        while !self.over {
            let packet = match self.packets.next().await {
                Ok(packet) => packet,
                Err(ProtocolError::Failed(error)) => return Err(error),
                Err(ProtocolError::NotSpoken(what)) => return Err(malformed(&self.packets, what)),
                Err(ProtocolError::Refused(words)) => return Err(self.told(&words)),
            };
            match packet {
                Packet::Data(data) => match sideband::split(data) {
                    Ok(Band::Pack(part)) if part.is_empty() => {}
                    Ok(Band::Pack(part)) => return Ok(Some(part)),
                    Ok(Band::Progress) => {}
                    Ok(Band::Fatal(words)) => return Err(self.told(&words)),
                    Err(what) => return Err(malformed(&self.packets, what)),
                },
                Packet::Flush | Packet::End => self.over = true,
                Packet::Delimiter => return Err(malformed(&self.packets, Malformed("a section behind the pack"))),
            }
        }
        Ok(None)
    }

    /// Frees the connection for the next request.
    pub(crate) async fn finish(self) {
        self.packets.finish().await;
    }

    /// The same when the pack is whole, and what the server still says is of no interest.
    pub(crate) async fn drain(mut self) {
        while let Ok(Some(_)) = self.next().await {}
        self.finish().await;
    }

    fn told(&self, words: &str) -> Error {
        Error::from_words(self.packets.body.remote().to_owned(), words)
    }
}
