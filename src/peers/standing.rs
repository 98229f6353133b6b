//! Standing decisions: a replica that starts asks others for the pin and the pause in force, and takes over what they agree on.
//!
//! Question and reply are signed as other messages are, each under a purpose of its own, and the reply repeats the nonce
//! of its question: neither can stand for anything else, nor for another question. It must not know what a pin does.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout, timeout_at};

use crate::api::LONGEST_PAUSE_MINUTES;
use crate::hash::is_hex;
use crate::secret::Secret;

use super::door::MessageRefusal;
use super::fan_out::TRY;
use super::fleet::{Fleet, unique};
use super::message::{Message, SKEW, Seal, seal_for};
use super::name::Name;
use super::network::Post;

/// The rest of the path below that of other messages.
pub const BELOW: &str = "/standing";

/// The longest that a start waits for the answers, names included.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);
/// Replicas that are asked, chosen by chance: a large fleet that starts must not ask each other in full.
const ASKED: usize = 8;
/// Bytes of a label, and characters of a hash.
const LONGEST_LABEL: usize = 400;
const LONGEST_HASH: usize = 64;

const VERSION: u32 = 1;
const QUESTION: &[u8] = b"pushsync-standing-question-v1";
const REPLY: &[u8] = b"pushsync-standing-reply-v1";

/// The decisions of one replica, and what it publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingDecisions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
}

/// The body of a question.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Question {
    v: u32,
    repo: String,
    #[serde(rename = "ref")]
    reference: String,
    from: String,
    nonce: String,
}

/// The answer to a question, sealed as a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reply {
    v: u32,
    /// That of the question.
    nonce: String,
    /// `None`: the replica has not read its own decisions yet, or asked itself.
    standing: Option<StandingDecisions>,
}

/// A reply with its seal: the body of the http answer.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    seal: String,
    reply: String,
}

/// The decisions on which the others agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The decisions to take over; both may be absent.
    pub standing: StandingDecisions,
    /// Replicas that answered and know their decisions.
    pub answers: usize,
}

/// Seals of questions that were answered, with their times.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<HashMap<[u8; 32], i64>>);
/// More of them than this are not remembered: the oldest questions are a minute old.
const REMEMBERED: usize = 1024;

impl Answered {
    /// Answers a question with the decisions of this replica. Returns the body.
    ///
    /// # Errors
    /// [`MessageRefusal`], as for any other message.
    pub(crate) fn answer(
        &self,
        own: &Message,
        header: &[u8],
        body: &[u8],
        secrets: &[Secret],
        now: Timestamp,
        standing: Option<StandingDecisions>,
    ) -> Result<Vec<u8>, MessageRefusal> {
        let seal = Seal::read(header).ok_or(MessageRefusal::Unauthentic)?;
        let secret = seal.fits_for(QUESTION, body, secrets).ok_or(MessageRefusal::Unauthentic)?;
        let now = now.as_second();
        if (now - seal.time).abs() > SKEW {
            return Err(MessageRefusal::Clock);
        }
        if !self.is_new_question(seal, now) {
            return Err(MessageRefusal::Unauthentic);
        }
        let question: Question = serde_json::from_slice(body).map_err(|_| MessageRefusal::NotOurs)?;
        if question.v != VERSION || question.repo != own.repo || question.reference != own.reference {
            return Err(MessageRefusal::NotOurs);
        }
        // Its own question may come back through an address that this replica does not know to be its own.
        let standing = standing.filter(|_| question.from != own.from);
        let reply = Reply { v: VERSION, nonce: question.nonce, standing };
        let reply = serde_json::to_string(&reply).expect("a reply is numbers and texts, which JSON can hold");
        let seal = seal_for(REPLY, &secrets[secret], now, reply.as_bytes());
        Ok(serde_json::to_vec(&Sealed { seal, reply }).expect("two texts, which JSON can hold"))
    }

    fn is_new_question(&self, seal: Seal, now: i64) -> bool {
        let mut answered = self.0.lock();
        if answered.len() >= REMEMBERED {
            answered.retain(|_, time| (now - *time).abs() <= SKEW);
        }
        // Beyond that number a repeated question is answered, too: it is signed, and a holder of the secret may know
        // the answer.
        answered.len() >= REMEMBERED || answered.insert(seal.mac, seal.time).is_none()
    }
}

