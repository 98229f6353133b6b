//! The changes of the state by webhooks and peers' messages: deliveries, announcements, refused signatures.
//!
//! It must not know how a delivery is judged, or how the remote is queried.

use std::time::Duration;

use git2::Oid;
use tokio::time::Instant;

use crate::api::{Announcement, Event, LastDelivery, Trigger};

use super::announcement::{Effect, KnownCommits};
use super::deliveries::Delivery;
use super::{Current, StatusStore};
use crate::sync::queue::Announced;

/// The shortest time between two events about refused signatures.
const REFUSED_EVERY: Duration = Duration::from_secs(1);

impl StatusStore {
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
            deliveries.ignore(reference, commit, reason);
        }
        let seen = id.is_some_and(|id| deliveries.seen(id));
        self.send(&mut inner, |snapshot| Event::Delivery(snapshot.webhook.clone()));
        seen
    }

    /// A webhook or a peer said that our ref moved.
    pub fn announce(&self, push: Announced, trigger: &Trigger) {
        let mut inner = self.lock();
        let Current { snapshot, deliveries, .. } = &mut *inner;
        let now = self.clock.now();
        let commit = push.after.to_string();
        let late = deliveries.came_late(snapshot, &commit, now);
        let known = KnownCommits {
            head: snapshot.head.as_ref().and_then(|head| head.commit.parse().ok()),
            published: snapshot.published.as_ref().and_then(|published| published.commit.parse().ok()),
        };
        let change = deliveries.announcement.note(push, known, Instant::now());
        match change {
            Effect::Opened => {
                let (delivery, source) = (trigger.delivery.clone(), trigger.kind);
                snapshot.announced = Some(Announcement { commit, seen_at: now, delivery, source });
            }
            Effect::Closed => snapshot.announced = None,
            Effect::Nothing if !late => return,
            Effect::Nothing => {}
        }
        self.notify_readers(&mut inner);
    }

    /// True if a message announced this commit to this process.
    #[must_use]
    pub fn was_announced(&self, commit: Oid) -> bool {
        self.lock().deliveries.announcement.contains(commit)
    }

    /// Why the delivery that announced this commit was ignored, if one was: about the ref that is followed, or about
    /// a ref that it did not name.
    #[must_use]
    pub fn why_ignored(&self, commit: Oid, full_ref: Option<&str>) -> Option<String> {
        self.lock().deliveries.why_ignored(commit, full_ref)
    }

    /// The remote shows this commit.
    pub fn saw(&self, commit: Oid) {
        let mut inner = self.lock();
        let text = commit.to_string();
        if inner.deliveries.announcement.saw(commit) {
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
        if inner.deliveries.announcement.saw(commit) {
            inner.snapshot.announced = None;
            inner.snapshot.state = super::state_of(&inner.snapshot);
        }
    }

    /// A sync ended that listed the refs at `listed_at` and waits for nothing any more: what was announced before that
    /// is not what the remote has.
    pub fn expire_announcement(&self, listed_at: Instant) {
        let mut inner = self.lock();
        if inner.deliveries.announcement.expire(listed_at) {
            inner.snapshot.announced = None;
            inner.snapshot.state = super::state_of(&inner.snapshot);
        }
    }

    /// Counts a request that could not prove that it knows the secret. An event is sent once a second at most: `Some` is
    /// how long the caller should wait before it calls [`StatusStore::report_bad_signatures`].
    pub fn bad_signature(&self) -> Option<Duration> {
        let mut inner = self.lock();
        let now = self.clock.now();
        inner.snapshot.webhook.bad_signature += 1;
        inner.deliveries.day.at(now).bad_signature += 1;
        if inner.deliveries.bad_signatures_unreported || self.events.receiver_count() == 0 {
            return None;
        }
        // A flood of bad requests must not become a flood of events.
        let since = inner.deliveries.bad_signatures_reported_at.map(|sent| sent.elapsed());
        let wait = since.map_or(Duration::ZERO, |since| REFUSED_EVERY.saturating_sub(since));
        if wait.is_zero() {
            inner.deliveries.bad_signatures_reported_at = Some(Instant::now());
            self.send(&mut inner, |snapshot| Event::Delivery(snapshot.webhook.clone()));
            return None;
        }
        inner.deliveries.bad_signatures_unreported = true;
        Some(wait)
    }

    /// Sends readers how many signatures were refused by now.
    pub fn report_bad_signatures(&self) {
        let mut inner = self.lock();
        inner.deliveries.bad_signatures_unreported = false;
        inner.deliveries.bad_signatures_reported_at = Some(Instant::now());
        self.send(&mut inner, |snapshot| Event::Delivery(snapshot.webhook.clone()));
    }
}
