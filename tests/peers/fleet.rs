//! Fleets of 3, 100 and 1,000 replicas on a clock that does not wait: how hard one push, or a start of all at once, strikes
//! the remote, and how long the last replica takes. The README states these figures.
//!
//! Everything but the wire and the git work is the real thing: names, messages, signatures, delays, the queue.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use pushsync::api::TriggerKind;
use pushsync::clock::Clock;
use pushsync::peers::{Admitted, Name, Network, News, PeerAnswer, PeerOptions, Peers, Post, Surroundings};
use pushsync::secret::Secret;
use pushsync::sync::{Queue, Request};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

/// A look and a small fetch.
const WORK: Duration = Duration::from_millis(30);

struct Replica {
    peers: Arc<Peers>,
    queue: Queue,
}

/// The network of one cluster.
#[derive(Default)]
struct Cluster {
    replicas: OnceLock<HashMap<SocketAddr, Arc<Replica>>>,
    /// In the Service, but taking connections without ever answering.
    dead: Vec<SocketAddr>,
    addresses: Vec<SocketAddr>,
    /// When each look began, since the start.
    looks: Mutex<Vec<Duration>>,
}

fn secrets() -> Vec<Secret> {
    vec![Secret::new("the secret of the whole fleet")]
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

impl Network for Cluster {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async {
            sleep(Duration::from_millis(2)).await;
            Ok(self.addresses.clone())
        })
    }

    fn is_local(&self, _ip: IpAddr) -> bool {
        false
    }

    fn post(&self, to: SocketAddr, post: Post) -> BoxFuture<'_, io::Result<PeerAnswer>> {
        Box::pin(async move {
            if self.dead.contains(&to) {
                std::future::pending::<()>().await;
            }
            // Connecting and asking: a round trip each, within the cluster.
            sleep(Duration::from_micros(fastrand::u64(500..4000))).await;
            let replica = &self.replicas.get().expect("set before anybody is told")[&to];
            let (status, body) = match replica.peers.admit(post.seal.as_bytes(), &post.body, &secrets(), now()) {
                Ok(Admitted::Look { delay, .. }) => {
                    let mut request = Request::new(TriggerKind::Peer, now());
                    request.not_before = Some(Instant::now() + delay);
                    replica.queue.push(request);
                    (202, "{\"result\":\"queued\"}")
                }
                Ok(Admitted::Known) => (202, "{\"result\":\"queued\"}"),
                Ok(Admitted::Own) => (200, "{\"result\":\"self\"}"),
                Err(_) => (401, "{}"),
            };
            Ok(PeerAnswer { status, body: body.as_bytes().to_vec() })
        })
    }
}

/// The requests at the remote.
#[derive(Debug)]
struct Seen {
    looks: usize,
    /// Looks within the worst second.
    peak: usize,
    last: Duration,
}

fn fleet(size: u16, dead: u16) -> (Arc<Cluster>, Vec<Arc<Replica>>) {
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        SocketAddr::from(([10, 1, high, low], 8080))
    };
    let addresses: Vec<SocketAddr> = (0..size + dead).map(address).collect();
    let cluster = Arc::new(Cluster {
        dead: addresses[usize::from(size)..].to_vec(),
        addresses: addresses.clone(),
        ..Cluster::default()
    });
    let mut replicas = Vec::new();
    for own in &addresses[..usize::from(size)] {
        let around = Surroundings {
            own: Some(*own),
            path: "/webhook/peer".into(),
            secrets: Arc::new(secrets),
            network: cluster.clone(),
            metrics: Arc::default(),
            clock: Clock::manual(now()),
            tasks: TaskTracker::new(),
        };
        let options = PeerOptions {
            names: vec![Name { host: "peers".into(), port: 8080 }],
            repo: "https://git.test/a/b.git".into(),
            reference: "main".into(),
        };
        let peers = Arc::new(Peers::new(options, around));
        replicas.push(Arc::new(Replica { peers, queue: Queue::new(1.0) }));
    }
    let known = addresses.into_iter().zip(replicas.iter().cloned()).collect();
    assert!(cluster.replicas.set(known).is_ok());
    let start = Instant::now();
    for replica in &replicas {
        let (replica, cluster) = (replica.clone(), cluster.clone());
        tokio::spawn(async move {
            loop {
                replica.queue.next().await;
                cluster.looks.lock().unwrap().push(start.elapsed());
                sleep(WORK).await;
            }
        });
    }
    (cluster, replicas)
}

/// Waits until nothing can happen any more and counts.
async fn outcome(cluster: &Cluster) -> Seen {
    sleep(Duration::from_secs(40)).await;
    let mut looks = cluster.looks.lock().unwrap().clone();
    looks.sort_unstable();
    let within =
        |start: &Duration| looks.iter().filter(|at| (*start..*start + Duration::from_secs(1)).contains(at)).count();
    let peak = looks.iter().map(within).max().unwrap_or(0);
    Seen { looks: looks.len(), peak, last: looks.last().copied().unwrap_or_default() }
}

async fn push(size: u16, dead: u16) -> Seen {
    let (cluster, replicas) = fleet(size, dead);
    replicas[0].queue.push(Request::new(TriggerKind::Webhook, now()));
    replicas[0].peers.tell(News { after: Some("a".repeat(40)), ..News::default() });
    let seen = outcome(&cluster).await;
    println!("a push, {size} replicas and {dead} dead ones: {seen:?}");
    seen
}

async fn start(size: u16) -> Seen {
    let (cluster, replicas) = fleet(size, 0);
    for replica in replicas {
        tokio::spawn(async move {
            let mut request = Request::new(TriggerKind::Startup, now());
            request.not_before = Some(Instant::now() + replica.peers.start_delay().await);
            replica.queue.push(request);
        });
    }
    let seen = outcome(&cluster).await;
    println!("a start of {size} replicas at once: {seen:?}");
    seen
}

#[tokio::test(start_paused = true)]
async fn one_push_reaches_all_replicas_and_a_large_fleet_is_spread() {
    fastrand::seed(11);
    let millis = Duration::from_millis;
    for (size, most, latest) in
        [(3, 3, millis(20)), (9, 9, millis(20)), (100, 75, millis(2050)), (1000, 260, millis(5200))]
    {
        let seen = push(size, 0).await;
        assert_eq!(seen.looks, usize::from(size), "each looks once");
        assert!(seen.peak <= most && seen.last <= latest, "{size}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_peers_cost_the_others_little_however_many_they_are() {
    fastrand::seed(12);
    let seen = push(8, 1).await;
    assert!(seen.looks == 8 && seen.last <= Duration::from_millis(20), "{seen:?}");
    let seen = push(900, 100).await;
    assert!(seen.looks == 900 && seen.last <= Duration::from_secs(8), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_start_of_all_at_once_is_spread_as_well() {
    fastrand::seed(13);
    let millis = Duration::from_millis;
    for (size, most, latest) in [(3, 3, millis(20)), (100, 75, millis(2050)), (1000, 260, millis(5050))] {
        let seen = start(size).await;
        assert_eq!(seen.looks, usize::from(size));
        assert!(seen.peak <= most && seen.last <= latest, "{size}: {seen:?}");
    }
}
