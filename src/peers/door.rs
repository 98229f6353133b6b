//! Whether a message from outside is one of a peer's, for us, and new; and what it asks for.
//!
//! It knows nothing of how messages arrive, nor of what a look is.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::secret::Secret;

use super::message::{Message, SKEW, Seal};
use super::spread;

/// Seals that are remembered. A peer sends one for each push and try; past this the oldest are forgotten, and a replay of
/// one of those costs a look that merges with others.
const REMEMBERED: usize = 4096;

/// Ids of fan-outs that are remembered, and how much of each.
const FAN_OUTS: usize = 256;
const LONGEST_ID: usize = 64;

/// What an authentic message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is our own: an address that leads back here.
    Own,
    /// Heard before, in another try or under another address of ours: nothing to do.
    Known,
    /// Look, after this delay.
    Look { message: Box<Message>, delay: Duration, secret: usize },
}

/// Why a message is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not signed with our secret, or heard before. The sender is told no more than that.
    Unauthentic,
    /// Signed with our secret, but sealed more than a minute ago or in the future. The sender is told the same.
    Clock,
    /// Signed with our secret, but of another version, or for those who follow something else.
    NotOurs,
}

/// Judges messages and remembers them.
#[derive(Debug)]
pub struct Door {
    own: Message,
    seen: Mutex<Seen>,
}

/// Seals of messages that were authentic: whoever sends one again knows it already, so that comparing them has nothing to
/// give away by its time.
#[derive(Debug, Default)]
struct Seen {
    order: VecDeque<Seal>,
    all: HashSet<Seal>,
    fan_outs: VecDeque<String>,
}

impl Seen {
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.all.remove(&oldest);
        }
    }
}

impl Door {
    /// `own` is what a message of ours looks like.
    #[must_use]
    pub fn new(own: Message) -> Self {
        Self { own, seen: Mutex::default() }
    }

    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn admit(&self, header: &[u8], body: &[u8], secrets: &[Secret], now: Timestamp) -> Result<Admitted, Refused> {
        let seal = Seal::read(header).ok_or(Refused::Unauthentic)?;
        let secret = seal.fits(body, secrets).ok_or(Refused::Unauthentic)?;
        let now = now.as_second();
        if (now - seal.time).abs() > SKEW {
            return Err(Refused::Clock);
        }
        if !self.is_new(seal, now) {
            return Err(Refused::Unauthentic);
        }
        let message = Message::read(body).ok_or(Refused::NotOurs)?;
        if message.from == self.own.from {
            return Ok(Admitted::Own);
        }
        if message.repo != self.own.repo || message.reference != self.own.reference {
            return Err(Refused::NotOurs);
        }
        if !self.is_first(&message) {
            return Ok(Admitted::Known);
        }
        let delay = spread::delay(message.replicas);
        Ok(Admitted::Look { message: Box::new(message), delay, secret })
    }

    fn is_first(&self, message: &Message) -> bool {
        let id: String = message.id.chars().take(LONGEST_ID).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.fan_outs.contains(&id) {
            return false;
        }
        seen.fan_outs.push_back(id);
        if seen.fan_outs.len() > FAN_OUTS {
            seen.fan_outs.pop_front();
        }
        true
    }

