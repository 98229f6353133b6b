//! One running, one pending: requests that arrive during a sync are merged into the next one, never lost, never piled up.
//!
//! A token bucket defers the syncs that strangers-with-a-secret can cause; it refuses nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::api::{PeerResult, Trigger, TriggerKind};

/// A reason to look at the remote now.
#[derive(Clone, Debug)]
pub struct Request {
    pub trigger: Trigger,
    /// The id that its record will have, if somebody was promised one.
    pub id: Option<String>,
    /// When the first byte of the webhook arrived, or when the other trigger fired.
    pub received_at: Timestamp,
    pub received: Instant,
    /// When it was put into the queue.
    pub queued: Instant,
    /// What webhooks said has moved: compared with what the remote has, never kept on its word alone.
    pub announced: Vec<Announced>,
    /// True if an attempt for the same reason failed before.
    pub retry: bool,
    /// A large fleet spreads its looks: this one should not begin earlier, unless somebody else rings.
    pub not_before: Option<Instant>,
    /// Which other replicas were told, as far as that is known. Nothing waits for it.
    pub told: Vec<Told>,
    /// True while every merged trigger is one that strangers-with-a-secret can pull: these wait for a token.
    limited: bool,
}

/// A webhook's claim that our ref moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// `None` if the push created the ref.
    pub before: Option<Oid>,
    pub after: Oid,
    /// True if `after` does not descend from `before`, or nobody said whether it does.
    pub forced: bool,
}

/// True if pushes, each a fast-forward by its own word, lead from `old` to `new`.
#[must_use]
pub fn is_fast_forward(announced: &[Announced], old: Oid, new: Oid) -> bool {
    leads(announced, old, new, |push| !push.forced)
}

/// True if pushes, whatever they did to the history, lead from `old` to `new`.
#[must_use]
pub fn is_expected(announced: &[Announced], old: Oid, new: Oid) -> bool {
    leads(announced, old, new, |_| true)
}

fn leads(announced: &[Announced], old: Oid, new: Oid, counts: impl Fn(&Announced) -> bool) -> bool {
    let mut reached = new;
    for push in announced.iter().rev() {
        if push.after == reached
            && counts(push)
            && let Some(before) = push.before
        {
            reached = before;
        }
        if reached == old {
            return reached != new;
        }
    }
    false
}

/// The results of telling other replicas so far; closed when no more will come. Who tells them, and how, is not ours.
pub type Told = watch::Receiver<Vec<PeerResult>>;

/// More announcements than this in one merged request are of no use: only the newest matter.
const MOST_ANNOUNCED: usize = 16;

impl Request {
    /// A request that is not a webhook's.
    #[must_use]
    pub fn new(kind: TriggerKind, now: Timestamp) -> Self {
        Self {
            trigger: Trigger { kind, merged: 1, ..Trigger::default() },
            id: None,
            retry: false,
            received_at: now,
            received: Instant::now(),
            queued: Instant::now(),
            announced: Vec::new(),
            not_before: None,
            told: Vec::new(),
            limited: matches!(kind, TriggerKind::Webhook | TriggerKind::Peer),
        }
    }

    /// The same request once more: a retry, or the rest of a chase or repair. It paid its token already.
    #[must_use]
    pub fn again(mut self, retry: bool) -> Self {
        (self.retry, self.id, self.limited) = (retry, None, false);
        // Who was told is in the record of the first attempt.
        (self.not_before, self.told) = (None, Vec::new());
        self
    }

    /// True if nobody asked for it just now: the clock did, or a failure before it.
    fn is_by_itself(&self) -> bool {
        self.retry || matches!(self.trigger.kind, TriggerKind::Poll | TriggerKind::Startup)
    }

    /// The newest commit that was announced.
    #[must_use]
    pub fn newest_announced(&self) -> Option<Oid> {
        self.announced.last().map(|announced| announced.after)
    }

