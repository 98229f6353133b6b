//! The fan-out against a simulated network, with the time of tokio paused.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::BoxFuture;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

use super::fan_out::{ALL, AT_A_TIME, TRY};
use super::fleet::{CONNECTIONS, RETRIES};
use super::*;

/// The simulated behavior of one address.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Hears,
    /// Takes the connection and says nothing.
    Silent,
    Closed,
    /// Closed for the first tries.
    ClosedAtFirst(usize),
    Says(u16, &'static str),
    /// Knows the old secret only.
    Behind,
}

/// The simulated answer of the name server.
#[derive(Clone, Debug)]
enum Dns {
    /// No answer ever comes.
    Lost,
    /// The server cannot say.
    Failed,
    /// The answer takes so many milliseconds.
    Late(u64, Vec<SocketAddr>),
}

#[derive(Default)]
struct Fake {
    /// For the next questions, in their order; after these the answers are prompt and right.
    dns: Mutex<VecDeque<Dns>>,
    questions: Mutex<usize>,
    names: HashMap<String, Vec<SocketAddr>>,
    behaviours: HashMap<SocketAddr, Behaviour>,
    local: Vec<IpAddr>,
    posts: Mutex<Vec<(SocketAddr, Post)>>,
    open: Mutex<(usize, usize)>,
}

fn secrets() -> Vec<Secret> {
    ["the new secret of all of us", "the old secret of all of us"].map(Secret::new).into()
}

fn answer(status: u16, body: &str) -> PeerAnswer {
    PeerAnswer { status, body: body.as_bytes().to_vec() }
}

impl Fake {
    fn tries(&self, of: SocketAddr) -> usize {
        self.posts.lock().iter().filter(|(to, _)| *to == of).count()
    }
}

impl Network for Fake {
    fn resolve<'a>(&'a self, host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            *self.questions.lock() += 1;
            if host == "stuck" {
                std::future::pending::<()>().await;
            }
            let planned = self.dns.lock().pop_front();
            match planned {
                Some(Dns::Lost) => std::future::pending().await,
                Some(Dns::Failed) => Err(io::Error::other("the server failed")),
                Some(Dns::Late(millis, addresses)) => {
                    sleep(Duration::from_millis(millis)).await;
                    Ok(addresses)
                }
                None => self.names.get(host).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
            }
        })
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        self.local.contains(&ip)
    }

    fn post(&self, to: SocketAddr, post: Post) -> BoxFuture<'_, io::Result<PeerAnswer>> {
        Box::pin(async move {
            let seal = message::Seal::read(post.seal.as_bytes()).unwrap();
            let body = post.body.clone();
            self.posts.lock().push((to, post));
            let tries = self.tries(to);
            {
                let mut open = self.open.lock();
                open.0 += 1;
                open.1 = open.1.max(open.0);
            }
            sleep(Duration::from_millis(2)).await;
            self.open.lock().0 -= 1;
            let closed = || Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            let heard = Ok(answer(202, "{\"result\":\"queued\"}"));
            match self.behaviours.get(&to).copied().unwrap_or(Behaviour::Hears) {
                Behaviour::Silent => std::future::pending().await,
                Behaviour::Closed => closed(),
                Behaviour::ClosedAtFirst(count) if tries <= count => closed(),
                Behaviour::Says(status, body) => Ok(answer(status, body)),
                Behaviour::Behind if seal.fits(&body, &secrets()[1..]).is_none() => Ok(answer(401, "{}")),
                Behaviour::Hears | Behaviour::ClosedAtFirst(_) | Behaviour::Behind => heard,
            }
        })
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 8080))
}

fn name(text: &str) -> Name {
    Name { host: text.into(), port: 8080 }
}

fn peers(network: Fake, names: &[&str], own: Option<SocketAddr>) -> (Arc<Peers>, Arc<Fake>) {
    let network = Arc::new(network);
    let around = Surroundings {
        own,
        path: "/webhook/peer".into(),
        secrets: Arc::new(secrets),
        network: network.clone(),
        metrics: Arc::default(),
        clock: Clock::manual(Timestamp::from_second(1_700_000_000).unwrap()),
        tasks: TaskTracker::new(),
    };
    let names = names.iter().map(|host| name(host)).collect();
    let options = PeerOptions { names, repo: "https://git.test/a/b.git".into(), reference: "main".into() };
    (Arc::new(Peers::new(options, around)), network)
}

