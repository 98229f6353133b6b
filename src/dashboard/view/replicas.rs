//! The table of replicas, and the line with the problem of the selected one.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, piece};
use super::table::{self, Cell, Column};
use super::words;
use crate::api::TriggerKind;
use crate::dashboard::cursor;
use crate::dashboard::fleet::{self, Shown};
use crate::dashboard::model::{Model, Pod, Presence, View};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::dashboard::webhooks;

/// Draws titles and rows; the selected one stays inside.
pub fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, focused: bool) {
    let order = fleet::in_order(model);
    let selected = fleet::selected_pod(model).and_then(|chosen| order.iter().position(|pod| pod.id == chosen.id));
    let height = area.height.saturating_sub(1);
    let shown = table::window(order.len(), height, selected.unwrap_or(0));
    let first = shown.start;
    let glyphs = canvas.glyphs();
    let wide = area.width;
    let columns = columns(wide, model.several());
    let rows: Vec<Vec<Cell>> = order[shown].iter().map(|pod| row(model, glyphs, pod, wide)).collect();
    let selected = selected.map(|at| at - first).filter(|_| focused);
    table::draw(canvas, area, &columns, &rows, selected, true);
}

fn columns(width: u16, several: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("", 1), Column::new("POD", if width >= 100 { 30 } else { 18 }).keeps_end()];
    if several {
        columns.push(Column::new("REPOSITORY @ REF", if width >= 100 { 30 } else { 20 }));
    }
    columns.push(Column::new("STATE", 22));
    columns.push(Column::new("COMMIT", 7));
    if width >= 80 {
        columns.push(Column::new("AGE", 7));
    }
    columns.push(Column::new("LAG", 12));
    if width >= 80 {
        columns.push(Column::new("WEBHOOK", 16));
    }
    if width >= 120 {
        columns.push(Column::new("POLLED", 10));
    }
    if width >= 100 {
        columns.push(Column::new("TOOK", 7));
    }
    columns.push(Column::growing("LINK"));
    columns
}

fn row(model: &Model, glyphs: &'static Glyphs, pod: &Pod, width: u16) -> Vec<Cell> {
    let shown = fleet::state(model, pod);
    // Old data keeps its words and loses its colors.
    let fresh = |role: Role| if pod.live() { role } else { Role::Dim };
    let role = fresh(words::state_role(shown));
    let wide = width >= 100;
    let snapshot = pod.snapshot.as_deref();
    let published = snapshot.and_then(|snapshot| snapshot.published.as_ref());
    let mut row: Vec<Cell> = vec![
        vec![piece(words::state_glyph(glyphs, shown), role)],
        vec![piece(pod_name(model, pod, glyphs, wide), fresh(Role::Plain))],
    ];
    if model.several() {
        let source = snapshot.map(|it| words::source(&it.repo, &it.reference)).unwrap_or_default();
        row.push(vec![piece(source, fresh(Role::Dim))]);
    }
    row.extend([
        vec![piece(words::state_words(model, glyphs, pod, shown), role)],
        vec![match published {
            Some(published) => piece(text::short(&published.commit), fresh(Role::Accent)),
            None => piece(glyphs.dash, Role::Dim),
        }],
    ]);
    let short_age = |at| text::age_short(fleet::age(model, pod, at));
    if width >= 80 {
        let at = published.and_then(|published| published.published_at);
        row.push(vec![piece(at.map(short_age).unwrap_or_default(), fresh(Role::Plain))]);
    }
    row.push(lag(model, pod, &fresh));
    if width >= 80 {
        row.push(webhook(model, pod, glyphs, wide, &fresh));
    }
    if width >= 120 {
        let polled = snapshot.and_then(|snapshot| snapshot.poll.last_at);
        let words = polled.map(|at| format!("{} ago", short_age(at))).unwrap_or_default();
        row.push(vec![piece(words, fresh(Role::Plain))]);
    }
    if wide {
        let last = pod.records.iter().next();
        row.push(vec![piece(
            last.map(|record| text::took(words::total(record))).unwrap_or_default(),
            fresh(Role::Plain),
        )]);
    }
    row.push(vec![words::link_words(model, glyphs, pod, width >= 80)]);
    row
}

/// Returns the name, shortened if the screen is narrow or by `w`.
pub fn pod_name(model: &Model, pod: &Pod, glyphs: &Glyphs, wide: bool) -> String {
    // `w` inverts the choice that the width of the screen makes.
    if wide != model.wide {
        return pod.name.clone();
    }
    // A common port is left out without a sign; a cut prefix is marked.
    let cut = pod.short.len() < pod.name.len() && pod.name.ends_with(&pod.short);
    format!("{}{}", if cut { glyphs.ellipsis } else { "" }, pod.short)
}

fn lag(model: &Model, pod: &Pod, fresh: &dyn Fn(Role) -> Role) -> Cell {
    if pod.gone() {
        return Vec::new();
    }
    match fleet::lag(model, pod) {
        Some(lag) => {
            let count = lag.commits.map_or("?".to_owned(), |count| count.to_string());
            let age = text::age_short(model.now.duration_since(lag.since));
            vec![piece(format!("{count} ({age})"), fresh(Role::Warn))]
        }
        None if pod.snapshot.as_ref().is_some_and(|snapshot| snapshot.published.is_some()) => {
            vec![piece("0", fresh(Role::Plain))]
        }
        None => Vec::new(),
    }
}

