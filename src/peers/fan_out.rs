//! One delivery on its way to every other replica: each name and each address for itself, three tries for each address.
//!
//! It knows targets and fates, not which deliveries are merged or who waits for the results.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join, join_all};
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::PeerResult;
use crate::secret::Secret;

use super::fate::{Fate, of_answer, of_failure};
use super::message::{Message, seal};
use super::names::NoAddress;
use super::network::Post;
use super::tally::Tally;
use super::{Name, News, Peers};

/// The longest that one try may take, from connecting to the end of the answer.
pub(super) const TRY: Duration = Duration::from_secs(1);
/// The pauses before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// Peers that one fan-out speaks to at a time.
pub(super) const AT_A_TIME: usize = 64;
/// Addresses beyond this are left to their polls.
const MOST_PEERS: usize = 4096;
/// The longest that telling all peers may take, their names included.
pub(super) const ALL: Duration = Duration::from_secs(15);
/// How long a name may take before the addresses of the last delivery are used meanwhile.
const HEAD_START: Duration = Duration::from_millis(250);
/// The longest that a fan-out counts as being at its first try: a name that stays silent must not hold up the next push.
const FIRST_TRY: Duration = Duration::from_secs(3);

/// One delivery on its way to all peers.
struct FanOut {
    message: Message,
    end: Instant,
    progress: Mutex<Progress>,
    results: watch::Sender<Vec<PeerResult>>,
    /// Limits the connections of this fan-out.
    places: Semaphore,
    /// Taken by the first address that needs a second try; `None` inside if too many fan-outs are at theirs.
    retries: OnceLock<Option<OwnedSemaphorePermit>>,
}

#[derive(Default)]
struct Progress {
    tally: Tally,
    /// Every address that counts as a replica, our own included.
    replicas: HashSet<SocketAddr>,
    /// Addresses that are being told: none is told twice.
    told: HashSet<SocketAddr>,
}

/// One address and the result of its last try.
struct Target {
    address: SocketAddr,
    host: String,
    /// Which secret the next try is signed with: after a rotation, a peer may not have the new one yet.
    secret: usize,
    fate: Fate,
}

/// Held while an address or name is at its first try.
type First = mpsc::Sender<Infallible>;

impl Peers {
    /// Tells all peers, and returns when each was tried once. Names without an answer, and addresses that did not take the
    /// message, are tried again in the background.
    pub(super) async fn once(self: Arc<Self>, news: News, results: watch::Sender<Vec<PeerResult>>) {
        let fan_out = self.begin(news, results);
        let (first, mut firsts) = mpsc::channel(1);
        let peers = Arc::clone(&self);
        self.around.tasks.spawn(async move {
            let legs: Vec<_> = peers.names.iter().map(|name| peers.leg(&fan_out, name, first.clone())).collect();
            drop(first);
            join_all(legs).await;
            fan_out.say();
        });
        // Nothing is ever sent: this ends when all of them have let go.
        let _ = timeout(FIRST_TRY, firsts.recv()).await;
    }

    fn begin(&self, news: News, results: watch::Sender<Vec<PeerResult>>) -> FanOut {
        let News { after, before, delivery } = news;
        let message = Message { id: unique(), after, before, delivery, ..self.own.clone() };
        let mut progress = Progress::default();
        // Counted before the first message goes out, which says how many there are.
        progress.replicas.extend(self.names.iter().flat_map(|name| self.known.at_hand(name)).take(MOST_PEERS));
        FanOut {
            message,
            end: Instant::now() + ALL,
            progress: Mutex::new(progress),
            results,
            places: Semaphore::new(AT_A_TIME),
            retries: OnceLock::new(),
        }
    }

    /// Tells all addresses of one name. If its answer takes long, those of the last delivery are told meanwhile, and what it
    /// has besides as soon as the answer is there.
    async fn leg(&self, fan_out: &FanOut, name: &Name, first: First) {
        let host = name.to_string();
        let lookup = self.known.find(&self.around.network, name, fan_out.end);
        tokio::pin!(lookup);
        if let Ok(Ok(addresses)) = timeout(HEAD_START, &mut lookup).await {
            let failed = self.tell_all(fan_out, &host, addresses, Some(first)).await;
            self.conclude_all(fan_out, failed);
            return;
        }
        let remembered = self.known.at_hand(name);
        let first = (!remembered.is_empty()).then_some(first);
        let meanwhile = self.tell_all(fan_out, &host, remembered, first);
        let looked = async {
            let addresses = lookup.await?;
            let failed = self.tell_all(fan_out, &host, addresses.clone(), None).await;
            self.conclude_all(fan_out, failed);
            Ok::<_, NoAddress>(addresses)
        };
        let (failed, looked) = join(meanwhile, looked).await;
        for target in failed {
            // A replica that is gone by now need not be told.
            if looked.as_ref().map_or(true, |addresses| addresses.contains(&target.address)) {
                self.conclude(fan_out, target.address.to_string(), target.fate);
            }
        }
        match looked {
            Ok(_) => {}
            Err(NoAddress::NoSuchName) => self.conclude(fan_out, host, Fate::Unresolved),
            Err(NoAddress::NoAnswer) => self.conclude(fan_out, host, Fate::NoDnsAnswer),
        }
    }

