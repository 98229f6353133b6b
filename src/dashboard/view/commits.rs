//! The first screen: one row for each commit, and below the selected one the replicas that lack it, with the reason.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, measure, piece};
use super::table::{self, Cell, Column};
use super::{empty, header, notices, words};
use crate::api::Action;
use crate::dashboard::commits;
use crate::dashboard::commits::standing;
use crate::dashboard::model::rows::{CommitRow, How};
use crate::dashboard::model::{Model, TimeFormat};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::dashboard::verdict::Verdict;

/// Columns of the bar that shows how many replicas have a commit.
const BAR: usize = 8;
/// The index of the column of the subjects.
const SUBJECT: usize = 1;
/// Columns of a subject that are more important than who did what how.
const ENOUGH: u16 = 30;
/// Lines about replicas that lack the selected commit.
const REASONS: usize = 6;

pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict) {
    let y = header::overview(canvas, model, verdict);
    if model.pods.is_empty() {
        canvas.rule(y, &[piece("Commits", Role::Strong)], &[]);
        empty::draw(canvas, y + 2, model);
        return;
    }
    rule(canvas, y, model);
    let list = Rect { y: y + 1, height: area.bottom().saturating_sub(y + 1), ..area };
    if list.height == 0 {
        return;
    }
    if model.commit_rows.is_empty() {
        let words = text::wrap(&empty::no_syncs(model), usize::from(area.width.saturating_sub(2)));
        for (y, line) in (list.y..list.bottom()).zip(words) {
            canvas.put(area.x + 1, y, area.width.saturating_sub(2), &line, Role::Dim);
        }
        return;
    }
    rows(canvas, list, model, verdict);
}

fn rule(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let dot = canvas.glyphs().dot;
    let mut title = vec![piece("Commits", Role::Strong)];
    if !model.filter_text.is_empty() {
        title.push(piece(format!("  /{}", model.filter_text), Role::Accent));
    }
    let order = model.commit_order.words();
    let mut remark = format!("{} {dot} {order}", model.commit_rows.len());
    if model.question.is_some() {
        remark = format!("the verdict is about this commit {dot} Esc: the newest again");
    } else if !model.filter.is_empty() {
        remark = format!("{} match {dot} Esc clears", model.commit_rows.len());
    } else if model.commit_cursor.is_none() {
        remark = format!("{remark} {dot} following");
    }
    canvas.rule(y, &title, &[piece(remark, Role::Dim)]);
}

fn rows(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict) {
    let glyphs = canvas.glyphs();
    let titles = area.height >= 4;
    let height = area.height.saturating_sub(u16::from(titles));
    let selected = commits::position(&model.commit_rows, model.commit_cursor.as_ref());
    let notes = notes(model, verdict, &model.commit_rows[selected], area.width, height.saturating_sub(1));
    let room = height.saturating_sub(u16::try_from(notes.len()).unwrap_or(0)).max(1);
    let shown = table::window(model.commit_rows.len(), room, selected);
    let first = shown.start;
    let columns = columns(area.width, glyphs, model.time_format);
    let mut cells = fitted(model, glyphs, &model.commit_rows[shown], &columns, area.width);
    notices::faded(model, cells.iter_mut().flatten().flatten());
    table::draw_with_notes(canvas, area, &columns, &cells, Some(selected - first), titles, &notes);
}

