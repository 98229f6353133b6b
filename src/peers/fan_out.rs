//! Delivers one message to all other replicas: each name and address independently, with up to three attempts for
//! each address.
//!
//! It knows targets and results, but not which deliveries are merged or who reads the results.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join, join_all};
use futures_util::stream::FuturesUnordered;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::PeerResult;
use crate::secret::Secret;
use crate::text::counted;

use super::fate::{Fate, of_answer, of_failure};
use super::fleet::{Fleet, replicas, unique};
use super::message::{Message, seal};
use super::name::Name;
use super::names::NoAddress;
use super::network::Post;
use super::tally::Tally;

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

/// The content of a webhook that is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    pub after: Option<String>,
    pub before: Option<String>,
    pub delivery: Option<String>,
}

/// The state of one delivery to all peers.
struct FanOut {
    fleet: Arc<Fleet>,
    message: Message,
    end: Instant,
    progress: Mutex<FanOutProgress>,
    results: watch::Sender<Vec<PeerResult>>,
    /// Limits the connections of this fan-out.
    places: Semaphore,
    /// Acquired by the first address that needs a second attempt. `None` inside: too many other fan-outs are
    /// retrying.
    retries: OnceLock<Option<OwnedSemaphorePermit>>,
}

#[derive(Default)]
struct FanOutProgress {
    tally: Tally,
    /// Every address that counts as a replica, including our own.
    replicas: HashSet<SocketAddr>,
    /// Addresses that have been contacted; each is contacted once.
    notified: HashSet<SocketAddr>,
}

/// One address and the result of its last attempt.
struct FanOutTarget {
    address: SocketAddr,
    host: String,
    /// The index of the secret for the next attempt. After a rotation, a peer may not have the new one yet.
    secret: usize,
    fate: Fate,
}

/// Held while an address or name is at its first attempt.
type First = mpsc::Sender<Infallible>;

/// Contacts all peers and returns after the first attempt for each. Unresolved names and failed addresses are retried
/// in the background.
pub(super) async fn fan_out(fleet: Arc<Fleet>, news: News, results: watch::Sender<Vec<PeerResult>>) {
    let tasks = fleet.around.tasks.clone();
    let fan_out = FanOut::begin(fleet, news, results);
    let (first, mut firsts) = mpsc::channel(1);
    tasks.spawn(async move {
        let names = fan_out.fleet.names.iter();
        let legs: Vec<_> = names.map(|name| fan_out.notify_name(name, first.clone())).collect();
        drop(first);
        join_all(legs).await;
        fan_out.log();
    });
    // Nothing is ever sent on this channel; it closes when every sender has been dropped.
    let _ = timeout(FIRST_TRY, firsts.recv()).await;
}