fn webhook(model: &Model, pod: &Pod, glyphs: &Glyphs, wide: bool, fresh: &dyn Fn(Role) -> Role) -> Cell {
    let Some(snapshot) = pod.snapshot.as_deref().filter(|_| !pod.gone()) else { return Vec::new() };
    let webhook = &snapshot.webhook;
    let Some(at) = webhook.last_delivery_at else {
        // A delivery reaches one replica. The others are notified by it, so they have none of their own.
        let rung_by_peer = pod.records.iter().next().is_some_and(|record| record.trigger.kind == TriggerKind::Peer);
        let words = match (webhook.enabled, rung_by_peer) {
            (_, true) => format!("{} peer", glyphs.dash),
            (true, false) => glyphs.dash.to_owned(),
            (false, false) => "off".to_owned(),
        };
        return vec![piece(words, Role::Dim)];
    };
    let ago = if wide { " ago" } else { "" };
    let ignored = webhooks::last(pod, webhook).is_some_and(|last| last.ignored.is_some());
    let (word, role) = if ignored { ("ignored", fresh(Role::Warn)) } else { ("ok", fresh(Role::Plain)) };
    vec![piece(format!("{}{ago} {word}", text::age_short(fleet::age(model, pod, at))), role)]
}

/// Returns the problem of the selected replica, if any: a title, the key that helps, and at most `room` lines.
pub fn why(model: &Model, glyphs: &Glyphs, width: u16, room: u16) -> Option<(Vec<Piece>, Vec<Piece>, Vec<String>)> {
    let pod = cursor::current_pod(model)?;
    let Trouble { heading, reason, hint, key } = trouble(model, pod, glyphs)?;
    let columns = usize::from(width.saturating_sub(2));
    // A reason that fits is the title; a longer one begins there with its first words and is shown in full below.
    let beside = columns.saturating_sub(text::width(&pod.short) + text::width(key) + 10);
    let fits = text::width(&text::clean(&reason)) <= beside;
    let (head, below) = if fits {
        (reason, String::new())
    } else {
        // The title says the beginning already, and the room below may be one line.
        let rest = |gap: &str| reason.strip_prefix(&heading)?.strip_prefix(gap).map(str::to_owned);
        let below = rest(": ").or_else(|| rest(", ")).unwrap_or_else(|| reason.clone());
        (heading, below)
    };
    let lines = text::reason_and_hint(&below, hint.as_deref(), columns, usize::from(room), glyphs.ellipsis).concat();
    let title = vec![piece(format!("{}: ", pod.short), Role::Strong), piece(head, Role::Bad)];
    Some((title, vec![piece(key, Role::Dim)], lines))
}

/// The problem of a replica.
struct Trouble {
    /// Used if the reason is too long for one line.
    heading: String,
    reason: String,
    hint: Option<String>,
    key: &'static str,
}

fn trouble(model: &Model, pod: &Pod, glyphs: &Glyphs) -> Option<Trouble> {
    let told = |heading: &str, reason: String, hint: Option<String>, key: &'static str| {
        Some(Trouble { heading: heading.to_owned(), reason, hint, key })
    };
    if let Some(problem) = &pod.problem
        && pod.attached()
    {
        return told("not connected", problem.reason.clone(), problem.hint.clone(), "r: reconnect now");
    }
    if pod.gone() {
        return told("gone", "the pod is gone; this is what was last seen of it".to_owned(), None, "");
    }
    if let Presence::NotReady(why) = &pod.presence
        && !pod.live()
    {
        let hint = "it is connected as soon as its containers run".to_owned();
        return told("not ready", format!("not ready: {why}"), Some(hint), "");
    }
    let snapshot = pod.snapshot.as_deref()?;
    if fleet::state(model, pod) == Shown::Pinned {
        let commit = snapshot.pinned.as_deref().map(text::short).unwrap_or_default();
        let behind = match fleet::lag(model, pod).map(|lag| lag.commits) {
            Some(Some(1)) => ", 1 commit behind head".to_owned(),
            Some(Some(count)) => format!(", {count} commits behind head"),
            Some(None) => ", behind head".to_owned(),
            None => String::new(),
        };
        let hint = format!("new pushes are fetched, not published {} U unpins", glyphs.dash);
        return told("PINNED", format!("PINNED at {commit}{behind}"), Some(hint), "U: unpin");
    }
    if let Some(until) = snapshot.paused_until {
        let left = text::age(pod.to_ours(until).duration_since(model.now));
        return told("PAUSED", format!("PAUSED, resumes by itself in {left}"), None, "P: resume");
    }
    let error = snapshot.last_error.as_ref()?;
    let heading = format!("{} failed", text::phase(error.phase));
    let reason = format!("{heading}: {}", error.message);
    let key = if matches!(model.view, View::Fleet) { "Enter for history" } else { "" };
    told(&heading, reason, error.hint.clone(), key)
}
