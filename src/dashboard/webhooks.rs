//! The state of the webhook over all replicas: each delivery reaches one of them, and each missed push counts once.
//!
//! Pure functions of the model, for the header, the plain table and the JSON document. Only replicas that answer now are
//! counted: the last state of a lost one may have changed since, so it must neither raise an alert nor call the webhook
//! healthy.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::api::{DeliveryResult, Webhook};

use super::model::{Model, Pod};
use super::text;
use super::verdict::is_current;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const IGNORED: &str = "WEBHOOK IGNORED: ";
/// Refused signatures within this time cause an alert.
const LATELY: SignedDuration = SignedDuration::from_mins(2);

/// The sum over all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// True if a replica answers now. Otherwise nothing is counted.
    pub known: bool,
    pub enabled: bool,
    /// The newest one that any replica reported, also a lost one, since the delivery remains a fact.
    pub last: Option<Delivery>,
    /// In the last 24 hours, as the two below.
    pub received: u64,
    pub bad_signature: u64,
    pub missed: u64,
    /// Refused in the last two minutes, as far as this program has seen.
    pub refused_lately: u64,
    /// Missed pushes that are newer than the last delivery.
    pub missed_since: u64,
}

/// The newest delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// By our clock.
    pub at: Timestamp,
    pub event: String,
    /// The reason why it was ignored; `None` if it was not.
    pub ignored: Option<String>,
    /// True if the replica that received it answers now.
    pub current: bool,
}

/// Adds up the reports of the replicas.
#[must_use]
pub fn health(model: &Model) -> Health {
    let mut sum = Health::default();
    let mut missed: HashSet<&str> = HashSet::new();
    let mut missed_since: HashSet<&str> = HashSet::new();
    // A sidecar of an older release only reports a count.
    let mut counted = 0;
    let webhooks = || model.pods.iter().filter_map(|pod| Some((pod, &pod.snapshot.as_ref()?.webhook)));
    for (pod, webhook) in webhooks() {
        sum.enabled |= webhook.enabled;
        let delivery = last(pod, webhook).map(|last| Delivery { current: is_current(model, pod), ..last });
        if delivery.as_ref().is_some_and(|new| sum.last.as_ref().is_none_or(|known| known.at < new.at)) {
            sum.last = delivery;
        }
    }
    let current = || webhooks().filter(|(pod, _)| is_current(model, pod));
    for (pod, webhook) in current() {
        sum.known = true;
        sum.received += webhook.day.received;
        sum.bad_signature += webhook.day.bad_signature;
        sum.refused_lately += lately(model, pod);
        counted = counted.max(webhook.day.missed);
        let today = webhook.missed_pushes.iter().filter(|it| model.now.duration_since(pod.to_ours(it.found_at)) < DAY);
        missed.extend(today.map(|it| it.commit.as_str()));
    }
    let last = sum.last.as_ref().map(|delivery| delivery.at);
    for (pod, webhook) in current() {
        let newer = |at: Timestamp| last.is_none_or(|last| pod.to_ours(at) > last);
        let since = webhook.missed_pushes.iter().filter(|it| newer(it.found_at));
        missed_since.extend(since.map(|it| it.commit.as_str()).filter(|commit| missed.contains(commit)));
    }
    let count = |set: &HashSet<&str>| u64::try_from(set.len()).unwrap_or(u64::MAX);
    sum.missed = counted.max(count(&missed));
    if !missed.is_empty() {
        sum.missed = count(&missed);
    }
    sum.missed_since = count(&missed_since);
    sum
}

