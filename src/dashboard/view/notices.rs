//! The notices below the title of every screen: the verdict, the age of old data, problems of the webhook, pauses and pins.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::canvas::{Canvas, Piece, measure, piece};
use crate::dashboard::holds::{self, Hold};
use crate::dashboard::model::{Link, Model, Pod};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::dashboard::verdict::words::{self, Line};
use crate::dashboard::verdict::{Kind, Verdict};
use crate::dashboard::webhooks;

/// A subject is left out instead of cut to fewer columns than this.
const LEAST_SUBJECT: u16 = 8;
/// The replicas with the same pause or pin that are named one by one.
const NAMED: usize = 2;
/// Lines of a problem of the webhook.
const ALERT_LINES: usize = 2;

/// Draws the lines from `y` on and returns the first free row. A low screen has only the first of them.
pub(crate) fn draw(canvas: &mut Canvas<'_>, y: u16, model: &Model, verdict: &Verdict) -> u16 {
    let bottom = y + if canvas.area.height >= 12 { 4 } else { 1 };
    // First and on every screen, however low: the other notices explain it.
    verdict_line(canvas, y, verdict);
    let mut y = y + 1;
    if let Some(since) = old_since(model)
        && y < bottom
    {
        old(canvas, y, model, since);
        y += 1;
    }
    if let Some(alert) = webhooks::alert(model)
        && y < bottom
    {
        y = alert_lines(canvas, y, bottom, &alert);
    }
    let held = holds::all(model);
    if !held.is_empty() && y < bottom {
        let pieces = hold_pieces(canvas.glyphs(), &held, canvas.area.width.saturating_sub(2));
        canvas.line(y, &pieces, &[]);
        y += 1;
    }
    y
}

fn alert_lines(canvas: &mut Canvas<'_>, y: u16, bottom: u16, alert: &str) -> u16 {
    let glyphs = canvas.glyphs();
    let lines = text::wrap(alert, usize::from(canvas.area.width.saturating_sub(4)));
    let most = ALERT_LINES.min(usize::from(bottom - y));
    let mut y = y;
    for (row, line) in lines.iter().take(most).enumerate() {
        let start = if row == 0 { glyphs.behind } else { " " };
        let more = if row + 1 == most && lines.len() > most { glyphs.ellipsis } else { "" };
        canvas.line(y, &[piece(format!("{start} {line}{more}"), Role::Warn)], &[]);
        y += 1;
    }
    y
}

/// The glyph and the role of a verdict.
#[must_use]
pub(crate) fn mark(glyphs: &Glyphs, kind: Kind) -> (&'static str, Role) {
    match kind {
        Kind::Live => (glyphs.success, Role::Success),
        Kind::NotLive => (glyphs.failed, Role::Bad),
        Kind::Unknown => ("?", Role::Strong),
        Kind::Unreachable => (glyphs.starting, Role::Bad),
    }
}

fn verdict_line(canvas: &mut Canvas<'_>, y: u16, verdict: &Verdict) {
    let (glyph, role) = mark(canvas.glyphs(), verdict.kind());
    let role = if verdict.connecting { Role::Busy } else { role };
    let line = words::parts(verdict);
    let pieces =
        fitted(&line, &format!("{glyph} "), role, canvas.area.width.saturating_sub(2), canvas.glyphs().ellipsis);
    canvas.line(y, &pieces, &[]);
}

