//! Handles what the pod list and the links report: new and deleted pods, snapshots, syncs, answers.
//!
//! Part of `update`: pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::{Accepted, Event, Head, Outcome, Published, Record, Refusal, SCHEMA, Snapshot, State};

use super::answers;
use super::ask;
use super::cursor;
use super::lists;
use super::message::{Change, Effect, News, Report};
use super::model::{Found, Link, Loaded, Model, Pod, PodId, Presence, Problem};
use super::names;
use super::text;
use super::webhooks;

/// Handles a report.
pub(crate) fn handle(model: &mut Model, report: Report) -> Vec<Effect> {
    match report {
        Report::Pods(Ok(found)) => pods(model, found),
        Report::Pods(Err(problem)) => {
            if model.listing_problem.as_ref() != Some(&problem) {
                model.note(None, "kubectl", format!("cannot list the pods: {}", problem.reason), true);
            }
            model.listing_problem = Some(problem);
            Vec::new()
        }
        Report::Link(id, news) => link(model, &id, news),
    }
}

/// Unfreezes the screen: the kept reports are handled now, each with its own time.
pub(crate) fn thaw(model: &mut Model, now: Timestamp) -> Vec<Effect> {
    model.frozen = false;
    let mut effects = Vec::new();
    for (at, report) in std::mem::take(&mut model.held) {
        model.now = at;
        effects.extend(handle(model, report));
    }
    model.now = now;
    effects
}

fn pods(model: &mut Model, found: Vec<Found>) -> Vec<Effect> {
    model.listed = true;
    model.listing_problem = None;
    let mut effects = Vec::new();
    let now = model.now;
    let missing: Vec<PodId> = model
        .pods
        .iter()
        .filter(|pod| !pod.gone() && !found.iter().any(|found| found.id == pod.id))
        .map(|pod| pod.id.clone())
        .collect();
    for id in missing {
        leave(model, &id, now, &mut effects);
    }
    for found in found {
        match model.pods.iter().position(|pod| pod.id == found.id) {
            None => {
                let gone = matches!(found.presence, Presence::Gone { .. });
                if !gone {
                    let id = found.id.clone();
                    model.pods.push(Pod::new(found));
                    lists::refresh(model);
                    if model.setup.kubernetes {
                        model.note(Some(&id), "pods", "appeared", false);
                    }
                }
            }
            Some(index) => match (&model.pods[index].presence, &found.presence) {
                (Presence::Gone { .. }, Presence::Gone { .. }) => {}
                (_, Presence::Gone { .. }) => leave(model, &found.id, now, &mut effects),
                _ => {
                    let pod = &mut model.pods[index];
                    (pod.presence, pod.container, pod.advice) = (found.presence, found.container, found.advice);
                    pod.sidecar = found.sidecar;
                }
            },
        }
    }
    lists::refresh(model);
    effects
}

fn leave(model: &mut Model, id: &PodId, now: Timestamp, effects: &mut Vec<Effect>) {
    model.note(Some(id), "pods", "is gone", false);
    if let Some(pod) = model.pod_mut(id) {
        pod.presence = Presence::Gone { since: now };
        if pod.attached() {
            effects.push(Effect::Detach(id.clone()));
        }
        pod.link = Link::Idle;
    }
}