    /// Tells addresses that were not told yet, in three tries. Returns those that did not take the message.
    async fn tell_all(
        &self,
        fan_out: &FanOut,
        host: &str,
        addresses: Vec<SocketAddr>,
        first: Option<First>,
    ) -> Vec<Target> {
        let (mut left, replicas) = {
            let mut progress = fan_out.progress();
            let mut left = Vec::new();
            for address in addresses {
                if progress.replicas.len() < MOST_PEERS {
                    progress.replicas.insert(address);
                }
                let counts = progress.replicas.contains(&address) && progress.told.insert(address);
                if counts && !self.is_own(address) {
                    left.push(Target { address, host: host.to_owned(), secret: 0, fate: Fate::NotTried });
                }
            }
            (left, replicas(&progress.replicas))
        };
        // By chance, so that two fan-outs do not reach the same peers last.
        fastrand::shuffle(&mut left);
        let message = Message { replicas, ..fan_out.message.clone() };
        left = self.round(fan_out, left, &message).await;
        drop(first);
        for pause in PAUSES {
            if left.is_empty() || !fan_out.may_retry(&self.retries) {
                break;
            }
            sleep(pause).await;
            left = self.round(fan_out, left, &message).await;
        }
        left
    }

    /// Tries each target once and returns those that may take the message another time.
    async fn round(&self, fan_out: &FanOut, targets: Vec<Target>, message: &Message) -> Vec<Target> {
        let secrets = (self.around.secrets)();
        let mut left = Vec::new();
        let mut tried: FuturesUnordered<_> =
            targets.into_iter().map(|target| self.attempt(fan_out, target, message, &secrets)).collect();
        while let Some(target) = tried.next().await {
            let may_hear = match target.fate {
                Fate::TimedOut | Fate::Unreachable | Fate::BadAnswer => true,
                Fate::Refused(_) => target.secret < secrets.len(),
                _ => false,
            };
            if may_hear {
                left.push(target);
            } else {
                self.conclude(fan_out, target.address.to_string(), target.fate);
            }
        }
        left
    }

    /// Notes the final result of one address or name.
    fn conclude(&self, fan_out: &FanOut, address: String, fate: Fate) {
        self.around.metrics.peer_message(fate.word());
        let results = {
            let mut progress = fan_out.progress();
            progress.tally.add(address, fate);
            progress.tally.results()
        };
        fan_out.results.send_replace(results);
    }

    fn conclude_all(&self, fan_out: &FanOut, targets: Vec<Target>) {
        for target in targets {
            self.conclude(fan_out, target.address.to_string(), target.fate);
        }
    }

    async fn attempt(&self, fan_out: &FanOut, mut target: Target, message: &Message, secrets: &[Secret]) -> Target {
        let Some(secret) = secrets.get(target.secret.min(secrets.len().saturating_sub(1))) else {
            target.fate = Fate::NoSecret;
            return target;
        };
        let permits = async { (fan_out.places.acquire().await, self.connections.acquire().await) };
        // Neither is ever closed, so an error means the same as no time left.
        let Ok((Ok(_place), Ok(_connection))) = timeout_at(fan_out.end, permits).await else {
            target.fate = Fate::NotTried;
            return target;
        };
        if Instant::now() >= fan_out.end {
            target.fate = Fate::NotTried;
            return target;
        }
        let message = Message { nonce: unique(), ..message.clone() };
        let body = serde_json::to_vec(&message).expect("a message is numbers and texts, which JSON can hold");
        let seal = seal(secret, self.around.clock.now().as_second(), &body);
        let post = Post { host: target.host.clone(), path: self.around.path.clone(), seal, body };
        target.fate = match timeout(TRY, self.around.network.post_dated(target.address, post)).await {
            Err(_elapsed) => Fate::TimedOut,
            Ok(Err(error)) => of_failure(&error),
            Ok(Ok((answer, date))) => of_answer(&answer, date.as_deref(), self.around.clock.now().as_second()),
        };
        if matches!(target.fate, Fate::Refused(_)) {
            target.secret += 1;
        }
        target
    }

    /// How many replicas there are by what the names say within `patience`.
    pub(super) async fn count(&self, patience: Duration) -> u32 {
        let end = Instant::now() + patience;
        let asked = self.names.iter().map(|name| self.known.find(&self.around.network, name, end));
        let found: HashSet<SocketAddr> = join_all(asked).await.into_iter().flatten().flatten().collect();
        replicas(&found)
    }

    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        let Some(own) = self.around.own else { return false };
        own.port() == address.port()
            && (own.ip() == address.ip() || (own.ip().is_unspecified() && self.around.network.is_local(address.ip())))
    }
}

impl FanOut {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what became of it.
    fn say(&self) {
        let progress = self.progress();
        let (told, failed) = (progress.tally.told(), progress.tally.failed());
        let delivery = self.message.delivery.as_deref();
        if failed > 0 {
            let some = progress.tally.failures();
            tracing::warn!(delivery.id = delivery, "{told} peers were told, {failed} were not: {some}");
        } else {
            tracing::info!(delivery.id = delivery, "{told} peers were told");
        }
    }

    /// True if this fan-out is among those that may try an address again.
    fn may_retry(&self, all: &Arc<Semaphore>) -> bool {
        self.retries.get_or_init(|| Arc::clone(all).try_acquire_owned().ok()).is_some()
    }
}

/// A fleet with both families has two addresses for each replica.
fn replicas(addresses: &HashSet<SocketAddr>) -> u32 {
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    u32::try_from(v4.max(addresses.len() - v4)).unwrap_or(u32::MAX)
}

/// Different each time. It need not be hard to guess: it is signed.
pub(super) fn unique() -> String {
    format!("{:032x}", fastrand::u128(..))
}
