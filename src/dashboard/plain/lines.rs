//! `--watch`: a line for each event, append only. As text for users and screen readers, or as JSON.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::api::{Event, Outcome, Record, State, Webhook};
use crate::dashboard::message::{Msg, News};
use crate::dashboard::model::{Model, Pod, PodId, Presence, TimeFormat};
use crate::dashboard::text;
use crate::dashboard::verdict::{self, Verdict, words};
use crate::dashboard::webhooks;

/// The state at the last line, for changes that are not events themselves.
#[derive(Debug, Default)]
pub struct Lines {
    verdict: Vec<String>,
    /// The alert in force, and since when.
    alert: Option<(String, Timestamp)>,
    states: Vec<(PodId, String)>,
    /// The last report about the webhook.
    webhooks: Vec<(PodId, Webhook)>,
    /// The pods and how they were; `None` before the first message.
    pods: Option<Vec<(PodId, Presence)>>,
}

/// Returns a JSON document for a message; `None` for one without news.
#[must_use]
pub fn json(model: &Model, at: Timestamp, msg: &Msg) -> Option<Value> {
    let line = |pod: &str, event: &str, data: Value| json!({"at": at, "pod": pod, "event": event, "data": data});
    match msg {
        Msg::Pods(Err(problem)) => Some(line("", "listing_failed", json!({"reason": problem.reason}))),
        Msg::Link(id, news) => {
            let pod = model.pod(id).map(|pod| pod.name.clone()).unwrap_or_default();
            match news {
                News::Snapshot(snapshot) => Some(line(&pod, "snapshot", serde_json::to_value(snapshot).ok()?)),
                News::Event(event) => {
                    let data = serde_json::from_str(&event.data().ok()?).ok()?;
                    Some(line(&pod, event.name(), data))
                }
                News::Lost { problem, attempt, .. } => Some(line(
                    &pod,
                    "lost",
                    json!({"reason": problem.reason, "hint": problem.hint, "attempt": attempt}),
                )),
                News::Line(words) => Some(line(&pod, "kubectl", json!({"line": words}))),
                _ => None,
            }
        }
        _ => None,
    }
}

impl Lines {
    /// The lines of text for a message that the model has taken.
    #[must_use]
    pub fn text(&mut self, model: &Model, at: Timestamp, msg: &Msg) -> Vec<String> {
        let mut said: Vec<String> = self.pods(model);
        match msg {
            Msg::Pods(Err(problem)) => said.push(format!("cannot list the pods: {}", problem.reason)),
            Msg::Link(id, news) => {
                let name = model.pod(id).map(|pod| pod.name.clone()).unwrap_or_default();
                let words = match news {
                    News::Event(Event::Delivery(webhook)) => {
                        webhooks::news(self.webhook_of(id), webhook).map(|words| format!("webhook {words}"))
                    }
                    news => news_words(news),
                };
                said.extend(words.map(|words| format!("{name} {words}")));
                said.extend(self.state(model, id, &name));
                self.remember(model, id);
            }
            _ => {}
        }
        said.extend(self.webhook(model));
        let verdict = verdict::judge(model);
        // The remaining time of a pause is in the words, and changes by itself.
        let facts = facts(&verdict);
        if self.verdict != facts {
            said.push(words::line(&verdict));
            self.verdict = facts;
        }
        let zone = if model.time_format == TimeFormat::Utc { TimeZone::UTC } else { model.zone.clone() };
        let time = at.to_zoned(zone).strftime("%H:%M:%S").to_string();
        // Subjects and reasons come from outside, and this output is often a terminal.
        said.into_iter().map(|words| format!("{time} {}", text::clean(&words))).collect()
    }

    /// Pods that came, became ready or went. Those of the start are in the verdict.
    fn pods(&mut self, model: &Model) -> Vec<String> {
        let now: Vec<(PodId, Presence)> = model.pods.iter().map(|pod| (pod.id.clone(), pod.presence.clone())).collect();
        let Some(before) = self.pods.replace(now) else { return Vec::new() };
        let line = |pod: &Pod| {
            let known = before.iter().find(|(id, _)| *id == pod.id).map(|(_, presence)| presence);
            let words = match (known, &pod.presence) {
                (Some(known), now) if known == now => return None,
                (Some(Presence::Gone { .. }), Presence::Gone { .. }) => return None,
                (None, Presence::Running) => "is new".to_owned(),
                (None, Presence::NotReady(reason)) => format!("is new and not ready: {reason}"),
                (_, Presence::NotReady(reason)) => format!("is not ready: {reason}"),
                (_, Presence::Running) => "is running".to_owned(),
                (_, Presence::Gone { .. }) => "is gone".to_owned(),
            };
            Some(format!("{} {words}", pod.name))
        };
        model.pods.iter().filter_map(line).collect()
    }