fn link(model: &mut Model, id: &PodId, news: News) -> Vec<Effect> {
    let now = model.now;
    let Some(pod) = model.pod_mut(id) else { return Vec::new() };
    // A stopped link may still have sent a message.
    if !pod.attached() {
        return Vec::new();
    }
    match news {
        News::Connecting => {
            pod.link = Link::Connecting;
            model.stale = true;
        }
        News::Heartbeat => pod.heard_at = Some(now),
        News::Line(line) => model.note(Some(id), "kubectl", line, true),
        News::Snapshot(snapshot) => live(model, id, snapshot),
        News::Event(event) => {
            pod.heard_at = Some(now);
            happened(model, id, event);
            model.stale = true;
        }
        News::Lost { problem, attempt, retry_in } => {
            let wait = SignedDuration::try_from(retry_in).unwrap_or(SignedDuration::from_secs(10));
            let at = now.saturating_add(wait).unwrap_or(now);
            let was_live = pod.live();
            let told = pod.problem.as_ref() == Some(&problem);
            pod.problem = Some(problem.clone());
            pod.records.loading = false;
            let reason = problem.reason.clone();
            pod.link = Link::Retry { attempt, at, problem };
            model.stale = true;
            model.details.retain(|((owner, _), loaded)| owner != id || !matches!(loaded, Loaded::Waiting));
            // The same reason is noted once, however often it is repeated.
            if !told {
                let word = if was_live { "lost" } else { "not connected" };
                model.note(Some(id), "link", format!("{word}: {reason}"), true);
            }
            // A lost link is often the first sign that the pod is gone.
            return if model.setup.kubernetes { vec![Effect::ListPods] } else { Vec::new() };
        }
        News::Page(Ok(records)) => {
            pod.records.extend(records);
            lists::refresh(model);
            if model.to_end {
                cursor::select_last(model);
            }
        }
        News::Page(Err(problem)) => {
            // Still marked as loading, so that it is not requested again at once; the next snapshot clears that.
            model.say(format!("older syncs cannot be read: {}", problem.reason), true);
        }
        News::Detail(sync, Ok(detail)) => model.set_detail(id, &sync, Loaded::Here(detail)),
        News::Detail(sync, Err(problem)) => model.set_detail(id, &sync, Loaded::Failed(problem.reason)),
        News::Commit(answer) => ask::answered(pod, answer),
        News::Answer(change, answer) => answered(model, id, &change, &answer),
    }
    Vec::new()
}

fn live(model: &mut Model, id: &PodId, mut snapshot: Box<Snapshot>) {
    let now = model.now;
    let Some(pod) = model.pod_mut(id) else { return };
    if snapshot.schema != SCHEMA {
        let problem =
            Problem::new(format!("its API is version {}, this program needs version {SCHEMA}", snapshot.schema))
                .hint("use the dashboard of the same release as the sidecar")
                .word("other api");
        pod.problem = Some(problem.clone());
        pod.link = Link::Retry { attempt: 1, at: now, problem };
        return;
    }
    let was_lost_at = if pod.live() { None } else { pod.heard_at };
    let first = pod.snapshot.is_none();
    let was_live = pod.live();
    pod.heard_at = Some(now);
    pod.link = Link::Live;
    pod.problem = None;
    pod.records.loading = false;
    let caught_up = pod.records.meet(std::mem::take(&mut snapshot.recent));
    pod.offset = snapshot.now.duration_since(now);
    webhooks::note(pod, now, &snapshot.webhook);
    pod.snapshot = Some(snapshot);
    // Before the note, because a replica behind a URL reports its name only now.
    names::name_pods(model);
    model.stale = true;
    if !was_live {
        let text = match was_lost_at {
            Some(lost) if !first => {
                let away = text::age(now.duration_since(lost));
                format!(
                    "live again after {away}, {caught_up} {} caught up",
                    if caught_up == 1 { "sync" } else { "syncs" }
                )
            }
            _ => "live".to_owned(),
        };
        model.note(Some(id), "link", text, false);
    }
}