impl FanOut {
    fn begin(fleet: Arc<Fleet>, news: News, results: watch::Sender<Vec<PeerResult>>) -> Self {
        let News { after, before, delivery } = news;
        let message = Message { id: unique(), after, before, delivery, ..fleet.own.clone() };
        let mut progress = FanOutProgress::default();
        // Count the replicas before the first message is sent, because messages contain the number.
        progress.replicas.extend(fleet.names.iter().flat_map(|name| fleet.known.at_hand(name)).take(MOST_PEERS));
        Self {
            fleet,
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
    async fn notify_name(&self, name: &Name, first: First) {
        let host = name.to_string();
        let lookup = self.fleet.known.find(&self.fleet.around.network, name, self.end);
        tokio::pin!(lookup);
        // By reference: the query goes on after the head start.
        if let Ok(Ok(addresses)) = timeout(HEAD_START, &mut lookup).await {
            let failed = self.notify_all(&host, addresses, Some(first)).await;
            self.conclude_all(failed);
            return;
        }
        let remembered = self.fleet.known.at_hand(name);
        let first = (!remembered.is_empty()).then_some(first);
        let meanwhile = self.notify_all(&host, remembered, first);
        let looked = async {
            let addresses = lookup.await?;
            let failed = self.notify_all(&host, addresses.clone(), None).await;
            self.conclude_all(failed);
            Ok::<_, NoAddress>(addresses)
        };
        let (failed, looked) = join(meanwhile, looked).await;
        for target in failed {
            // A replica that no longer exists needs no message.
            if looked.as_ref().map_or(true, |addresses| addresses.contains(&target.address)) {
                self.conclude(target.address.to_string(), target.fate);
            }
        }
        match looked {
            Ok(_) => {}
            Err(NoAddress::NoSuchName) => self.conclude(host, Fate::Unresolved),
            Err(NoAddress::NoAnswer) => self.conclude(host, Fate::NoDnsAnswer),
        }
    }

    /// Contacts addresses that have not been contacted yet, in up to three attempts. Returns those that failed.
    async fn notify_all(&self, host: &str, addresses: Vec<SocketAddr>, first: Option<First>) -> Vec<FanOutTarget> {
        let (mut left, replicas) = {
            let mut progress = self.progress();
            let mut left = Vec::new();
            for address in addresses {
                if progress.replicas.len() < MOST_PEERS {
                    progress.replicas.insert(address);
                }
                let counts = progress.replicas.contains(&address) && progress.notified.insert(address);
                if counts && !self.fleet.is_own(address) {
                    left.push(FanOutTarget { address, host: host.to_owned(), secret: 0, fate: Fate::NotTried });
                }
            }
            (left, replicas(&progress.replicas))
        };
        // In random order, so that two fan-outs do not contact the same peers last.
        fastrand::shuffle(&mut left);
        let message = Message { replicas, ..self.message.clone() };
        left = self.try_each(left, &message).await;
        // The first attempts are over, which frees the slot for the next fan-out.
        drop(first);
        for pause in PAUSES {
            if left.is_empty() || !self.may_retry() {
                break;
            }
            sleep(pause).await;
            left = self.try_each(left, &message).await;
        }
        left
    }

    /// Tries each target once and returns those for which another attempt may succeed.
    async fn try_each(&self, targets: Vec<FanOutTarget>, message: &Message) -> Vec<FanOutTarget> {
        let secrets = (self.fleet.around.secrets)();
        let mut left = Vec::new();
        let mut tried: FuturesUnordered<_> =
            targets.into_iter().map(|target| self.attempt(target, message, &secrets)).collect();
        while let Some(target) = tried.next().await {
            let may_succeed = match target.fate {
                Fate::TimedOut | Fate::Unreachable | Fate::BadAnswer => true,
                Fate::Refused(_) => target.secret < secrets.len(),
                _ => false,
            };
            if may_succeed {
                left.push(target);
            } else {
                self.conclude(target.address.to_string(), target.fate);
            }
        }
        left
    }

    /// Records the final result of one address or name.
    fn conclude(&self, address: String, fate: Fate) {
        self.fleet.around.metrics.peer_message(fate.word());
        let results = {
            let mut progress = self.progress();
            progress.tally.add(address, fate);
            progress.tally.results()
        };
        self.results.send_replace(results);
    }

    fn conclude_all(&self, targets: Vec<FanOutTarget>) {
        for target in targets {
            self.conclude(target.address.to_string(), target.fate);
        }
    }

    async fn attempt(&self, mut target: FanOutTarget, message: &Message, secrets: &[Secret]) -> FanOutTarget {
        let Some(secret) = secrets.get(target.secret.min(secrets.len().saturating_sub(1))) else {
            target.fate = Fate::NoSecret;
            return target;
        };
        let permits = async { (self.places.acquire().await, self.fleet.connections.acquire().await) };
        // Neither semaphore is ever closed, so an error can be treated as a timeout.
        let Ok((Ok(_place), Ok(_connection))) = timeout_at(self.end, permits).await else {
            target.fate = Fate::NotTried;
            return target;
        };
        // `timeout_at` looks at the permits first, so they may come after the end.
        if Instant::now() >= self.end {
            target.fate = Fate::NotTried;
            return target;
        }
        let message = Message { nonce: unique(), ..message.clone() };
        let body = serde_json::to_vec(&message).expect("a message is numbers and texts, which JSON can hold");
        // Signed for this attempt, because a receiver accepts only a minute of difference.
        let seal = seal(secret, self.fleet.around.clock.now().as_second(), &body);
        let post = Post { host: target.host.clone(), path: self.fleet.around.path.clone(), seal, body };
        target.fate = match timeout(TRY, self.fleet.around.network.post_dated(target.address, post)).await {
            Err(_elapsed) => Fate::TimedOut,
            Ok(Err(error)) => of_failure(&error),
            Ok(Ok((answer, date))) => of_answer(&answer, date.as_deref(), self.fleet.around.clock.now().as_second()),
        };
        if matches!(target.fate, Fate::Refused(_)) {
            target.secret += 1;
        }
        target
    }

    fn progress(&self) -> MutexGuard<'_, FanOutProgress> {
        self.progress.lock()
    }

    /// Logs the final result.
    fn log(&self) {
        let progress = self.progress();
        let (told, failed) = (progress.tally.told(), progress.tally.failed());
        let delivery = self.message.delivery.as_deref();
        let peers = counted(told, "peer");
        if failed > 0 {
            let some = progress.tally.failures();
            tracing::warn!(delivery.id = delivery, "notified {peers}, {failed} failed: {some}");
        } else {
            tracing::info!(delivery.id = delivery, "notified {peers}");
        }
    }

    /// Returns true if this fan-out is among those that may retry.
    fn may_retry(&self) -> bool {
        self.retries.get_or_init(|| Arc::clone(&self.fleet.retries).try_acquire_owned().ok()).is_some()
    }
}
