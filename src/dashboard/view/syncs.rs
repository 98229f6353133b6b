//! Lists of syncs: of all replicas on the fleet's screen, of one on its own screen.

use ratatui::layout::Rect;

use super::canvas::{Canvas, piece};
use super::table::{self, Cell, Column};
use super::{notices, words};
use crate::api::{Outcome, Record};
use crate::dashboard::filter;
use crate::dashboard::fleet;
use crate::dashboard::model::{Cursor, Model, Pod, SyncRow, TimeFormat};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};

/// The columns of a list of syncs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// With the replica it ran on.
    Fleet,
    /// With the time of each phase.
    History,
}

/// Draws the rows around the cursor.
pub fn draw(
    canvas: &mut Canvas<'_>,
    area: Rect,
    model: &Model,
    rows: &[SyncRow],
    cursor: &Cursor,
    focused: bool,
    which: Columns,
) {
    let selected = fleet::position(rows, cursor.selected.as_ref());
    let titles = area.height >= 4;
    let height = area.height.saturating_sub(u16::from(titles));
    // A list without the focus that is not scrolled shows its newest rows.
    let shown = table::window(rows.len(), height, selected);
    let first = shown.start;
    let glyphs = canvas.glyphs();
    let mut cells: Vec<Vec<Cell>> = rows[shown]
        .iter()
        .filter_map(|item| {
            let pod = model.pod(&item.pod)?;
            Some(row(model, glyphs, pod, &item.record, area.width, which))
        })
        .collect();
    notices::faded(model, cells.iter_mut().flatten().flatten());
    let marked = (focused && !rows.is_empty()).then(|| selected - first);
    let mut columns = columns(area.width, which, glyphs);
    columns[0].title = match model.time_format {
        TimeFormat::Ago => "TIME",
        TimeFormat::Utc => "UTC",
        TimeFormat::Local => "LOCAL",
    };
    table::draw(canvas, area, &columns, &cells, marked, titles);
}

fn columns(width: u16, which: Columns, glyphs: &Glyphs) -> Vec<Column> {
    let wide = width >= 100;
    let commits = match (wide, glyphs.arrow.is_ascii()) {
        (true, true) => "OLD -> NEW",
        (true, false) => "OLD → NEW",
        (false, _) => "COMMITS",
    };
    let mut columns = vec![Column::new("TIME", 12), Column::new("", 1)];
    if which == Columns::Fleet {
        columns.push(Column::new("POD", if wide { 16 } else { 12 }).keeps_end());
    }
    columns.push(Column::new("TRIGGER", 8));
    columns.push(Column::new(commits, 18));
    if wide {
        columns.push(Column::new("AUTHOR", 14));
    }
    columns.push(Column::growing("SUBJECT"));
    if wide {
        columns.push(Column::new("FILES", 14));
    }
    columns.push(match which {
        Columns::History if wide => Column::new("FETCH+BUILD+PUBL", 24).right(),
        _ => Column::new("TOOK", 7).right(),
    });
    columns
}

fn row(model: &Model, glyphs: &Glyphs, pod: &Pod, record: &Record, width: u16, which: Columns) -> Vec<Cell> {
    let wide = width >= 100;
    let mut row: Vec<Cell> = vec![
        vec![piece(words::when(model, pod, record.finished_at, wide), Role::Plain)],
        vec![words::outcome(glyphs, record)],
    ];
    if which == Columns::Fleet {
        let name =
            if wide || model.wide { super::replicas::pod_name(model, pod, glyphs, false) } else { pod.short.clone() };
        row.push(vec![piece(name, Role::Plain)]);
    }
    let missed = if record.missed_webhook { " !" } else { "" };
    row.push(vec![piece(filter::trigger(&record.trigger), Role::Plain), piece(missed, Role::Warn)]);
    row.push(words::commits(glyphs, record));
    if wide {
        let author = record.commits.as_ref().map(|commits| commits.author.clone()).unwrap_or_default();
        row.push(vec![piece(author, Role::Plain)]);
    }
    row.push(words::subject(record));
    if wide {
        row.push(vec![piece(words::files(record.files), Role::Plain)]);
    }
    row.push(match which {
        Columns::History if wide => split(record),
        _ => vec![piece(text::took(words::total(record)), Role::Plain)],
    });
    row
}

/// Returns `0.9+0.3+0.0 = 1.1s`, or `129+27+11 = 167ms`, so that the slow part is visible.
fn split(record: &Record) -> Cell {
    let phases = record.phases;
    // In the unit of the total: a small change takes milliseconds, a first clone takes minutes.
    let small = words::total(record) < 1000;
    let total = if small { format!("{}ms", words::total(record)) } else { text::took(words::total(record)) };
    // Three numbers fit the column, so the time of the hook counts as building.
    let parts = [phases.fetch_ms, add(phases.build_ms, phases.gate_ms), phases.publish_ms];
    if record.outcome != Outcome::Published || parts.iter().all(Option::is_none) {
        return vec![piece(total, Role::Plain)];
    }
    let number = |part: &Option<u64>| match part {
        None => "-".to_owned(),
        Some(part) if small => part.to_string(),
        Some(part) => format!("{}.{}", part.saturating_add(50) / 1000, part.saturating_add(50) % 1000 / 100),
    };
    let sum: Vec<String> = parts.iter().map(number).collect();
    vec![piece(sum.join("+"), Role::Dim), piece(format!(" = {total}"), Role::Plain)]
}

fn add(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (None, None) => None,
        (left, right) => Some(left.unwrap_or(0).saturating_add(right.unwrap_or(0))),
    }
}
