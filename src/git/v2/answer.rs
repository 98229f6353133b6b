//! An answer, packet by packet, and the pack in it.
//!
//! It knows what ends an answer, and bounds how much of one is read; what the packets say is `ls_refs`' and `fetch`'s.

use std::time::Duration;

use bytes::Bytes;

use super::http::Body;
use super::pktline::{Decoder, Packet};
use super::sideband::{self, Band};
use super::{Malformed, Trouble, as_protocol};
use crate::git::Error;

/// How long the end of an answer is waited for after its last packet: only then is the connection free again.
const LONGEST_TAIL: Duration = Duration::from_secs(1);

pub(super) struct Packets {
    body: Body,
    decoder: Decoder,
    left: u64,
    /// Read, and to be read again.
    again: Option<Packet>,
}

impl Packets {
    /// `most` bytes are read and no more.
    pub(super) fn new(body: Body, most: u64) -> Self {
        Self { body, decoder: Decoder::default(), left: most, again: None }
    }

    /// The next packet will be this one.
    pub(super) fn put_back(&mut self, packet: Packet) {
        self.again = Some(packet);
    }

    pub(super) async fn next(&mut self) -> Result<Packet, Trouble> {
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
    pub(super) async fn finish(mut self) {
        let _ = tokio::time::timeout(LONGEST_TAIL, self.body.chunk()).await;
    }
}

/// The pack that a fetch brings.
pub(in crate::git) struct Pack {
    packets: Packets,
    over: bool,
}

impl Pack {
    /// What follows in these packets has to be a pack.
    pub(super) fn new(packets: Packets) -> Self {
        Self { packets, over: false }
    }

    /// The next part of the pack; `None` when it is over. May be dropped and called again.
    pub(in crate::git) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let malformed = |packets: &Packets, malformed| as_protocol(packets.body.remote().to_owned(), malformed);
        while !self.over {
            let packet = match self.packets.next().await {
                Ok(packet) => packet,
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::NotSpoken(what)) => return Err(malformed(&self.packets, what)),
                Err(Trouble::Told(words)) => return Err(self.told(&words)),
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
    pub(in crate::git) async fn finish(self) {
        self.packets.finish().await;
    }

    /// The same when the pack is whole, and what the server still says is of no interest.
    pub(in crate::git) async fn drain(mut self) {
        while let Ok(Some(_)) = self.next().await {}
        self.finish().await;
    }

    fn told(&self, words: &str) -> Error {
        Error::from_words(self.packets.body.remote().to_owned(), words)
    }
}