/// Returns the replicas that lack the selected commit with the reasons, in at most so many columns and rows.
fn notes(model: &Model, verdict: &Verdict, row: &CommitRow, width: u16, room: u16) -> Vec<Vec<Piece>> {
    let room = usize::from(room);
    let mut lines = standing::lacking(model, verdict, row);
    let most = REASONS.min(room);
    let hidden = lines.len().saturating_sub(most);
    if hidden > 0 {
        lines.truncate(most.saturating_sub(1));
        lines.push(format!("and {} more reasons (Enter)", hidden + 1));
    }
    let role = if row.newest { Role::Warn } else { Role::Dim };
    // The other commits are the list, so long reasons get a second row only if there are rows for at least as many commits.
    let rows = |lines: &[String]| -> usize { lines.iter().map(|line| folded(line, width).len()).sum() };
    let fold = rows(&lines) + model.commit_rows.len().min(room / 2) <= room;
    let lines = lines.into_iter().take(most);
    let lines: Vec<String> = if fold { lines.flat_map(|line| folded(&line, width)).collect() } else { lines.collect() };
    lines.into_iter().map(|line| vec![piece(line, role)]).collect()
}

/// Breaks a reason into at most two rows.
fn folded(line: &str, width: u16) -> Vec<String> {
    let columns = usize::from(width.saturating_sub(table::NOTE + 2));
    let rows = text::wrap(line, columns);
    match rows.as_slice() {
        [] | [_] => vec![line.to_owned()],
        [first, rest @ ..] => vec![first.clone(), format!("  {}", rest.join(" "))],
    }
}

fn columns(width: u16, glyphs: &Glyphs, time: TimeFormat) -> Vec<Column> {
    let wide = width >= 100;
    let span = if glyphs.arrow.is_ascii() { "FIRST->LAST" } else { "FIRST→LAST" };
    let heard = match time {
        TimeFormat::Ago => "HEARD",
        TimeFormat::Utc => "HEARD UTC",
        TimeFormat::Local => "HEARD LOCAL",
    };
    let mut columns = vec![Column::new("COMMIT", 7), Column::growing("SUBJECT")];
    if wide {
        columns.push(Column::new("AUTHOR", if width >= 160 { 24 } else { 14 }));
    }
    columns.push(Column::new(heard, 12));
    columns.push(Column::new("LIVE ON", if width >= 80 { 19 } else { 10 }));
    if width >= 80 {
        columns.push(Column::new(span, 16));
    }
    columns.push(Column::new(
        "HOW",
        match width {
            160.. => 60,
            100.. => 34,
            _ => 14,
        },
    ));
    columns
}

/// Returns the rows with the longest text in HOW that is not cut and leaves enough room for the subjects.
fn fitted(model: &Model, glyphs: &Glyphs, rows: &[CommitRow], columns: &[Column], width: u16) -> Vec<Vec<Cell>> {
    let with = |how| rows.iter().map(|row| cells(model, glyphs, row, width, how)).collect::<Vec<Vec<Cell>>>();
    let most = columns.last().map_or(0, |column| column.max);
    let lengths: &[Length] = if width >= 100 { &[Length::Full, Length::User] } else { &[] };
    for length in lengths {
        let cells = with(*length);
        let longest = cells.iter().map(|row| measure(&row[SUBJECT])).max().unwrap_or(0);
        let whole = cells.iter().filter_map(|row| row.last()).all(|how| measure(how) <= most);
        if whole && table::growing(width, columns, &cells) >= longest.min(ENOUGH) {
            return cells;
        }
    }
    with(Length::Short)
}

fn cells(model: &Model, glyphs: &Glyphs, row: &CommitRow, width: u16, length: Length) -> Vec<Cell> {
    let wide = width >= 100;
    let mut cells: Vec<Cell> = vec![vec![piece(text::short(&row.commit), Role::Accent)], subject(row)];
    if wide {
        cells.push(vec![piece(row.author.clone().unwrap_or_default(), Role::Plain)]);
    }
    cells.push(vec![piece(words::at(model, row.heard_at, wide), Role::Plain)]);
    cells.push(live_on(glyphs, row, width >= 80));
    if width >= 80 {
        cells.push(vec![piece(span(glyphs, row), Role::Plain)]);
    }
    cells.push(how(&row.how, length));
    cells
}

