//! The queue against what its users expect: the record of a commit names the delivery that announced it, the newest
//! announcement is never dropped, nothing waits without a reason, and tokens are spent.
//!
//! The expectation is worked out from the whole log of pushes, deliveries and attempts, not from how requests merge.

use jiff::Timestamp;
use proptest::prelude::*;

use super::request::MOST_ANNOUNCED;
use super::*;
use crate::api::TriggerKind;

/// An event for the queue.
#[derive(Clone, Debug)]
enum Step {
    /// The ref moves on, and the delivery that says so arrives.
    Push { peer_too: bool, not_before: Option<u64> },
    /// The ref moves on twice, and the second delivery overtakes the first.
    PushTwice,
    /// The delivery of one of the newest pushes arrives again, under the same id.
    Redeliver(usize),
    /// A trigger that announces nothing.
    Other(TriggerKind, bool),
    /// Time passes.
    Pass(u64),
    /// The loop takes the pending request, and its sync ends.
    Take(End),
}

/// How a sync ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It published what its newest announcement says, or found nothing.
    Done,
    /// It waits for the ref until one more push is announced, and gives way to it.
    GivesWay,
    /// It fails, and is tried again.
    Fails,
    /// The remote shows a push whose delivery arrives only then.
    FindsNextPush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let other = prop_oneof![Just(TriggerKind::Poll), Just(TriggerKind::Manual), Just(TriggerKind::Signal)];
    let end = prop_oneof![
        3 => Just(End::Done),
        3 => Just(End::GivesWay),
        1 => Just(End::Fails),
        1 => Just(End::FindsNextPush),
    ];
    let not_before = prop_oneof![4 => Just(None), 1 => (0u64..5000).prop_map(Some)];
    let step = prop_oneof![
        5 => (any::<bool>(), not_before).prop_map(|(peer_too, not_before)| Step::Push { peer_too, not_before }),
        1 => Just(Step::PushTwice),
        1 => (0usize..4).prop_map(Step::Redeliver),
        2 => (other, any::<bool>()).prop_map(|(kind, promised)| Step::Other(kind, promised)),
        2 => (0u64..3000).prop_map(Step::Pass),
        4 => end.prop_map(Step::Take),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Commit number `n` is announced by delivery `n`.
fn commit(number: u32) -> Oid {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&(number + 1).to_be_bytes());
    Oid::from_bytes(&bytes).unwrap()
}

struct SyncLog {
    queue: Queue,
    rate: f64,
    /// How often the ref moved: it is at this commit.
    pushes: u32,
    /// Pushes whose deliveries wait in the queue: the newest of them must come out of it.
    waiting: Vec<u32>,
    waits: bool,
    put_in: u32,
    taken_out: u32,
    promised: Vec<String>,
    /// When requests of strangers were let through, for the bucket.
    let_through: Vec<Instant>,
}

impl SyncLog {
    fn new(rate: f64) -> Self {
        Self {
            queue: Queue::new(rate),
            rate,
            pushes: 0,
            waiting: Vec::new(),
            waits: false,
            put_in: 0,
            taken_out: 0,
            promised: Vec::new(),
            let_through: Vec::new(),
        }
    }

    fn delivery(&mut self, kind: TriggerKind, push: u32, not_before: Option<u64>) {
        let mut request = Request::new(kind, Timestamp::UNIX_EPOCH);
        request.trigger.delivery = Some(push.to_string());
        let forced = kind == TriggerKind::Peer;
        request.announced.push(Announced { before: Some(commit(push - 1)), after: commit(push), forced });
        request.not_before = not_before.map(|millis| Instant::now() + Duration::from_millis(millis));
        self.put(request);
        self.waiting.push(push);
    }

    fn put(&mut self, request: Request) {
        self.put_in += request.trigger.merged;
        let own = request.id.clone();
        let promised = self.queue.push(request);
        if own.is_some() {
            self.promised.push(promised.expect("a caller that asked for an id is promised one"));
        }
        self.waits = true;
    }

    /// Checks what was taken, and returns it.
    fn check(&mut self, taken: &Request) {
        assert!(taken.not_before.is_none_or(|start| start <= Instant::now()), "taken before its time");
        self.taken_out += taken.trigger.merged;
        let newest = self.waiting.iter().max().copied();
        assert_eq!(taken.newest_announced(), newest.map(commit), "the newest announcement was dropped");
        let mut known: Vec<u32> = self.waiting.clone();
        known.sort_unstable();
        known.dedup();
        // The newest of them are all there, each with its own delivery.
        for push in known.iter().rev().take(MOST_ANNOUNCED) {
            assert!(taken.announces(commit(*push)), "push {push} of {known:?}");
            let named = taken.trigger_of(Some(commit(*push)));
            assert_eq!(named.delivery, Some(push.to_string()), "the record of a commit names its own delivery");
            assert_eq!(named.merged, taken.trigger.merged);
        }
        // Consecutive pushes lead from where the first of them started to the newest: that is the fast path.
        let chain =
            known.iter().rev().zip(known.iter().rev().skip(1)).take_while(|(one, before)| **one == **before + 1);
        let length = (chain.count() + 1).min(MOST_ANNOUNCED).min(known.len());
        if let (Some(newest), true) = (newest, length > 0) {
            let from = newest + 1 - u32::try_from(length).unwrap();
            let fast = is_fast_forward(&taken.announced, commit(from - 1), commit(newest));
            assert!(fast, "{known:?}: no fast path");
        }
        // A promised id is not lost.
        if let Some(promised) = self.promised.pop() {
            assert_eq!(taken.id.as_ref(), Some(&promised));
            self.promised.retain(|other| *other == promised);
            self.promised.clear();
        }
    }

