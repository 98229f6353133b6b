//! One delivery on its way to every other replica: whom it concerns at this moment, three tries each, all at once.
//!
//! It knows targets and fates, not which deliveries are merged or who waits for the results.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::PeerResult;
use crate::secret::Secret;

use super::message::{Message, seal};
use super::network::{Answer, Post};
use super::tally::{Fate, Tally};
use super::{News, Peers};

/// The longest that one try may take, from connecting to the end of the answer.
pub(super) const TRY: Duration = Duration::from_secs(1);
/// The pauses before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// Peers that one fan-out speaks to at a time.
pub(super) const AT_A_TIME: usize = 64;
/// Addresses beyond this are left to their polls.
const MOST_PEERS: usize = 4096;
/// The longest that telling everybody may take.
pub(super) const ALL: Duration = Duration::from_secs(15);
/// The longest that a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(2);

/// One delivery on its way to everybody.
struct FanOut {
    message: Message,
    left: Vec<Target>,
    tally: Tally,
    results: watch::Sender<Vec<PeerResult>>,
    end: Instant,
}

/// One address and how far we got with it.
pub(super) struct Target {
    pub address: SocketAddr,
    host: String,
    /// Which secret the next try is signed with: after a rotation, a peer may not have the new one yet.
    secret: usize,
    fate: Fate,
}

impl Peers {
    /// Tells everybody once. Those who did not hear are tried again beside that: whoever is dead holds up nobody but
    /// himself.
    pub(super) async fn once(self: Arc<Self>, news: News, results: watch::Sender<Vec<PeerResult>>) {
        let mut fan_out = self.begin(news, results).await;
        self.round(&mut fan_out, Duration::ZERO, false).await;
        match Arc::clone(&self.retries).try_acquire_owned() {
            Ok(permit) if !fan_out.left.is_empty() => {
                let peers = Arc::clone(&self);
                self.around.tasks.spawn(async move {
                    peers.round(&mut fan_out, PAUSES[0], false).await;
                    peers.round(&mut fan_out, PAUSES[1], true).await;
                    peers.end(fan_out);
                    drop(permit);
                });
            }
            _ => self.end(fan_out),
        }
    }

    async fn begin(&self, news: News, results: watch::Sender<Vec<PeerResult>>) -> FanOut {
        let end = Instant::now() + ALL;
        let (targets, unresolved) = self.targets().await;
        let News { after, before, delivery } = news;
        let id = unique();
        let message = Message { id, after, before, delivery, replicas: replicas(&targets), ..self.own.clone() };
        let mut left: Vec<Target> = targets.into_iter().filter(|target| !self.is_own(target.address)).collect();
        // By chance, so that two fan-outs do not reach the same peers last.
        fastrand::shuffle(&mut left);
        let mut fan_out = FanOut { message, left, tally: Tally::default(), results, end };
        for name in unresolved {
            self.settle(&mut fan_out, name, Fate::Unresolved);
        }
        fan_out
    }

    /// Tries everybody who is left once, and keeps those who may hear the next time.
    async fn round(&self, fan_out: &mut FanOut, pause: Duration, last: bool) {
        if fan_out.left.is_empty() {
            return;
        }
        sleep(pause).await;
        let secrets = (self.around.secrets)();
        let (message, end) = (fan_out.message.clone(), fan_out.end);
        let left = std::mem::take(&mut fan_out.left);
        let trying: Vec<_> = left.into_iter().map(|target| self.attempt(target, &message, &secrets, end)).collect();
        let mut tried = stream::iter(trying).buffer_unordered(AT_A_TIME);
        while let Some(target) = tried.next().await {
            let may_hear = match target.fate {
                Fate::TimedOut | Fate::Unreachable | Fate::BadAnswer => true,
                Fate::Refused => target.secret < secrets.len(),
                _ => false,
            };
            if may_hear && !last {
                fan_out.left.push(target);
            } else {
                self.settle(fan_out, target.address.to_string(), target.fate);
            }
        }
    }

    fn settle(&self, fan_out: &mut FanOut, address: String, fate: Fate) {
        self.around.metrics.peer_message(fate.word());
        fan_out.tally.add(address, fate);
        fan_out.results.send_replace(fan_out.tally.results());
    }

