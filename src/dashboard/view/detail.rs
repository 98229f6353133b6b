//! Everything about one sync: when, why, what, how long each phase took, and what to do if it failed.

use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, measure, piece};
use super::panes::{self, Content};
use super::{header, words};
use crate::api::{Outcome, Phase, Record};
use crate::dashboard::fleet;
use crate::dashboard::model::{Loaded, Model, Pane, Pod, PodId};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::dashboard::verdict::Verdict;
use crate::text::size;

/// Columns of the names of the facts.
const LABEL: u16 = 11;

pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict, id: &PodId, sync: &str) {
    let crumbs = [header::crumb(model, id), format!("sync {}", text::sync_name(sync))];
    let mut y = header::draw(canvas, model, verdict, &crumbs);
    let found = model.pod(id).and_then(|pod| Some((pod, pod.records.get(sync)?)));
    let Some((pod, record)) = found else {
        canvas.put(area.x + 1, y + 1, area.width.saturating_sub(2), "this sync is no longer known (Esc)", Role::Dim);
        return;
    };
    let (title, remark) = outcome(model, canvas.glyphs(), pod, record);
    canvas.rule(y, &[title], &[remark]);
    y += 1;
    for line in facts(model, canvas.glyphs(), pod, record, area) {
        if y < area.bottom() {
            canvas.pieces(area.x + 1, y, area.width.saturating_sub(2), &line);
            y += 1;
        }
    }
    let line = phases(canvas, record);
    let lines = if area.height >= 18 {
        fold(&line, &gap(canvas.glyphs(), area), area.width.saturating_sub(2))
    } else {
        vec![line]
    };
    for line in lines {
        canvas.pieces(area.x + 1, y, area.width.saturating_sub(2), &line);
        y += 1;
    }
    y = error(canvas, y, area, record);
    let rest = Rect { y, height: area.bottom().saturating_sub(y), ..area };
    match model.detail(id, sync) {
        Some(Loaded::Here(detail)) if model.diffstat => panes::diffstat(canvas, rest, model, detail, ""),
        Some(Loaded::Here(detail)) => {
            let commits = panes::commits(model, canvas.glyphs(), pod, detail);
            let contents = [
                Content { pane: Pane::First, title: format!("Commits ({})", commits.len()), lines: commits },
                Content {
                    pane: Pane::Second,
                    title: panes::files_title(detail),
                    lines: panes::changes(canvas.glyphs(), detail),
                },
                Content {
                    pane: Pane::Third,
                    title: "Log of this sync".to_owned(),
                    lines: panes::log(detail, area.width),
                },
            ];
            panes::draw(canvas, rest, model, &contents);
        }
        Some(Loaded::Waiting) => note(canvas, rest, "reading commits, files and log from the replica"),
        Some(Loaded::Failed(why)) => note(canvas, rest, &format!("commits, files and log cannot be read: {why}")),
        None => note(canvas, rest, "commits, files and log are on the replica, which is not connected"),
    }
}

fn note(canvas: &mut Canvas<'_>, area: Rect, words: &str) {
    if area.height > 0 {
        canvas.rule(area.y, &[piece("Commits, files, log", Role::Strong)], &[]);
        canvas.put(area.x + 1, area.y + 1, area.width.saturating_sub(2), words, Role::Dim);
    }
}

fn outcome(model: &Model, glyphs: &Glyphs, pod: &Pod, record: &Record) -> (Piece, Piece) {
    let (glyph, role) = words::outcome(glyphs, record);
    let text = match (&record.error, record.outcome) {
        (Some(error), Outcome::Failed) => format!("{glyph} failed at {}", text::phase(error.phase)),
        (Some(_), Outcome::Refused) => format!("{glyph} refused by the pre-publish hook"),
        (_, Outcome::Published) if record.rewritten => format!("{glyph} published, history was rewritten"),
        (_, Outcome::Unchanged) => format!("{glyph} no change"),
        _ => format!("{glyph} {}", record.outcome),
    };
    // Only the newest failure is the one that is tried again.
    let newest_failure = pod.records.iter().next().is_some_and(|newest| newest.id == record.id);
    let remark = match pod.snapshot.as_deref() {
        Some(snapshot) if snapshot.failures_in_row > 0 && newest_failure && !pod.gone() => {
            let next = match fleet::until_next_look(model, pod) {
                Some(wait) if wait.is_positive() => format!(" {} next in {}", glyphs.dot, text::age(wait)),
                Some(_) => format!(" {} trying again now", glyphs.dot),
                None => String::new(),
            };
            format!("attempt {}{next}", snapshot.failures_in_row)
        }
        _ => String::new(),
    };
    (piece(text, role), piece(remark, Role::Dim))
}