    /// There are two reasons to wait: it is too early, or strangers have used up their tokens.
    fn assert_may_wait(&self) {
        let Some(due) = self.queue.due() else {
            assert!(!self.waits, "what was put in is gone");
            return;
        };
        assert!(due > Instant::now(), "it is due and is not taken");
        let longest =
            Duration::from_secs(5) + Duration::from_secs_f64(if self.rate > 0.0 { 1.0 / self.rate } else { 0.0 });
        assert!(due <= Instant::now() + longest + Duration::from_millis(10), "it waits for too long");
    }

    async fn step(&mut self, number: usize, step: Step) {
        match step {
            Step::Push { peer_too, not_before } => {
                self.pushes += 1;
                if peer_too {
                    self.delivery(TriggerKind::Peer, self.pushes, not_before);
                }
                self.delivery(TriggerKind::Webhook, self.pushes, None);
            }
            Step::PushTwice => {
                self.pushes += 2;
                self.delivery(TriggerKind::Webhook, self.pushes, None);
                self.delivery(TriggerKind::Webhook, self.pushes - 1, None);
            }
            Step::Redeliver(back) => {
                // Only of what still waits: another one is new to the queue, and the announcement tracker knows it for a replay.
                let mut waiting = self.waiting.clone();
                waiting.sort_unstable();
                if let Some(push) = waiting.iter().rev().nth(back).copied() {
                    let kept = waiting.iter().filter(|other| **other > push).count() < MOST_ANNOUNCED / 2;
                    if kept {
                        self.delivery(TriggerKind::Webhook, push, None);
                    }
                }
            }
            Step::Other(kind, promised) => {
                let mut request = Request::new(kind, Timestamp::UNIX_EPOCH);
                request.id = (promised && kind == TriggerKind::Manual).then(|| number.to_string());
                self.put(request);
            }
            Step::Pass(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
            Step::Take(end) => {
                let Some(taken) = futures_util::FutureExt::now_or_never(self.queue.next()) else {
                    self.assert_may_wait();
                    return;
                };
                self.check(&taken);
                if taken.limited && self.rate > 0.0 {
                    self.let_through.push(Instant::now());
                }
                self.waits = false;
                let running = std::mem::take(&mut self.waiting);
                self.end(end, taken, running);
            }
        }
        assert_eq!(self.queue.has_pending(), self.waits);
    }

    fn end(&mut self, end: End, taken: Request, running: Vec<u32>) {
        match end {
            End::Done => {}
            End::GivesWay | End::Fails => {
                if matches!(end, End::GivesWay) {
                    self.pushes += 1;
                    self.delivery(TriggerKind::Webhook, self.pushes, None);
                }
                let retry = matches!(end, End::Fails);
                let again = taken.again(retry);
                self.put_in += again.trigger.merged;
                self.queue.requeue(again);
                // It is older than what came meanwhile.
                self.waiting = running.into_iter().chain(std::mem::take(&mut self.waiting)).collect();
                self.waits = true;
            }
            End::FindsNextPush => {
                self.pushes += 1;
                self.delivery(TriggerKind::Webhook, self.pushes, None);
                let mut taken = taken;
                let (before, pending) = (taken.trigger.merged, self.put_in);
                self.queue.join(commit(self.pushes), &mut taken);
                assert_eq!(taken.trigger_of(Some(commit(self.pushes))).delivery, Some(self.pushes.to_string()));
                assert!(is_expected(&taken.announced, commit(self.pushes - 1), commit(self.pushes)));
                assert_eq!((taken.trigger.merged - before, pending - self.put_in), (1, 0));
                self.taken_out += 1;
                self.waiting.clear();
                self.waits = false;
            }
        }
    }
}

async fn play(rate: f64, steps: Vec<Step>) {
    let mut log = SyncLog::new(rate);
    for (number, step) in steps.into_iter().enumerate() {
        log.step(number, step).await;
    }
    if log.waits {
        // A waiting request is taken in the end, within the time that its reasons to wait allow.
        let longest = Duration::from_secs(5) + Duration::from_secs_f64(if rate > 0.0 { 1.0 / rate } else { 0.0 });
        let longest = longest + Duration::from_millis(10);
        let last = tokio::time::timeout(longest, log.queue.next()).await.expect("not forgotten");
        log.check(&last);
    }
    assert_eq!(log.put_in, log.taken_out, "a trigger was lost, or counted twice");
    // Never more than the burst and what the rate gives, in any window.
    for (at, first) in log.let_through.iter().enumerate() {
        let mut taken = 0.0;
        for last in &log.let_through[at..] {
            taken += 1.0;
            let allowed = BURST + (*last - *first).as_secs_f64() * rate + 1e-6;
            assert!(taken <= allowed, "{taken} syncs in {:?}", *last - *first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn each_commit_keeps_its_delivery_the_newest_is_never_dropped_and_nothing_waits_without_a_reason(
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
