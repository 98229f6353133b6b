//! How webhooks fare: the deliveries, the announcements, the counts, and the pushes that none announced.
//!
//! It must not know how a delivery is judged, or what a listing of the refs shows.

use std::collections::VecDeque;

use git2::Oid;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::api::{DayCounts, DeliveryResult, MissedPush, Snapshot};

use super::announcement::NewestAnnouncement;

/// Delivery ids that are remembered, only to label a repeated one as redelivered.
const REMEMBERED_DELIVERIES: usize = 256;
/// Ignored pushes that are remembered, to distinguish them from missed ones.
const REMEMBERED_IGNORED: usize = 64;
/// Missed pushes in a snapshot.
const MOST_MISSED: usize = 50;
/// How long after the poll a delivery may still come without having been missed: the poll was faster.
const LATE: SignedDuration = SignedDuration::from_secs(60);
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
    pub announcement: NewestAnnouncement,
    pub day: Day,
    /// When an event about refused signatures was sent last, and whether there were more since.
    pub bad_signatures_reported_at: Option<Instant>,
    pub bad_signatures_unreported: bool,
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

    /// Remembers an ignored push with the reason.
    pub(super) fn ignore(&mut self, reference: Option<&str>, commit: Oid, reason: &str) {
        let (reference, reason) = (reference.map(str::to_owned), reason.to_owned());
        self.ignored.push_front(Ignored { reference, commit, reason });
        self.ignored.truncate(REMEMBERED_IGNORED);
    }

    /// Why the delivery that announced this commit was ignored, if one was: about this ref, or about a ref that it did not
    /// name.
    pub(super) fn why_ignored(&self, commit: Oid, full_ref: Option<&str>) -> Option<String> {
        let fits =
            |push: &&Ignored| push.commit == commit && push.reference.as_deref().is_none_or(|it| Some(it) == full_ref);
        self.ignored.iter().find(fits).map(|push| push.reason.clone())
    }

    /// Remembers a delivery's id. Returns true if it was seen before.
    pub(super) fn seen(&mut self, id: &str) -> bool {
        let seen = self.ids.iter().any(|known| known == id);
        if !seen {
            self.ids.push_front(id.to_owned());
            self.ids.truncate(REMEMBERED_DELIVERIES);
        }
        seen
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
    pub(super) fn came_late(&mut self, snapshot: &mut Snapshot, commit: &str, now: Timestamp) -> bool {
        let pushes = &mut snapshot.webhook.missed_pushes;
        let late = |push: &MissedPush| push.commit == commit && now.duration_since(push.found_at) <= LATE;
        let Some(at) = pushes.iter().position(late) else { return false };
        let push = pushes.remove(at);
        snapshot.webhook.missed = snapshot.webhook.missed.saturating_sub(1);
        self.day.take_back_missed(push.found_at);
        true
    }
}

/// Counts over the last 24 hours, kept by the hour.
#[derive(Debug, Default)]
pub(super) struct Day(VecDeque<(i64, DayCounts)>);

impl Day {
    pub(crate) fn at(&mut self, now: Timestamp) -> &mut DayCounts {
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