fn fleet(behaviours: &[Behaviour]) -> Fake {
    let addresses: Vec<SocketAddr> = (1..=u8::try_from(behaviours.len()).unwrap()).map(address).collect();
    Fake {
        behaviours: addresses.iter().copied().zip(behaviours.iter().copied()).collect(),
        names: HashMap::from([("fleet".into(), addresses)]),
        ..Fake::default()
    }
}

async fn finished(mut telling: Telling) -> HashMap<String, String> {
    while telling.changed().await.is_ok() {}
    telling.borrow().iter().map(|peer| (peer.address.clone(), peer.result.clone())).collect()
}

/// A question of one replica as it was sent, and the answer of another that is pinned.
async fn asked_and_answered() -> (Arc<Peers>, Post, Vec<u8>) {
    let (asker, network) = peers(fleet(&[Behaviour::Silent]), &["fleet"], None);
    assert_eq!(asker.standing().await, None);
    let (_, question) = network.posts.lock()[0].clone();
    let (other, _) = peers(Fake::default(), &[], None);
    let standing = StandingDecisions { pinned: Some("a".repeat(40)), ..StandingDecisions::default() };
    let now = other.fleet.around.clock.now();
    let reply =
        other.answer_standing(question.seal.as_bytes(), &question.body, &secrets(), now, Some(standing)).unwrap();
    let again = other.answer_standing(question.seal.as_bytes(), &question.body, &secrets(), now, None);
    assert_eq!(again, Err(MessageRefusal::Unauthentic), "a replay of the question");
    (asker, question, reply)
}

#[tokio::test(start_paused = true)]
async fn a_question_and_a_peer_message_cannot_stand_for_each_other() {
    let (asker, question, _) = asked_and_answered().await;
    let now = asker.fleet.around.clock.now();
    assert_eq!(question.path, "/webhook/peer/standing");
    assert_eq!(
        asker.admit(question.seal.as_bytes(), &question.body, &secrets(), now),
        Err(MessageRefusal::Unauthentic)
    );
    let (teller, network) = peers(fleet(&[Behaviour::Hears]), &["fleet"], None);
    finished(teller.tell(News::default()).unwrap()).await;
    let (_, message) = network.posts.lock()[0].clone();
    let answer = teller.answer_standing(message.seal.as_bytes(), &message.body, &secrets(), now, None);
    assert_eq!(answer, Err(MessageRefusal::Unauthentic));
    // A reply is neither of the two.
    let (other, question, reply) = asked_and_answered().await;
    let sealed: serde_json::Value = serde_json::from_slice(&reply).unwrap();
    let (seal, text) = (sealed["seal"].as_str().unwrap(), sealed["reply"].as_str().unwrap());
    assert_eq!(other.admit(seal.as_bytes(), text.as_bytes(), &secrets(), now), Err(MessageRefusal::Unauthentic));
    let answer = other.answer_standing(seal.as_bytes(), text.as_bytes(), &secrets(), now, None);
    assert_eq!(answer, Err(MessageRefusal::Unauthentic));
    // And a question is no reply to itself.
    let echo = serde_json::json!({"seal": question.seal, "reply": String::from_utf8(question.body).unwrap()});
    let (asker, _) = peers(says(200, &echo.to_string()), &["fleet"], None);
    assert_eq!(asker.standing().await, None);
}

fn says(status: u16, body: &str) -> Fake {
    fleet(&[Behaviour::Says(status, body.to_owned().leak())])
}

