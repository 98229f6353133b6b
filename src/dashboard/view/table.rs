//! Tables that fit the screen: columns as wide as their content, one that takes the rest, a window around the selected row.
//!
//! It keeps no scroll position: the window follows from the selection, so that a view is a pure function of the model.

use std::ops::Range;

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, measure};
use crate::dashboard::text;
use crate::dashboard::theme::Role;

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    /// It never gets wider than this, unless it grows.
    pub max: u16,
    /// It takes what the others leave.
    pub grow: bool,
    pub right: bool,
    /// If it is too long, its beginning is cut off: replicas at one address differ in their port.
    pub keeps_end: bool,
}

impl Column {
    #[must_use]
    pub const fn new(title: &'static str, max: u16) -> Self {
        Self { title, max, grow: false, right: false, keeps_end: false }
    }

    #[must_use]
    pub const fn growing(title: &'static str) -> Self {
        Self { title, max: 0, grow: true, right: false, keeps_end: false }
    }

    #[must_use]
    pub const fn right(mut self) -> Self {
        self.right = true;
        self
    }

    #[must_use]
    pub const fn keeps_end(mut self) -> Self {
        self.keeps_end = true;
        self
    }
}

/// A cell consists of pieces.
pub type Cell = Vec<Piece>;

/// The indentation of a line below a row.
pub const NOTE: u16 = 3;
/// Least columns of the growing column before others are dropped.
const LEAST: u16 = 8;

/// Returns the rows of a list of `count` that a window of `height` shows: `selected` is in the middle unless that would
/// leave the window partly empty.
#[must_use]
pub fn window(count: usize, height: u16, selected: usize) -> Range<usize> {
    let height = usize::from(height);
    let first = selected.saturating_sub(height / 2).min(count.saturating_sub(height));
    first..(first + height).min(count)
}

/// Shows the text of a row that is cut as a whole at the foot of an area. Returns the rest of the area.
pub fn whole(canvas: &mut Canvas<'_>, area: Rect, text: &str) -> Rect {
    let mut lines = text::wrap(text, usize::from(area.width.saturating_sub(2)));
    // The list keeps at least half, so that the selected row stays visible.
    let most = usize::from(area.height / 2);
    let ends_here = lines.len() <= most;
    lines.truncate(most);
    let Some(last) = lines.last_mut() else { return area };
    if !ends_here {
        last.pop();
        last.push_str(canvas.glyphs().ellipsis);
    }
    let rest = area.height.saturating_sub(u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(1));
    let foot = area.y + rest;
    canvas.rule(foot, &[("The whole line".to_owned(), Role::Strong)], &[]);
    for (y, line) in (foot + 1..area.bottom()).zip(&lines) {
        canvas.put(area.x + 1, y, area.width.saturating_sub(2), line, Role::Plain);
    }
    Rect { height: rest, ..area }
}

/// Returns true if a row has to be cut in an area of this width.
#[must_use]
pub fn is_cut(width: u16, columns: &[Column], rows: &[Vec<Cell>], row: usize) -> bool {
    let widths = widths(columns, rows, width.saturating_sub(2), if width >= 100 { 2 } else { 1 });
    rows.get(row).is_some_and(|row| row.iter().zip(widths).any(|(cell, wide)| measure(cell) > wide))
}

/// Returns the columns of the growing column in an area of this width.
#[must_use]
pub fn growing(width: u16, columns: &[Column], rows: &[Vec<Cell>]) -> u16 {
    let widths = widths(columns, rows, width.saturating_sub(2), if width >= 100 { 2 } else { 1 });
    columns.iter().zip(widths).find(|(column, _)| column.grow).map_or(0, |(_, wide)| wide)
}

/// Draws the titles and rows from the top of `area`. `selected` counts within `rows`.
pub fn draw(
    canvas: &mut Canvas<'_>,
    area: Rect,
    columns: &[Column],
    rows: &[Vec<Cell>],
    selected: Option<usize>,
    titles: bool,
) {
    draw_with_notes(canvas, area, columns, rows, selected, titles, &[]);
}