/// Asks some of the other replicas for their standing decisions. `None`: there are none, or none of them knows.
/// Takes [`LIMIT`] at most.
pub(super) async fn ask(fleet: &Fleet) -> Option<Agreed> {
    let secrets = (fleet.around.secrets)();
    if fleet.names.is_empty() || secrets.is_empty() {
        return None;
    }
    let end = Instant::now() + LIMIT;
    let (known, asked) = (Mutex::new(Vec::new()), Mutex::new(HashSet::new()));
    let mut names: Vec<&Name> = fleet.names.iter().collect();
    // In random order, so that not all replicas ask the same few.
    fastrand::shuffle(&mut names);
    // A name that is not resolved in time must not delay the others or their answers.
    let (known_here, asked_here, secrets) = (&known, &asked, &secrets);
    let legs = names.into_iter().map(|name| async move {
        let mut addresses = fleet.known.find(&fleet.around.network, name, end).await.unwrap_or_default();
        fastrand::shuffle(&mut addresses);
        addresses.retain(|address| {
            let mut asked = asked_here.lock();
            asked.len() < ASKED && !fleet.is_own(*address) && asked.insert(*address)
        });
        let questions = addresses.into_iter().map(|address| async move {
            let answer = ask_one(fleet, address, name.to_string(), secrets).await;
            // Collected as they arrive, because the deadline drops the futures.
            known_here.lock().extend(answer);
        });
        join_all(questions).await;
    });
    // The answers that are there by then count.
    let _ = timeout_at(end, join_all(legs)).await;
    let known = known.into_inner();
    (!known.is_empty()).then(|| agree(&known, fleet.around.clock.now()))
}

async fn ask_one(fleet: &Fleet, address: SocketAddr, host: String, secrets: &[Secret]) -> Option<StandingDecisions> {
    for secret in secrets {
        let question = Question {
            v: VERSION,
            repo: fleet.own.repo.clone(),
            reference: fleet.own.reference.clone(),
            from: fleet.own.from.clone(),
            nonce: unique(),
        };
        let body = serde_json::to_vec(&question).expect("a question is texts, which JSON can hold");
        let seal = seal_for(QUESTION, secret, fleet.around.clock.now().as_second(), &body);
        let post = Post { host: host.clone(), path: format!("{}{BELOW}", fleet.around.path), seal, body };
        let answer = timeout(TRY, fleet.around.network.post(address, post)).await.ok()?.ok()?;
        match answer.status {
            200 => return read_reply(fleet, &answer.body, &question.nonce, secrets),
            // It may hold another one of the secrets.
            401 => {}
            _ => return None,
        }
    }
    None
}

/// Returns the decisions in a reply that is signed with one of our secrets, repeats the nonce and is recent.
fn read_reply(fleet: &Fleet, body: &[u8], nonce: &str, secrets: &[Secret]) -> Option<StandingDecisions> {
    let sealed: Sealed = serde_json::from_slice(body).ok()?;
    let seal = Seal::read(sealed.seal.as_bytes())?;
    seal.fits_for(REPLY, sealed.reply.as_bytes(), secrets)?;
    if (fleet.around.clock.now().as_second() - seal.time).abs() > SKEW {
        return None;
    }
    let reply: Reply = serde_json::from_str(&sealed.reply).ok()?;
    (reply.v == VERSION && reply.nonce == nonce).then_some(reply.standing).flatten().map(sane)
}

/// Drops labels that are too long and hashes that are none.
fn sane(standing: StandingDecisions) -> StandingDecisions {
    let label = |text: Option<String>| text.filter(|text| text.len() <= LONGEST_LABEL);
    let hash = |text: Option<String>| text.filter(|text| text.len() <= LONGEST_HASH && is_hex(text));
    StandingDecisions {
        pinned: hash(standing.pinned),
        pinned_by: label(standing.pinned_by),
        paused_until: standing.paused_until,
        paused_by: label(standing.paused_by),
        published: hash(standing.published),
    }
}

