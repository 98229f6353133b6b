//! The list of replicas: each with its state, and below it every sync.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, piece};
use super::syncs::Columns;
use super::{empty, header, notices, replicas, syncs, words};
use crate::dashboard::fleet;
use crate::dashboard::model::{Model, Pane};
use crate::dashboard::text;
use crate::dashboard::theme::Role;
use crate::dashboard::verdict::Verdict;

pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict) {
    let mut y = header::overview(canvas, model, verdict);
    if model.pods.is_empty() {
        canvas.rule(y, &[piece("Replicas", Role::Strong)], &[]);
        empty::draw(canvas, y + 2, model);
        return;
    }
    let left = area.bottom().saturating_sub(y);
    let old = notices::old_since(model).is_some();
    let order = if old { "last known" } else { model.pod_order.words() };
    // Replicas of one repository and ref stand together, in this order.
    let order = if model.several() { format!("by repository, {order}") } else { order.to_owned() };
    let focused = model.fleet_pane == Pane::First;
    // The replicas take the rows that they need, but leave half to the syncs, and on a small screen room for the error.
    let shown = fleet::in_order(model).len();
    let wanted = u16::try_from(shown + 1).unwrap_or(u16::MAX);
    let inside = left.saturating_sub(1);
    let trouble = replicas::why(model, canvas.glyphs(), area.width, 1).is_some();
    let share = if trouble && left < 14 { inside * 2 / 5 } else { left / 2 };
    let rows = wanted.min(share.max(3));
    let hidden =
        if rows < wanted { format!("{} of {shown} {} ", rows - 1, canvas.glyphs().dot) } else { String::new() };
    canvas.rule(y, &[heading("Replicas", focused)], &[piece(format!("{hidden}{order}"), Role::Dim)]);
    y += 1;
    replicas::draw(canvas, Rect { y, height: rows, ..area }, model, focused);
    y += rows;
    // Below the list: its own rule, then that of the syncs and the newest of them.
    let left = area.bottom().saturating_sub(y + 1);
    let room = (left / 2).max(3).min(left.saturating_sub(2)).max(1);
    if let Some((title, key, lines)) = replicas::why(model, canvas.glyphs(), area.width, room) {
        canvas.rule(y, &title, &key);
        y += 1;
        for line in &lines {
            canvas.put(area.x + 1, y, area.width - 2, line, Role::Plain);
            y += 1;
        }
    }
    list(canvas, Rect { y, height: area.bottom().saturating_sub(y), ..area }, model);
}

fn heading(text: &str, focused: bool) -> Piece {
    piece(text, if focused { Role::Strong } else { Role::Plain })
}

fn list(canvas: &mut Canvas<'_>, area: Rect, model: &Model) {
    if area.height < 2 {
        return;
    }
    let focused = model.fleet_pane == Pane::Second;
    let mut title = vec![heading("Syncs on all replicas", focused)];
    if !model.filter_text.is_empty() {
        title.push(piece(format!("  /{}", model.filter_text), Role::Accent));
    }
    let dot = canvas.glyphs().dot;
    let mut remark = "newest first".to_owned();
    if !model.filter.is_empty() {
        let all: usize = model.pods.iter().map(|pod| pod.records.len()).sum();
        remark = format!("{} of {all} {dot} Esc clears", model.fleet_rows.len());
    }
    if model.fleet_cursor.follow {
        remark = format!("{remark} {dot} following");
    }
    canvas.rule(area.y, &title, &[piece(remark, Role::Dim)]);
    let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    if model.fleet_rows.is_empty() {
        for (y, line) in (area.y..area.bottom()).zip(text::wrap(&empty::no_syncs(model), usize::from(area.width - 2))) {
            canvas.put(area.x + 1, y, area.width - 2, &line, Role::Dim);
        }
        return;
    }
    syncs::draw(canvas, area, model, &model.fleet_rows, &model.fleet_cursor, focused, Columns::Fleet);
}

/// Draws one line for each replica, for a very small terminal.
pub(crate) fn tiny(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict) {
    let top = header::overview(canvas, model, verdict);
    let glyphs = canvas.glyphs();
    let order = fleet::in_order(model);
    let selected = fleet::selected_pod(model).and_then(|chosen| order.iter().position(|pod| pod.id == chosen.id));
    let shown = super::table::window(order.len(), area.bottom().saturating_sub(top), selected.unwrap_or(0));
    if order.is_empty() {
        empty::draw(canvas, top, model);
        return;
    }
    for (y, (index, pod)) in (top..area.bottom()).zip(order.iter().enumerate().skip(shown.start)) {
        let state = fleet::state(model, pod);
        let fresh = |role: Role| if pod.live() { role } else { Role::Dim };
        let commit = pod.snapshot.as_ref().and_then(|snapshot| snapshot.published.as_ref());
        let mut pieces = vec![
            piece(format!("{} ", words::state_glyph(glyphs, state)), fresh(words::state_role(state))),
            piece(replicas::pod_name(model, pod, glyphs, false), fresh(Role::Plain)),
            piece(format!("  {}", commit.map_or("-".to_owned(), |it| text::short(&it.commit))), fresh(Role::Accent)),
        ];
        if let Some(lag) = fleet::lag(model, pod) {
            pieces.push(piece(format!("  -{}", lag.commits.map_or("?".to_owned(), |it| it.to_string())), Role::Warn));
        }
        // The link stays on the smallest screen, because old data without that sign would look current.
        let right = words::link_words(model, glyphs, pod, false);
        canvas.line(y, &pieces, &[right]);
        if selected == Some(index) {
            canvas.put(area.x, y, 1, ">", Role::Strong);
            canvas.select(area.x, y, area.width);
        }
    }
}
