//! One running, one pending: requests that arrive during a sync are merged into the next one, never lost, never piled up.
//!
//! A token bucket defers syncs that webhooks and peers request; it refuses none.

mod request;

use std::time::Duration;

use git2::Oid;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use request::{Announced, PeerResults, Request};
pub(crate) use request::{is_expected, is_fast_forward};

/// The pending slot. Filled by many, emptied by the one sync loop.
#[derive(Debug)]
pub struct Queue {
    slot: Mutex<Slot>,
    /// For the loop, which takes.
    filled: Notify,
    /// For a running run, which gives way.
    nudged: Notify,
    /// Wakes the loop, which has to give a sign of life.
    asked: Notify,
}

#[derive(Debug)]
struct Slot {
    pending: Option<Request>,
    bucket: Option<Bucket>,
}

impl Queue {
    /// `rate` is the syncs a second that webhooks may cause, sustained, with bursts of five; 0 = no limit.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        let bucket = (rate > 0.0).then(|| Bucket::new(rate));
        Self {
            slot: Mutex::new(Slot { pending: None, bucket }),
            filled: Notify::new(),
            nudged: Notify::new(),
            asked: Notify::new(),
        }
    }

    /// Puts a request in, merging it with what is pending. Never waits, never fails. Returns the id that was promised for
    /// the sync that it will be part of.
    pub fn push(&self, mut request: Request) -> Option<String> {
        request.queued = Instant::now();
        request.name();
        let mut slot = self.lock();
        let id = match &mut slot.pending {
            Some(pending) => {
                pending.merge(request);
                pending.id.clone()
            }
            None => slot.pending.insert(request).id.clone(),
        };
        drop(slot);
        self.filled.notify_one();
        self.nudged.notify_waiters();
        id
    }

    /// Puts a request back that was taken, or the rest of it: it is older than all that came meanwhile.
    pub fn requeue(&self, mut request: Request) {
        request.queued = Instant::now();
        request.name();
        let mut slot = self.lock();
        if let Some(pending) = slot.pending.take() {
            slot.charge(&pending);
            request.queued = pending.queued;
            // A caller waits for the record with the promised id; the one that gave way was shown at most.
            request.id = pending.id.clone().or(request.id);
            request.merge(pending);
        }
        slot.pending = Some(request);
        drop(slot);
        self.filled.notify_one();
    }

    /// Gives a running request what a pending one says of `commit`, which the remote shows. The pending one is taken if
    /// it asks for nothing else.
    pub fn join(&self, commit: Oid, running: &mut Request) {
        let mut slot = self.lock();
        let Some(pending) = slot.pending.take_if(|pending| pending.announces(commit)) else { return };
        if pending.newest_announced() == Some(commit) && pending.is_hint() {
            slot.charge(&pending);
            running.merge(pending);
        } else {
            running.learn(&pending, commit);
            slot.pending = Some(pending);
        }
    }

    /// When the pending request may be taken; `None` if there is none.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let slot = self.lock();
        let pending = slot.pending.as_ref()?;
        let now = Instant::now();
        let token = slot.bucket.as_ref().filter(|_| pending.limited).map_or(now, |bucket| bucket.ready_at(now));
        Some(pending.not_before.map_or(token, |start| start.max(token)))
    }

    /// Wakes a sync that waits for the remote, because something was decided.
    pub fn nudge(&self) {
        self.nudged.notify_waiters();
    }

    /// Waits for a push or a nudge. Counts from this call, not from the first poll: call it before the state that may change is read.
    pub fn nudged(&self) -> tokio::sync::futures::Notified<'_> {
        self.nudged.notified()
    }

    /// Asks the loop for a sign of life, for the liveness probe. It delays nothing.
    pub fn ask(&self) {
        self.asked.notify_waiters();
    }

    /// Waits for that. Counts from this call, too.
    pub fn asked(&self) -> tokio::sync::futures::Notified<'_> {
        self.asked.notified()
    }

    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.lock().pending.is_some()
    }

    /// Waits for a request and takes it. A webhook's waits for a token, too, and goes on merging meanwhile.
    /// Cancel safe: nothing is taken unless it is returned.
    pub async fn next(&self) -> Request {
        loop {
            let wait = match self.try_take(Instant::now()) {
                Taken::Request(request) => return *request,
                Taken::Empty => None,
                Taken::Deferred(wait) => Some(wait),
            };
            match wait {
                None => self.filled.notified().await,
                // Something urgent (a person) may come meanwhile.
                Some(wait) => {
                    let _ = tokio::time::timeout(wait, self.filled.notified()).await;
                }
            }
        }
    }

    fn try_take(&self, now: Instant) -> Taken {
        let mut slot = self.lock();
        let Some(pending) = &slot.pending else { return Taken::Empty };
        let early = pending.not_before.map(|start| start.saturating_duration_since(now)).filter(|wait| !wait.is_zero());
        if let Some(wait) = early {
            return Taken::Deferred(wait);
        }
        if let (true, Some(bucket)) = (pending.limited, &mut slot.bucket)
            && let Err(wait) = bucket.take(now)
        {
            return Taken::Deferred(wait);
        }
        match slot.pending.take() {
            Some(request) => Taken::Request(Box::new(request)),
            None => Taken::Empty,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock()
    }
}