/// Returns a verdict in this number of columns: what the reasons say beyond a word or two is left out first, then the
/// subject is cut, then times and commits are left out.
#[must_use]
fn fitted(line: &Line, glyph: &str, role: Role, columns: u16, ellipsis: &str) -> Vec<Piece> {
    let wide = columns >= 98;
    let gap = if wide { "   " } else { "  " };
    let mut pieces = vec![piece(format!("{glyph}{}", line.headline), role)];
    if !line.commit.is_empty() {
        pieces.push(piece(format!("{gap}{}", line.commit), role));
    }
    let words = |facts: &[String]| -> Vec<Piece> {
        facts.iter().map(|fact| piece(format!("{gap}{}", text::clean(fact)), role)).collect()
    };
    let wanted = u16::try_from(text::width(&text::clean(&line.subject))).unwrap_or(u16::MAX / 2);
    let used = measure(&pieces);
    let fits = |facts: &[String], subject: u16| used + measure(&words(facts)) + 1 + subject <= columns;
    let [brief, word] = &line.briefer;
    let facts = if fits(&line.facts, wanted) {
        &line.facts
    } else if fits(brief, 0) {
        brief
    } else {
        word
    };
    let facts = words(facts);
    let room = columns.saturating_sub(used + measure(&facts) + 1);
    if !line.subject.is_empty() && room >= wanted.min(LEAST_SUBJECT) {
        pieces.push(piece(format!(" {}", text::cut(&line.subject, usize::from(room), ellipsis)), role));
    }
    pieces.extend(facts);
    pieces
}

/// Returns the time of the latest message, if nothing is live now.
#[must_use]
pub(crate) fn old_since(model: &Model) -> Option<Timestamp> {
    if model.pods.iter().any(Pod::live) {
        return None;
    }
    model.pods.iter().filter_map(|pod| pod.heard_at).max()
}

/// Old data keeps its words and loses its colors, on every screen.
pub(crate) fn faded<'a>(model: &Model, pieces: impl IntoIterator<Item = &'a mut Piece>) {
    if old_since(model).is_some() {
        pieces.into_iter().for_each(|(_, role)| *role = Role::Dim);
    }
}

fn old(canvas: &mut Canvas<'_>, y: u16, model: &Model, since: Timestamp) {
    let age = text::age(model.now.duration_since(since));
    let dash = canvas.glyphs().dash;
    let (format, what) = match canvas.area.width {
        70.. => ("%H:%M:%S UTC", "everything below is old"),
        _ => ("%H:%M:%S", "all below is old"),
    };
    let at = since.to_zoned(TimeZone::UTC).strftime(format);
    let left = [piece(format!("as of {at} ({age} ago) {dash} {what}"), Role::Bad)];
    let next = model.pods.iter().filter_map(|pod| match &pod.link {
        // The attempt may be due already when this is drawn.
        Link::Retry { at, .. } => Some(at.duration_since(model.now).as_secs().max(0)),
        _ => None,
    });
    let key = if canvas.area.width >= 80 { ", r: now" } else { "" };
    let right = next.min().map_or("connecting".to_owned(), |seconds| format!("retry {seconds}s{key}"));
    canvas.line(y, &left, &[piece(right, Role::Bad)]);
}

/// `‖ web-3 paused 59m by ada@laptop   ◆ 2 pinned at a506e4d`: as much as fits, so that no pause or pin is cut off.
fn hold_pieces(glyphs: &Glyphs, held: &[Hold], columns: u16) -> Vec<Piece> {
    let [all, without_users, numbers] =
        [(true, true), (true, false), (false, false)].map(|(names, users)| -> Vec<Piece> {
            held.iter().map(|hold| piece(hold_words(glyphs, hold, names, users), Role::Warn)).collect()
        });
    // Each ends with the gap before the next.
    let fits = |pieces: &[Piece]| measure(pieces) <= columns + 3;
    if fits(&all) {
        all
    } else if fits(&without_users) {
        without_users
    } else {
        numbers
    }
}

fn hold_words(glyphs: &Glyphs, hold: &Hold, names: bool, users: bool) -> String {
    let glyph = match hold.kind {
        holds::Kind::Paused => glyphs.paused,
        holds::Kind::Pinned => glyphs.pinned,
    };
    // A single name is as short as its number.
    let who = if hold.names.len() > NAMED || !names && hold.names.len() > 1 {
        hold.names.len().to_string()
    } else {
        text::clean(&hold.names.join(", ")).into_owned()
    };
    let by = hold.by.as_ref().filter(|_| users).map(|by| format!(" by {}", text::cut(by, 40, glyphs.ellipsis)));
    format!("{glyph} {who} {}{}   ", hold.words, by.unwrap_or_default())
}