#[tokio::test(start_paused = true)]
async fn changed_answers_and_answers_to_other_questions_are_rejected() {
    let (_, _, reply) = asked_and_answered().await;
    let recorded = String::from_utf8(reply).unwrap();
    let changed = recorded.replace("aaaa", "bbbb");
    assert_ne!(recorded, changed);
    for body in [recorded.as_str(), &changed, "{}", "", "not json"] {
        let (asker, _) = peers(says(200, body), &["fleet"], None);
        assert_eq!(asker.standing().await, None, "{body}");
    }
    // Only a 200 has a reply in its body.
    for status in [202, 204, 401, 404, 422, 500] {
        let (asker, _) = peers(says(status, &recorded), &["fleet"], None);
        assert_eq!(asker.standing().await, None, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn asking_for_standing_decisions_ends_at_its_limit() {
    for (behaviours, names) in [
        (vec![Behaviour::Silent; 30], vec!["fleet"]),
        (vec![Behaviour::Closed; 30], vec!["fleet"]),
        (vec![Behaviour::Silent], vec!["fleet", "stuck", "absent"]),
    ] {
        let (asker, network) = peers(fleet(&behaviours), &names, None);
        let started = Instant::now();
        assert_eq!(asker.standing().await, None);
        assert!(started.elapsed() <= standing::LIMIT + Duration::from_millis(10), "{:?}", started.elapsed());
        assert!(network.posts.lock().len() <= 8, "a large fleet is not asked in full");
    }
    let (alone, _) = peers(Fake::default(), &[], None);
    let started = Instant::now();
    assert_eq!((alone.standing().await, started.elapsed()), (None, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn every_peer_has_a_result_and_only_temporary_failures_are_retried() {
    let cases = [
        (Behaviour::Hears, "told", 1),
        (Behaviour::Silent, "timed_out", 3),
        (Behaviour::Closed, "unreachable", 3),
        (Behaviour::ClosedAtFirst(2), "told", 3),
        (Behaviour::Says(200, "welcome to nginx"), "bad_answer", 3),
        (Behaviour::Says(202, ""), "bad_answer", 3),
        (Behaviour::Says(500, "{\"result\":\"queued\"}"), "bad_answer", 3),
        (Behaviour::Says(401, "{}"), "refused", 2),
        (Behaviour::Behind, "told", 2),
        (Behaviour::Says(422, "{}"), "not_ours", 1),
        (Behaviour::Says(200, "{\"result\":\"self\"}"), "", 1),
    ];
    let (peers, network) = peers(fleet(&cases.map(|(behaviour, ..)| behaviour)), &["fleet", "absent", "stuck"], None);
    let started = Instant::now();
    let results = finished(peers.tell(News::default()).unwrap()).await;
    // The name that never resolves is asked for until all of the time is over.
    assert!(started.elapsed() <= ALL + Duration::from_millis(10), "{:?}", started.elapsed());
    for (number, (behaviour, result, tries)) in (1..).zip(cases) {
        let found = results.get(&address(number).to_string()).map_or("", String::as_str);
        assert_eq!((found, network.tries(address(number))), (result, tries), "{behaviour:?}");
    }
    assert_eq!(results["absent:8080"], "unresolved");
    assert_eq!(results["stuck:8080"], "no_dns_answer");
    let metrics = peers.fleet.around.metrics.render();
    for sample in [
        "{result=\"told\"} 3",
        "{result=\"self\"} 1",
        "{result=\"timed_out\"} 1",
        "{result=\"unresolved\"} 1",
        "{result=\"no_dns_answer\"} 1",
    ] {
        assert!(metrics.contains(&format!("pushsync_peer_messages_total{sample}")), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_dns_query_is_repeated_and_a_silent_name_delays_no_other() {
    for (lost, question, within) in [
        // The second query follows after half a second, the third one second later.
        (vec![Dns::Lost], 2, 600),
        (vec![Dns::Failed, Dns::Lost], 3, 1600),
        (vec![Dns::Late(5000, Vec::new())], 2, 600),
    ] {
        let (peers, network) = peers(fleet(&[Behaviour::Hears, Behaviour::Hears]), &["fleet"], None);
        network.dns.lock().extend(lost.clone());
        let started = Instant::now();
        let results = finished(peers.tell(News::default()).unwrap()).await;
        assert!(started.elapsed() < Duration::from_millis(within), "{lost:?}: {:?}", started.elapsed());
        assert_eq!((results.len(), *network.questions.lock()), (2, question), "{lost:?}");
        assert!(results.values().all(|result| result == "told"), "{lost:?}: {results:?}");
    }
    let (peers, _) = peers(fleet(&[Behaviour::Hears, Behaviour::ClosedAtFirst(2)]), &["stuck", "fleet"], None);
    let telling = peers.tell(News::default()).unwrap();
    // Three tries and their pauses, and nothing for the other name.
    sleep(Duration::from_millis(450)).await;
    assert_eq!(telling.borrow().iter().filter(|peer| peer.result == "told").count(), 2);
    assert_eq!(finished(telling).await["stuck:8080"], "no_dns_answer");
}

#[tokio::test(start_paused = true)]
async fn the_last_addresses_are_used_while_the_name_server_is_silent() {
    let (peers, network) = peers(fleet(&[Behaviour::Hears, Behaviour::Closed, Behaviour::Hears]), &["fleet"], None);
    finished(peers.tell(News::default()).unwrap()).await;
    network.dns.lock().extend(std::iter::repeat_n(Dns::Lost, 10));
    let telling = peers.tell(News::default()).unwrap();
    // A little longer than the head start that the name server gets.
    sleep(Duration::from_millis(260)).await;
    assert_eq!(telling.borrow().iter().filter(|peer| peer.result == "told").count(), 2, "told without an answer");
    let results = finished(telling).await;
    assert_eq!(results[&address(2).to_string()], "unreachable");
    assert_eq!((results["fleet:8080"].as_str(), results.len()), ("no_dns_answer", 4));
}

#[tokio::test(start_paused = true)]
async fn a_late_dns_answer_adds_new_replicas_and_drops_those_that_are_gone() {
    let (peers, network) = peers(fleet(&[Behaviour::Hears, Behaviour::Closed, Behaviour::Hears]), &["fleet"], None);
    network.dns.lock().push_back(Dns::Late(0, vec![address(1), address(2)]));
    finished(peers.tell(News::default()).unwrap()).await;
    network.dns.lock().push_back(Dns::Late(400, vec![address(1), address(3)]));
    let started = Instant::now();
    let results = finished(peers.tell(News::default()).unwrap()).await;
    let mut told: Vec<_> = results.into_iter().collect();
    told.sort();
    let is_told = |last| (address(last).to_string(), "told".to_owned());
    assert_eq!(told, [is_told(1), is_told(3)], "the one that is gone is no failure");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(network.tries(address(1)), 2, "once for each delivery");
}

#[tokio::test(start_paused = true)]
async fn a_silent_name_has_a_bounded_number_of_queries_and_occupies_no_slot() {
    let (peers, network) = peers(fleet(&[Behaviour::Hears]), &["stuck", "fleet"], None);
    for _ in 0..FAN_OUTS {
        drop(peers.tell(News::default()));
    }
    sleep(Duration::from_secs(5)).await;
    assert!(peers.slots.lock().running <= 1, "the places are free");
    sleep(ALL).await;
    // One query for `fleet` in each fan-out, and three for `stuck`: more than that may not be open.
    assert_eq!(*network.questions.lock(), FAN_OUTS + 3);
    assert_eq!(network.tries(address(1)), FAN_OUTS);
}

#[tokio::test(start_paused = true)]
async fn results_of_healthy_peers_are_known_before_dead_ones_time_out() {
    let (peers, _) = peers(fleet(&[Behaviour::Silent, Behaviour::Hears, Behaviour::Closed]), &["fleet"], None);
    let telling = peers.tell(News::default()).unwrap();
    sleep(Duration::from_millis(50)).await;
    let so_far: Vec<String> = telling.borrow().iter().map(|peer| peer.result.clone()).collect();
    assert_eq!(so_far, ["told"]);
    assert_eq!(finished(telling).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_carries_the_announcement_and_no_two_are_equal() {
    let (peers, network) = peers(fleet(&[Behaviour::ClosedAtFirst(1), Behaviour::Hears]), &["fleet"], None);
    let news = News { after: Some("a".repeat(40)), before: Some("b".repeat(40)), delivery: Some("guid".into()) };
    finished(peers.tell(news.clone()).unwrap()).await;
    let posts = network.posts.lock();
    let mut nonces = std::collections::HashSet::new();
    for (to, post) in posts.iter() {
        assert_eq!((post.path.as_str(), post.host.as_str()), ("/webhook/peer", "fleet:8080"), "{to}");
        let seal = message::Seal::read(post.seal.as_bytes()).unwrap();
        assert_eq!((seal.time, seal.fits(&post.body, &secrets())), (1_700_000_000, Some(0)));
        let message = Message::read(&post.body).unwrap();
        assert_eq!((&message.after, &message.before, &message.delivery), (&news.after, &news.before, &news.delivery));
        assert_eq!((message.repo.as_str(), message.reference.as_str()), ("https://git.test/a/b.git", "main"));
        assert_eq!((message.replicas, message.from.len()), (2, 32));
        assert!(post.body.len() < LARGEST && nonces.insert(message.nonce));
    }
    assert_eq!(posts.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn own_addresses_are_skipped_and_each_name_is_resolved_again() {
    let mut network = fleet(&[Behaviour::Hears, Behaviour::Hears, Behaviour::Hears]);
    network.local = vec![address(2).ip()];
    // The first replica once more, as a resolver may return it for IPv6.
    let mapped: SocketAddr = "[::ffff:192.0.2.1]:8080".parse().unwrap();
    network.names.get_mut("fleet").unwrap().push(mapped);
    let other_port = SocketAddr::from(([192, 0, 2, 2], 8081));
    network.names.insert("beside".into(), vec![other_port]);
    let own = Some(SocketAddr::from(([0, 0, 0, 0], 8080)));
    let (peers, network) = peers(network, &["fleet", "beside", "192.0.2.3"], own);
    let results = finished(peers.tell(News::default()).unwrap()).await;
    let mut told: Vec<&str> = results.keys().map(String::as_str).collect();
    told.sort_unstable();
    // Another port of our own address is another replica (host network); twice named is told once.
    assert_eq!(told, ["192.0.2.1:8080", "192.0.2.2:8081", "192.0.2.3:8080"]);
    assert_eq!(network.posts.lock().len(), 3);

    let bound = fleet(&[Behaviour::Hears, Behaviour::Hears]);
    let (peers, _) = self::peers(bound, &["fleet"], Some(address(1)));
    let results = finished(peers.tell(News::default()).unwrap()).await;
    assert_eq!(results.into_keys().collect::<Vec<_>>(), ["192.0.2.2:8080"]);
}

#[tokio::test(start_paused = true)]
async fn connections_and_time_for_dead_peers_are_bounded() {
    let addresses: Vec<SocketAddr> =
        (0..4000u16).map(u16::to_be_bytes).map(|[high, low]| SocketAddr::from(([10, 0, high, low], 80))).collect();
    let dead = addresses.iter().map(|address| (*address, Behaviour::Silent)).collect();
    let network = Fake { names: HashMap::from([("fleet".into(), addresses)]), behaviours: dead, ..Fake::default() };
    let (peers, network) = peers(network, &["fleet"], None);
    let started = Instant::now();
    let results = finished(peers.tell(News::default()).unwrap()).await;
    assert!(started.elapsed() <= ALL + TRY + Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(network.open.lock().1 <= AT_A_TIME);
    // Fifty failures are named, the other 3950 are counted.
    assert!(results.len() <= 101 && results.contains_key("3950 others"), "{}", results.len());
}

#[tokio::test(start_paused = true)]
async fn a_burst_behind_dead_peers_is_merged_and_its_last_push_is_sent() {
    let (peers, network) = peers(fleet(&[Behaviour::Silent, Behaviour::Hears]), &["fleet"], None);
    let news = |number: usize| News { delivery: Some(number.to_string()), ..News::default() };
    let tellings: Vec<Telling> = (0..50).map(|number| peers.tell(news(number)).unwrap()).collect();
    for telling in tellings {
        assert_eq!(finished(telling).await.len(), 2);
    }
    // The first pushes were sent at once. All others were merged into the one that waited for a slot.
    assert_eq!(network.tries(address(2)), FAN_OUTS + 1);
    let posts = network.posts.lock().clone();
    let (_, last) = posts.iter().rfind(|(to, _)| *to == address(2)).unwrap();
    assert_eq!(Message::read(&last.body).unwrap().delivery.as_deref(), Some("49"));
    // All places are free again.
    finished(peers.tell(news(50)).unwrap()).await;
    sleep(FAN_OUT_AT_LEAST).await;
    assert_eq!(peers.slots.lock().running, 0);
    assert_eq!(
        (peers.fleet.retries.available_permits(), peers.fleet.connections.available_permits()),
        (RETRIES, CONNECTIONS)
    );
}

#[tokio::test(start_paused = true)]
async fn no_peers_and_a_small_fleet_mean_no_delay() {
    let (alone, _) = peers(Fake::default(), &[], None);
    assert!(alone.tell(News::default()).is_none());
    assert_eq!(alone.start_delay().await, Duration::ZERO);
    let (small, _) = peers(fleet(&[Behaviour::Hears; 9]), &["fleet"], None);
    assert_eq!(small.start_delay().await, Duration::ZERO);
    let started = Instant::now();
    // A fleet that cannot be counted in time counts as small.
    let (stuck, _) = peers(Fake::default(), &["stuck"], None);
    assert_eq!(stuck.start_delay().await, Duration::ZERO);
    assert_eq!(started.elapsed(), RESOLVE_AT_START);
    let (large, _) = peers(fleet(&[Behaviour::Hears; 100]), &["fleet"], None);
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        longest = longest.max(large.start_delay().await);
    }
    assert!(longest > Duration::from_secs(1) && longest <= window(100), "{longest:?}");
}