impl Slot {
    /// Takes the token of a request that goes along with one that has paid.
    fn charge(&mut self, request: &Request) {
        if let (true, Some(bucket)) = (request.limited, &mut self.bucket) {
            let _ = bucket.take(Instant::now());
        }
    }
}

enum Taken {
    Request(Box<Request>),
    Empty,
    Deferred(Duration),
}

/// Tokens refill at `rate` a second up to [`BURST`].
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled_at: Option<Instant>,
}

const BURST: f64 = 5.0;

/// Instants do not reach further than this on every platform.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

impl Bucket {
    fn new(rate: f64) -> Self {
        Self { rate, tokens: BURST, filled_at: None }
    }

    /// Takes a token, or says how long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.tokens = self.filled(now);
        self.filled_at = Some(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(self.wait(self.tokens))
    }

    /// When there is a token to take.
    fn ready_at(&self, now: Instant) -> Instant {
        let tokens = self.filled(now);
        if tokens >= 1.0 { now } else { now.checked_add(self.wait(tokens)).unwrap_or(now + LONGEST_WAIT) }
    }

    fn filled(&self, now: Instant) -> f64 {
        let passed = self.filled_at.map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        (self.tokens + passed.as_secs_f64() * self.rate).min(BURST)
    }

    fn wait(&self, tokens: f64) -> Duration {
        let wait = Duration::try_from_secs_f64((1.0 - tokens) / self.rate).unwrap_or(Duration::MAX);
        // A millisecond more, so that rounding never makes the loop come back too early and spin.
        wait.saturating_add(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::TriggerKind;

    fn delivery(delivery: &str) -> Request {
        let mut request = Request::new(TriggerKind::Webhook, Timestamp::UNIX_EPOCH);
        request.trigger.delivery = Some(delivery.to_owned());
        request
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_deliveries_in_a_second_are_a_handful_of_syncs_and_the_last_one_counts() {
        let queue = Queue::new(1.0);
        let mut taken = Vec::new();
        for number in 0..50 {
            queue.push(delivery(&number.to_string()));
            if let Ok(request) = tokio::time::timeout(Duration::from_millis(20), queue.next()).await {
                taken.push(request);
            }
        }
        let last = queue.next().await;
        taken.push(last.clone());
        assert_eq!(last.trigger.delivery.as_deref(), Some("49"));
        assert!(taken.len() <= 7, "{} syncs", taken.len());
        assert_eq!(taken.iter().map(|one| one.trigger.merged).sum::<u32>(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_does_not_wait_for_the_bucket() {
        let queue = Queue::new(0.001);
        for _ in 0..5 {
            queue.push(delivery("x"));
            queue.next().await;
        }
        queue.push(delivery("pending"));
        queue.push(Request::new(TriggerKind::Manual, Timestamp::UNIX_EPOCH));
        let taken = tokio::time::timeout(Duration::from_millis(1), queue.next()).await;
        assert_eq!(taken.expect("at once").trigger.merged, 2);
    }

    #[test]
    fn only_pushes_that_follow_one_another_are_a_fast_forward() {
        let oid = |byte| Oid::from_bytes(&[byte; 20]).expect("20 bytes");
        let push = |before, after, forced| Announced { before: Some(oid(before)), after: oid(after), forced };
        let created = Announced { before: None, after: oid(3), forced: false };
        let cases: [(&[Announced], u8, u8, bool); 8] = [
            (&[push(1, 2, false)], 1, 2, true),
            (&[push(1, 2, false), push(2, 3, false)], 1, 3, true),
            (&[push(1, 2, false), push(2, 3, false)], 2, 3, true),
            (&[push(1, 2, true), push(2, 3, false)], 1, 3, false),
            (&[push(1, 2, true)], 1, 2, false),
            (&[push(1, 2, false)], 1, 3, false),
            (&[push(1, 1, false)], 1, 1, false),
            (&[created], 1, 3, false),
        ];
        for (announced, old, new, expected) in cases {
            assert_eq!(is_fast_forward(announced, oid(old), oid(new)), expected, "{announced:?}");
        }
        assert!(is_expected(&[push(1, 2, true), push(2, 3, false)], oid(1), oid(3)), "forced or not");
        assert!(!is_expected(&[push(1, 2, false)], oid(2), oid(1)), "a replay of what led here");
    }

    #[tokio::test(start_paused = true)]
    async fn merging_keeps_the_first_arrival_and_the_last_announcement() {
        let queue = Queue::new(0.0);
        let early = delivery("first");
        let arrived = early.received;
        queue.push(early);
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut later = delivery("second");
        let after = Oid::from_bytes(&[7; 20]).expect("20 bytes");
        later.announced = vec![Announced { before: None, after, forced: false }];
        queue.push(later);
        queue.push(Request::new(TriggerKind::Poll, Timestamp::UNIX_EPOCH));
        let merged = queue.next().await;
        assert_eq!(merged.received, arrived);
        assert_eq!(merged.trigger.delivery.as_deref(), Some("second"));
        assert_eq!(merged.trigger.merged, 3);
        assert_eq!(merged.newest_announced(), Some(after));
    }

    fn oid(byte: u8) -> Oid {
        Oid::from_bytes(&[byte; 20]).expect("20 bytes")
    }

    fn push(before: u8, after: u8) -> Request {
        let mut request = delivery(&format!("{before}-{after}"));
        request.announced.push(Announced { before: Some(oid(before)), after: oid(after), forced: false });
        request
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_gave_way_is_older_than_the_one_it_gave_way_to() {
        let queue = Queue::new(0.0);
        queue.push(push(1, 2));
        let older = queue.next().await;
        queue.push(push(2, 3));
        queue.requeue(older.again(false));
        let merged = queue.next().await;
        assert_eq!(merged.newest_announced(), Some(oid(3)));
        assert_eq!((merged.trigger.delivery.as_deref(), merged.trigger.merged), (Some("2-3"), 2));
        assert!(is_fast_forward(&merged.announced, oid(1), oid(3)));
        for (commit, delivery) in [(2, "1-2"), (3, "2-3")] {
            assert_eq!(merged.trigger_of(Some(oid(commit))).delivery.as_deref(), Some(delivery));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_request_drops_the_oldest_announcement_and_a_persons_promise_is_kept() {
        let queue = Queue::new(0.0);
        for number in 0..16 {
            queue.push(push(number, number + 1));
        }
        let mut older = queue.next().await;
        older.id = Some("shown".to_owned());
        queue.push(push(16, 17));
        let mut person = Request::new(TriggerKind::Manual, Timestamp::UNIX_EPOCH);
        person.id = Some("promised".to_owned());
        queue.push(person);
        queue.requeue(older);
        let merged = queue.next().await;
        assert_eq!((merged.newest_announced(), merged.announced.len()), (Some(oid(17)), 16));
        assert!(!merged.announces(oid(1)) && merged.announces(oid(2)));
        assert_eq!(merged.id.as_deref(), Some("promised"));
        // Neither delivery announced this commit, so the person's trigger counts.
        assert_eq!(merged.trigger_of(Some(oid(99))).kind, TriggerKind::Manual);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_to_wait_for_its_time_or_its_token_is_not_due() {
        let queue = Queue::new(0.5);
        assert_eq!(queue.due(), None);
        for _ in 0..5 {
            queue.push(delivery("x"));
            queue.next().await;
        }
        queue.push(delivery("later"));
        let now = Instant::now();
        let due = queue.due().expect("pending");
        assert!(due > now + Duration::from_millis(1990) && due < now + Duration::from_millis(2010));
        tokio::time::advance(due - now).await;
        assert!(queue.due().is_some_and(|due| due <= Instant::now()));
        // A running request that had its own token takes the other one's along.
        queue.requeue(push(1, 2).again(false));
        queue.next().await;
        queue.push(delivery("one more"));
        assert!(queue.due().is_some_and(|due| due > Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_takes_a_delivery_over_if_that_asks_for_nothing_else() {
        let queue = Queue::new(0.0);
        queue.push(push(1, 2));
        let mut running = queue.next().await;
        queue.push(push(2, 3));
        queue.push(push(3, 4));
        queue.join(oid(3), &mut running);
        assert!(queue.has_pending(), "the push to 4 is still to come");
        assert_eq!(running.trigger_of(Some(oid(3))).delivery.as_deref(), Some("2-3"));
        assert_eq!(running.newest_announced(), Some(oid(3)));
        queue.join(oid(4), &mut running);
        assert!(!queue.has_pending());
        assert!(is_fast_forward(&running.announced, oid(1), oid(4)));
        let mut person = push(4, 5);
        person.id = Some("promised".to_owned());
        queue.push(person);
        queue.join(oid(5), &mut running);
        assert!(queue.has_pending(), "a person waits for a sync of his own");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_put_off_waits_unless_another_is_urgent() {
        let queue = Queue::new(0.0);
        let start = Instant::now();
        let later = |millis| {
            let mut request = Request::new(TriggerKind::Peer, Timestamp::UNIX_EPOCH);
            request.not_before = Some(start + Duration::from_millis(millis));
            request
        };
        queue.push(later(4000));
        queue.push(later(3000));
        let taken = queue.next().await;
        assert_eq!((taken.trigger.merged, start.elapsed().as_secs()), (2, 3));

        queue.push(later(60_000));
        queue.push(delivery("hurry"));
        let taken = queue.next().await;
        assert_eq!((taken.trigger.merged, taken.not_before, start.elapsed().as_secs()), (2, None, 3));
    }
}