fn happened(model: &mut Model, id: &PodId, event: Event) {
    let now = model.now;
    match event {
        Event::Snapshot(snapshot) => live(model, id, snapshot),
        Event::State(mut next) => {
            let Some(pod) = model.pod_mut(id) else { return };
            pod.offset = next.now.duration_since(now);
            next.recent = Vec::new();
            webhooks::note(pod, now, &next.webhook);
            pod.snapshot = Some(next);
        }
        Event::SyncStarted(running) | Event::SyncPhase(running) => {
            let Some(snapshot) = model.pod_mut(id).and_then(|pod| pod.snapshot.as_mut()) else { return };
            if snapshot.published.is_some() && snapshot.paused_until.is_none() {
                snapshot.state = State::Syncing;
            }
            snapshot.running = Some(running);
        }
        Event::SyncFinished(record) => finished(model, id, *record),
        Event::SyncAmended(record) => {
            if let Some(pod) = model.pod_mut(id) {
                pod.records.replace(*record);
            }
        }
        Event::Delivery(webhook) => {
            let before = model.pod(id).and_then(|pod| pod.snapshot.as_ref()).map(|snapshot| &snapshot.webhook);
            let refused = before.is_some_and(|before| before.bad_signature < webhook.bad_signature);
            let text = webhooks::news(before, &webhook);
            if let Some(pod) = model.pod_mut(id) {
                webhooks::note(pod, now, &webhook);
                if let Some(snapshot) = pod.snapshot.as_mut() {
                    snapshot.webhook = webhook;
                }
            }
            if let Some(text) = text {
                model.note(Some(id), "webhook", text, refused);
            }
        }
        // The link has already asked for a snapshot.
        Event::Reset => model.note(Some(id), "link", "fell behind: reading everything again", false),
    }
}

fn finished(model: &mut Model, id: &PodId, record: Record) {
    let bad = matches!(record.outcome, Outcome::Failed | Outcome::Refused);
    let text = sync_words(&record);
    let Some(pod) = model.pod_mut(id) else { return };
    if let Some(snapshot) = pod.snapshot.as_mut() {
        snapshot.running = None;
        // The event with the new state follows; until then the row must not contradict the list below it.
        if let (Outcome::Published, Some(commit), Some(commits)) = (record.outcome, &record.new, &record.commits) {
            snapshot.published = Some(Published {
                commit: commit.clone(),
                subject: commits.subject.clone(),
                author: commits.author.clone(),
                committed_at: None,
                published_at: Some(record.finished_at),
            });
            // A published commit has been seen in the remote, and the verdict must not be about an older commit meanwhile.
            let newer = snapshot.head.as_ref().is_none_or(|head| head.seen_at < record.started_at);
            if snapshot.pinned.is_none() && newer {
                snapshot.head = Some(Head { commit: commit.clone(), seen_at: record.started_at });
            }
            if snapshot.state == State::Syncing {
                snapshot.state = if snapshot.pinned.is_some() { State::Pinned } else { State::InSync };
            }
        }
    }
    if pod.records.push_newest(record.clone()) {
        model.note(Some(id), "sync", text, bad);
        answers::finished(model, id, &record);
    }
}

fn sync_words(record: &Record) -> String {
    let commit = record.new.as_deref().map(text::short).unwrap_or_default();
    let what = match record.outcome {
        Outcome::Published => {
            let subject = record.commits.as_ref().map_or("", |commits| commits.subject.as_str());
            format!("published {commit} {subject}")
        }
        Outcome::Unchanged => format!("no change ({commit})"),
        Outcome::Failed | Outcome::Refused => {
            let why = record.error.as_ref().map_or("no reason given", |error| error.message.as_str());
            format!("{} {commit} {why}", record.outcome)
        }
        Outcome::Unknown => format!("ended in a way this program does not know ({commit})"),
    };
    format!("{} {what}", text::sync_name(&record.id))
}

fn answered(model: &mut Model, id: &PodId, change: &Change, answer: &Result<Accepted, Refusal>) {
    let (text, bad) = answers::note(change, answer);
    model.note(Some(id), "you", text.clone(), bad);
    let name = model.pod(id).map(|pod| pod.short.clone()).unwrap_or_default();
    model.say(format!("{name}: {text}"), bad);
    answers::answered(model, id, change, answer);
    lists::refresh(model);
}