    /// Folds a later request into this one. The earlier time counts, the later announcement wins, and a webhook's
    /// identity is kept over a poll's.
    fn merge(&mut self, later: Self) {
        let merged = self.trigger.merged.saturating_add(later.trigger.merged);
        // A poll asks for nothing that a retry does not: together they are a retry, whose trigger is kept.
        let nobody_asks = self.is_by_itself() && later.is_by_itself();
        self.retry = nobody_asks && (self.retry || later.retry);
        // A person's action is kept whichever trigger names the sync.
        let (action, by) = match later.trigger.action {
            Some(_) => (later.trigger.action, later.trigger.by.clone()),
            None => (self.trigger.action, self.trigger.by.take()),
        };
        if rank(later.trigger.kind) >= rank(self.trigger.kind) {
            self.trigger = later.trigger;
        }
        (self.trigger.merged, self.trigger.action, self.trigger.by) = (merged, action, by);
        self.id = self.id.take().or(later.id);
        self.announced.extend(later.announced);
        let excess = self.announced.len().saturating_sub(MOST_ANNOUNCED);
        self.announced.drain(..excess);
        self.told.extend(later.told);
        let excess = self.told.len().saturating_sub(MOST_ANNOUNCED);
        self.told.drain(..excess);
        // Whoever is in a hurry takes the others along.
        self.not_before = self.not_before.zip(later.not_before).map(|(one, other)| one.min(other));
        self.limited &= later.limited;
        if later.received < self.received {
            self.received = later.received;
            self.received_at = later.received_at;
        }
    }
}

/// Which trigger names a sync that several rang for.
fn rank(kind: TriggerKind) -> u8 {
    match kind {
        TriggerKind::Webhook => 5,
        TriggerKind::Peer => 4,
        TriggerKind::Manual => 3,
        TriggerKind::Signal => 2,
        TriggerKind::Startup => 1,
        TriggerKind::Poll | TriggerKind::Unknown => 0,
    }
}

/// The pending slot. Filled by many, emptied by the one sync loop.
#[derive(Debug)]
pub struct Queue {
    slot: Mutex<Slot>,
    /// For the loop, which takes.
    filled: Notify,
    /// For a running attempt, which gives way.
    nudged: Notify,
    /// For the loop, which is to come round once more.
    asked: Notify,
}

#[derive(Debug)]
struct Slot {
    pending: Option<Request>,
    bucket: Option<Bucket>,
}

impl Queue {
    /// `rate` is the looks a second that webhooks may cause, sustained, with bursts of five; 0 = no limit.
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
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Wakes an attempt that waits for the remote, because something was decided.
    pub fn nudge(&self) {
        self.nudged.notify_waiters();
    }

    /// Waits for a push or a nudge. Counts from this call, not from the first poll: ask before you look at what may change.
    pub fn nudged(&self) -> tokio::sync::futures::Notified<'_> {
        self.nudged.notified()
    }

    /// Has the loop come round, for whoever wants to see that it can. Nothing else changes: a probe puts nothing off.
    pub fn ask(&self) {
        self.asked.notify_waiters();
    }

    /// Waits for that. Counts from this call, too.
    pub fn asked(&self) -> tokio::sync::futures::Notified<'_> {
        self.asked.notified()
    }

    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).pending.is_some()
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
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
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

impl Bucket {
    fn new(rate: f64) -> Self {
        Self { rate, tokens: BURST, filled_at: None }
    }

    /// Takes a token, or says how long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = self.filled_at.map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        self.filled_at = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.rate).min(BURST);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A millisecond more, so that rounding never makes us come back too early and spin.
        let wait = Duration::try_from_secs_f64((1.0 - self.tokens) / self.rate).unwrap_or(Duration::MAX);
        Err(wait.saturating_add(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(delivery: &str) -> Request {
        let mut request = Request::new(TriggerKind::Webhook, Timestamp::UNIX_EPOCH);
        request.trigger.delivery = Some(delivery.to_owned());
        request
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_rings_in_a_second_are_a_handful_of_looks_and_the_last_one_counts() {
        let queue = Queue::new(1.0);
        let mut looks = Vec::new();
        for number in 0..50 {
            queue.push(ring(&number.to_string()));
            if let Ok(request) = tokio::time::timeout(Duration::from_millis(20), queue.next()).await {
                looks.push(request);
            }
        }
        let last = queue.next().await;
        looks.push(last.clone());
        assert_eq!(last.trigger.delivery.as_deref(), Some("49"));
        assert!(looks.len() <= 7, "{} looks", looks.len());
        assert_eq!(looks.iter().map(|look| look.trigger.merged).sum::<u32>(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_does_not_wait_for_the_bucket() {
        let queue = Queue::new(0.001);
        for _ in 0..5 {
            queue.push(ring("x"));
            queue.next().await;
        }
        queue.push(ring("pending"));
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
        let early = ring("first");
        let arrived = early.received;
        queue.push(early);
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut later = ring("second");
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

    #[tokio::test(start_paused = true)]
    async fn a_look_that_was_put_off_waits_unless_somebody_is_in_a_hurry() {
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
        queue.push(ring("hurry"));
        let taken = queue.next().await;
        assert_eq!((taken.trigger.merged, taken.not_before, start.elapsed().as_secs()), (2, None, 3));
    }
}
