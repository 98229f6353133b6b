//! How webhooks fare: the deliveries, the announcements, the counts, and the pushes that none announced.
//!
//! It must not know how a delivery is judged, or what a look finds.

use std::collections::VecDeque;
use std::time::Duration;

use git2::Oid;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::api::{Announcement, DayCounts, DeliveryResult, Event, LastDelivery, MissedPush, Snapshot, Trigger};

use super::super::announcements::{Announcements, Change, Known};
use super::super::queue::Announced;
use super::{Board, Inner};

/// Delivery ids that are remembered, only to label a repeated one as redelivered.
const REMEMBERED_DELIVERIES: usize = 256;
/// Ignored pushes that are remembered, to tell them from missed ones.
const REMEMBERED_IGNORED: usize = 64;
/// Missed pushes in a snapshot.
const MOST_MISSED: usize = 50;
/// How long after the poll a delivery may still come without having been missed: the poll was faster.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// The shortest time between two events about refused signatures.
const REFUSED_EVERY: Duration = Duration::from_secs(1);

/// An authentic delivery, as far as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub event: &'a str,
    pub id: Option<&'a str>,
    pub result: DeliveryResult,
    /// Why it was ignored or refused.
    pub reason: Option<&'a str>,
    /// The ref and the commit that it names, if it is a push that was not for us.
    pub push: Option<(Option<&'a str>, Oid)>,
}

/// The deliveries that this process remembers.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    ids: VecDeque<String>,
    ignored: VecDeque<Ignored>,
    announcements: Announcements,
    day: Day,
    /// When readers were last told of refused signatures, and whether there were more since.
    refused_told: Option<Instant>,
    refused_waits: bool,
}

/// A push whose delivery was authentic and not for us.
#[derive(Debug)]
struct Ignored {
    reference: Option<String>,
    commit: Oid,
    reason: String,
}

impl Deliveries {
    pub(super) fn day(&mut self, now: Timestamp) -> DayCounts {
        self.day.total(now)
    }

    /// Counts a push that no delivery announced.
    pub(super) fn missed(&mut self, snapshot: &mut Snapshot, commit: Option<&String>, now: Timestamp) {
        snapshot.webhook.missed += 1;
        self.day.at(now).missed += 1;
        if let Some(commit) = commit {
            let pushes = &mut snapshot.webhook.missed_pushes;
            pushes.retain(|push| push.commit != *commit);
            pushes.insert(0, MissedPush { commit: commit.clone(), found_at: now });
            pushes.truncate(MOST_MISSED);
        }
    }

    /// Takes back that a push was missed: its delivery came after all, a moment later than the poll.
    fn came_late(&mut self, snapshot: &mut Snapshot, commit: &str, now: Timestamp) -> bool {
        let pushes = &mut snapshot.webhook.missed_pushes;
        let late = |push: &MissedPush| push.commit == commit && now.duration_since(push.found_at) <= LATE;
        let Some(at) = pushes.iter().position(late) else { return false };
        let push = pushes.remove(at);
        snapshot.webhook.missed = snapshot.webhook.missed.saturating_sub(1);
        self.day.take_back_missed(push.found_at);
        true
    }
}

impl Board {
    /// An authentic delivery came in. Returns whether its id was seen before.
    pub fn delivery(&self, delivery: Delivery<'_>) -> bool {
        let mut inner = self.lock();
        let now = self.clock.now();
        let Delivery { event, id, result, reason, push } = delivery;
        let webhook = &mut inner.snapshot.webhook;
        // The secret may have come after the start.
        webhook.enabled = true;
        webhook.received += 1;
        webhook.last_delivery_at = Some(now);
        webhook.last_event = Some(event.to_owned());
        webhook.last_result = Some(match reason {
            Some(reason) => format!("{result}: {reason}"),
            None => result.to_string(),
        });
        webhook.last = Some(LastDelivery {
            at: now,
            event: event.to_owned(),
            delivery: id.map(str::to_owned),
            result,
            reason: reason.map(str::to_owned),
        });
        let deliveries = &mut inner.deliveries;
        deliveries.day.at(now).received += 1;
        if let (Some((reference, commit)), Some(reason)) = (push, reason) {
            let (reference, reason) = (reference.map(str::to_owned), reason.to_owned());
            deliveries.ignored.push_front(Ignored { reference, commit, reason });
            deliveries.ignored.truncate(REMEMBERED_IGNORED);
        }
        let seen = id.is_some_and(|id| deliveries.ids.iter().any(|known| known == id));
        if let (Some(id), false) = (id, seen) {
            deliveries.ids.push_front(id.to_owned());
            deliveries.ids.truncate(REMEMBERED_DELIVERIES);
        }
        self.send(&mut inner, |snapshot| Event::Delivery(snapshot.webhook.clone()));
        seen
    }

