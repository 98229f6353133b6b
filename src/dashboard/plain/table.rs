//! The view as aligned tables: no color, no cursor; the verdict is the last line.

use std::io::{self, Write};

use crate::api::{Action, Record};
use crate::dashboard::fleet::{self, Shown};
use crate::dashboard::model::{Link, Model, Pod, Presence};
use crate::dashboard::text;
use crate::dashboard::verdict::words;
use crate::dashboard::verdict::{Group, Verdict};
use crate::dashboard::webhooks;

/// Syncs below the replicas.
const SYNCS: usize = 10;

/// Writes the tables and the verdict.
///
/// # Errors
/// The output is gone.
pub fn table(model: &Model, verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    let order = fleet::worst_first(model);
    if order.is_empty() {
        writeln!(out, "no pods match {}", model.setup.subject)?;
    }
    let mut left: Vec<&Pod> = order;
    for group in &verdict.groups {
        heading(model, group, out)?;
        let (mine, others) = left.into_iter().partition(|pod| belongs(pod, group, verdict.groups.len()));
        left = others;
        replicas(model, &mine, out)?;
        if verdict.groups.len() > 1 {
            writeln!(out)?;
        }
    }
    if !left.is_empty() {
        replicas(model, &left, out)?;
    }
    problems(model, out)?;
    if let Some(waiting) = fleet::waiting_records(model) {
        writeln!(out, "history: {}", text::clean(&waiting))?;
    }
    syncs(model, out)?;
    writeln!(out)?;
    // From here on the important lines: the end of a CI log, and `tail`, show the verdict.
    if let Some(alert) = webhooks::alert(model) {
        writeln!(out, "{alert}")?;
    }
    for line in words::lacking(verdict) {
        writeln!(out, "{line}")?;
    }
    if verdict.groups.len() > 1 {
        for group in &verdict.groups {
            writeln!(out, "{}", words::group_line(group))?;
        }
    }
    writeln!(out, "{}", words::line(verdict))
}

/// Returns true if a replica belongs to the table of this group. Replicas that never answered belong to the only one.
fn belongs(pod: &Pod, group: &Group, groups: usize) -> bool {
    match (&pod.snapshot, &group.source) {
        (Some(snapshot), Some(source)) => snapshot.repo == source.repo && snapshot.reference == source.reference,
        _ => groups == 1,
    }
}

fn heading(model: &Model, group: &Group, out: &mut impl Write) -> io::Result<()> {
    if group.source.is_some() {
        writeln!(out, "{}  {}", words::source(group.source.as_ref()), text::clean(&model.setup.subject))?;
    }
    let Some(target) = &group.target else { return Ok(()) };
    let label = if model.setup.commit.is_some() { "commit" } else { "head" };
    writeln!(out, "{label} {} (live on {} of {})", words::commit(target), group.live, group.total)?;
    if let Some(newest) = &group.newest {
        writeln!(out, "head {}", words::commit(newest))?;
    }
    Ok(())
}

fn replicas(model: &Model, pods: &[&Pod], out: &mut impl Write) -> io::Result<()> {
    if pods.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["POD", "STATE", "COMMIT", "PUBLISHED", "LAG", "LINK"].map(str::to_owned).to_vec()];
    rows.extend(pods.iter().map(|pod| {
        let published = pod.snapshot.as_ref().and_then(|snapshot| snapshot.published.as_ref());
        let at = published.and_then(|published| published.published_at);
        let lag = match fleet::lag(model, pod) {
            Some(lag) => lag.commits.map_or("?".to_owned(), |count| count.to_string()),
            None if published.is_some() => "0".to_owned(),
            None => "-".to_owned(),
        };
        let commit = published.map_or("-".to_owned(), |published| text::short(&published.commit));
        // Absolute and in UTC: a table in a log is read later, when an age would be wrong.
        let at = at.map_or("-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        vec![pod.name.clone(), state(model, pod), commit, at, lag, link(model, pod)]
    }));
    aligned(out, &rows)
}

/// The state, and a pause or pin that it would hide.
fn state(model: &Model, pod: &Pod) -> String {
    let shown = fleet::state(model, pod);
    let word = match shown {
        Shown::Failed(count) if count > 1 => format!("failed x{count}"),
        shown => shown.word().to_owned(),
    };
    match fleet::hidden_hold(pod, shown) {
        Some(hold) => format!("{word}, {hold}"),
        None => word,
    }
}