    fn end(&self, mut fan_out: FanOut) {
        for target in std::mem::take(&mut fan_out.left) {
            self.settle(&mut fan_out, target.address.to_string(), target.fate);
        }
        let (told, failed) = (fan_out.tally.told(), fan_out.tally.failed());
        let delivery = fan_out.message.delivery;
        if failed > 0 {
            let some = fan_out.tally.failures();
            tracing::warn!(delivery.id = delivery, "{told} peers were told, {failed} were not: {some}");
        } else {
            tracing::info!(delivery.id = delivery, "{told} peers were told");
        }
    }

    async fn attempt(&self, mut target: Target, message: &Message, secrets: &[Secret], end: Instant) -> Target {
        let Some(secret) = secrets.get(target.secret.min(secrets.len().saturating_sub(1))) else {
            target.fate = Fate::Refused;
            return target;
        };
        // Never closed, so an error means the same as no time left.
        let Ok(Ok(_permit)) = timeout_at(end, self.connections.acquire()).await else {
            target.fate = Fate::NotTried;
            return target;
        };
        if Instant::now() >= end {
            target.fate = Fate::NotTried;
            return target;
        }
        let message = Message { nonce: unique(), ..message.clone() };
        let body = serde_json::to_vec(&message).expect("a message is numbers and texts, which JSON can hold");
        let seal = seal(secret, self.around.clock.now().as_second(), &body);
        let post = Post { host: target.host.clone(), path: self.around.path.clone(), seal, body };
        target.fate = match timeout(TRY, self.around.network.post(target.address, post)).await {
            Err(_elapsed) => Fate::TimedOut,
            Ok(Err(error)) if is_answer(&error) => Fate::BadAnswer,
            Ok(Err(_)) => Fate::Unreachable,
            Ok(Ok(answer)) => fate_of(&answer),
        };
        if target.fate == Fate::Refused {
            target.secret += 1;
        }
        target
    }

    /// Every address of every name, and the names that have none. Each name is asked for at this moment.
    pub(super) async fn targets(&self) -> (Vec<Target>, Vec<String>) {
        let asked = self.names.iter().map(|name| async move {
            let host = name.to_string();
            if let Ok(ip) = name.host.parse::<IpAddr>() {
                return (host, vec![SocketAddr::new(ip, name.port)]);
            }
            let found = timeout(RESOLVE, self.around.network.resolve(&name.host, name.port)).await;
            (host, found.ok().and_then(Result::ok).unwrap_or_default())
        });
        let (mut targets, mut unresolved) = (Vec::<Target>::new(), Vec::new());
        let mut known = std::collections::HashSet::new();
        for (host, addresses) in futures_util::future::join_all(asked).await {
            if addresses.is_empty() {
                unresolved.push(host);
                continue;
            }
            for address in addresses {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                if targets.len() < MOST_PEERS && known.insert(address) {
                    targets.push(Target { address, host: host.clone(), secret: 0, fate: Fate::NotTried });
                }
            }
        }
        (targets, unresolved)
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let Some(own) = self.around.own else { return false };
        own.port() == address.port()
            && (own.ip() == address.ip() || (own.ip().is_unspecified() && self.around.network.is_local(address.ip())))
    }
}

/// A fleet with both families has two addresses for each replica.
pub(super) fn replicas(targets: &[Target]) -> u32 {
    let v4 = targets.iter().filter(|target| target.address.is_ipv4()).count();
    u32::try_from(v4.max(targets.len() - v4)).unwrap_or(u32::MAX)
}

/// True if somebody answered, but not in http as we read it.
fn is_answer(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    cause.map_or(error.get_ref().is_some(), hyper::Error::is_parse)
}

fn fate_of(answer: &Answer) -> Fate {
    #[derive(serde::Deserialize)]
    struct Said {
        result: String,
    }
    let said = serde_json::from_slice::<Said>(&answer.body).ok().map(|said| said.result);
    match (answer.status, said.as_deref()) {
        (202, Some("queued")) => Fate::Told,
        (200, Some("self")) => Fate::Own,
        (401, _) => Fate::Refused,
        (422, _) => Fate::NotOurs,
        _ => Fate::BadAnswer,
    }
}

/// Different each time. It need not be hard to guess: it is signed.
pub(super) fn unique() -> String {
    format!("{:032x}", fastrand::u128(..))
}
