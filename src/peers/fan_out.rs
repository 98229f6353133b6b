//! Delivers one message to all other replicas: each name and address independently, with up to three attempts for
//! each address.
//!
//! It knows targets and results, but not which deliveries are merged or who reads the results.

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

/// The longest time for one attempt, from connecting to the end of the response.
pub(super) const TRY: Duration = Duration::from_secs(1);
/// The pauses before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// The most peers that one fan-out contacts at a time.
pub(super) const AT_A_TIME: usize = 64;
/// Addresses beyond this number get no message and depend on their polls.
const MOST_PEERS: usize = 4096;
/// The longest time for contacting all peers, including name resolution.
pub(super) const ALL: Duration = Duration::from_secs(15);
/// How long to wait for name resolution before using the addresses of the last delivery.
const HEAD_START: Duration = Duration::from_millis(250);
/// The longest time that a fan-out counts as being at its first attempt, so that an unresponsive name server cannot
/// delay the next push.
const FIRST_TRY: Duration = Duration::from_secs(3);

/// The state of one delivery to all peers.
struct FanOut {
    message: Message,
    end: Instant,
    progress: Mutex<Progress>,
    results: watch::Sender<Vec<PeerResult>>,
    /// Limits the connections of this fan-out.
    places: Semaphore,
    /// Acquired by the first address that needs a second attempt. `None` inside: too many other fan-outs are
    /// retrying.
    retries: OnceLock<Option<OwnedSemaphorePermit>>,
}

#[derive(Default)]
struct Progress {
    tally: Tally,
    /// Every address that counts as a replica, including our own.
    replicas: HashSet<SocketAddr>,
    /// Addresses that have been contacted; each is contacted once.
    notified: HashSet<SocketAddr>,
}

/// One address and the result of its last attempt.
struct Target {
    address: SocketAddr,
    host: String,
    /// The index of the secret for the next attempt. After a rotation, a peer may not have the new one yet.
    secret: usize,
    fate: Fate,
}

/// Held while an address or name is at its first attempt.
type First = mpsc::Sender<Infallible>;

impl Peers {
    /// Contacts all peers and returns after the first attempt for each. Unresolved names and failed addresses are
    /// retried in the background.
    pub(super) async fn once(self: Arc<Self>, news: News, results: watch::Sender<Vec<PeerResult>>) {
        let fan_out = self.begin(news, results);
        let (first, mut firsts) = mpsc::channel(1);
        let peers = Arc::clone(&self);
        self.around.tasks.spawn(async move {
            let legs: Vec<_> =
                peers.names.iter().map(|name| peers.notify_name(&fan_out, name, first.clone())).collect();
            drop(first);
            join_all(legs).await;
            fan_out.log();
        });
        // Nothing is ever sent on this channel; it closes when every sender has been dropped.
        let _ = timeout(FIRST_TRY, firsts.recv()).await;
    }

    fn begin(&self, news: News, results: watch::Sender<Vec<PeerResult>>) -> FanOut {
        let News { after, before, delivery } = news;
        let message = Message { id: unique(), after, before, delivery, ..self.own.clone() };
        let mut progress = Progress::default();
        // Count the replicas before the first message is sent, because messages contain the number.
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

    /// Contacts all addresses of one name. If resolving takes long, the addresses of the last delivery are contacted
    /// in the meantime, and additional ones once the answer arrives.
    async fn notify_name(&self, fan_out: &FanOut, name: &Name, first: First) {
        let host = name.to_string();
        let lookup = self.known.find(&self.around.network, name, fan_out.end);
        tokio::pin!(lookup);
        if let Ok(Ok(addresses)) = timeout(HEAD_START, &mut lookup).await {
            let failed = self.notify_all(fan_out, &host, addresses, Some(first)).await;
            self.conclude_all(fan_out, failed);
            return;
        }
        let remembered = self.known.at_hand(name);
        let first = (!remembered.is_empty()).then_some(first);
        let meanwhile = self.notify_all(fan_out, &host, remembered, first);
        let looked = async {
            let addresses = lookup.await?;
            let failed = self.notify_all(fan_out, &host, addresses.clone(), None).await;
            self.conclude_all(fan_out, failed);
            Ok::<_, NoAddress>(addresses)
        };
        let (failed, looked) = join(meanwhile, looked).await;
        for target in failed {
            // A replica that no longer exists needs no message.
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

    /// Contacts addresses that have not been contacted yet, in up to three attempts. Returns those that failed.
    async fn notify_all(
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
                let counts = progress.replicas.contains(&address) && progress.notified.insert(address);
                if counts && !self.is_own(address) {
                    left.push(Target { address, host: host.to_owned(), secret: 0, fate: Fate::NotTried });
                }
            }
            (left, replicas(&progress.replicas))
        };
        // In random order, so that two fan-outs do not contact the same peers last.
        fastrand::shuffle(&mut left);
        let message = Message { replicas, ..fan_out.message.clone() };
        left = self.try_each(fan_out, left, &message).await;
        drop(first);
        for pause in PAUSES {
            if left.is_empty() || !fan_out.may_retry(&self.retries) {
                break;
            }
            sleep(pause).await;
            left = self.try_each(fan_out, left, &message).await;
        }
        left
    }

    /// Tries each target once and returns those for which another attempt may succeed.
    async fn try_each(&self, fan_out: &FanOut, targets: Vec<Target>, message: &Message) -> Vec<Target> {
        let secrets = (self.around.secrets)();
        let mut left = Vec::new();
        let mut tried: FuturesUnordered<_> =
            targets.into_iter().map(|target| self.attempt(fan_out, target, message, &secrets)).collect();
        while let Some(target) = tried.next().await {
            let may_succeed = match target.fate {
                Fate::TimedOut | Fate::Unreachable | Fate::BadAnswer => true,
                Fate::Refused(_) => target.secret < secrets.len(),
                _ => false,
            };
            if may_succeed {
                left.push(target);
            } else {
                self.conclude(fan_out, target.address.to_string(), target.fate);
            }
        }
        left
    }

    /// Records the final result of one address or name.
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
        // Neither semaphore is ever closed, so an error can be treated as a timeout.
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

    /// Counts the replicas that the names resolve to within `patience`.
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

    /// Logs the final result.
    fn log(&self) {
        let progress = self.progress();
        let (told, failed) = (progress.tally.told(), progress.tally.failed());
        let delivery = self.message.delivery.as_deref();
        if failed > 0 {
            let some = progress.tally.failures();
            tracing::warn!(delivery.id = delivery, "notified {told} peers, {failed} failed: {some}");
        } else {
            tracing::info!(delivery.id = delivery, "notified {told} peers");
        }
    }

    /// Returns true if this fan-out is among those that may retry.
    fn may_retry(&self, all: &Arc<Semaphore>) -> bool {
        self.retries.get_or_init(|| Arc::clone(all).try_acquire_owned().ok()).is_some()
    }
}

/// Counts replicas. In a dual-stack fleet each replica has two addresses.
fn replicas(addresses: &HashSet<SocketAddr>) -> u32 {
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    u32::try_from(v4.max(addresses.len() - v4)).unwrap_or(u32::MAX)
}

/// Returns a different value each time. It need not be unpredictable, because messages are signed.
pub(super) fn unique() -> String {
    format!("{:032x}", fastrand::u128(..))
}
