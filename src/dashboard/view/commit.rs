//! The screen of one commit: a row for each replica, the changed files, the log of the sync that published it.

use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, piece};
use super::commits::{self, Length};
use super::panes::{self, Content};
use super::table::{self, Cell, Column};
use super::{header, replicas, words};
use crate::dashboard::commits::standing::{OnReplica, Standing};
use crate::dashboard::cursor;
use crate::dashboard::filter;
use crate::dashboard::holds;
use crate::dashboard::model::rows::CommitRow;
use crate::dashboard::model::{Loaded, Model, Pane};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::dashboard::verdict::Verdict;

pub fn draw(canvas: &mut Canvas<'_>, area: Rect, model: &Model, verdict: &Verdict, commit: &str) {
    let mut y = header::draw(canvas, model, verdict, &[text::short(commit)]);
    let row = model.all_commits.iter().find(|row| row.commit == commit);
    let on_all = cursor::on_replicas(model);
    y = summary(canvas, y, model, commit, row, &on_all);
    let rest = Rect { y, height: area.bottom().saturating_sub(y), ..area };
    let shown = cursor::current_record(model).and_then(|row| {
        let pod = model.pod(&row.pod)?;
        Some((pod, model.detail(&row.pod, &row.record.id)))
    });
    if let (true, Some((pod, Some(Loaded::Here(detail))))) = (model.diffstat, &shown) {
        panes::diffstat(canvas, rest, model, detail, &format!(" on {}", pod.short));
        return;
    }
    // The replicas take the rows that they need, but leave a third to files and log if these are not empty.
    let wanted = u16::try_from(on_all.len()).unwrap_or(u16::MAX).saturating_add(2);
    let most = if rest.height >= 12 { rest.height * 2 / 3 } else { rest.height };
    let height = wanted.min(most);
    replicas_pane(canvas, Rect { height, ..rest }, model, &on_all);
    let below = Rect { y: y + height, height: rest.height - height, ..rest };
    if below.height == 0 {
        return;
    }
    match shown {
        Some((pod, Some(Loaded::Here(detail)))) => {
            let files = format!("{} on {}", panes::files_title(detail), pod.short);
            let glyphs = canvas.glyphs();
            let contents = [
                Content { pane: Pane::First, title: String::new(), lines: Vec::new() },
                Content { pane: Pane::Second, title: files, lines: panes::changes(glyphs, detail) },
                Content {
                    pane: Pane::Third,
                    title: format!("Log of its sync on {}", pod.short),
                    lines: panes::log(detail, area.width),
                },
            ];
            panes::draw(canvas, below, model, &contents);
        }
        Some((_, Some(Loaded::Waiting))) => note(canvas, below, "reading files and log from the replica"),
        Some((_, Some(Loaded::Failed(why)))) => note(canvas, below, &format!("files and log cannot be read: {why}")),
        Some((_, None)) => note(canvas, below, "files and log are on the replica, which is not connected"),
        None => note(canvas, below, "no loaded sync is about this commit"),
    }
}

fn note(canvas: &mut Canvas<'_>, area: Rect, words: &str) {
    canvas.rule(area.y, &[piece("Files, log", Role::Plain)], &[]);
    canvas.put(area.x + 1, area.y + 1, area.width.saturating_sub(2), words, Role::Dim);
}

