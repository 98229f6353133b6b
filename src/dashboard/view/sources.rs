//! The first screen of a view with several repositories or refs: a row for each, never combined.

use ratatui::layout::Rect;

use super::canvas::{Canvas, piece};
use super::table::{self, Cell, Column};
use super::{header, notices, words};
use crate::dashboard::model::Model;
use crate::dashboard::model::rows::Source;
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::dashboard::verdict::words::{brief_reasons, headline, reasons};
use crate::dashboard::verdict::{Group, Kind, Verdict};

pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict) {
    let y = header::draw(canvas, model, verdict, &[]);
    let count = format!("{} {} Enter: its commits", model.sources.len(), canvas.glyphs().dot);
    canvas.rule(y, &[piece("Repositories and refs", Role::Strong)], &[piece(count, Role::Dim)]);
    let list = Rect { y: y + 1, height: area.bottom().saturating_sub(y + 1), ..area };
    let titles = list.height >= 4;
    let shown = table::window(model.sources.len(), list.height.saturating_sub(u16::from(titles)), model.source_row);
    let first = shown.start;
    let glyphs = canvas.glyphs();
    let of = |source: &Source| verdict.groups.iter().find(|group| group.source.as_ref() == Some(source));
    let rows: Vec<Vec<Cell>> = model.sources[shown]
        .iter()
        .map(|source| match of(source) {
            Some(group) => row(glyphs, source, group, area.width),
            // Its last replica has gone since the list was computed.
            None => vec![Vec::new(), vec![piece(name(source, area.width), Role::Dim)]],
        })
        .collect();
    let mut columns = vec![
        Column::new("", 1),
        Column::new("REPOSITORY @ REF", if area.width >= 100 { 50 } else { 26.max(area.width.saturating_sub(54)) }),
        Column::new("LIVE ON", 9),
        Column::new("COMMIT", 7),
    ];
    if area.width >= 100 {
        columns.push(Column::growing("SUBJECT"));
        columns.push(Column::new("VERDICT", 48));
    } else {
        columns.push(Column::growing("VERDICT"));
    }
    table::draw(canvas, list, &columns, &rows, Some(model.source_row - first), titles);
}

fn name(source: &Source, width: u16) -> String {
    format!("{} @ {}", words::repo(&source.repo, width < 100), source.reference)
}

fn row(glyphs: &Glyphs, source: &Source, group: &Group, width: u16) -> Vec<Cell> {
    let (glyph, role) = notices::mark(glyphs, group.kind());
    let target = group.target.as_ref();
    // A reason in a word fits beside the repository on a narrow screen.
    let reasons = if width >= 70 { reasons } else { brief_reasons };
    let reasons = reasons(&group.lacking, group.total).join("  ");
    let verdict = match reasons.as_str() {
        "" if width < 70 && group.kind() == Kind::Live => "live".to_owned(),
        "" => headline(group.kind()).to_owned(),
        _ => reasons,
    };
    let mut row: Vec<Cell> = vec![
        vec![piece(glyph, role)],
        vec![piece(name(source, width), Role::Strong)],
        vec![piece(format!("{} of {}", group.live, group.total), role)],
        vec![piece(target.map(|it| text::short(&it.commit)).unwrap_or_default(), Role::Accent)],
    ];
    if width >= 100 {
        row.push(vec![piece(target.and_then(|it| it.subject.clone()).unwrap_or_default(), Role::Plain)]);
    }
    row.push(vec![piece(verdict, role)]);
    row
}
