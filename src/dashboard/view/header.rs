//! The top of every screen: the position, the verdict, and on lists of all replicas the webhook and the latency.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::canvas::{Canvas, Piece, measure, piece};
use super::{notices, strip, words};
use crate::dashboard::fleet;
use crate::dashboard::model::rows::Sample;
use crate::dashboard::model::{Model, PodId};
use crate::dashboard::text;
use crate::dashboard::theme::Role;
use crate::dashboard::verdict::Verdict;
use crate::dashboard::webhooks::{self, Health};

/// Returns the right end of the first line: the number of connected replicas, the time, the state of the screen.
fn links(canvas: &Canvas<'_>, model: &Model, wide: bool) -> Vec<Piece> {
    let glyphs = canvas.glyphs();
    let expected = model.pods.iter().filter(|pod| !pod.gone()).count();
    let live = model.pods.iter().filter(|pod| pod.live()).count();
    let mut parts = Vec::new();
    if expected > 0 {
        let role = if live == expected { Role::Plain } else { Role::Warn };
        // A replica behind a URL need not be a pod.
        let noun = if model.setup.kubernetes { "pods" } else { "replicas" };
        parts.push(piece(format!("{live}/{expected} {noun}"), role));
    }
    if wide {
        parts.push(piece(time(model.now), Role::Dim));
    }
    if model.setup.read_only {
        parts.push(piece("read-only", Role::Dim));
    }
    if model.frozen {
        parts.push(piece(format!("{} FROZEN (Space)", glyphs.paused), Role::Warn));
    }
    let mut pieces = Vec::new();
    for part in parts {
        if !pieces.is_empty() {
            pieces.push(piece("  ", Role::Plain));
        }
        pieces.push(part);
    }
    pieces
}

fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S UTC").to_string()
}

/// Draws the user's position: program, repository, then the screens on the way.
pub(crate) fn title(canvas: &mut Canvas<'_>, y: u16, model: &Model, trail: &[String]) {
    let wide = canvas.area.width >= 100;
    let right = links(canvas, model, wide);
    let room = canvas.area.width.saturating_sub(measure(&right) + 4);
    let program = [piece("pushsync dashboard   ", Role::Strong)];
    let mut source = Vec::new();
    if model.several() {
        source.push(piece(format!("{} repositories and refs", model.sources.len()), Role::Strong));
        source.push(piece(if wide { "   " } else { "  " }, Role::Plain));
    } else if let Some(lead) = fleet::lead(model) {
        source.push(piece(words::repo(&lead.repo, !wide), Role::Strong));
        source.push(piece(" @ ", Role::Dim));
        source.push(piece(&lead.reference, Role::Strong));
        source.push(piece(if wide { "   " } else { "  " }, Role::Plain));
    }
    let mut place = vec![piece(&model.setup.subject, Role::Dim)];
    for step in trail {
        place.push(piece(format!("  {}  ", canvas.glyphs().crumb), Role::Dim));
        place.push(piece(step, Role::Strong));
    }
    // On a narrow screen the well-known parts are dropped first: the program's name, then the repository.
    let mut left = Vec::new();
    if wide && measure(&program) + measure(&source) + measure(&place) <= room {
        left.extend(program);
    }
    if measure(&source) + measure(&place) <= room || trail.is_empty() {
        left.extend(source);
    }
    left.extend(place);
    canvas.line(y, &left, &right);
}

/// Draws the title and the notices below it. Returns the first free row.
pub(crate) fn draw(canvas: &mut Canvas<'_>, model: &Model, verdict: &Verdict, trail: &[String]) -> u16 {
    let y = canvas.area.y;
    title(canvas, y, model, trail);
    notices::draw(canvas, y + 1, model, verdict)
}

/// Draws the header of a list of all replicas: with the webhook and the latency, if there is room.
pub(crate) fn overview(canvas: &mut Canvas<'_>, model: &Model, verdict: &Verdict) -> u16 {
    let y = draw(canvas, model, verdict, &[]);
    match (canvas.area.width, canvas.area.height) {
        (100.., 20..) => {
            webhook(canvas, y, model);
            latency(canvas, y + 1, model);
            y + 2
        }
        (60.., 14..) => {
            webhook_short(canvas, y, model);
            y + 1
        }
        _ => y,
    }
}

/// Returns the state of the webhook in a word.
fn webhook_word(health: &Health, canvas: &Canvas<'_>) -> Piece {
    let glyphs = canvas.glyphs();
    // No replica answers now, so neither `ok` nor a problem would be true.
    if !health.known {
        piece(glyphs.dash, Role::Dim)
    } else if !health.enabled {
        piece(format!("{} off", glyphs.starting), Role::Dim)
    } else if health.refused_lately > 0 {
        // Refusals of the last two minutes go first; missed pushes are those of a day.
        piece(format!("{} {} refused", glyphs.behind, health.refused_lately), Role::Warn)
    } else if health.missed > 0 {
        piece(format!("{} {} missed", glyphs.behind, health.missed), Role::Warn)
    } else if let Some(last) = &health.last {
        match &last.ignored {
            Some(_) => piece(format!("{} ignored", glyphs.behind), Role::Warn),
            None => piece(format!("{} ok", glyphs.in_sync), Role::Good),
        }
    } else {
        piece(format!("{} silent", glyphs.starting), Role::Dim)
    }
}

