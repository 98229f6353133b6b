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

/// Draws the lines from `y` on and returns the first free row. A low screen has only the first of them.
pub fn draw(canvas: &mut Canvas<'_>, y: u16, model: &Model, verdict: &Verdict) -> u16 {
    let bottom = y + if canvas.area.height >= 12 { 4 } else { 1 };
    verdict_line(canvas, y, model, verdict);
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
        let words = format!("{} {}", canvas.glyphs().behind, text::clean(&alert));
        canvas.line(y, &[piece(words, Role::Warn)], &[]);
        y += 1;
    }
    let held = holds::all(model);
    if !held.is_empty() && y < bottom {
        let pieces = hold_pieces(canvas.glyphs(), &held, canvas.area.width >= 100);
        canvas.line(y, &pieces, &[]);
        y += 1;
    }
    y
}

/// The glyph and the role of a verdict.
#[must_use]
pub fn mark(glyphs: &Glyphs, kind: Kind) -> (&'static str, Role) {
    match kind {
        Kind::Live => (glyphs.success, Role::Success),
        Kind::NotLive => (glyphs.failed, Role::Bad),
        Kind::Unknown => ("?", Role::Strong),
        Kind::Unreachable => (glyphs.starting, Role::Bad),
    }
}

fn verdict_line(canvas: &mut Canvas<'_>, y: u16, model: &Model, verdict: &Verdict) {
    let kind = verdict.kind();
    let (glyph, role) = mark(canvas.glyphs(), kind);
    let tried =
        model.listing_problem.is_some() || model.pods.iter().any(|pod| pod.snapshot.is_some() || pod.problem.is_some());
    let empty = model.listed && verdict.total == 0;
    if kind == Kind::Unreachable && !tried && !empty {
        let words = match verdict.total {
            0 => format!("{glyph} CONNECTING"),
            total => format!("{glyph} CONNECTING  none of {total} has answered yet"),
        };
        canvas.line(y, &[piece(words, Role::Busy)], &[]);
        return;
    }
    let line = words::parts(verdict);
    let pieces = fitted(&line, &format!("{glyph} "), role, canvas.area.width.saturating_sub(2));
    canvas.line(y, &pieces, &[]);
}

/// Returns a verdict in this number of columns: the subject is cut first, then the last reasons.
#[must_use]
pub fn fitted(line: &Line, glyph: &str, role: Role, columns: u16) -> Vec<Piece> {
    let wide = columns >= 98;
    let gap = if wide { "   " } else { "  " };
    let mut pieces = vec![piece(format!("{glyph}{}", line.headline), role)];
    if !line.commit.is_empty() {
        pieces.push(piece(format!("{gap}{}", line.commit), role));
    }
    let facts: Vec<Piece> = line.facts.iter().map(|fact| piece(format!("{gap}{}", text::clean(fact)), role)).collect();
    let room = columns.saturating_sub(measure(&pieces) + measure(&facts) + 1);
    let wanted = u16::try_from(text::width(&text::clean(&line.subject))).unwrap_or(u16::MAX);
    if !line.subject.is_empty() && room >= wanted.min(LEAST_SUBJECT) {
        pieces.push(piece(format!(" {}", text::cut(&line.subject, usize::from(room), "..")), role));
    }
    pieces.extend(facts);
    pieces
}

/// Returns the time of the latest message, if nothing is live now.
#[must_use]
pub fn old_since(model: &Model) -> Option<Timestamp> {
    if model.pods.iter().any(Pod::live) {
        return None;
    }
    model.pods.iter().filter_map(|pod| pod.heard_at).max()
}

fn old(canvas: &mut Canvas<'_>, y: u16, model: &Model, since: Timestamp) {
    let age = text::age(model.now.duration_since(since));
    let at = since.to_zoned(TimeZone::UTC).strftime("%H:%M:%S UTC");
    let dash = canvas.glyphs().dash;
    let left = [piece(format!("as of {at} ({age} ago) {dash} everything below is old"), Role::Bad)];
    let next = model.pods.iter().filter_map(|pod| match &pod.link {
        Link::Retry { at, .. } => Some(at.duration_since(model.now).as_secs().max(0)),
        _ => None,
    });
    let right = next.min().map_or("connecting".to_owned(), |seconds| format!("retry {seconds}s"));
    canvas.line(y, &left, &[piece(right, Role::Bad)]);
}

/// `‖ web-3 paused 59m by ada@laptop   ◆ 2 pinned at a506e4d`
fn hold_pieces(glyphs: &Glyphs, held: &[Hold], wide: bool) -> Vec<Piece> {
    let words = held.iter().map(|hold| {
        let glyph = match hold.kind {
            holds::Kind::Paused => glyphs.paused,
            holds::Kind::Pinned => glyphs.pinned,
        };
        let who = if hold.names.len() > NAMED {
            hold.names.len().to_string()
        } else {
            text::clean(&hold.names.join(", ")).into_owned()
        };
        let by =
            hold.by.as_ref().filter(|_| wide).map(|by| format!(" by {}", text::cut(by, 40, ".."))).unwrap_or_default();
        piece(format!("{glyph} {who} {}{by}   ", hold.words), Role::Warn)
    });
    words.collect()
}