fn link(model: &Model, pod: &Pod) -> String {
    let words = match (&pod.link, &pod.presence) {
        (Link::Live, _) => "live".to_owned(),
        (Link::Retry { problem, .. }, _) => problem.reason.clone(),
        (Link::Idle, Presence::NotReady(reason)) => format!("not ready: {reason}"),
        (Link::Connecting | Link::Idle, _) if pod.visited && pod.heard_at.is_some() => {
            let heard = pod.heard_at.unwrap_or(model.now);
            format!("seen {} ago", text::age_short(model.now.duration_since(heard)))
        }
        // The table is printed at the end of the wait, so a link that is still connecting has missed it.
        (Link::Connecting, _) => "no answer in time".to_owned(),
        (Link::Idle, _) => "not looked at".to_owned(),
    };
    match &pod.container {
        // A live link shows that the sidecar runs; the reason why another container waits is shown all the same.
        Some(container) => format!("{words} ({container})"),
        None => words,
    }
}

/// Writes errors of syncs and of connections with hints. Replicas mostly share a hint, so each is written once.
fn problems(model: &Model, out: &mut impl Write) -> io::Result<()> {
    for pod in fleet::worst_first(model) {
        let Some(error) = pod.snapshot.as_ref().and_then(|snapshot| snapshot.last_error.as_ref()) else { continue };
        writeln!(
            out,
            "{}: {} failed: {}",
            text::clean(&pod.name),
            text::phase(error.phase),
            text::clean(&error.message)
        )?;
        if let Some(hint) = &error.hint {
            writeln!(out, "  hint: {}", text::clean(hint))?;
        }
    }
    let of_links = model.pods.iter().filter_map(|pod| pod.problem.as_ref()?.hint.as_deref());
    let of_pods = model.pods.iter().filter(|pod| !pod.live()).filter_map(|pod| pod.advice.as_deref());
    let mut hints: Vec<&str> = Vec::new();
    for hint in of_links.chain(of_pods) {
        if !hints.contains(&hint) {
            hints.push(hint);
            writeln!(out, "hint: {}", text::clean(hint))?;
        }
    }
    Ok(())
}

fn syncs(model: &Model, out: &mut impl Write) -> io::Result<()> {
    if model.fleet_rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut rows = vec![["TIME", "POD", "TRIGGER", "OUTCOME", "COMMIT", "TOOK", "SUBJECT"].map(str::to_owned).to_vec()];
    rows.extend(model.fleet_rows.iter().take(SYNCS).filter_map(|row| {
        let record = &row.record;
        let told = match (&record.error, &record.commits) {
            (Some(error), _) => error.message.as_str(),
            (None, Some(commits)) => commits.subject.as_str(),
            (None, None) => "",
        };
        let told =
            note(record).map_or_else(|| told.to_owned(), |note| format!("{told} ({note})").trim_start().to_owned());
        Some(vec![
            record.finished_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            model.pod(&row.pod)?.name.clone(),
            record.trigger.kind.to_string(),
            record.outcome.to_string(),
            record.new.as_deref().map_or("-".to_owned(), text::short),
            text::took(text::millis_between(record.started_at, record.finished_at)),
            told,
        ])
    }));
    aligned(out, &rows)
}

/// Returns a remark that the subject does not contain: a user's action, a webhook that failed.
fn note(record: &Record) -> Option<String> {
    let by = record.trigger.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    match (record.trigger.action, &record.ignored_webhook, &record.pinned, &record.withheld) {
        (Some(Action::Rollback), ..) => Some(format!("rolled back{by}")),
        (Some(Action::Pin), ..) => Some(format!("pinned{by}")),
        (Some(Action::Unpin), ..) => Some(format!("unpinned{by}")),
        (_, _, Some(pinned), Some(withheld)) => {
            Some(format!("pinned at {}: {} not published", text::short(pinned), text::short(withheld)))
        }
        (_, Some(reason), ..) => Some(format!("the webhook arrived and was ignored: {reason}")),
        _ if record.missed_webhook => Some("webhook missed".to_owned()),
        _ if record.rewritten => Some("history rewritten".to_owned()),
        _ => None,
    }
}

/// Columns as wide as their widest cell; the last is free.
fn aligned(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    // Cut, so that one long message does not push all columns apart. `cut` also removes what could move the cursor.
    let cell = |row: &Vec<String>, column: usize| {
        row.get(column).map(|it| text::cut(it, 200, text::ELLIPSIS)).unwrap_or_default()
    };
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
