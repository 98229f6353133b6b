//! The queue against a model of it that is too simple to be wrong: a list of what was put in, merged when it is taken out.

use proptest::prelude::*;

use super::*;

/// What somebody does to the queue.
#[derive(Clone, Debug)]
enum Step {
    Push(Ring),
    /// Time goes by.
    Pass(u64),
    Take,
}

#[derive(Clone, Debug)]
struct Ring {
    kind: TriggerKind,
    delivery: u8,
    announced: Option<u8>,
    /// Milliseconds from now.
    not_before: Option<u64>,
    promised: bool,
    /// As a failed attempt puts its request back.
    again: Option<bool>,
    /// The moment it arrived lies so many milliseconds back.
    arrived: u64,
}

fn ring() -> impl Strategy<Value = Ring> {
    let kind = prop_oneof![
        4 => Just(TriggerKind::Webhook),
        2 => Just(TriggerKind::Peer),
        1 => Just(TriggerKind::Poll),
        1 => Just(TriggerKind::Manual),
        1 => Just(TriggerKind::Signal),
        1 => Just(TriggerKind::Startup),
    ];
    let again = prop_oneof![6 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let not_before = prop_oneof![4 => Just(None), 1 => (0u64..5000).prop_map(Some)];
    (kind, any::<u8>(), any::<Option<u8>>(), not_before, any::<bool>(), again, 0u64..200).prop_map(
        |(kind, delivery, announced, not_before, promised, again, arrived)| Ring {
            kind,
            delivery,
            announced,
            not_before,
            promised,
            again,
            arrived,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => ring().prop_map(Step::Push),
        2 => (0u64..3000).prop_map(Step::Pass),
        4 => Just(Step::Take),
    ];
    proptest::collection::vec(step, 1..60)
}

impl Ring {
    fn request(&self, number: usize) -> Request {
        let mut request = Request::new(self.kind, Timestamp::UNIX_EPOCH);
        request.trigger.delivery = Some(self.delivery.to_string());
        request.announced.extend(self.announced.map(|after| Announced {
            before: None,
            after: Oid::from_bytes(&[after; 20]).unwrap(),
            forced: false,
        }));
        request.received -= Duration::from_millis(self.arrived);
        let mut request = match self.again {
            Some(retry) => request.again(retry),
            None => request,
        };
        request.not_before = self.not_before.map(|millis| Instant::now() + Duration::from_millis(millis));
        request.id = self.promised.then(|| number.to_string());
        request
    }
}

/// What the queue should make of everything that waits in it.
fn merged(waiting: &[Request]) -> Request {
    let mut one = waiting[0].clone();
    // The latest of those who rank highest names the sync.
    let highest = waiting.iter().map(|request| rank(request.trigger.kind)).max().unwrap();
    let named = waiting.iter().rfind(|request| rank(request.trigger.kind) == highest).unwrap();
    one.trigger = named.trigger.clone();
    one.trigger.merged = waiting.iter().map(|request| request.trigger.merged).sum();
    one.id = waiting.iter().find_map(|request| request.id.clone());
    let announced: Vec<_> = waiting.iter().flat_map(|request| request.announced.clone()).collect();
    one.announced = announced[announced.len().saturating_sub(MOST_ANNOUNCED)..].to_vec();
    one.received = waiting.iter().map(|request| request.received).min().unwrap();
    let in_no_hurry = waiting.iter().all(|request| request.not_before.is_some());
    one.not_before = waiting.iter().filter_map(|request| request.not_before).min().filter(|_| in_no_hurry);
    one.limited = waiting.iter().all(|request| request.limited);
    let by_itself = |kind| matches!(kind, TriggerKind::Poll | TriggerKind::Startup);
    one.retry = waiting.iter().all(|request| request.retry || by_itself(request.trigger.kind))
        && waiting.iter().any(|request| request.retry);
    one
}

fn assert_same(taken: &Request, expected: &Request) {
    assert_eq!(taken.trigger, expected.trigger);
    assert_eq!((&taken.id, &taken.announced), (&expected.id, &expected.announced));
    assert_eq!((taken.received, taken.not_before), (expected.received, expected.not_before));
    assert_eq!((taken.limited, taken.retry), (expected.limited, expected.retry));
}

async fn play(rate: f64, steps: Vec<Step>) {
    let queue = Queue::new(rate);
    let mut waiting: Vec<Request> = Vec::new();
    // When requests of strangers were let through, for the bucket.
    let mut let_through: Vec<Instant> = Vec::new();
    let (mut put_in, mut taken_out) = (0, 0);
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Push(ring) => {
                let request = ring.request(number);
                put_in += request.trigger.merged;
                waiting.push(request.clone());
                let promised = queue.push(request);
                assert_eq!(promised, merged(&waiting).id, "the promise is the pending one's");
            }
            Step::Pass(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
            Step::Take => {
                let Some(taken) = futures_util::FutureExt::now_or_never(queue.next()) else {
                    assert_may_wait(rate, &waiting, &let_through);
                    continue;
                };
                assert_same(&taken, &merged(&waiting));
                assert!(taken.not_before.is_none_or(|start| start <= Instant::now()), "taken before its time");
                if taken.limited && rate > 0.0 {
                    let_through.push(Instant::now());
                }
                taken_out += taken.trigger.merged;
                waiting.clear();
            }
        }
        assert_eq!(queue.has_pending(), !waiting.is_empty());
    }
    if !waiting.is_empty() {
        // Whatever waits is taken in the end, and within the time that its reasons to wait give.
        let longest = Duration::from_secs(5) + Duration::from_secs_f64(if rate > 0.0 { 1.0 / rate } else { 0.0 });
        let last =
            tokio::time::timeout(longest + Duration::from_millis(10), queue.next()).await.expect("not forgotten");
        assert_same(&last, &merged(&waiting));
        taken_out += last.trigger.merged;
    }
    assert_eq!(put_in, taken_out, "a ring was lost, or counted twice");
    // Never more than the burst and what the rate gives, in any window.
    for (at, first) in let_through.iter().enumerate() {
        let mut looks = 0.0;
        for last in &let_through[at..] {
            looks += 1.0;
            let allowed = BURST + (*last - *first).as_secs_f64() * rate + 1e-6;
            assert!(looks <= allowed, "{looks} looks in {:?}", *last - *first);
        }
    }
}

/// There are two reasons to wait: it is too early, or strangers have used up their tokens.
fn assert_may_wait(rate: f64, waiting: &[Request], let_through: &[Instant]) {
    if waiting.is_empty() {
        return;
    }
    let pending = merged(waiting);
    let early = pending.not_before.is_some_and(|start| start > Instant::now());
    let spent = rate > 0.0 && pending.limited && let_through.len() >= 5;
    assert!(early || spent, "it waits without a reason: {pending:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_ring_is_lost_merged_wrongly_held_back_without_reason_or_let_through_too_soon(
        rate in prop_oneof![Just(0.0), Just(1.0), 0.1f64..20.0],
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(rate, steps));
    }

    /// A yes is a chain of pushes from the one commit to the other, none of them forced.
    #[test]
    fn a_fast_forward_is_a_chain_of_pushes(
        pushes in proptest::collection::vec((proptest::option::of(0u8..5), 0u8..5, any::<bool>()), 0..8),
        old in 0u8..5,
        new in 0u8..5,
    ) {
        let oid = |byte| Oid::from_bytes(&[byte; 20]).unwrap();
        let announced: Vec<_> = pushes
            .iter()
            .map(|(before, after, forced)| Announced { before: before.map(oid), after: oid(*after), forced: *forced })
            .collect();
        if is_fast_forward(&announced, oid(old), oid(new)) {
            prop_assert_ne!(old, new);
            let mut reached = vec![old];
            for _ in 0..pushes.len() {
                for (before, after, forced) in &pushes {
                    if !forced && before.is_some_and(|before| reached.contains(&before)) && !reached.contains(after) {
                        reached.push(*after);
                    }
                }
            }
            prop_assert!(reached.contains(&new), "{:?} do not lead from {} to {}", announced, old, new);
        }
    }
}
