//! The syncs of one replica, and how long its pushes took.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, piece};
use super::syncs::Columns;
use super::{header, replicas, strip, syncs, words};
use crate::api::Snapshot;
use crate::dashboard::fleet;
use crate::dashboard::model::{Model, Pod, PodId};
use crate::dashboard::text;
use crate::dashboard::theme::Role;
use crate::dashboard::verdict::Verdict;
use crate::text::counted;

/// Syncs in the chart.
const CHART: usize = 60;

pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict, id: &PodId) {
    let crumb = header::crumb(model, id);
    let y = header::draw(canvas, model, verdict, std::slice::from_ref(&crumb));
    let Some(pod) = model.pod(id) else {
        canvas.put(area.x + 1, y + 1, area.width.saturating_sub(2), "this replica is gone (Esc)", Role::Dim);
        return;
    };
    status(canvas, y, model, pod);
    let mut y = y + 1;
    let room = if area.height >= 20 { 4 } else { 2 };
    if let Some((title, key, lines)) = replicas::why(model, canvas.glyphs(), area.width, room)
        && area.height >= 14
    {
        canvas.rule(y, &title, &key);
        y += 1;
        for line in &lines {
            canvas.put(area.x + 1, y, area.width - 2, line, Role::Plain);
            y += 1;
        }
    }
    // The chart is given up before rows of the list, which have the same times in numbers.
    let chart = if area.height >= 26 {
        6
    } else if area.height >= 20 {
        4
    } else {
        0
    };
    title(canvas, y, model, pod);
    y += 1;
    let list = Rect { y, height: area.bottom().saturating_sub(y + chart), ..area };
    if model.history_rows.is_empty() {
        let words = if !model.filter.is_empty() {
            "nothing matches the filter (Esc clears it)"
        } else if pod.records.loading || !pod.attached() || pod.snapshot.is_none() {
            // A list that is still empty does not show that there was no sync.
            "waiting for the replica to answer"
        } else {
            "no sync yet: waiting for the first webhook or poll"
        };
        canvas.put(area.x + 1, list.y, area.width.saturating_sub(2), words, Role::Dim);
    } else {
        syncs::draw(canvas, list, model, &model.history_rows, &model.history_cursor, true, Columns::History);
    }
    if chart > 0 {
        latency(canvas, Rect { y: area.bottom() - chart, height: chart, ..area }, model, pod);
    }
}

fn status(canvas: &mut Canvas<'_>, y: u16, model: &Model, pod: &Pod) {
    let glyphs = canvas.glyphs();
    let shown = fleet::state(model, pod);
    let role = if pod.live() { words::state_role(shown) } else { Role::Dim };
    let state = words::state_words(model, glyphs, pod, shown);
    // The last state of a replica may have changed since.
    let is_old = pod.snapshot.is_some() && !pod.live();
    let state = if is_old { format!("last known: {state}") } else { state };
    let mut left = vec![piece(format!("{} {state}", words::state_glyph(glyphs, shown)), role)];
    let wide = canvas.area.width >= 100;
    let gap = if wide { "   " } else { "  " };
    if let Some(snapshot) = pod.snapshot.as_deref() {
        if let Some(published) = &snapshot.published {
            left.push(piece(" at ", Role::Dim));
            left.push(piece(text::short(&published.commit), Role::Accent));
            if let Some(at) = published.published_at {
                left.push(piece(format!(" ({})", text::age(fleet::age(model, pod, at))), Role::Dim));
            }
        }
        if !is_old {
            left.extend(standing(model, pod, snapshot, gap, wide));
        }
        if wide {
            left.push(piece(format!("{gap}v{}", snapshot.replica.version), Role::Dim));
        }
    }
    let right: Vec<Piece> = vec![words::link_words(model, glyphs, pod, wide)];
    canvas.line(y, &left, &right);
}

/// Returns the facts that change with time: how far behind it is, its next poll, its last webhook.
fn standing(model: &Model, pod: &Pod, snapshot: &Snapshot, gap: &str, wide: bool) -> Vec<Piece> {
    let lag = match fleet::lag(model, pod) {
        Some(lag) => lag.commits.map_or("?".to_owned(), |count| count.to_string()),
        None => "0".to_owned(),
    };
    let mut words = vec![format!("lag {lag}")];
    if let Some(wait) = fleet::until_next_look(model, pod) {
        words.push(if wait.is_positive() {
            format!("next poll in {}", text::age(wait))
        } else {
            "polling now".to_owned()
        });
    }
    if let Some(at) = snapshot.webhook.last_delivery_at {
        let result = snapshot.webhook.last_result.as_deref().filter(|_| wide).unwrap_or("");
        let age = text::age(fleet::age(model, pod, at));
        words.push(format!("webhook {age} ago {result}"));
    }
    words.into_iter().map(|words| piece(format!("{gap}{words}"), Role::Plain)).collect()
}

fn title(canvas: &mut Canvas<'_>, y: u16, model: &Model, pod: &Pod) {
    let loaded = pod.records.len();
    let all = match (pod.records.complete, pod.records.loading) {
        (true, _) => "all",
        (false, true) => "loading more",
        (false, false) => "more below",
    };
    let mut title = vec![piece("History", Role::Strong)];
    if !model.filter_text.is_empty() {
        title.push(piece(format!("  /{}", model.filter_text), Role::Accent));
    }
    let dot = canvas.glyphs().dot;
    let at = fleet::position(&model.history_rows, model.history_cursor.selected.as_ref());
    let remark = if !model.filter.is_empty() {
        format!("{} of {loaded} loaded {dot} Esc clears", model.history_rows.len())
    } else if model.history_cursor.follow {
        format!("{loaded} loaded, {all} {dot} following")
    } else {
        format!("{} of {loaded} loaded, {all}", at + 1)
    };
    canvas.rule(y, &title, &[piece(remark, Role::Dim)]);
}

fn latency(canvas: &mut Canvas<'_>, area: Rect, model: &Model, pod: &Pod) {
    let arrow = canvas.glyphs().arrow;
    let records = || pod.records.iter().map(AsRef::as_ref);
    let latency = fleet::latency(records(), CHART);
    let title = format!("push {arrow} published, this pod, last {}", counted(latency.samples.len(), "sync"));
    let remark = match (latency.max, latency.p95, latency.p50) {
        (Some(max), Some(p95), Some(p50)) => {
            format!("max {}  p95 {}  p50 {}", text::took(max), text::took(p95), text::took(p50))
        }
        _ => "no push measured yet".to_owned(),
    };
    canvas.rule(area.y, &[piece(title, Role::Strong)], &[piece(remark, Role::Dim)]);
    let oldest = latency.oldest.map(|at| fleet::age(model, pod, at));
    // The bars have no times of their own, so the axis says how far back they reach.
    let oldest = oldest.map(|age| format!("{} ago", text::age(age))).unwrap_or_default();
    let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    strip::chart(canvas, area, &latency, &oldest);
}
