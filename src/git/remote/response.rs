//! A response as packets, and the pack in it.
//!
//! It knows the end of a response, and limits how many bytes are read. `protocol` knows what the packets mean.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::git::error::Error;
use crate::git::protocol::pktline::{Decoder, Packet};
use crate::git::protocol::sideband::Band;
use crate::git::protocol::{Malformed, ProtocolError, sideband};
use crate::git::remote::smart_http::Body;

/// How long the caller waits for the end of a response after its last packet. Only then can the connection be used again.
const LONGEST_TAIL: Duration = Duration::from_secs(1);
/// How long the server may take for it before the connection is closed.
const LATEST_END: Duration = Duration::from_secs(5);

pub(crate) struct Packets {
    body: Body,
    decoder: Decoder,
    left: u64,
    /// A packet that was put back.
    again: Option<Packet>,
}

impl Packets {
    /// At most `most` bytes are read.
    pub(crate) fn new(body: Body, most: u64) -> Self {
        Self { body, decoder: Decoder::default(), left: most, again: None }
    }

    /// Puts a packet back, so that it is the next one.
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
            // The limit holds for all packets together, so that an endless list ends.
            let Some(left) = self.left.checked_sub(part.len() as u64) else {
                return Err(Malformed("an answer longer than it may be").into());
            };
            self.left = left;
            self.decoder.feed(&part);
        }
    }

    /// Waits for the end of the response, and leaves a late one to the background. To be called after the last packet.
    pub(crate) async fn finish(self) {
        let end = tokio::spawn(timeout(LATEST_END, Box::pin(self.read_end())));
        let _ = timeout(LONGEST_TAIL, end).await;
    }

    async fn read_end(mut self) {
        let _ = self.body.chunk().await;
    }
}

/// The pack in a response to `fetch`.
pub(crate) struct Pack {
    packets: Packets,
    over: bool,
}

impl Pack {
    /// The remaining packets have to be a pack.
    pub(crate) fn new(packets: Packets) -> Self {
        Self { packets, over: false }
    }

    /// Returns the next part of the pack; `None` at its end. The future may be dropped and the method called again.
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
                    // A keep-alive.
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

    /// Reads and drops the rest after the pack is complete, and frees the connection. The caller limits the time.
    pub(crate) async fn drain(mut self) {
        while let Ok(Some(_)) = self.next().await {}
        self.packets.read_end().await;
    }

    fn told(&self, words: &str) -> Error {
        Error::from_words(self.packets.body.remote().to_owned(), words)
    }
}
