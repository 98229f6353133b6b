//! Panes one below the other: commits, files and the log of a sync. The one with the focus gets the most room.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, measure, piece};
use super::{table, words};
use crate::api::{Change, SyncDetail};
use crate::dashboard::fleet;
use crate::dashboard::model::{Model, Pane, Pod};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::text::counted;

/// One entry of a pane, in as many rows as it needs. The cursor moves from entry to entry.
pub(crate) type Entry = Vec<Vec<Piece>>;

/// One pane.
pub(crate) struct Content {
    pub pane: Pane,
    pub title: String,
    pub lines: Vec<Entry>,
}

impl Content {
    fn rows(&self) -> usize {
        self.lines.iter().map(Vec::len).sum()
    }
}

/// Returns the title of the changed files: their number by kind.
#[must_use]
pub(crate) fn files_title(detail: &SyncDetail) -> String {
    let total = detail.detail.files_total.max(detail.detail.files.len() as u64);
    format!("Files ({total})  {}", words::files(detail.record.files)).trim_end().to_owned()
}

/// Draws the changed files over the whole room: first their number in each folder, then each of them.
pub(crate) fn diffstat(canvas: &mut Canvas<'_>, area: Rect, model: &Model, detail: &SyncDetail, whose: &str) {
    let title = format!("Diffstat{whose}: {}", files_title(detail));
    canvas.rule(area.y, &[piece(title, Role::Strong)], &[piece("D or Esc: back", Role::Dim)]);
    let mut folders: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for file in &detail.detail.files {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let counts = folders.entry(folder).or_default();
        match file.change {
            Change::Added => counts[0] += 1,
            Change::Deleted => counts[1] += 1,
            Change::Modified | Change::Unknown => counts[2] += 1,
        }
    }
    let most = folders.values().map(|counts| counts.iter().sum()).max().unwrap_or(0usize).max(1);
    // Name and count, then bars of at most this number of signs.
    let name_columns = usize::from(area.width).saturating_sub(34).clamp(12, 40);
    let columns = usize::from(area.width).saturating_sub(name_columns + 13).clamp(6, 24);
    let ellipsis = canvas.glyphs().ellipsis;
    let named = folders.iter().map(|(folder, counts)| {
        let count: usize = counts.iter().sum();
        let name = format!("{folder}/");
        // Rounded up: a folder with a single change has a sign as well.
        let bar = |count: usize| (count * columns).div_ceil(most);
        let name = text::cut(&name, name_columns, ellipsis);
        vec![
            piece(format!("{name:<name_columns$} {count:>5}  "), Role::Plain),
            piece("+".repeat(bar(counts[0])), Role::Good),
            piece("-".repeat(bar(counts[1])), Role::Bad),
            piece("~".repeat(bar(counts[2])), Role::Accent),
        ]
    });
    let mut summary: Vec<Vec<Piece>> = named.collect();
    // The cursor moves in the files, which get half of the room.
    let room = usize::from(area.height.saturating_sub(2) / 2);
    if summary.len() > room {
        let hidden = summary.len() - room.saturating_sub(1);
        summary.truncate(room.saturating_sub(1));
        summary.push(vec![piece(format!("{hidden} more folders"), Role::Dim)]);
    }
    let mut y = area.y + 1;
    for line in &summary {
        canvas.pieces(area.x + 1, y, area.width.saturating_sub(2), line);
        y += 1;
    }
    let rest = Rect { y, height: area.bottom().saturating_sub(y), ..area };
    let content = Content { pane: Pane::Second, title: "Files".to_owned(), lines: changes(canvas.glyphs(), detail) };
    one(canvas, rest, model, &content);
}

/// Draws panes that share the room; the one with the focus gets the most.
pub(crate) fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, panes: &[Content; 3]) {
    let heights = share(
        area.height,
        panes.each_ref().map(|it| (it.rows(), it.pane == model.detail_pane && !it.title.is_empty())),
    );
    let mut y = area.y;
    for (content, height) in panes.iter().zip(heights) {
        if height == 0 {
            continue;
        }
        one(canvas, Rect { y, height, ..area }, model, content);
        y += height;
    }
}

/// Draws one pane with its title.
fn one(canvas: &mut Canvas<'_>, area: Rect, model: &Model, content: &Content) {
    if area.height == 0 {
        return;
    }
    let (y, height) = (area.y, area.height);
    let Content { pane, title, lines } = content;
    let focused = *pane == model.detail_pane;
    let hidden = content.rows().saturating_sub(usize::from(height - 1));
    let remark = match (hidden, focused) {
        (0, _) => String::new(),
        (hidden, true) => format!("{hidden} more: j k"),
        (hidden, false) => format!("{hidden} more: Tab"),
    };
    let role = if focused { Role::Strong } else { Role::Plain };
    canvas.rule(y, &[piece(title, role)], &[piece(remark, Role::Dim)]);
    let selected = if focused { model.detail_row.min(lines.len().saturating_sub(1)) } else { 0 };
    let rows: Vec<(usize, &Vec<Piece>)> =
        lines.iter().enumerate().flat_map(|(index, entry)| entry.iter().map(move |row| (index, row))).collect();
    let first = rows.iter().position(|(index, _)| *index == selected).unwrap_or(0);
    let shown = table::window(rows.len(), height - 1, first);
    for (y, (index, row)) in (y + 1..).zip(&rows[shown]) {
        canvas.pieces(area.x + 1, y, area.width.saturating_sub(2), row);
        if focused && *index == selected {
            canvas.put(area.x, y, 1, ">", Role::Strong);
            canvas.select(area.x, y, area.width);
        }
    }
}