/// A decision is taken over if at least half of the replicas that know have it. At a tie between pins the smaller hash
/// counts, so that all new replicas choose the same.
fn agree(known: &[StandingDecisions], now: Timestamp) -> Agreed {
    let enough = |count: usize| count * 2 >= known.len();
    let pinned =
        most(known.iter().filter_map(|standing| standing.pinned.as_deref())).filter(|(_, count)| enough(*count));
    let pinned = pinned.map(|(commit, _)| commit);
    let by = |commit: &str| known.iter().find(|standing| standing.pinned.as_deref() == Some(commit));
    // Not longer than a person can ask for.
    let longest = now.saturating_add(longest_pause()).unwrap_or(now);
    let paused: Vec<&StandingDecisions> =
        known.iter().filter(|standing| standing.paused_until.is_some_and(|until| until > now)).collect();
    let last = paused.iter().max_by_key(|standing| standing.paused_until).filter(|_| enough(paused.len()));
    let published = most(paused.iter().filter_map(|standing| standing.published.as_deref()));
    let standing = StandingDecisions {
        pinned: pinned.map(str::to_owned),
        pinned_by: pinned.and_then(by).and_then(|standing| standing.pinned_by.clone()),
        paused_until: last.and_then(|standing| standing.paused_until).map(|until| until.min(longest)),
        paused_by: last.and_then(|standing| standing.paused_by.clone()),
        published: published.filter(|_| last.is_some()).map(|(commit, _)| commit.to_owned()),
    };
    Agreed { standing, answers: known.len() }
}

/// Returns the most frequent text and its count.
fn most<'a>(texts: impl Iterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    counts.into_iter().max_by(|(one, count), (other, its)| count.cmp(its).then_with(|| other.cmp(one)))
}

fn longest_pause() -> SignedDuration {
    SignedDuration::from_mins(i64::from(LONGEST_PAUSE_MINUTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(commit: &str) -> StandingDecisions {
        StandingDecisions {
            pinned: Some(commit.to_owned()),
            pinned_by: Some("ada".to_owned()),
            ..StandingDecisions::default()
        }
    }

    fn paused(minutes: i64, published: &str) -> StandingDecisions {
        let until = now() + SignedDuration::from_mins(minutes);
        StandingDecisions {
            paused_until: Some(until),
            published: Some(published.to_owned()),
            ..StandingDecisions::default()
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    #[test]
    fn at_least_half_must_have_a_decision_for_it_to_be_taken_over() {
        let none = StandingDecisions::default;
        let pin = |known: &[StandingDecisions]| agree(known, now()).standing.pinned;
        assert_eq!(pin(&[pinned("aa")]).as_deref(), Some("aa"));
        assert_eq!(pin(&[pinned("aa"), none()]).as_deref(), Some("aa"));
        assert_eq!(pin(&[pinned("aa"), none(), none()]), None, "one of three is that replica's own affair");
        assert_eq!(pin(&[pinned("bb"), pinned("aa")]).as_deref(), Some("aa"), "the same choice everywhere");
        assert_eq!(pin(&[pinned("bb"), pinned("aa"), pinned("bb")]).as_deref(), Some("bb"));
        let agreed = agree(&[pinned("aa"), pinned("aa"), none()], now());
        assert_eq!((agreed.standing.pinned_by.as_deref(), agreed.answers), (Some("ada"), 3));
    }

    #[test]
    fn the_longest_pause_is_taken_over_up_to_a_week() {
        let agreed = agree(&[paused(10, "aa"), paused(20, "aa"), StandingDecisions::default()], now()).standing;
        assert_eq!(agreed.paused_until, Some(now() + SignedDuration::from_mins(20)));
        assert_eq!(agreed.published.as_deref(), Some("aa"));
        assert_eq!(agree(&[paused(-1, "aa")], now()).standing.paused_until, None, "it is over");
        let endless = agree(&[paused(60 * 24 * 365, "aa")], now()).standing;
        assert_eq!(endless.paused_until, Some(now() + longest_pause()));
        let unpaused =
            agree(&[StandingDecisions { published: Some("aa".to_owned()), ..StandingDecisions::default() }], now())
                .standing;
        assert_eq!(unpaused, StandingDecisions::default(), "what others publish counts during a pause only");
    }

    #[test]
    fn invalid_hashes_and_long_labels_are_dropped() {
        let hostile = StandingDecisions {
            pinned: Some("../../etc".to_owned()),
            pinned_by: Some("x".repeat(1000)),
            published: Some("a".repeat(65)),
            ..StandingDecisions::default()
        };
        assert_eq!(sane(hostile), StandingDecisions::default());
    }
}