/// The same, with lines of their own below the selected row.
pub fn draw_with_notes(
    canvas: &mut Canvas<'_>,
    area: Rect,
    columns: &[Column],
    rows: &[Vec<Cell>],
    selected: Option<usize>,
    titles: bool,
    notes: &[Cell],
) {
    let gap = if area.width >= 100 { 2 } else { 1 };
    let widths = widths(columns, rows, area.width.saturating_sub(2), gap);
    let mut y = area.y;
    if titles && area.height > 0 {
        let titles = columns.iter().map(|column| vec![(column.title.to_owned(), Role::Dim)]).collect::<Vec<_>>();
        line(canvas, area.x + 1, y, columns, &widths, gap, &titles);
        y += 1;
    }
    for (index, row) in rows.iter().enumerate() {
        if y >= area.bottom() {
            break;
        }
        line(canvas, area.x + 1, y, columns, &widths, gap, row);
        if selected == Some(index) {
            // A sign as well as a style: copied text and some terminals show no reverse video.
            canvas.put(area.x, y, 1, ">", Role::Strong);
            canvas.select(area.x, y, area.width);
            for note in notes {
                y += 1;
                if y < area.bottom() {
                    canvas.pieces(area.x + NOTE, y, area.width.saturating_sub(NOTE + 1), note);
                }
            }
        }
        y += 1;
    }
}

/// Draws one row and leaves out the columns without width.
fn line(canvas: &mut Canvas<'_>, x: u16, y: u16, columns: &[Column], widths: &[u16], gap: u16, row: &[Cell]) {
    let mut x = x;
    for ((cell, wide), column) in row.iter().zip(widths).zip(columns) {
        place(canvas, x, y, *wide, cell, *column);
        x = x.saturating_add(*wide).saturating_add(if *wide > 0 { gap } else { 0 });
    }
}

fn place(canvas: &mut Canvas<'_>, x: u16, y: u16, wide: u16, cell: &[Piece], column: Column) {
    if wide == 0 {
        return;
    }
    if let ([(text, role)], true) = (cell, column.keeps_end) {
        let shown = text::cut_start(text, usize::from(wide), canvas.glyphs().ellipsis);
        canvas.put(x, y, wide, &shown, *role);
        return;
    }
    let indent = if column.right { wide.saturating_sub(measure(cell)) } else { 0 };
    canvas.pieces(x + indent, y, wide - indent, cell);
}

fn widths(columns: &[Column], rows: &[Vec<Cell>], available: u16, gap: u16) -> Vec<u16> {
    let natural = |index: usize, column: &Column| {
        let title = u16::try_from(column.title.chars().count()).unwrap_or(0);
        let content = rows.iter().filter_map(|row| row.get(index)).map(|cell| measure(cell)).max().unwrap_or(0);
        // The title is shown in full, because a cut one cannot be recognized.
        content.min(column.max).max(title)
    };
    let mut widths: Vec<u16> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| if column.grow { 0 } else { natural(index, column) })
        .collect();
    let growing = columns.iter().position(|column| column.grow);
    loop {
        let shown = u16::try_from(widths.iter().filter(|wide| **wide > 0).count()).unwrap_or(0);
        let gaps = gap * shown.saturating_sub(u16::from(growing.is_none()));
        let used = widths.iter().fold(gaps, |sum, wide| sum.saturating_add(*wide));
        let least = if growing.is_some() { LEAST } else { 0 };
        // The last column stays, however narrow: an empty row would say nothing.
        if used + least <= available || shown <= 1 {
            if let Some(index) = growing {
                widths[index] = available.saturating_sub(used);
            }
            return widths;
        }
        // The last column is dropped first, because columns are ordered by importance.
        if let Some(last) = widths.iter().rposition(|wide| *wide > 0) {
            widths[last] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_the_selected_row_and_is_full_if_it_can_be() {
        assert_eq!(window(100, 10, 0), 0..10);
        assert_eq!(window(100, 10, 50), 45..55);
        assert_eq!(window(100, 10, 99), 90..100);
        assert_eq!(window(3, 10, 2), 0..3);
        assert_eq!(window(0, 10, 0), 0..0);
        for selected in 0..40 {
            for height in 1..12 {
                assert!(window(40, height, selected).contains(&selected));
            }
        }
    }

    #[test]
    fn the_growing_column_takes_the_rest_and_the_last_go_first_when_it_is_narrow() {
        let columns = [Column::new("A", 5), Column::growing("S"), Column::new("B", 9)];
        let row = vec![vec![("aaa".to_owned(), Role::Plain)], Vec::new(), vec![("bbbb".to_owned(), Role::Plain)]];
        assert_eq!(widths(&columns, std::slice::from_ref(&row), 40, 1), [3, 31, 4]);
        assert_eq!(widths(&columns, &[row], 16, 1), [3, 12, 0]);
    }
}
