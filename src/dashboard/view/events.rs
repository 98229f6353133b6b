//! The events of the dashboard itself, newest first.

use std::ops::Range;

use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use super::canvas::{Canvas, piece};
use super::header;
use super::table::{self, Cell, Column};
use crate::dashboard::model::{Entry, Model, TimeFormat};
use crate::dashboard::text;
use crate::dashboard::theme::Role;
use crate::dashboard::verdict::Verdict;

pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict) {
    let y = header::draw(canvas, model, verdict, &["events".to_owned()]);
    let count = format!("{} kept, newest first", model.events.len());
    let mut title = vec![piece("Events of this dashboard", Role::Strong)];
    if !model.search.is_empty() {
        title.push(piece(format!("  /{}", model.search), Role::Accent));
    }
    canvas.rule(y, &title, &[piece(count, Role::Dim)]);
    let list = Rect { y: y + 1, height: area.bottom().saturating_sub(y + 1), ..area };
    if model.events.is_empty() {
        canvas.put(area.x + 1, list.y, area.width.saturating_sub(2), "nothing yet", Role::Dim);
        return;
    }
    let selected = model.events_row.min(model.events.len() - 1);
    let columns = [Column::new("", 12), Column::new("", 12), Column::new("", 8), Column::growing("")];
    let cells = |rows: Range<usize>| -> Vec<Vec<Cell>> {
        let row = |entry: &Entry| {
            let time = match model.time_format {
                TimeFormat::Ago => format!("{} ago", text::age(model.now.duration_since(entry.at))),
                TimeFormat::Utc => entry.at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S").to_string(),
                TimeFormat::Local => entry.at.to_zoned(model.zone.clone()).strftime("%H:%M:%S").to_string(),
            };
            let role = if entry.bad { Role::Bad } else { Role::Plain };
            vec![
                vec![piece(time, Role::Dim)],
                vec![piece(entry.pod.clone(), Role::Plain)],
                vec![piece(entry.kind, Role::Dim)],
                vec![piece(entry.text.clone(), role)],
            ]
        };
        model.events.range(rows).map(row).collect()
    };
    let shown = table::window(model.events.len(), list.height, selected);
    let cut = table::is_cut(area.width, &columns, &cells(shown.clone()), selected - shown.start);
    let list = if cut { table::whole(canvas, list, &model.events[selected].text) } else { list };
    // Again, because the whole text of a long entry may have taken rows of the list.
    let shown = table::window(model.events.len(), list.height, selected);
    let first = shown.start;
    table::draw(canvas, list, &columns, &cells(shown), Some(selected - first), false);
}