    /// Returns a line for an alert about webhooks that began, or that deliveries ended. An alert that ends because its
    /// replica is lost, or because refused deliveries have become old, is not reported.
    fn webhook(&mut self, model: &Model) -> Option<String> {
        // Its age changes by itself, which is not reported.
        let kind = |alert: &str| alert.split(':').next().map(str::to_owned);
        match (webhooks::alert(model), self.alert.take()) {
            (None, None) => None,
            (Some(alert), Some((before, since))) if kind(&alert) == kind(&before) => {
                self.alert = Some((alert, since));
                None
            }
            (Some(alert), _) => {
                self.alert = Some((alert.clone(), model.now));
                Some(alert)
            }
            (None, Some((_, since))) => {
                let last = webhooks::health(model).last;
                let arrived = last.is_some_and(|last| last.current && last.ignored.is_none() && last.at >= since);
                arrived.then(|| "webhooks arrive again".to_owned())
            }
        }
    }

    fn webhook_of(&self, id: &PodId) -> Option<&Webhook> {
        self.webhooks.iter().find(|(known, _)| known == id).map(|(_, webhook)| webhook)
    }

    fn remember(&mut self, model: &Model, id: &PodId) {
        let Some(snapshot) = model.pod(id).and_then(|pod| pod.snapshot.as_deref()) else { return };
        self.webhooks.retain(|(known, _)| known != id);
        self.webhooks.push((id.clone(), snapshot.webhook.clone()));
    }

    /// A pause or pin that began or ended.
    fn state(&mut self, model: &Model, id: &PodId, name: &str) -> Option<String> {
        let snapshot = model.pod(id)?.snapshot.as_deref()?;
        let by = |by: &Option<String>| by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        // Without the time that is left of a pause, which would make a new line each minute.
        let mut held = Vec::new();
        if snapshot.paused_until.is_some() || snapshot.state == State::Paused {
            held.push(format!("paused{}", by(&snapshot.paused_by)));
        }
        if let Some(commit) = &snapshot.pinned {
            held.push(format!("pinned at {}{}", text::short(commit), by(&snapshot.pinned_by)));
        }
        let now = held.join(", ");
        let before = if let Some((_, known)) = self.states.iter_mut().find(|(known, _)| known == id) {
            std::mem::replace(known, now.clone())
        } else {
            self.states.push((id.clone(), now.clone()));
            String::new()
        };
        match (before == now, now.is_empty()) {
            (true, _) => None,
            (false, true) => Some(format!("{name} no longer {before}")),
            (false, false) => Some(format!("{name} {now}")),
        }
    }
}

/// Returns the parts of a verdict whose change is reported.
fn facts(verdict: &Verdict) -> Vec<String> {
    if verdict.connecting {
        return vec![words::line(verdict)];
    }
    let lacking = verdict.groups.iter().flat_map(|group| &group.lacking).chain(&verdict.unplaced);
    let reasons = lacking.map(|lack| format!("{} {}", lack.pod, lack.why.word()));
    let targets = verdict.groups.iter().map(|group| {
        let target = group.target.as_ref().map(|target| (&target.commit, &target.subject));
        format!("{target:?} {} {}", group.live, group.total)
    });
    std::iter::once(verdict.kind().word().to_owned()).chain(targets).chain(reasons).collect()
}

fn news_words(news: &News) -> Option<String> {
    Some(match news {
        News::Snapshot(snapshot) => match &snapshot.published {
            Some(published) => format!("publishes {} {}", text::short(&published.commit), published.subject),
            None => "has published nothing yet".to_owned(),
        },
        News::Event(Event::SyncFinished(record)) => finished(record),
        News::Event(Event::SyncStarted(running)) => format!("syncs ({})", running.trigger),
        // Each further attempt that fails reports the same loss.
        News::Lost { problem, attempt: 1, .. } => format!("lost: {}", problem.reason),
        _ => return None,
    })
}

/// `published 78afaef New hero image 25ms`
fn finished(record: &Record) -> String {
    let commit = record.new.as_deref().map(text::short).unwrap_or_default();
    let took = record.received_to_published_ms;
    let took = text::took(took.unwrap_or_else(|| text::millis_between(record.started_at, record.finished_at)));
    let missed = if record.missed_webhook { " (webhook missed)" } else { "" };
    match record.outcome {
        Outcome::Published => {
            let subject = record.commits.as_ref().map_or("", |commits| commits.subject.as_str());
            format!("published {commit} {subject} {took}{missed}")
        }
        Outcome::Unchanged => format!("unchanged {commit}"),
        Outcome::Failed | Outcome::Refused => {
            let error = record.error.as_ref();
            let why = error.map_or_else(
                || "no reason given".to_owned(),
                |it| format!("{}: {}", text::phase(it.phase), it.message),
            );
            format!("{} {commit} {why}", record.outcome)
        }
        Outcome::Unknown => format!("ended in a way this program does not know {commit}"),
    }
}