/// Returns the lines for each pane, including its title: as many as each wants if there is room, else the focused one
/// first.
fn share(height: u16, wants: [(usize, bool); 3]) -> [u16; 3] {
    // A pane without lines is drawn only while it has the focus.
    let wanted = wants.map(|(lines, focused)| match lines {
        0 => u16::from(focused),
        lines => u16::try_from(lines).unwrap_or(u16::MAX / 4).saturating_add(1),
    });
    let least = wanted.map(|want| want.min(4));
    let mut given = [0; 3];
    let mut left = height;
    let focused = wants.iter().position(|(_, focused)| *focused).unwrap_or(0);
    let order = [focused, (focused + 1) % 3, (focused + 2) % 3];
    // First a title and a line for each pane, so that none disappears; then some lines; then all of them.
    for goal in [[2; 3], least, wanted] {
        for index in order {
            let more = goal[index].min(wanted[index]).saturating_sub(given[index]).min(left);
            given[index] += more;
            left -= more;
        }
    }
    given
}

#[must_use]
pub(crate) fn commits(model: &Model, glyphs: &Glyphs, pod: &Pod, detail: &SyncDetail) -> Vec<Entry> {
    let line = |commit: &crate::api::Commit| {
        let age = commit.committed_at.map(|at| text::age(fleet::age(model, pod, at)));
        vec![vec![
            piece(text::short(&commit.commit), Role::Accent),
            piece(format!("  {:<14} ", text::cut(&commit.author, 14, glyphs.ellipsis)), Role::Plain),
            piece(format!("{:>7}  ", age.unwrap_or_default()), Role::Dim),
            piece(&commit.subject, Role::Plain),
        ]]
    };
    detail.detail.commits.iter().map(line).collect()
}

#[must_use]
pub(crate) fn changes(glyphs: &Glyphs, detail: &SyncDetail) -> Vec<Entry> {
    let mut lines: Vec<Entry> = detail
        .detail
        .files
        .iter()
        .map(|file| {
            let (sign, role) = match file.change {
                Change::Added => ("+", Role::Good),
                Change::Modified => ("~", Role::Busy),
                Change::Deleted => ("-", Role::Warn),
                Change::Unknown => ("?", Role::Dim),
            };
            vec![vec![piece(format!("{sign} "), role), piece(&file.path, Role::Plain)]]
        })
        .collect();
    // A replica sends the first files only (500), and their number.
    let more = detail.detail.files_total.saturating_sub(detail.detail.files.len() as u64);
    if more > 0 {
        lines.push(vec![vec![piece(format!("{} {} changed", glyphs.ellipsis, counted(more, "more file")), Role::Dim)]]);
    }
    lines
}

/// Returns the lines of a log for a screen of this width, wrapped.
#[must_use]
pub(crate) fn log(detail: &SyncDetail, width: u16) -> Vec<Entry> {
    let rows = |line: &crate::api::LogLine| {
        let role = match line.level.as_str() {
            "ERROR" | "error" => Role::Bad,
            "WARN" | "warn" => Role::Warn,
            _ => Role::Dim,
        };
        let time = line.at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S%.3f ").to_string();
        let start = vec![piece(time, Role::Dim), piece(format!("{:<5} ", line.level), role)];
        let indent = measure(&start);
        let room = usize::from(width.saturating_sub(2).saturating_sub(indent));
        let mut rows = vec![start];
        for (index, words) in text::wrap(&line.message, room).into_iter().enumerate() {
            if index > 0 {
                rows.push(vec![piece(" ".repeat(indent.into()), Role::Plain)]);
            }
            rows.last_mut().into_iter().for_each(|row| row.push(piece(words.as_str(), Role::Plain)));
        }
        rows
    };
    detail.detail.log.iter().map(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_share_the_room_and_never_more_than_there_is() {
        assert_eq!(share(30, [(1, true), (6, false), (3, false)]), [2, 7, 4]);
        assert_eq!(share(0, [(1, true), (6, false), (3, false)]), [0, 0, 0]);
        assert_eq!(share(30, [(0, true), (0, false), (3, false)]), [1, 0, 4]);
        let tight = share(12, [(1, false), (500, true), (40, false)]);
        assert_eq!(tight.iter().sum::<u16>(), 12);
        assert!(tight[1] > tight[2]);
    }
}
