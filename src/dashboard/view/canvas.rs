//! The canvas of the screen: text is cleaned and cut, always inside the area, in the style of a role.
//!
//! It knows cells and roles, not what is shown.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role, Theme};

/// Text with a role.
pub type Piece = (String, Role);

/// A piece.
pub fn piece(text: impl Into<String>, role: Role) -> Piece {
    (text.into(), role)
}

/// A screen to draw on. Coordinates outside of it are ignored, so that they cannot cause a panic.
pub struct Canvas<'a> {
    buffer: &'a mut Buffer,
    pub theme: &'a Theme,
    pub area: Rect,
}

impl<'a> Canvas<'a> {
    pub fn new(buffer: &'a mut Buffer, theme: &'a Theme, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, theme, area }
    }

    pub fn glyphs(&self) -> &'static Glyphs {
        self.theme.glyphs
    }

    /// Writes at most `columns` columns and returns how many were used.
    pub fn put(&mut self, x: u16, y: u16, columns: u16, text: &str, role: Role) -> u16 {
        // ratatui panics at a cell outside its buffer, and a terminal may shrink at any time.
        if y >= self.area.bottom() || x >= self.area.right() || y < self.area.top() || x < self.area.left() {
            return 0;
        }
        let room = columns.min(self.area.right() - x);
        let shown = text::cut(text, usize::from(room), self.theme.glyphs.ellipsis);
        // Subjects and names as well: a terminal that cannot show a character draws something of another width.
        let shown = if self.theme.ascii() { text::ascii(&shown) } else { Cow::Borrowed(shown.as_str()) };
        let (end, _) = self.buffer.set_stringn(x, y, &shown, usize::from(room), self.theme.style(role));
        end.saturating_sub(x)
    }

    /// Writes pieces one after the other and returns the columns used.
    pub fn pieces(&mut self, x: u16, y: u16, columns: u16, pieces: &[Piece]) -> u16 {
        let mut used = 0;
        for (text, role) in pieces {
            if used >= columns {
                break;
            }
            used += self.put(x.saturating_add(used), y, columns - used, text, *role);
        }
        used
    }

    /// Writes pieces so that they end before column `edge`; returns where they begin.
    pub fn right(&mut self, edge: u16, y: u16, pieces: &[Piece]) -> u16 {
        let wide = measure(pieces).min(edge.saturating_sub(self.area.left()));
        let x = edge - wide;
        self.pieces(x, y, wide, pieces);
        x
    }

    /// Writes a line with text at the right edge; the left part is cut first.
    pub fn line(&mut self, y: u16, left: &[Piece], right: &[Piece]) {
        let edge = self.area.right().saturating_sub(1);
        let begin = if right.is_empty() { edge } else { self.right(edge, y, right).saturating_sub(2) };
        let x = self.area.left().saturating_add(1);
        self.pieces(x, y, begin.saturating_sub(x), left);
    }

    /// `─ title ─────────── right ─` across the screen.
    pub fn rule(&mut self, y: u16, title: &[Piece], right: &[Piece]) {
        let (left_edge, right_edge) = (self.area.left(), self.area.right());
        for x in left_edge..right_edge {
            self.put(x, y, 1, self.theme.glyphs.rule, Role::Dim);
        }
        let mut end = right_edge.saturating_sub(1);
        if measure(right) > 0 {
            let wide = measure(right).saturating_add(2);
            // A title is more important than the remark at the other end.
            if wide + measure(title) + 6 <= right_edge - left_edge {
                end = right_edge.saturating_sub(1 + wide);
                self.put(end, y, 1, " ", Role::Plain);
                self.pieces(end + 1, y, wide - 2, right);
                self.put(end + wide - 1, y, 1, " ", Role::Plain);
            }
        }
        if !title.is_empty() {
            let x = left_edge.saturating_add(2);
            self.put(x - 1, y, 1, " ", Role::Plain);
            let used = self.pieces(x, y, end.saturating_sub(x + 2), title);
            self.put(x + used, y, 1, " ", Role::Plain);
        }
    }

    /// Marks a row as selected.
    pub fn select(&mut self, x: u16, y: u16, columns: u16) {
        let row = Rect::new(x, y, columns, 1).intersection(self.area);
        self.buffer.set_style(row, self.theme.selected());
    }

    /// Clears a rectangle, for an overlay.
    pub fn clear(&mut self, area: Rect) {
        for position in area.intersection(self.area).positions() {
            self.buffer[position].reset();
        }
    }

    /// Draws an empty box with a title; returns the area inside.
    pub fn framed(&mut self, area: Rect, title: &str) -> Rect {
        let area = area.intersection(self.area);
        self.clear(area);
        if area.width < 2 || area.height < 2 {
            return Rect::default();
        }
        let glyphs = self.theme.glyphs;
        let (right, bottom) = (area.right() - 1, area.bottom() - 1);
        for x in area.left()..=right {
            self.put(x, area.top(), 1, glyphs.rule, Role::Dim);
            self.put(x, bottom, 1, glyphs.rule, Role::Dim);
        }
        for y in area.top()..=bottom {
            self.put(area.left(), y, 1, glyphs.bar, Role::Dim);
            self.put(right, y, 1, glyphs.bar, Role::Dim);
        }
        let places = [(area.left(), area.top()), (right, area.top()), (area.left(), bottom), (right, bottom)];
        for ((x, y), corner) in places.into_iter().zip(glyphs.corners) {
            self.put(x, y, 1, corner, Role::Dim);
        }
        self.put(area.left() + 1, area.top(), area.width.saturating_sub(2), &format!(" {title} "), Role::Strong);
        Rect::new(area.x + 1, area.y + 1, area.width - 2, area.height - 2)
    }
}

/// Returns the columns of pieces, before any cutting.
#[must_use]
pub fn measure(pieces: &[Piece]) -> u16 {
    let columns: usize = pieces.iter().map(|(text, _)| text::width(&text::clean(text))).sum();
    u16::try_from(columns).unwrap_or(u16::MAX / 2)
}
