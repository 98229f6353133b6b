//! Fan-out: the replica that receives a webhook forwards it to all other replicas, on a best-effort basis.
//!
//! A message carries no more than the webhook does: it is signed, valid for a minute, and never forwarded by its
//! receiver. A replica that misses it catches up at its next poll. The local sync does not wait for the peers; their
//! results are added to the record as they arrive. This area must not know git, the volume, the queue, or how the
//! listener works.

mod door;
mod fan_out;
mod fate;
mod fleet;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod message;
mod name;
mod names;
mod network;
mod spread;
mod standing;
mod tally;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::api::PeerResult;
use crate::secret::Secret;

use door::Door;
use fleet::Fleet;
use standing::Answered;

pub use door::{Admitted, MessageRefusal};
pub use fan_out::News;
pub use fate::{Disagreement, Fate};
pub use fleet::{PeerOptions, Secrets, Surroundings};
pub use message::{LARGEST, Message, NO_SECRET_CODE, SIGNATURE, seal};
pub use name::Name;
pub use network::{Network, PeerAnswer, Post, Tcp};
pub use spread::window;
pub use standing::{Agreed, BELOW, StandingDecisions};

/// How long resolving names may take at the start, because the first sync waits for it.
const RESOLVE_AT_START: Duration = Duration::from_secs(1);
/// The most fan-outs at their first attempt. While that many wait for dead peers, new pushes are merged into the next
/// fan-out.
const FAN_OUTS: usize = 16;
/// How long a fan-out occupies its slot at least.
const FAN_OUT_AT_LEAST: Duration = Duration::from_secs(1);

/// The results so far. The channel closes when no more will follow.
pub type Telling = watch::Receiver<Vec<PeerResult>>;

/// Sends messages to the other replicas and checks theirs.
pub struct Peers {
    fleet: Arc<Fleet>,
    door: Door,
    slots: Mutex<Slots>,
    answered: Answered,
}

/// The fan-outs at their first attempt, and the one that waits for a slot.
#[derive(Default)]
struct Slots {
    running: usize,
    pending: Option<(News, watch::Sender<Vec<PeerResult>>)>,
}

impl Peers {
    #[must_use]
    pub fn new(options: PeerOptions, around: Surroundings) -> Self {
        let fleet = Arc::new(Fleet::new(options, around));
        let door = Door::new(fleet.own.clone());
        Self { fleet, door, slots: Mutex::default(), answered: Answered::default() }
    }

    /// Checks a received message. It must be authentic, recent and not received before.
    ///
    /// # Errors
    /// [`MessageRefusal`]
    pub fn admit(
        &self,
        header: &[u8],
        body: &[u8],
        secrets: &[Secret],
        now: Timestamp,
    ) -> Result<Admitted, MessageRefusal> {
        self.door.admit(header, body, secrets, now)
    }

    /// Notifies every other replica in the background. Returns `None` if there are none.
    pub fn tell(self: &Arc<Self>, news: News) -> Option<Telling> {
        if self.fleet.names.is_empty() {
            return None;
        }
        let mut slots = self.slots.lock();
        if let Some((pending, results)) = &mut slots.pending {
            // The newest push replaces the waiting one, because replicas fetch the current state of the ref.
            *pending = news;
            return Some(results.subscribe());
        }
        let (results, telling) = watch::channel(Vec::new());
        if slots.running >= FAN_OUTS {
            slots.pending = Some((news, results));
            return Some(telling);
        }
        slots.running += 1;
        drop(slots);
        let first = self.start(news, results);
        // Not among the tasks that the end of the process waits for: they are the messages, not the wait for a free
        // slot.
        tokio::spawn(Arc::clone(self).keep_slot(first));
        Some(telling)
    }

    fn start(&self, news: News, results: watch::Sender<Vec<PeerResult>>) -> JoinHandle<()> {
        self.fleet.around.tasks.spawn(fan_out::fan_out(Arc::clone(&self.fleet), news, results))
    }

    /// Waits for a fan-out's first attempt, then starts the fan-out that has been waiting. A slot starts at most one
    /// fan-out a second, so replayed webhooks are merged instead of multiplied.
    async fn keep_slot(self: Arc<Self>, first: JoinHandle<()>) {
        let mut fan_out = first;
        loop {
            let end = Instant::now() + FAN_OUT_AT_LEAST;
            // If this one panicked, the next one may still succeed.
            let _ = fan_out.await;
            sleep_until(end).await;
            let mut slots = self.slots.lock();
            let Some((news, results)) = slots.pending.take() else {
                slots.running -= 1;
                return;
            };
            fan_out = self.start(news, results);
        }
    }

    /// Answers another replica's question with the decisions of this one. Returns the body.
    ///
    /// # Errors
    /// [`MessageRefusal`], as for any other message.
    pub fn answer_standing(
        &self,
        header: &[u8],
        body: &[u8],
        secrets: &[Secret],
        now: Timestamp,
        standing: Option<StandingDecisions>,
    ) -> Result<Vec<u8>, MessageRefusal> {
        self.answered.answer(&self.fleet.own, header, body, secrets, now, standing)
    }

    /// Asks some of the other replicas for the pin and the pause in force. `None`: there are none, or none of them knows
    /// its own. Takes [`standing::LIMIT`] at most.
    pub async fn standing(&self) -> Option<Agreed> {
        standing::ask(&self.fleet).await
    }

    /// Returns how long the first sync should wait: not at all in a small fleet, a random part of the window in a
    /// large one.
    pub async fn start_delay(&self) -> Duration {
        let replicas = self.fleet.count(RESOLVE_AT_START).await;
        let delay = spread::delay(replicas);
        if !delay.is_zero() {
            tracing::info!(replicas, "a large fleet: the first sync starts after {} ms", delay.as_millis());
        }
        delay
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("names", &self.fleet.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
