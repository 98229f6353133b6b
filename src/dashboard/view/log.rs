//! The log of one sidecar, as `kubectl logs` follows it; the newest line is the last.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, piece};
use super::{header, table};
use crate::dashboard::model::{Model, PodId};
use crate::dashboard::text;
use crate::dashboard::theme::Role;
use crate::dashboard::verdict::Verdict;
use crate::text::counted;

pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict, id: &PodId) {
    let y = header::draw(canvas, model, verdict, &[header::crumb(model, id), "log".to_owned()]);
    let log = &model.log;
    let dot = canvas.glyphs().dot;
    let mut title = vec![piece("Log of the sidecar", Role::Strong)];
    if !model.search.is_empty() {
        title.push(piece(format!("  /{}", model.search), Role::Accent));
    }
    let remark = match (&log.ended, log.row) {
        (Some(why), _) => piece(format!("ended: {}", text::cut(why, 60, canvas.glyphs().ellipsis)), Role::Warn),
        (None, None) => piece(format!("{} {dot} following", counted(log.lines.len(), "line")), Role::Dim),
        (None, Some(row)) => piece(format!("{} of {} {dot} G follows", row + 1, log.lines.len()), Role::Dim),
    };
    canvas.rule(y, &title, &[remark]);
    let list = Rect { y: y + 1, height: area.bottom().saturating_sub(y + 1), ..area };
    if log.lines.is_empty() {
        let words = match &log.ended {
            Some(why) => format!("no lines came: {why}"),
            None => "waiting for kubectl logs".to_owned(),
        };
        for (y, line) in (list.y..list.bottom()).zip(text::wrap(&words, usize::from(area.width.saturating_sub(2)))) {
            canvas.put(area.x + 1, y, area.width.saturating_sub(2), &line, Role::Dim);
        }
        return;
    }
    let selected = log.position();
    let list = if log.row.is_some() { selected_line(canvas, list, &log.lines[selected]) } else { list };
    let shown = table::window(log.lines.len(), list.height, selected);
    for (y, row) in (list.y..list.bottom()).zip(shown) {
        canvas.pieces(area.x + 1, y, area.width.saturating_sub(2), &line(&log.lines[row]));
        if row == selected && log.row.is_some() {
            canvas.put(area.x, y, 1, ">", Role::Strong);
            canvas.select(area.x, y, area.width);
        }
    }
}

fn selected_line(canvas: &mut Canvas<'_>, area: Rect, text: &str) -> Rect {
    let whole: String = line(text).iter().map(|(text, _)| &**text).collect();
    if text::width(&whole) <= usize::from(area.width.saturating_sub(2)) {
        return area;
    }
    table::whole(canvas, area, &whole)
}

/// A line of JSON as time, level, message and the rest; any other line as it is.
fn line(text: &str) -> Vec<Piece> {
    // With `--log-format text`, and from other containers, lines are not JSON.
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(text) else {
        return vec![piece(text, Role::Plain)];
    };
    let mut take = |name: &str| match fields.remove(name) {
        Some(serde_json::Value::String(text)) => text,
        // Another program may use the same name for a number.
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (time, level, message) = (take("ts"), take("level"), take("msg"));
    let role = match level.to_ascii_lowercase().as_str() {
        "error" => Role::Bad,
        "warn" | "warning" => Role::Warn,
        _ => Role::Dim,
    };
    let rest: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    vec![
        piece(format!("{time} "), Role::Dim),
        piece(format!("{level:<5} "), role),
        piece(format!("{message}  "), Role::Plain),
        piece(rest.join(" "), Role::Dim),
    ]
}
