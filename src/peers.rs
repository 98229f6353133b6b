//! Fan-out: one webhook reaches one replica, which tells all the others. Best effort, and never in anybody's way.
//!
//! The message is a doorbell like the webhook itself: signed, good for a minute, never passed on by whoever hears it. Who
//! misses it is found by its own poll. Nothing waits for the peers: the local sync goes on while they are told, and their
//! answers join the record when they come. It must not know of git, the volume, the queue, or how the listener works.

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

/// How long names may take at the start, where the first look waits for them.
const RESOLVE_AT_START: Duration = Duration::from_secs(1);
/// Connections that all fan-outs together may have open.
const CONNECTIONS: usize = 256;
/// Fan-outs that are at their first try; what comes while so many are held up by dead peers is merged into the next one.
const FAN_OUTS: usize = 16;
/// How long a fan-out keeps its place at least.
const FAN_OUT_AT_LEAST: Duration = Duration::from_secs(1);
/// Fan-outs that are at their second and third try; of more than these, the first try counts.
const RETRIES: usize = 64;

/// A host and port as given: a name is resolved for each delivery.
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

/// Who the others are, and what all of us follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Empty: nobody is told, but whoever tells us is heard.
    pub names: Vec<Name>,
    /// The remote, redacted, and the ref, both as configured.
    pub repo: String,
    pub reference: String,
}

/// What a webhook announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    pub after: Option<String>,
    pub before: Option<String>,
    pub delivery: Option<String>,
}

/// The secrets in force, the current one first.
pub type Secrets = Arc<dyn Fn() -> Vec<Secret> + Send + Sync>;

/// Results so far; closed when no more will come.
pub type Telling = watch::Receiver<Vec<PeerResult>>;

/// What surrounds this replica.
pub struct Surroundings {
    /// Where we listen for peers ourselves.
    pub own: Option<SocketAddr>,
    /// The path that peers listen on.
    pub path: String,
    pub secrets: Secrets,
    pub network: Arc<dyn Network>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// A process that ends waits for these (for a while).
    pub tasks: TaskTracker,
}

/// The other replicas, to be told and to be heard.
pub struct Peers {
    names: Vec<Name>,
    known: Names,
    /// What a message of ours looks like before there is news.
    own: Message,
    door: Door,
    around: Surroundings,
    slots: Mutex<Slots>,
    retries: Arc<Semaphore>,
    connections: Semaphore,
    answered: standing::Answered,
}

/// Fan-outs at their first try, and the one that waits.
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

    /// Judges a message that came in. It has to be authentic, recent and not seen before.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn admit(&self, header: &[u8], body: &[u8], secrets: &[Secret], now: Timestamp) -> Result<Admitted, Refused> {
        self.door.admit(header, body, secrets, now)
    }

    /// Tells every other replica, in the background. `None` if there are none to tell.
    pub fn tell(self: &Arc<Self>, news: News) -> Option<Telling> {
        if self.names.is_empty() {
            return None;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((pending, results)) = &mut slots.pending {
            // The newest says all: what is fetched is what the ref has by then.
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

    /// Sees a fan-out through its first try, then goes on to the news that had to wait meanwhile. A slot is good for one
    /// fan-out a second: whoever replays webhooks makes us merge, not shout.
    async fn keep_slot(self: Arc<Self>, first: JoinHandle<()>) {
        let mut fan_out = first;
        loop {
            let end = Instant::now() + FAN_OUT_AT_LEAST;
            // If it panicked, the next one may not.
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

    /// How long the first look should wait: none in a small fleet, a random share of the window in a large one.
    pub async fn start_delay(&self) -> Duration {
        let replicas = self.count(RESOLVE_AT_START).await;
        let delay = spread::delay(replicas);
        if !delay.is_zero() {
            tracing::info!(replicas, "a large fleet: the first look waits for {} ms", delay.as_millis());
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