fn facts(model: &Model, glyphs: &Glyphs, pod: &Pod, record: &Record, area: Rect) -> Vec<Vec<Piece>> {
    let wide = area.width >= 100;
    let dot = glyphs.dot;
    let label = |name: &str| piece(format!("{name:<10} "), Role::Dim);
    let utc = record.started_at.to_zoned(TimeZone::UTC);
    let age = text::age(fleet::age(model, pod, record.started_at));
    let took = text::took(words::total(record));
    let started = if wide {
        let local = record.started_at.to_zoned(model.zone.clone()).strftime("%H:%M:%S local");
        // All three, because a reader compares it with logs of the cluster, with a chat, and with the present.
        format!("{}  ({local}, {age} ago)          took {took}", utc.strftime("%Y-%m-%d %H:%M:%S%.3f UTC"))
    } else {
        format!("{}, {age} ago {dot} took {took}", utc.strftime("%H:%M:%S%.3f UTC"))
    };
    let mut trigger = record.trigger.kind.to_string();
    if let Some(event) = &record.trigger.event {
        trigger.push(' ');
        trigger.push_str(event);
    }
    let mut extra = Vec::new();
    if let Some(delivery) = &record.trigger.delivery {
        extra.push(format!("delivery {delivery}"));
    }
    if let Some(secret) = &record.trigger.secret {
        extra.push(format!("signature ok ({secret} secret)"));
    }
    if record.trigger.redelivered {
        extra.push("redelivered".to_owned());
    }
    if record.trigger.merged > 1 {
        extra.push(format!("{} triggers merged", record.trigger.merged));
    }
    if record.missed_webhook {
        extra.push("found by a poll: the webhook was missed".to_owned());
    }
    if record.chased > 0 {
        extra.push(format!("webhook was early: looked {} more times", record.chased));
    }
    let gap = gap(glyphs, area);
    let mut trigger_line = vec![label("trigger"), piece(trigger, Role::Plain)];
    trigger_line.extend(extra.iter().map(|words| piece(format!("{gap}{words}"), Role::Plain)));
    let mut commits = vec![label("commits")];
    commits.extend(words::commits(glyphs, record));
    if let Some(told) = &record.commits {
        let count = match told.count {
            Some(1) => "1 commit".to_owned(),
            Some(count) => format!("{count} commits"),
            None => "commits not counted (shallow)".to_owned(),
        };
        commits.push(piece(format!("{gap}{count}"), Role::Plain));
        commits.push(piece(format!("{gap}{}", told.author), Role::Plain));
    }
    let counted = record.commits.as_ref().is_some_and(|commits| commits.count.is_some());
    if record.outcome == Outcome::Published && record.rewritten {
        commits.push(piece(format!("{gap}history was rewritten"), Role::Warn));
    } else if record.outcome == Outcome::Published && record.old.is_some() && counted {
        // If the commits between the old and the new one could be counted, the one leads to the other.
        commits.push(piece(format!("{gap}fast-forward"), Role::Dim));
    }
    if let Some(received) = record.bytes {
        commits.push(piece(format!("{gap}{} received", size(received)), Role::Dim));
    }
    let mut lines = vec![vec![label("started"), piece(started, Role::Plain)]];
    for line in [trigger_line, commits] {
        // A low screen needs its lines for the panes below, so the end is cut there.
        lines.extend(if area.height >= 18 { fold(&line, &gap, area.width.saturating_sub(2)) } else { vec![line] });
    }
    lines.push(vec![label("published"), published(record, glyphs, area.width >= 70)]);
    if !record.peers.is_empty() {
        let told: Vec<String> = record.peers.iter().map(|peer| format!("{} {}", peer.address, peer.result)).collect();
        lines.push(vec![label("peers"), piece(told.join("   "), Role::Plain)]);
    }
    lines
}

/// Returns the text between two facts.
fn gap(glyphs: &Glyphs, area: Rect) -> String {
    if area.width >= 100 { "   ".to_owned() } else { format!(" {} ", glyphs.dot) }
}

