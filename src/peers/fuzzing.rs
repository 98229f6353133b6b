//! Properties that must hold for any peer message (see src/fuzzing.rs).

use jiff::Timestamp;

use crate::secret::Secret;

use super::door::{Admitted, Door, MessageRefusal};
use super::message::{Message, SKEW, Seal, seal};
use super::spread;

const NOW: i64 = 1_700_000_000;

/// The first line is the header, the rest the body. An unsigned message is never accepted. The same body with a valid
/// signature is accepted at most once, only if it is for this replica, and only within a minute.
pub(crate) fn peer_message(data: &[u8]) {
    let (header, body) = two_parts(data);
    let own = Message::new("https://git.test/a/b.git", "main", "us");
    let secrets = [Secret::new("a secret that only fuzzers know"), Secret::new("the one before, of fuzzers")];
    let door = Door::new(own.clone());
    let admit = |header: &[u8], body: &[u8], now: i64| {
        let now = Timestamp::from_second(now).expect("a time of this century");
        door.admit(header, body, &secrets, now)
    };
    assert_eq!(admit(header, body, NOW), Err(MessageRefusal::Unauthentic), "an unsigned message was accepted");
    if let Some(read) = Seal::read(header) {
        let (time, hex) = header.split_at(header.len() - 64);
        assert_eq!(format!("t={},v1=", read.time).as_bytes(), time, "only one form is valid");
        assert_eq!(crate::signature::parse_hex(hex), Some(read.mac));
    }

    let secret = usize::from(body.len() % 2 == 1);
    let sealed = seal(&secrets[secret], NOW, body);
    assert_eq!(Seal::read(sealed.as_bytes()).and_then(|seal| seal.fits(body, &secrets)), Some(secret));
    assert_eq!(admit(sealed.as_bytes(), &[body, b"x"].concat(), NOW), Err(MessageRefusal::Unauthentic), "another body");
    assert_eq!(admit(sealed.as_bytes(), body, NOW + SKEW + 1), Err(MessageRefusal::Clock), "too old");
    assert_eq!(admit(sealed.as_bytes(), body, NOW - SKEW - 1), Err(MessageRefusal::Clock), "of the future");
    match admit(sealed.as_bytes(), body, NOW) {
        Ok(Admitted::Look { message, delay, secret: found }) => {
            assert_eq!((found, &message.repo, &message.reference), (secret, &own.repo, &own.reference));
            assert_eq!((message.v, delay <= spread::window(message.replicas)), (own.v, true));
            let written = serde_json::to_vec(&message).expect("it can be written");
            assert_eq!(Message::read(&written).as_ref(), Some(&*message));
        }
        Ok(Admitted::Own) => assert_eq!(Message::read(body).map(|message| message.from), Some(own.from.clone())),
        Ok(Admitted::Known) => panic!("a new message was taken for a known one"),
        Err(MessageRefusal::NotOurs) => {
            let ours = |message: &Message| message.repo == own.repo && message.reference == own.reference;
            assert!(!Message::read(body).is_some_and(|message| ours(&message)));
        }
        Err(MessageRefusal::Unauthentic | MessageRefusal::Clock) => panic!("our own seal was refused"),
    }
    assert_eq!(admit(sealed.as_bytes(), body, NOW), Err(MessageRefusal::Unauthentic), "the replay");
}

/// Splits at the first line break.
fn two_parts(data: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
