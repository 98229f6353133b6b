//! Fan-out: the replica that receives a webhook forwards it to all other replicas, on a best-effort basis.
//!
//! A message carries no more than the webhook does: it is signed, valid for a minute, and never forwarded by its
//! receiver. A replica that misses it catches up at its next poll. The local sync does not wait for the peers; their
//! results are added to the record as they arrive. This area must not know git, the volume, the queue, or how the
//! listener works.

mod door;
mod fan_out;
mod fate;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod message;
mod names;
mod network;
mod spread;
mod standing;
mod tally;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::api::PeerResult;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::secret::Secret;

use door::Door;
use fan_out::unique;
use names::Names;

pub use door::{Admitted, Refused};
pub use fate::{Disagreement, Fate};
pub use message::{LARGEST, Message, NO_SECRET_CODE, SIGNATURE, seal};
pub use network::{Answer, Network, Post, Tcp};
pub use spread::window;
pub use standing::{Agreed, BELOW, Standing};

/// How long resolving names may take at the start, because the first sync waits for it.
const RESOLVE_AT_START: Duration = Duration::from_secs(1);
/// The most connections of all fan-outs together.
const CONNECTIONS: usize = 256;
/// The most fan-outs at their first attempt. While that many wait for dead peers, new pushes are merged into the next
/// fan-out.
const FAN_OUTS: usize = 16;
/// How long a fan-out occupies its slot at least.
const FAN_OUT_AT_LEAST: Duration = Duration::from_secs(1);
/// The most fan-outs at their second or third attempt. Any more make only a first attempt.
const RETRIES: usize = 64;

/// A host and port as configured. A host name is resolved for each delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The addresses of the other replicas, and what all replicas follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Empty: no messages are sent, but received ones are accepted.
    pub names: Vec<Name>,
    /// The remote, redacted, and the ref, both as configured.
    pub repo: String,
    pub reference: String,
}

/// The content of a webhook that is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    pub after: Option<String>,
    pub before: Option<String>,
    pub delivery: Option<String>,
}

/// Returns the secrets in use, the current one first.
pub type Secrets = Arc<dyn Fn() -> Vec<Secret> + Send + Sync>;

/// The results so far. The channel closes when no more will follow.
pub type Telling = watch::Receiver<Vec<PeerResult>>;

/// The environment of this replica.
pub struct Surroundings {
    /// The address on which this replica receives peer messages.
    pub own: Option<SocketAddr>,
    /// The path that peers listen on.
    pub path: String,
    pub secrets: Secrets,
    pub network: Arc<dyn Network>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// The tasks that a process that is about to end waits for, up to a limit.
    pub tasks: TaskTracker,
}

/// Sends messages to the other replicas and checks theirs.
pub struct Peers {
    names: Vec<Name>,
    known: Names,
    /// The template of outgoing messages.
    own: Message,
    door: Door,
    around: Surroundings,
    slots: Mutex<Slots>,
    retries: Arc<Semaphore>,
    connections: Semaphore,
    answered: standing::Answered,
}

/// The fan-outs at their first attempt, and the one that waits for a slot.
#[derive(Default)]
struct Slots {
    running: usize,
    pending: Option<(News, watch::Sender<Vec<PeerResult>>)>,
}

impl Peers {
    #[must_use]
    pub fn new(options: Options, around: Surroundings) -> Self {
        let from = unique();
        let own = Message::new(&options.repo, &options.reference, &from);
        Self {
            names: options.names,
            known: Names::default(),
            door: Door::new(own.clone()),
            own,
            around,
            slots: Mutex::default(),
            retries: Arc::new(Semaphore::new(RETRIES)),
            connections: Semaphore::new(CONNECTIONS),
            answered: standing::Answered::default(),
        }
    }

    /// Checks a received message. It must be authentic, recent and not received before.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn admit(&self, header: &[u8], body: &[u8], secrets: &[Secret], now: Timestamp) -> Result<Admitted, Refused> {
        self.door.admit(header, body, secrets, now)
    }

    /// Notifies every other replica in the background. Returns `None` if there are none.
    pub fn tell(self: &Arc<Self>, news: News) -> Option<Telling> {
        if self.names.is_empty() {
            return None;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
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
        let first = self.around.tasks.spawn(Arc::clone(self).once(news, results));
        tokio::spawn(Arc::clone(self).keep_slot(first));
        Some(telling)
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
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((news, results)) = slots.pending.take() else {
                slots.running -= 1;
                return;
            };
            fan_out = self.around.tasks.spawn(Arc::clone(&self).once(news, results));
        }
    }

    /// Returns how long the first sync should wait: not at all in a small fleet, a random part of the window in a
    /// large one.
    pub async fn start_delay(&self) -> Duration {
        let replicas = self.count(RESOLVE_AT_START).await;
        let delay = spread::delay(replicas);
        if !delay.is_zero() {
            tracing::info!(replicas, "a large fleet: the first sync starts after {} ms", delay.as_millis());
        }
        delay
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