fn webhook(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let all = webhooks::health(model);
    let end = webhook_counts(model, &all);
    let begin = |reason: bool| {
        let mut left = vec![piece("webhook  ", Role::Dim), webhook_word(&all, canvas)];
        if all.enabled {
            left.push(piece("   ", Role::Plain));
            left.push(last_delivery(model, &all, reason));
        }
        left
    };
    let room = canvas.area.width.saturating_sub(2);
    // The counts are more important than why one delivery was ignored, which the list of events has as well.
    let whole = begin(true);
    let fits = measure(&whole).saturating_add(measure(&end)) <= room;
    let mut left = if fits { whole } else { begin(false) };
    left.extend(end);
    canvas.line(y, &left, &[]);
}

fn last_delivery(model: &Model, all: &Health, reason: bool) -> Piece {
    let Some(last) = &all.last else { return piece("no delivery yet", Role::Dim) };
    let age = text::age(model.now.duration_since(last.at));
    let (what, role) = match &last.ignored {
        Some(why) if reason && !webhooks::alert_is_ignored(model) => {
            (format!("ignored: {}", text::cut(why, 120, text::ELLIPSIS)), Role::Warn)
        }
        Some(_) => ("ignored".to_owned(), Role::Warn),
        None => (last.event.clone(), Role::Plain),
    };
    piece(format!("last delivery {age} ago ({what})"), role)
}

fn webhook_counts(model: &Model, all: &Health) -> Vec<Piece> {
    if !all.known {
        return Vec::new();
    }
    if !all.enabled {
        return vec![piece("   no secret was given, so only polls find pushes", Role::Dim)];
    }
    let role = if all.bad_signature > 0 { Role::Warn } else { Role::Dim };
    let noun = if all.bad_signature == 1 { "bad signature" } else { "bad signatures" };
    let mut counts = vec![
        piece(format!("   24h: {} received, ", all.received), Role::Dim),
        piece(format!("{} {noun}, ", all.bad_signature), role),
        piece(format!("{} missed", all.missed), if all.missed > 0 { Role::Warn } else { Role::Dim }),
    ];
    if let (Some(row), true) = (&model.last_missed, all.missed > 0)
        && let Some(pod) = model.pod(&row.pod)
    {
        let age = text::age(fleet::age(model, pod, row.record.finished_at));
        counts.push(piece(format!(" (polled {age} ago)"), Role::Dim));
    }
    counts
}

fn latency(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let glyphs = canvas.glyphs();
    let latency = &model.fleet_latency;
    let arrow = glyphs.arrow;
    let mut left = vec![piece(format!("push {arrow} published   "), Role::Dim)];
    if let (Some(p50), Some(p95)) = (latency.p50, latency.p95) {
        left.push(piece(format!("p50 {}   p95 {}", text::took(p50), text::took(p95)), Role::Plain));
    } else {
        left.push(piece("no push measured yet", Role::Dim));
    }
    if let Some(waiting) = fleet::waiting_records(model) {
        // It takes the place of the strip: a history that is not on the disk is lost if the pod ends.
        canvas.line(y, &left, &[piece(text::clean(&waiting), Role::Warn)]);
        return;
    }
    // Failures are shown even if nothing was measured.
    if latency.samples.iter().all(|sample| *sample == Sample::Gap) {
        canvas.line(y, &left, &[]);
        return;
    }
    left.push(piece(format!("   last {}  ", latency.samples.len()), Role::Dim));
    left.extend(strip::spark(glyphs, &latency.samples));
    notices::faded(model, &mut left);
    canvas.line(y, &left, &[piece(format!("{} = failed", glyphs.lost), Role::Dim)]);
}

fn webhook_short(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let glyphs = canvas.glyphs();
    let all = webhooks::health(model);
    let mut left = vec![piece("webhook ", Role::Dim), webhook_word(&all, canvas)];
    if let Some(last) = &all.last {
        left.push(piece(format!(" {}", text::age_short(model.now.duration_since(last.at))), Role::Plain));
    }
    let room = usize::from(canvas.area.width.saturating_sub(measure(&left) + 16));
    let latency = &model.fleet_latency;
    let newest = &latency.samples[latency.samples.len().saturating_sub(room)..];
    let mut right = Vec::new();
    if fleet::waiting_records(model).is_some() {
        right.push(piece("records wait for a disk ", Role::Warn));
    } else if let Some(p95) = latency.p95 {
        right.push(piece(format!("p95 {} ", text::took(p95)), Role::Dim));
    }
    if newest.iter().any(|sample| *sample != Sample::Gap) {
        right.extend(strip::spark(glyphs, newest));
    }
    notices::faded(model, &mut right);
    canvas.line(y, &left, &right);
}

/// Returns the name of a replica in the title.
pub(crate) fn crumb(model: &Model, id: &PodId) -> String {
    model.pod(id).map_or_else(|| "a replica that is gone".to_owned(), |pod| pod.name.clone())
}