/// Breaks a line of facts where one fact begins, if it is wider than `columns`. Each fact but the first brings `gap`.
fn fold(facts: &[Piece], gap: &str, columns: u16) -> Vec<Vec<Piece>> {
    let mut lines: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut used = 0;
    for (at, fact) in facts.iter().enumerate() {
        let mut fact = fact.clone();
        let mut wide = measure(std::slice::from_ref(&fact));
        // A fact of several pieces, such as a name and its number, stays together.
        let rest = facts[at + 1..].iter().take_while(|(text, _)| !text.starts_with(gap));
        let whole = rest.fold(wide, |sum, piece| sum.saturating_add(measure(std::slice::from_ref(piece))));
        if used > LABEL && used.saturating_add(whole) > columns && fact.0.starts_with(gap) {
            fact.0 = format!("{:<1$}{2}", "", usize::from(LABEL), &fact.0[gap.len()..]);
            wide = measure(std::slice::from_ref(&fact));
            lines.push(Vec::new());
            used = 0;
        }
        used = used.saturating_add(wide);
        lines.last_mut().into_iter().for_each(|line| line.push(fact.clone()));
    }
    lines
}

fn published(record: &Record, glyphs: &Glyphs, wide: bool) -> Piece {
    match (record.outcome, &record.old) {
        (Outcome::Published, _) => {
            let new = record.new.as_deref().map(text::short).unwrap_or_default();
            let felt = record.received_to_published_ms;
            let felt = felt.map(|time| {
                format!(", {} after the push{}", text::took(time), if wide { " was heard of" } else { "" })
            });
            piece(format!("{new} is live{}", felt.unwrap_or_default()), Role::Good)
        }
        (_, Some(old)) => piece(format!("{} stays live (nothing was swapped)", text::short(old)), Role::Plain),
        (_, None) => piece(glyphs.dash, Role::Dim),
    }
}

/// `phase  queue 0ms  fetch ▉▉▉ 0.3s …`: bars on a wide screen, numbers on every one.
fn phases(canvas: &Canvas<'_>, record: &Record) -> Vec<Piece> {
    let glyphs = canvas.glyphs();
    let wide = canvas.area.width >= 100;
    let phases = record.phases;
    let parts = [
        ("queue", phases.queue_ms),
        ("fetch", phases.fetch_ms),
        ("build", phases.build_ms),
        ("hook", phases.gate_ms),
        ("publish", phases.publish_ms),
    ];
    let sum: u64 = parts.iter().filter_map(|(_, time)| *time).fold(0, u64::saturating_add).max(1);
    let failed_at = record.error.as_ref().map(|error| match error.phase {
        // Its time is part of the fetch.
        Phase::Look => "fetch".to_owned(),
        phase => text::phase(phase),
    });
    let mut pieces = vec![piece(format!("{:<10} ", "phase"), Role::Dim)];
    let mut first = true;
    for (name, time) in parts {
        let failed = failed_at.as_deref() == Some(name);
        if time.is_none() && (name == "hook" || name == "queue") && !failed {
            continue;
        }
        let gap = if first { String::new() } else { gap(glyphs, canvas.area) };
        first = false;
        pieces.push(piece(format!("{gap}{name} "), Role::Dim));
        if let Some(time) = time {
            if wide {
                // In 128 bits, because a replica may send any number.
                let bars = usize::try_from(u128::from(time) * 12 / u128::from(sum)).unwrap_or(0);
                pieces.push(piece(glyphs.levels[7].repeat(bars.min(12)), Role::Accent));
                pieces.push(piece(if bars > 0 { " " } else { "" }, Role::Plain));
            }
            pieces.push(piece(text::took(time), Role::Plain));
        } else if !failed {
            pieces.push(piece(glyphs.dash, Role::Dim));
        }
        if failed {
            pieces.push(piece(format!(" {}", glyphs.failed), Role::Bad));
        }
    }
    pieces
}

/// The error in full, its causes one below the other; returns the next free line.
fn error(canvas: &mut Canvas<'_>, y: u16, area: Rect, record: &Record) -> u16 {
    let Some(error) = &record.error else { return y };
    let mut y = y;
    canvas.rule(y, &[piece("Error", Role::Bad)], &[piece(&error.kind, Role::Dim)]);
    y += 1;
    let width = usize::from(area.width.saturating_sub(2));
    // The error comes before the content of the sync.
    let most = (area.bottom().saturating_sub(y) * 2 / 3).max(1);
    let bottom = y.saturating_add(most).min(area.bottom());
    let hint = error.hint.as_deref();
    let [reason, hint] =
        text::reason_and_hint(&error.message, hint, width, usize::from(most), canvas.glyphs().ellipsis);
    let mut lines: Vec<Piece> = reason.into_iter().map(|line| piece(line, Role::Plain)).collect();
    lines.extend(hint.into_iter().map(|line| piece(line, Role::Strong)));
    for (line, role) in lines {
        if y < bottom {
            canvas.put(area.x + 1, y, area.width.saturating_sub(2), &line, role);
            y += 1;
        }
    }
    y
}
