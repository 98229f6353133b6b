//! Verifies peer messages: authentic, addressed to this replica, and new.
//!
//! It knows nothing of how messages arrive, nor of what a sync is.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::secret::Secret;

use super::message::{Message, SKEW, Seal};
use super::spread;

/// How many signatures are remembered. A peer sends one for each push and attempt. Beyond this the oldest are
/// forgotten, and a replay of one of them causes a sync request that is merged with others.
const REMEMBERED: usize = 4096;

/// How many ids of fan-outs are remembered, and how much of each.
const FAN_OUTS: usize = 256;
const LONGEST_ID: usize = 64;

/// The result for an authentic message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// This replica sent it: one of the configured addresses is its own.
    Own,
    /// Received before, in another attempt or through another address of this replica.
    Known,
    /// Sync after this delay.
    Look { message: Box<Message>, delay: Duration, secret: usize },
}

/// Why a message is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageRefusal {
    /// Not signed with one of our secrets, or a replay. The answer is the same for both.
    Unauthentic,
    /// Signed with one of our secrets, but more than a minute ago or in the future. The sender gets the same answer.
    Clock,
    /// Signed with one of our secrets, but in another version, or for replicas that follow something else.
    NotOurs,
}

/// Verifies messages and remembers them.
#[derive(Debug)]
pub(crate) struct Door {
    own: Message,
    seen: Mutex<Seen>,
}

/// The signatures of authentic messages. A replayed signature is known to its sender, so comparing them in variable
/// time reveals nothing.
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
    /// `own` is the template of this replica's messages.
    #[must_use]
    pub(crate) fn new(own: Message) -> Self {
        Self { own, seen: Mutex::default() }
    }

    /// # Errors
    /// [`MessageRefusal`]; no state has changed.
    pub(crate) fn admit(
        &self,
        header: &[u8],
        body: &[u8],
        secrets: &[Secret],
        now: Timestamp,
    ) -> Result<Admitted, MessageRefusal> {
        let seal = Seal::read(header).ok_or(MessageRefusal::Unauthentic)?;
        let secret = seal.fits(body, secrets).ok_or(MessageRefusal::Unauthentic)?;
        let now = now.as_second();
        // After the MAC, so that the log blames a clock only for messages of a real replica.
        if (now - seal.time).abs() > SKEW {
            return Err(MessageRefusal::Clock);
        }
        // Remembered before it is parsed: an unusable message is refused the second time as well.
        if !self.is_new(seal, now) {
            return Err(MessageRefusal::Unauthentic);
        }
        let message = Message::read(body).ok_or(MessageRefusal::NotOurs)?;
        if message.from == self.own.from {
            return Ok(Admitted::Own);
        }
        if message.repo != self.own.repo || message.reference != self.own.reference {
            return Err(MessageRefusal::NotOurs);
        }
        if !self.is_first(&message) {
            return Ok(Admitted::Known);
        }
        let delay = spread::delay(message.replicas);
        Ok(Admitted::Look { message: Box::new(message), delay, secret })
    }

    fn is_first(&self, message: &Message) -> bool {
        let id: String = message.id.chars().take(LONGEST_ID).collect();
        let mut seen = self.seen.lock();
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
        let mut seen = self.seen.lock();
        // Older signatures are rejected because of their age, so they need not be remembered. The queue is only
        // roughly ordered by age, but every entry gets removed eventually.
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

    fn admit(door: &Door, secret: &Secret, time: i64, message: &Message) -> Result<Admitted, MessageRefusal> {
        let body = serde_json::to_vec(message).unwrap();
        door.admit(seal(secret, time, &body).as_bytes(), &body, &secrets(), now())
    }

    #[test]
    fn a_message_is_accepted_once_and_may_be_delayed() {
        let door = door();
        for (place, secret) in secrets().iter().enumerate() {
            let door = self::door();
            let Ok(Admitted::Look { message: heard, delay, secret: found }) = admit(&door, secret, NOW, &message("1"))
            else {
                panic!("refused");
            };
            assert_eq!((*heard, found), (message("1"), place));
            assert!(delay <= spread::window(100));
            assert_eq!(admit(&door, secret, NOW, &message("1")), Err(MessageRefusal::Unauthentic), "the replay");
            let again = Message { nonce: "another try".into(), ..message("1") };
            assert_eq!(admit(&door, secret, NOW, &again), Ok(Admitted::Known));
        }
        assert!(admit(&door, &secrets()[0], NOW, &message("2")).is_ok());
    }

    #[test]
    fn unsigned_old_and_future_messages_are_rejected() {
        let door = door();
        let (ours, theirs) = (secrets().remove(0), Secret::new("the secret of another site"));
        for (secret, time, refused) in [
            (&theirs, NOW, Some(MessageRefusal::Unauthentic)),
            (&theirs, NOW - 61, Some(MessageRefusal::Unauthentic)),
            (&ours, NOW - 61, Some(MessageRefusal::Clock)),
            (&ours, NOW + 61, Some(MessageRefusal::Clock)),
            (&ours, NOW - 60, None),
            (&ours, NOW + 60, None),
        ] {
            assert_eq!(admit(&door, secret, time, &message("1")).err(), refused, "{time}");
        }
        assert_eq!(door.admit(b"", b"", &secrets(), now()), Err(MessageRefusal::Unauthentic));
    }

    #[test]
    fn messages_for_other_replicas_are_rejected_and_own_messages_recognized() {
        let door = door();
        let secret = secrets().remove(0);
        let other_ref = Message { reference: "next".into(), ..message("1") };
        let other_repo = Message { repo: "https://git.test/a/c.git".into(), ..message("1") };
        let own = Message { from: "us".into(), ..message("1") };
        assert_eq!(admit(&door, &secret, NOW, &other_ref), Err(MessageRefusal::NotOurs));
        assert_eq!(admit(&door, &secret, NOW, &other_repo), Err(MessageRefusal::NotOurs));
        assert_eq!(admit(&door, &secret, NOW, &own), Ok(Admitted::Own));
        let body = br#"{"v":2,"more":"than we know"}"#;
        let header = seal(&secret, NOW, body);
        assert_eq!(door.admit(header.as_bytes(), body, &secrets(), now()), Err(MessageRefusal::NotOurs));
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
            let seen = door.seen.lock();
            (seen.order.len(), seen.all.len())
        };
        assert_eq!(lengths(), (REMEMBERED, REMEMBERED));
        let later = Timestamp::from_second(NOW + 2 * SKEW).unwrap();
        let sealed = seal(&secret, NOW + 2 * SKEW, b"later");
        let _ = door.admit(sealed.as_bytes(), b"later", &secrets(), later);
        assert_eq!(lengths(), (1, 1));
    }
}