fn subject(row: &CommitRow) -> Cell {
    match &row.subject {
        Some(subject) => vec![piece(subject, Role::Plain)],
        None if row.announced => vec![piece("announced by a webhook, not seen yet", Role::Warn)],
        // A head is only a hash: the subject is known once a replica has fetched the commit.
        None => vec![piece("not published anywhere yet", Role::Dim)],
    }
}

/// `■■■■■■□□ 6/8` while any replica publishes it or will; `replaced (8/8)` afterwards.
fn live_on(glyphs: &Glyphs, row: &CommitRow, bar: bool) -> Cell {
    let count = format!("{}/{}", row.live, row.total);
    let all = row.live == row.total;
    if row.live == 0 && row.last_known > 0 {
        let words = if bar { "last known " } else { "was " };
        return vec![piece(format!("{words}{}/{}", row.last_known, row.total), Role::Dim)];
    }
    if row.live == 0 && !row.newest {
        return match (row.had, row.failed) {
            (0, failed @ 1..) => vec![piece(format!("{} failed on {failed}", glyphs.failed), Role::Bad)],
            (0, 0) => vec![piece("nowhere", Role::Dim)],
            // An older commit is live on no replica in the normal case, so it is not marked as a problem.
            (had, _) if bar => vec![piece(format!("replaced ({had}/{})", row.total), Role::Dim)],
            _ => vec![piece("replaced", Role::Dim)],
        };
    }
    let role = match (row.newest, all, row.failed) {
        (_, true, _) => Role::Good,
        (true, false, 1..) => Role::Bad,
        _ => Role::Warn,
    };
    if !bar {
        return vec![piece(count, role)];
    }
    // A single replica that has it is visible, and so is one that lacks it.
    let full = match (row.live, row.total) {
        (0, _) | (_, 0) => 0,
        (live, total) if live == total => BAR,
        (live, total) => (live * BAR / total).clamp(1, BAR - 1),
    };
    let gauge = format!("{}{} {count}", glyphs.full.repeat(full), glyphs.empty.repeat(BAR - full));
    vec![piece(gauge, role)]
}

/// `88ms → 0.3s`: from the push until it was live on the first and on the last replica.
fn span(glyphs: &Glyphs, row: &CommitRow) -> String {
    match (row.first_ms, row.last_ms) {
        (Some(first), Some(last)) if first == last => text::took(first),
        (Some(first), Some(last)) => format!("{} {} {}", text::took(first), glyphs.arrow, text::took(last)),
        _ => String::new(),
    }
}

/// How much HOW says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Full,
    /// A user's action with its user instead of the first trigger, and remarks in a word.
    User,
    /// The same without the user.
    Short,
}

/// Returns the triggers of a commit, then remarks about them.
#[must_use]
pub(crate) fn how(how: &How, length: Length) -> Vec<Piece> {
    let full = length == Length::Full;
    // In a narrow column a user's action is more important than the first trigger.
    let triggers = if full || how.action.is_none() { how.words() } else { String::new() };
    let mut pieces = vec![piece(triggers, Role::Plain)];
    if let Some((action, by)) = &how.action {
        let word = match action {
            Action::Rollback => "rollback",
            Action::Pin => "pinned",
            _ => "unpinned",
        };
        let by = by.as_ref().filter(|_| length != Length::Short).map(|by| format!(" by {by}")).unwrap_or_default();
        let gap = if pieces[0].0.is_empty() { "" } else { ", " };
        pieces.push(piece(format!("{gap}{word}{by}"), Role::Warn));
    }
    if how.missed {
        pieces.push(piece(if full { " ! webhook missed" } else { " ! missed" }, Role::Warn));
    }
    if how.ignored.is_some() {
        pieces.push(piece(if full { " ! webhook ignored" } else { " ! ignored" }, Role::Warn));
    }
    if how.rewritten {
        pieces.push(piece(if full { " ! history rewritten" } else { " ! rewritten" }, Role::Warn));
    }
    pieces
}