/// Draws the known details of the commit; returns the next free row.
fn summary(
    canvas: &mut Canvas<'_>,
    y: u16,
    model: &Model,
    commit: &str,
    row: Option<&CommitRow>,
    on_all: &[OnReplica<'_>],
) -> u16 {
    let live = on_all.iter().filter(|it| it.standing.is_live()).count();
    let role = match (live == on_all.len(), row.is_some_and(|row| row.newest)) {
        (true, _) => Role::Good,
        (false, true) => Role::Bad,
        // An older commit that is not live everywhere is normal: a newer one has replaced it.
        (false, false) => Role::Plain,
    };
    let subject = row.and_then(|row| row.subject.clone()).unwrap_or_default();
    let title = [piece(text::short(commit), Role::Accent), piece(format!("  {subject}"), Role::Strong)];
    canvas.rule(y, &title, &[piece(format!("live on {live} of {}", on_all.len()), role)]);
    let wide = canvas.area.width >= 100;
    let label = |name: &str| piece(format!("{name:<8} "), Role::Dim);
    let narrow = canvas.area.width < 72;
    let shown = if narrow { commit.get(..12).unwrap_or(commit) } else { commit };
    let mut lines: Vec<Vec<Piece>> = vec![vec![label("commit"), piece(shown, Role::Accent)]];
    if let Some(row) = row {
        if let Some(author) = &row.author {
            lines[0].push(piece(format!("  by {author}"), Role::Plain));
        }
        let age = text::age(model.now.duration_since(row.heard_at));
        let utc = row.heard_at.to_zoned(TimeZone::UTC);
        let at = if wide { utc.strftime("%Y-%m-%d %H:%M:%S UTC") } else { utc.strftime("%H:%M:%S UTC") };
        let at = if narrow { String::new() } else { format!("  ({at})") };
        let mut heard = vec![label("heard"), piece(format!("{age} ago{at}  "), Role::Plain)];
        heard.extend(commits::how(&row.how, if narrow { Length::Short } else { Length::Full }));
        if let (Some(first), Some(last)) = (row.first_ms, row.last_ms) {
            let arrow = canvas.glyphs().arrow;
            let words = if narrow { "" } else { "live after " };
            let span = if first == last {
                text::took(first)
            } else {
                format!("{} {arrow} {}", text::took(first), text::took(last))
            };
            heard.push(piece(format!("   {words}{span}"), Role::Plain));
        }
        lines.push(heard);
        if let Some(reason) = &row.how.ignored {
            lines.push(vec![label("webhook"), piece(format!("arrived and was ignored: {reason}"), Role::Warn)]);
        }
    }
    // On a low screen the rows of the replicas are more important.
    if canvas.area.height < 14 {
        lines.clear();
    }
    let mut y = y + 1;
    for line in lines {
        canvas.pieces(canvas.area.x + 1, y, canvas.area.width.saturating_sub(2), &line);
        y += 1;
    }
    y
}

fn replicas_pane(canvas: &mut Canvas<'_>, area: Rect, model: &Model, on_all: &[OnReplica<'_>]) {
    if area.height == 0 {
        return;
    }
    let focused = model.detail_pane == Pane::First;
    let role = if focused { Role::Strong } else { Role::Plain };
    canvas.rule(area.y, &[piece("Replicas", role)], &[piece("worst first", Role::Dim)]);
    let list = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let titles = list.height >= 3;
    let selected = model.commit_pod.as_ref().and_then(|id| on_all.iter().position(|it| it.pod.id == *id)).unwrap_or(0);
    let shown = table::window(on_all.len(), list.height.saturating_sub(u16::from(titles)), selected);
    let first = shown.start;
    let glyphs = canvas.glyphs();
    let rows: Vec<Vec<Cell>> = on_all[shown].iter().map(|it| cells(model, glyphs, it, area.width)).collect();
    let mut columns = vec![
        Column::new("", 1),
        Column::new("POD", if area.width >= 100 { 30 } else { 18 }).keeps_end(),
        Column::new("STATE", 10),
        Column::new("WHEN", 12),
        Column::new("TOOK", 7).right(),
    ];
    if area.width >= 80 {
        columns.push(Column::new("TRIGGER", 8));
    }
    columns.push(Column::growing("WHY"));
    let marked = (focused && !on_all.is_empty()).then(|| selected - first);
    table::draw(canvas, list, &columns, &rows, marked, titles);
}

fn cells(model: &Model, glyphs: &'static Glyphs, it: &OnReplica<'_>, width: u16) -> Vec<Cell> {
    let wide = width >= 100;
    let fresh = |role: Role| if it.pod.live() { role } else { Role::Dim };
    let (glyph, role) = mark(glyphs, &it.standing);
    let record = it.record;
    let when = record.map(|record| words::when(model, it.pod, record.finished_at, wide)).unwrap_or_default();
    // Without a push, as at a start, it is the time of the sync itself.
    let took = record.map(|record| text::took(record.received_to_published_ms.unwrap_or_else(|| words::total(record))));
    let mut cells: Vec<Cell> = vec![
        vec![piece(glyph, fresh(role))],
        vec![piece(replicas::pod_name(model, it.pod, glyphs, wide), fresh(Role::Plain))],
        vec![piece(it.standing.word(), fresh(role))],
        vec![piece(when, fresh(Role::Plain))],
        vec![piece(took.unwrap_or_default(), fresh(Role::Plain))],
    ];
    if width >= 80 {
        let trigger = record.map(|record| filter::trigger(&record.trigger)).unwrap_or_default();
        cells.push(vec![piece(trigger, fresh(Role::Plain))]);
    }
    cells.push(why(model, it, role));
    cells
}

/// Returns a pause or a pin in force even if the commit is live, then why it is not. The end is cut on a narrow screen.
fn why(model: &Model, it: &OnReplica<'_>, role: Role) -> Cell {
    // The state column says the same word already.
    let told =
        |hold: &str| ["paused", "pinned"].iter().any(|word| it.standing.word() == *word && hold.starts_with(word));
    let mut pieces: Cell = holds::of(model, it.pod)
        .into_iter()
        .filter(|(_, hold)| !told(hold))
        .map(|(_, hold)| piece(format!("{hold}  "), Role::Warn))
        .collect();
    let pinned = it.pod.snapshot.as_ref().and_then(|snapshot| snapshot.pinned.as_ref());
    // The pin has said which commit is there instead.
    if !matches!(&it.standing, Standing::Replaced { by } if Some(by) == pinned) {
        pieces.push(piece(it.standing.words(), if it.standing.is_live() { Role::Dim } else { role }));
    }
    pieces
}

fn mark(glyphs: &Glyphs, standing: &Standing) -> (&'static str, Role) {
    match (standing, standing.word()) {
        (Standing::Failed(_), _) => (glyphs.failed, Role::Bad),
        (_, "paused") => (glyphs.paused, Role::Warn),
        (_, "pinned") => (glyphs.pinned, Role::Warn),
        (_, "syncing") => (glyphs.syncing, Role::Busy),
        (_, "starting") => (glyphs.starting, Role::Dim),
        (Standing::Lacking(_), _) => (glyphs.behind, Role::Warn),
        (Standing::Unknown(_), _) => (glyphs.unknown, Role::Dim),
        (Standing::Skipped { .. } | Standing::Replaced { .. }, _) => (glyphs.unchanged, Role::Dim),
        (Standing::Contained { .. } | Standing::Live, _) => (glyphs.in_sync, Role::Good),
    }
}
