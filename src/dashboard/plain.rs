//! The fleet without a screen: a table, a document, a stream of lines, an exit code.
//!
//! Machine formats carry RFC 3339 UTC times and the API's own words; nothing here moves a cursor.

use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::{Outcome, SCHEMA};
use crate::clock::Clock;

use super::fleet::{self, Shown};
use super::links::Links;
use super::message::{Effect, Msg, News};
use super::model::{Link, Model, Pod};
use super::text;
use super::update::update;

/// Syncs in the table and the document.
const SYNCS: usize = 50;
const SYNCS_IN_TABLE: usize = 10;

/// Exit codes of `--check`.
pub const IN_SYNC: u8 = 0;
pub const NONE_REACHABLE: u8 = 2;
pub const BEHIND: u8 = 3;

/// What `--check` was asked.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// In lower case, at least seven digits. `None`: the newest head known to any replica.
    pub commit: Option<String>,
    pub wait: Option<Duration>,
}

/// A dashboard without a screen.
pub struct Plain<'a> {
    pub model: Model,
    pub clock: Clock,
    pub links: &'a mut Links,
    pub messages: mpsc::Receiver<Msg>,
    pub signals: mpsc::Receiver<u8>,
}

/// Why waiting ended.
enum Ended {
    Enough,
    Late,
    Signal(u8),
}