    fn is_new(&self, seal: Seal, now: i64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What is too old is refused for its age. Not in the order of age, but nearly, and all go in the end.
        while seen.order.front().is_some_and(|oldest| now - oldest.time > SKEW) {
            seen.forget_oldest();
        }
        if !seen.all.insert(seal) {
            return false;
        }
        seen.order.push_back(seal);
        if seen.order.len() > REMEMBERED {
            seen.forget_oldest();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::seal;
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn secrets() -> Vec<Secret> {
        ["the first secret of all", "the second secret of all"].map(Secret::new).into()
    }

    fn message(nonce: &str) -> Message {
        let mut message = Message::new("https://git.test/a/b.git", "main", "the other");
        (message.nonce, message.id) = (nonce.into(), nonce.into());
        (message.after, message.replicas) = (Some("a".repeat(40)), 100);
        message
    }

    fn door() -> Door {
        Door::new(Message::new("https://git.test/a/b.git", "main", "us"))
    }

    fn admit(door: &Door, secret: &Secret, time: i64, message: &Message) -> Result<Admitted, Refused> {
        let body = serde_json::to_vec(message).unwrap();
        door.admit(seal(secret, time, &body).as_bytes(), &body, &secrets(), now())
    }

    #[test]
    fn a_message_is_heard_once_and_may_be_delayed() {
        let door = door();
        for (place, secret) in secrets().iter().enumerate() {
            let door = self::door();
            let Ok(Admitted::Look { message: heard, delay, secret: found }) = admit(&door, secret, NOW, &message("1"))
            else {
                panic!("refused");
            };
            assert_eq!((*heard, found), (message("1"), place));
            assert!(delay <= spread::window(100));
            assert_eq!(admit(&door, secret, NOW, &message("1")), Err(Refused::Unauthentic), "the replay");
            let again = Message { nonce: "another try".into(), ..message("1") };
            assert_eq!(admit(&door, secret, NOW, &again), Ok(Admitted::Known));
        }
        assert!(admit(&door, &secrets()[0], NOW, &message("2")).is_ok());
    }

    #[test]
    fn strangers_old_messages_and_those_of_the_future_are_refused_alike() {
        let door = door();
        let (ours, theirs) = (secrets().remove(0), Secret::new("the secret of somebody else"));
        for (secret, time, refused) in [
            (&theirs, NOW, Some(Refused::Unauthentic)),
            (&theirs, NOW - 61, Some(Refused::Unauthentic)),
            (&ours, NOW - 61, Some(Refused::Clock)),
            (&ours, NOW + 61, Some(Refused::Clock)),
            (&ours, NOW - 60, None),
            (&ours, NOW + 60, None),
        ] {
            assert_eq!(admit(&door, secret, time, &message("1")).err(), refused, "{time}");
        }
        assert_eq!(door.admit(b"", b"", &secrets(), now()), Err(Refused::Unauthentic));
    }

    #[test]
    fn what_is_for_others_is_not_for_us_and_our_own_voice_is_known() {
        let door = door();
        let secret = secrets().remove(0);
        let other_ref = Message { reference: "next".into(), ..message("1") };
        let other_repo = Message { repo: "https://git.test/a/c.git".into(), ..message("1") };
        let own = Message { from: "us".into(), ..message("1") };
        assert_eq!(admit(&door, &secret, NOW, &other_ref), Err(Refused::NotOurs));
        assert_eq!(admit(&door, &secret, NOW, &other_repo), Err(Refused::NotOurs));
        assert_eq!(admit(&door, &secret, NOW, &own), Ok(Admitted::Own));
        let body = br#"{"v":2,"more":"than we know"}"#;
        let header = seal(&secret, NOW, body);
        assert_eq!(door.admit(header.as_bytes(), body, &secrets(), now()), Err(Refused::NotOurs));
    }

    #[test]
    fn memory_is_bounded() {
        let door = door();
        let secret = secrets().remove(0);
        for nonce in 0..REMEMBERED + 100 {
            let body = nonce.to_string();
            let sealed = seal(&secret, NOW, body.as_bytes());
            let _ = door.admit(sealed.as_bytes(), body.as_bytes(), &secrets(), now());
        }
        let lengths = || {
            let seen = door.seen.lock().unwrap();
            (seen.order.len(), seen.all.len())
        };
        assert_eq!(lengths(), (REMEMBERED, REMEMBERED));
        let later = Timestamp::from_second(NOW + 2 * SKEW).unwrap();
        let sealed = seal(&secret, NOW + 2 * SKEW, b"later");
        let _ = door.admit(sealed.as_bytes(), b"later", &secrets(), later);
        assert_eq!(lengths(), (1, 1));
    }
}
