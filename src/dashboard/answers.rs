//! Summarizes the answers of replicas to a change in one line.
//!
//! Part of `update`: pure. A replica that accepted a change has not executed it yet: it counts once its sync has ended.

use jiff::SignedDuration;

use crate::api::{Accepted, Outcome, Record, Refusal};

use super::message::{Change, pause_words};
use super::model::{Model, PodId, Sent};
use super::text;

/// The number of refusals in the line; the others are in the Events view.
const TOLD: usize = 2;
/// How long the line stays if something was refused.
const LONG: SignedDuration = SignedDuration::from_secs(20);

/// Records that a change was sent to these replicas; no request can be sent to the `silent` ones.
pub(crate) fn expect(model: &mut Model, change: Change, sent: &[PodId], silent: &[PodId]) {
    let name = |id: &PodId| model.pod(id).map(|pod| pod.short.clone()).unwrap_or_default();
    let refused = silent.iter().map(|id| (name(id), "not connected".to_owned())).collect();
    let waiting = sent.iter().map(|id| (id.clone(), None)).collect();
    model.sent = Some(Sent { change, total: sent.len() + silent.len(), waiting, done: 0, refused });
}

/// Records the answer of a replica.
pub(crate) fn answered(model: &mut Model, id: &PodId, change: &Change, answer: &Result<Accepted, Refusal>) {
    // A sync may end before the answer that names it arrives.
    let sync = answer.as_ref().ok().and_then(|accepted| accepted.sync.clone());
    let record = sync.as_ref().and_then(|sync| model.pod(id)?.records.get(sync).cloned());
    let name = model.pod(id).map(|pod| pod.short.clone()).unwrap_or_default();
    // A late answer to an earlier change must not count for this one.
    let Some(asked) = model.sent.as_mut().filter(|asked| asked.change == *change) else { return };
    let Some(at) = asked.waiting.iter().position(|(waiting, sync)| waiting == id && sync.is_none()) else { return };
    match answer {
        Ok(_) if sync.is_some() => asked.waiting[at].1 = sync,
        Ok(_) => {
            asked.waiting.remove(at);
            asked.done += 1;
        }
        Err(refusal) => {
            asked.waiting.remove(at);
            asked.refused.push((name, format!("refused: {}", refusal.message)));
        }
    }
    match record {
        Some(record) => finished(model, id, &record),
        None => tell(model),
    }
}

/// Records the end of a sync, which may be the one that an answer named.
pub(crate) fn finished(model: &mut Model, id: &PodId, record: &Record) {
    let name = model.pod(id).map(|pod| pod.short.clone()).unwrap_or_default();
    let Some(asked) = model.sent.as_mut() else { return };
    let promised = |(waiting, sync): &(PodId, Option<String>)| waiting == id && sync.as_ref() == Some(&record.id);
    let Some(at) = asked.waiting.iter().position(promised) else { return };
    asked.waiting.remove(at);
    match record.outcome {
        Outcome::Failed | Outcome::Refused => {
            let why = record.error.as_ref().map_or("no reason given", |error| error.message.as_str());
            asked.refused.push((name, format!("{}: {why}", record.outcome)));
        }
        _ => asked.done += 1,
    }
    tell(model);
}

/// Shows the summary. The answer of a single replica is shown unchanged.
fn tell(model: &mut Model) {
    let Some(asked) = &model.sent else { return };
    let (text, bad) = (words(asked), !asked.refused.is_empty());
    if asked.total == 1 {
        // The answer itself has been shown already; the result of its sync is new.
        if asked.waiting.is_empty() && bad {
            model.say_for(LONG, text, true);
        }
        return;
    }
    let time = if bad { LONG } else { SignedDuration::from_secs(6) };
    if asked.waiting.is_empty() {
        model.note(None, "you", text.clone(), bad);
    }
    model.say_for(time, text, bad);
}

/// `rolled back to c69507e: 7 of 8 ok   web-3 refused: no such tree`
#[must_use]
pub(crate) fn words(asked: &Sent) -> String {
    let what = match &asked.change {
        Change::Sync => "synced".to_owned(),
        Change::Pause { minutes } => format!("paused for {}", pause_words(*minutes)),
        Change::Resume => "resumed".to_owned(),
        Change::Pin { commit } => format!("rolled back to {}", super::text::short(commit)),
        Change::Unpin => "unpinned".to_owned(),
    };
    let mut line = format!("{what}: {} of {} ok", asked.done, asked.total);
    if !asked.waiting.is_empty() {
        line.extend([", ", &asked.waiting.len().to_string(), " still to come"]);
    }
    let refused = asked.refused.iter().take(TOLD).map(|(name, reason)| format!("{name} {reason}"));
    let more = asked.refused.len().checked_sub(TOLD).filter(|more| *more > 0);
    let more = more.map(|more| format!("{more} more (3: events)"));
    let parts: Vec<_> = std::iter::once(line).chain(refused).chain(more).collect();
    parts.join("   ")
}

/// Returns the text of an answer in the Events view, and whether it is bad.
#[must_use]
pub(crate) fn note(change: &Change, answer: &Result<Accepted, Refusal>) -> (String, bool) {
    let words = change.words();
    match answer {
        Ok(accepted) => {
            let result = match (&accepted.sync, accepted.paused_until, change) {
                (Some(sync), _, _) => format!("{} accepted", text::sync_name(sync)),
                (None, Some(_), Change::Pause { minutes }) => format!("paused for {minutes}m"),
                _ => "accepted".to_owned(),
            };
            (format!("{words} -> {result}"), false)
        }
        Err(refusal) => {
            let hint = refusal.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            (format!("{words} refused: {}{hint}", refusal.message), true)
        }
    }
}