impl Plain<'_> {
    /// Waits for every replica's first answer, or until `timeout`. Returns a code if a signal came first.
    pub async fn gather(&mut self, timeout: Duration) -> Option<u8> {
        match self.until(timeout, everybody_answered).await {
            Ended::Enough | Ended::Late => None,
            Ended::Signal(code) => Some(code),
        }
    }

    /// Waits for a verdict. Returns the exit code.
    pub async fn check(&mut self, check: &Check, timeout: Duration) -> u8 {
        let ended = match check.wait {
            None => self.until(timeout, everybody_answered).await,
            Some(wait) => self.until(wait, |model| verdict(model, check.commit.as_deref()) == IN_SYNC).await,
        };
        match ended {
            Ended::Signal(code) => code,
            Ended::Enough | Ended::Late => verdict(&self.model, check.commit.as_deref()),
        }
    }

    async fn until(&mut self, timeout: Duration, enough: impl Fn(&Model) -> bool) -> Ended {
        let deadline = Instant::now() + timeout;
        loop {
            if enough(&self.model) {
                return Ended::Enough;
            }
            tokio::select! {
                msg = self.messages.recv() => match msg {
                    Some(msg) => self.take(msg),
                    None => return Ended::Late,
                },
                code = self.signals.recv() => return Ended::Signal(code.unwrap_or(143)),
                () = tokio::time::sleep_until(deadline) => return Ended::Late,
            }
        }
    }

    fn take(&mut self, msg: Msg) {
        for effect in update(&mut self.model, self.clock.now(), msg) {
            if !matches!(effect, Effect::Quit | Effect::Copy(_)) {
                self.links.carry_out(effect);
            }
        }
    }

    /// Writes one line for everything that happens until a signal comes. An interrupt is how it is meant to end.
    ///
    /// # Errors
    /// The output is gone.
    pub async fn watch(&mut self, out: &mut impl Write) -> io::Result<u8> {
        loop {
            tokio::select! {
                msg = self.messages.recv() => {
                    let Some(msg) = msg else { return Ok(0) };
                    let line = self.line(&msg);
                    self.take(msg);
                    if let Some(line) = line {
                        writeln!(out, "{line}")?;
                        out.flush()?;
                    }
                }
                code = self.signals.recv() => return Ok(match code { Some(130) | None => 0, Some(code) => code }),
            }
        }
    }

    fn line(&self, msg: &Msg) -> Option<Value> {
        let at = self.clock.now();
        let line = |pod: &str, event: &str, data: Value| json!({"at": at, "pod": pod, "event": event, "data": data});
        match msg {
            Msg::Pods(Err(problem)) => Some(line("", "listing_failed", json!({"reason": problem.reason}))),
            Msg::Link(id, news) => {
                let pod = self.model.pod(id).map(|pod| pod.name.clone()).unwrap_or_default();
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
}

/// Every replica has answered, failed at least once, or is not there to be asked.
fn everybody_answered(model: &Model) -> bool {
    let waits = |pod: &Pod| !pod.gone() && pod.snapshot.is_none() && pod.link == Link::Connecting;
    model.listed && !model.pods.iter().any(waits)
}

/// Whether a commit is live on a replica: published now, or published and since replaced by a newer one.
fn has(model: &Model, pod: &Pod, commit: Option<&str>) -> bool {
    let Some(snapshot) = pod.snapshot.as_deref().filter(|_| pod.live()) else { return false };
    let Some(wanted) = commit else {
        return fleet::has_newest(model, pod)
            && !matches!(fleet::state(model, pod), Shown::Failed(_) | Shown::Starting);
    };
    let is = |commit: &str| commit.starts_with(wanted);
    let now = snapshot.published.as_ref().is_some_and(|published| is(&published.commit));
    // Somebody pushed again meanwhile. A pin is different: it takes commits away on purpose.
    let before = snapshot.pinned.is_none()
        && pod
            .records
            .iter()
            .any(|record| record.outcome == Outcome::Published && record.new.as_deref().is_some_and(is));
    now || before
}

/// The exit code that says how the fleet is.
#[must_use]
pub fn verdict(model: &Model, commit: Option<&str>) -> u8 {
    let mut there = model.pods.iter().filter(|pod| !pod.gone()).peekable();
    if there.peek().is_none() || !model.pods.iter().any(Pod::live) {
        return NONE_REACHABLE;
    }
    if there.all(|pod| has(model, pod, commit)) { IN_SYNC } else { BEHIND }
}

/// One document about everything.
#[must_use]
pub fn document(model: &Model, now: Timestamp, commit: Option<&str>) -> Value {
    let head = fleet::head(model);
    let replicas: Vec<Value> = fleet::worst_first(model)
        .into_iter()
        .map(|pod| {
            let snapshot = pod.snapshot.as_deref();
            let (link, reason, hint) = match &pod.link {
                Link::Live => ("live", None, None),
                Link::Connecting => ("connecting", None, None),
                Link::Idle => ("none", None, None),
                Link::Retry { problem, .. } => ("lost", Some(problem.reason.clone()), problem.hint.clone()),
            };
            let lag = fleet::lag(model, pod);
            json!({
                "name": pod.name,
                "namespace": pod.namespace,
                "link": link,
                "reason": reason,
                "hint": hint,
                "gone": pod.gone(),
                "in_sync": has(model, pod, commit),
                "state": fleet::state(model, pod).word().replace(' ', "_"),
                "behind_commits": lag.as_ref().and_then(|lag| lag.commits),
                "behind_since": lag.as_ref().map(|lag| lag.since),
                "repo": snapshot.map(|it| it.repo.clone()),
                "ref": snapshot.map(|it| it.reference.clone()),
                "published": snapshot.and_then(|it| it.published.clone()),
                "head": snapshot.and_then(|it| it.head.clone()),
                "failures_in_row": snapshot.map(|it| it.failures_in_row),
                "last_error": snapshot.and_then(|it| it.last_error.clone()),
                "webhook": snapshot.map(|it| it.webhook.clone()),
                "poll": snapshot.map(|it| it.poll.clone()),
                "paused_until": snapshot.and_then(|it| it.paused_until),
                "pinned": snapshot.and_then(|it| it.pinned.clone()),
                "version": snapshot.map(|it| it.replica.version.clone()),
            })
        })
        .collect();
    let history: Vec<Value> = model
        .fleet_rows
        .iter()
        .take(SYNCS)
        .filter_map(|row| {
            let mut value = serde_json::to_value(row.record.as_ref()).ok()?;
            let name = model.pod(&row.pod)?.name.clone();
            value.as_object_mut()?.insert("replica".to_owned(), Value::String(name));
            Some(value)
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "now": now,
        "in_sync": verdict(model, commit) == IN_SYNC,
        "head": head.map(|head| json!({"commit": head.commit, "seen_at": head.seen_at, "subject": head.subject})),
        "replicas": replicas,
        "history": history,
    })
}

/// The fleet as an aligned table for people: no colour, no cursor.
///
/// # Errors
/// The output is gone.
pub fn table(model: &Model, out: &mut impl Write) -> io::Result<()> {
    let total = model.pods.iter().filter(|pod| !pod.gone()).count();
    let having = model.pods.iter().filter(|pod| !pod.gone() && fleet::has_newest(model, pod)).count();
    if let Some(lead) = fleet::lead(model) {
        writeln!(out, "{} @ {}  {}", text::clean(&lead.repo), text::clean(&lead.reference), model.setup.subject)?;
    }
    if let Some(head) = fleet::head(model) {
        let subject = head.subject.as_deref().unwrap_or("");
        writeln!(out, "head {} {} (published on {having}/{total})", text::short(&head.commit), text::clean(subject))?;
    }
    let order = fleet::worst_first(model);
    if order.is_empty() {
        writeln!(out, "no pods match {}", model.setup.subject)?;
    }
    let mut rows = vec![["POD", "STATE", "COMMIT", "PUBLISHED", "LAG", "LINK"].map(str::to_owned).to_vec()];
    rows.extend(order.iter().map(|pod| {
        let published = pod.snapshot.as_ref().and_then(|snapshot| snapshot.published.as_ref());
        let at = published.and_then(|published| published.published_at);
        let lag = match fleet::lag(model, pod) {
            Some(lag) => lag.commits.map_or("?".to_owned(), |count| count.to_string()),
            None if published.is_some() => "0".to_owned(),
            None => "-".to_owned(),
        };
        let link = match &pod.link {
            Link::Live => "live".to_owned(),
            Link::Connecting => "no answer in time".to_owned(),
            Link::Idle => "not connected".to_owned(),
            Link::Retry { problem, .. } => problem.reason.clone(),
        };
        let commit = published.map_or("-".to_owned(), |published| text::short(&published.commit));
        let at = at.map_or("-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let state = match fleet::state(model, pod) {
            Shown::Failed(count) if count > 1 => format!("failed x{count}"),
            shown => shown.word().to_owned(),
        };
        vec![pod.name.clone(), state, commit, at, lag, link]
    }));
    aligned(out, &rows)?;
    for pod in &order {
        let Some(error) = pod.snapshot.as_ref().and_then(|snapshot| snapshot.last_error.as_ref()) else { continue };
        writeln!(out, "{}: {} failed: {}", pod.name, error.phase, text::clean(&error.message))?;
        if let Some(hint) = &error.hint {
            writeln!(out, "  hint: {}", text::clean(hint))?;
        }
    }
    // Replicas that cannot be reached mostly share the reason, which stands in their rows.
    let mut hints: Vec<&str> =
        model.pods.iter().filter_map(|pod| pod.problem.as_ref().and_then(|problem| problem.hint.as_deref())).collect();
    hints.dedup();
    for hint in hints {
        writeln!(out, "hint: {}", text::clean(hint))?;
    }
    if model.fleet_rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut rows = vec![["TIME", "POD", "TRIGGER", "OUTCOME", "COMMIT", "TOOK", "SUBJECT"].map(str::to_owned).to_vec()];
    rows.extend(model.fleet_rows.iter().take(SYNCS_IN_TABLE).filter_map(|row| {
        let record = &row.record;
        let told = match (&record.error, &record.commits) {
            (Some(error), _) => error.message.as_str(),
            (None, Some(commits)) => commits.subject.as_str(),
            (None, None) => "",
        };
        Some(vec![
            record.finished_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            model.pod(&row.pod)?.name.clone(),
            record.trigger.kind.to_string(),
            record.outcome.to_string(),
            record.new.as_deref().map_or("-".to_owned(), text::short),
            text::took(text::millis_between(record.started_at, record.finished_at)),
            told.to_owned(),
        ])
    }));
    aligned(out, &rows)
}

/// Columns as wide as their widest cell; the last is free.
fn aligned(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell =
        |row: &Vec<String>, column: usize| row.get(column).map(|it| text::cut(it, 200, "..")).unwrap_or_default();
    let width = |column: usize| rows.iter().map(|row| text::width(&cell(row, column))).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, wide) in widths.iter().enumerate() {
            let cell = cell(row, column);
            line.push_str(&cell);
            line.push_str(&" ".repeat(wide - text::width(&cell) + 2));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