/// The last delivery of one replica.
#[must_use]
pub fn last(pod: &Pod, webhook: &Webhook) -> Option<Delivery> {
    if let Some(last) = &webhook.last {
        let ignored = match last.result {
            DeliveryResult::Queued | DeliveryResult::Pong => None,
            result => Some(last.reason.clone().unwrap_or_else(|| result.to_string())),
        };
        return Some(Delivery { at: pod.to_ours(last.at), event: last.event.clone(), ignored, current: pod.live() });
    }
    // A sidecar of an older release reports only the text.
    let result = webhook.last_result.as_deref().unwrap_or_default();
    let ignored = result.strip_prefix("ignored").map(|rest| rest.trim_start_matches([':', ' ']).to_owned());
    let event = webhook.last_event.clone().unwrap_or_default();
    Some(Delivery { at: pod.to_ours(webhook.last_delivery_at?), event, ignored, current: pod.live() })
}

/// Returns what a report of the webhook's state says that the one before did not: a delivery, refused signatures.
#[must_use]
pub fn news(before: Option<&Webhook>, now: &Webhook) -> Option<String> {
    let mut words = Vec::new();
    let delivery = |webhook: &Webhook| (webhook.last_delivery_at, webhook.received);
    if before.is_none_or(|before| delivery(before) != delivery(now)) && now.last_delivery_at.is_some() {
        let event = now.last_event.as_deref().unwrap_or("delivery");
        words.push(format!("{event} {}", now.last_result.as_deref().unwrap_or_default()).trim_end().to_owned());
    }
    // A new process counts from zero.
    match now.bad_signature.saturating_sub(before.map_or(now.bad_signature, |before| before.bad_signature)) {
        0 => {}
        1 => words.push("refused: bad signature".to_owned()),
        count => words.push(format!("refused: {count} bad signatures")),
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// Notes how many signatures a replica has refused since its last report.
pub fn note(pod: &mut Pod, now: Timestamp, next: &Webhook) {
    let before = pod.snapshot.as_ref().map_or(next.bad_signature, |snapshot| snapshot.webhook.bad_signature);
    // A new process counts from zero.
    let more = next.bad_signature.saturating_sub(before);
    pod.refused.retain(|(at, _)| now.duration_since(*at) < LATELY);
    if more > 0 {
        pod.refused.push((now, more));
    }
}

fn lately(model: &Model, pod: &Pod) -> u64 {
    pod.refused.iter().filter(|(at, _)| model.now.duration_since(*at) < LATELY).map(|(_, count)| count).sum()
}

/// Returns true if the alert is about the last delivery, so that its reason need not be repeated.
#[must_use]
pub fn alert_is_ignored(model: &Model) -> bool {
    alert(model).is_some_and(|alert| alert.starts_with(IGNORED))
}

fn missed_words(health: &Health) -> String {
    match health.missed_since {
        1 => "the last commit".to_owned(),
        count => format!("the last {count} commits"),
    }
}

/// Returns the problem of the webhook in one sentence; `None` if none is known.
#[must_use]
pub fn alert(model: &Model) -> Option<String> {
    let health = health(model);
    if health.refused_lately > 0 {
        let count = health.refused_lately;
        let noun = if count == 1 { "bad signature" } else { "bad signatures" };
        let missed = if health.missed_since > 0 {
            format!(", and {} came by poll", missed_words(&health))
        } else {
            String::new()
        };
        return Some(format!("WEBHOOKS REFUSED: {count} {noun} in 2 min{missed}. Is the secret the one in the forge?"));
    }
    if health.missed_since > 0 {
        let what = missed_words(&health);
        let last = match &health.last {
            Some(last) => format!("Last delivery {} ago.", text::age(model.now.duration_since(last.at))),
            None => "No delivery has arrived.".to_owned(),
        };
        // Refusals from before this program ran may be of anyone in the internet; together with a missed push they explain it.
        let refused = match health.bad_signature {
            0 => String::new(),
            1 => " 1 bad signature in 24h: wrong secret?".to_owned(),
            count => format!(" {count} bad signatures in 24h: wrong secret?"),
        };
        return Some(format!("WEBHOOKS MISSED: {what} came by poll. {last}{refused}"));
    }
    let reason = health.last.filter(|last| last.current)?.ignored?;
    Some(format!("{IGNORED}{}", text::cut(&reason, 200, text::ELLIPSIS)))
}