    /// A webhook or a peer said that our ref moved.
    pub fn announce(&self, push: Announced, trigger: &Trigger) {
        let mut inner = self.lock();
        let Inner { snapshot, deliveries, .. } = &mut *inner;
        let now = self.clock.now();
        let commit = push.after.to_string();
        let late = deliveries.came_late(snapshot, &commit, now);
        let known = Known {
            head: snapshot.head.as_ref().and_then(|head| head.commit.parse().ok()),
            published: snapshot.published.as_ref().and_then(|published| published.commit.parse().ok()),
        };
        let change = deliveries.announcements.note(push, known, Instant::now());
        match change {
            Change::Opened => {
                let (delivery, source) = (trigger.delivery.clone(), trigger.kind);
                snapshot.announced = Some(Announcement { commit, seen_at: now, delivery, source });
            }
            Change::Closed => snapshot.announced = None,
            Change::Nothing if !late => return,
            Change::Nothing => {}
        }
        self.told(&mut inner);
    }

    /// True if a message announced this commit to this process.
    #[must_use]
    pub fn was_announced(&self, commit: Oid) -> bool {
        self.lock().deliveries.announcements.contains(commit)
    }

    /// Why the delivery that announced this commit was ignored, if one was: about the ref that is followed, or about
    /// a ref that it did not name.
    #[must_use]
    pub fn why_ignored(&self, commit: Oid, full_ref: Option<&str>) -> Option<String> {
        let inner = self.lock();
        let fits =
            |push: &&Ignored| push.commit == commit && push.reference.as_deref().is_none_or(|it| Some(it) == full_ref);
        inner.deliveries.ignored.iter().find(fits).map(|push| push.reason.clone())
    }

    /// The remote shows this commit.
    pub fn saw(&self, commit: Oid) {
        let mut inner = self.lock();
        let text = commit.to_string();
        if inner.deliveries.announcements.saw(commit) {
            inner.snapshot.announced = None;
        }
        if inner.snapshot.head.as_ref().is_none_or(|head| head.commit != text) {
            inner.snapshot.head = Some(crate::api::Head { commit: text, seen_at: self.clock.now() });
        }
        inner.snapshot.state = super::state_of(&inner.snapshot);
    }

    /// This commit is published since this moment.
    pub fn is_live(&self, commit: Oid) {
        let mut inner = self.lock();
        if inner.deliveries.announcements.saw(commit) {
            inner.snapshot.announced = None;
            inner.snapshot.state = super::state_of(&inner.snapshot);
        }
    }

    /// A sync ended that looked at the remote at `looked_at` and waits for nothing any more: what was announced before that
    /// is not what the remote has.
    pub fn settle_announced(&self, looked_at: Instant) {
        let mut inner = self.lock();
        if inner.deliveries.announcements.settle(looked_at) {
            inner.snapshot.announced = None;
            inner.snapshot.state = super::state_of(&inner.snapshot);
        }
    }

    /// Counts a request that could not prove that it knows the secret. Readers are told once a second at most: `Some` is
    /// how long the caller should wait before it calls [`Board::tell_refused`].
    pub fn bad_signature(&self) -> Option<Duration> {
        let mut inner = self.lock();
        let now = self.clock.now();
        inner.snapshot.webhook.bad_signature += 1;
        inner.deliveries.day.at(now).bad_signature += 1;
        if inner.deliveries.refused_waits || self.events.receiver_count() == 0 {
            return None;
        }
        let since = inner.deliveries.refused_told.map(|told| told.elapsed());
        let wait = since.map_or(Duration::ZERO, |since| REFUSED_EVERY.saturating_sub(since));
        if wait.is_zero() {
            inner.deliveries.refused_told = Some(Instant::now());
            self.send(&mut inner, |snapshot| Event::Delivery(snapshot.webhook.clone()));
            return None;
        }
        inner.deliveries.refused_waits = true;
        Some(wait)
    }

    /// Tells readers how many signatures were refused by now.
    pub fn tell_refused(&self) {
        let mut inner = self.lock();
        inner.deliveries.refused_waits = false;
        inner.deliveries.refused_told = Some(Instant::now());
        self.send(&mut inner, |snapshot| Event::Delivery(snapshot.webhook.clone()));
    }
}

/// Counts over the last 24 hours, kept by the hour.
#[derive(Debug, Default)]
struct Day(VecDeque<(i64, DayCounts)>);

impl Day {
    fn at(&mut self, now: Timestamp) -> &mut DayCounts {
        let hour = now.as_second().div_euclid(3600);
        if self.0.back().is_none_or(|(newest, _)| *newest != hour) {
            self.0.push_back((hour, DayCounts::default()));
        }
        while self.0.len() > 25 {
            self.0.pop_front();
        }
        let last = self.0.len() - 1;
        &mut self.0[last].1
    }

    fn take_back_missed(&mut self, at: Timestamp) {
        let hour = at.as_second().div_euclid(3600);
        if let Some((_, counts)) = self.0.iter_mut().rfind(|(counted, _)| *counted == hour) {
            counts.missed = counts.missed.saturating_sub(1);
        }
    }

    fn total(&self, now: Timestamp) -> DayCounts {
        let oldest = now.as_second().div_euclid(3600) - 23;
        let mut total = DayCounts::default();
        for (_, counts) in self.0.iter().filter(|(hour, _)| *hour >= oldest) {
            total.received += counts.received;
            total.bad_signature += counts.bad_signature;
            total.missed += counts.missed;
        }
        total
    }
}
