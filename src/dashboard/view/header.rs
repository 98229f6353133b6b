//! The top of every screen: what is looked at, and whether it can be believed.
//!
//! The fleet's header answers the first question: is the newest commit live on every replica?

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::canvas::{Canvas, Piece, measure, piece};
use super::{strip, words};
use crate::dashboard::fleet::{self, Sample};
use crate::dashboard::model::{Link, Model, Pod, PodId};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};
use crate::dashboard::verdict::{self, Kind, Verdict};
use crate::dashboard::webhooks::{self, Health};

/// The right end of the first line: how many replicas, what time, whether the links live.
fn links(canvas: &Canvas<'_>, model: &Model, wide: bool) -> Vec<Piece> {
    let glyphs = canvas.glyphs();
    let expected = model.pods.iter().filter(|pod| !pod.gone()).count();
    let live = model.pods.iter().filter(|pod| pod.live()).count();
    let mut pieces = Vec::new();
    if expected > 0 {
        let role = if live == expected { Role::Plain } else { Role::Warn };
        pieces.push(piece(format!("{live}/{expected} pods"), role));
        pieces.push(piece("  ", Role::Plain));
    }
    if wide {
        pieces.push(piece(time(model.now), Role::Dim));
        pieces.push(piece("  ", Role::Plain));
    }
    if model.setup.read_only {
        pieces.push(piece("read-only  ", Role::Dim));
    }
    pieces.push(if model.listed && expected == 0 && model.listing_problem.is_none() {
        piece(format!("{} NO PODS", glyphs.starting), Role::Warn)
    } else if model.frozen {
        piece(format!("{} FROZEN (Space)", glyphs.paused), Role::Warn)
    } else {
        chip(glyphs, model, &verdict::judge(model))
    });
    pieces
}

/// The verdict in a word or two.
fn chip(glyphs: &Glyphs, model: &Model, verdict: &Verdict) -> Piece {
    let tried =
        model.listing_problem.is_some() || model.pods.iter().any(|pod| pod.snapshot.is_some() || pod.problem.is_some());
    match verdict.kind() {
        Kind::Unreachable if tried => piece(format!("{} OFFLINE", glyphs.starting), Role::Bad),
        Kind::Unreachable => piece(format!("{} CONNECTING", glyphs.starting), Role::Busy),
        kind => {
            let (glyph, role) = match kind {
                Kind::Live => (glyphs.in_sync, Role::Good),
                Kind::NotLive => (glyphs.failed, Role::Bad),
                Kind::Unknown | Kind::Unreachable => (glyphs.unknown, Role::Warn),
            };
            piece(format!("{glyph} {}", verdict::words::headline(kind)), role)
        }
    }
}

fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S UTC").to_string()
}

/// Where the user is: program, repository, then the trail.
pub fn title(canvas: &mut Canvas<'_>, y: u16, model: &Model, trail: &[String]) {
    let wide = canvas.area.width >= 100;
    let right = links(canvas, model, wide);
    let room = canvas.area.width.saturating_sub(measure(&right) + 4);
    let program = [piece("pushsync dashboard   ", Role::Strong)];
    let mut source = Vec::new();
    if let Some(lead) = fleet::lead(model) {
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
    // What is known by heart goes first when it gets narrow: the program's name, then the repository.
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

/// The latest moment at which anything was heard, if nothing is live now.
pub fn old_since(model: &Model) -> Option<Timestamp> {
    if model.pods.iter().any(Pod::live) {
        return None;
    }
    model.pods.iter().filter_map(|pod| pod.heard_at).max()
}

/// How many lines the fleet's header takes.
pub fn fleet_height(canvas: &Canvas<'_>) -> u16 {
    match (canvas.area.width, canvas.area.height) {
        (100.., 20..) => 4,
        (60.., 14..) => 3,
        _ => 2,
    }
}

/// The fleet's header.
pub fn fleet(canvas: &mut Canvas<'_>, model: &Model) {
    let height = fleet_height(canvas);
    let y = canvas.area.y;
    title(canvas, y, model, &[]);
    head(canvas, y + 1, model, height == 4);
    match height {
        4 => {
            webhook(canvas, y + 2, model);
            latency(canvas, y + 3, model);
        }
        3 => webhook_short(canvas, y + 2, model),
        _ => {}
    }
}

fn head(canvas: &mut Canvas<'_>, y: u16, model: &Model, wide: bool) {
    let glyphs = canvas.glyphs();
    if let Some(since) = old_since(model) {
        let age = text::age(model.now.duration_since(since));
        let left = vec![
            piece(format!("as of {} ({age} ago) ", time(since)), Role::Bad),
            piece(format!("{} everything below is old", glyphs.dash), Role::Bad),
        ];
        let next = model.pods.iter().filter_map(|pod| match &pod.link {
            Link::Retry { at, .. } => Some(at.duration_since(model.now).as_secs().max(0)),
            _ => None,
        });
        let right = next.min().map_or("connecting".to_owned(), |seconds| format!("retry {seconds}s"));
        canvas.line(y, &left, &[piece(right, Role::Bad)]);
        return;
    }
    let label = if wide { "head     " } else { "head " };
    let verdict = verdict::judge(model);
    if let [_, _, ..] = verdict.groups.as_slice() {
        several(canvas, y, &verdict);
        return;
    }
    let Some(head) = fleet::head(model) else {
        let text = if model.pods.iter().any(Pod::live) { "not seen yet" } else { glyphs.dash };
        canvas.line(y, &[piece(label, Role::Dim), piece(text, Role::Dim)], &[]);
        return;
    };
    let mut left = vec![piece(label, Role::Dim), piece(text::short(&head.commit), Role::Accent)];
    left.push(piece(if wide { "  " } else { " " }, Role::Plain));
    let age = text::age(model.now.duration_since(head.seen_at));
    let (subject, role_of_it) = match head.subject.clone() {
        Some(subject) => (subject, Role::Strong),
        None if head.announced => ("announced by a webhook, not seen yet".to_owned(), Role::Warn),
        None => ("not published anywhere yet".to_owned(), Role::Dim),
    };
    let by = match (&head.author, wide) {
        (Some(author), true) => format!(" {} {author}, seen {age} ago", glyphs.dash),
        (_, true) => format!(" {} seen {age} ago", glyphs.dash),
        (_, false) => format!(" {} {age}", glyphs.dot),
    };
    let role = match verdict.kind() {
        Kind::Live => Role::Good,
        Kind::NotLive => Role::Bad,
        Kind::Unknown | Kind::Unreachable => Role::Warn,
    };
    let right = [piece(counts(&verdict, wide), role)];
    // The age stays when a long subject is cut.
    let fixed = measure(&left) + measure(&right) + text::width(&by).try_into().unwrap_or(0) + 4;
    let room = usize::from(canvas.area.width.saturating_sub(fixed));
    left.push(piece(text::cut(&subject, room, glyphs.ellipsis), role_of_it));
    left.push(piece(by, Role::Dim));
    canvas.line(y, &left, &right);
}

/// On how many replicas it is live, and the reasons of the others where there is room for them.
fn counts(verdict: &Verdict, wide: bool) -> String {
    let Some(group) = verdict.groups.first() else { return String::new() };
    let count = format!("live on {} of {}", group.live, group.total);
    if wide && !group.lacking.is_empty() {
        return format!("{count}  {}", text::cut(&verdict::words::reasons(&group.lacking, group.total), 50, ".."));
    }
    count
}

/// One piece for each repository and ref: nothing is added up over them.
fn several(canvas: &mut Canvas<'_>, y: u16, verdict: &Verdict) {
    let glyphs = canvas.glyphs();
    let mut left = Vec::new();
    for group in &verdict.groups {
        let (glyph, role) = match group.kind() {
            Kind::Live => (glyphs.in_sync, Role::Good),
            Kind::NotLive => (glyphs.failed, Role::Bad),
            Kind::Unknown | Kind::Unreachable => (glyphs.unknown, Role::Warn),
        };
        let source = group.source.as_ref();
        let name = source.map_or_else(String::new, |it| format!("{} @ {}", words::repo(&it.repo, true), it.reference));
        let commit = group.target.as_ref().map_or_else(String::new, |target| text::short(&target.commit));
        left.push(piece(format!("{glyph} "), role));
        left.push(piece(text::clean(&name).into_owned(), Role::Strong));
        left.push(piece(format!(" {commit} {}/{}   ", group.live, group.total), role));
    }
    canvas.line(y, &left, &[]);
}

/// The webhook in a word.
fn webhook_word(health: &Health, canvas: &Canvas<'_>) -> Piece {
    let glyphs = canvas.glyphs();
    if !health.known {
        piece(glyphs.dash, Role::Dim)
    } else if !health.enabled {
        piece(format!("{} off", glyphs.starting), Role::Dim)
    } else if health.refused_lately > 0 {
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
    let mut left = vec![piece("webhook  ", Role::Dim), webhook_word(&all, canvas)];
    if all.enabled {
        left.push(piece("   ", Role::Plain));
        left.push(match &all.last {
            Some(last) => {
                let age = text::age(model.now.duration_since(last.at));
                let (what, role) = match &last.ignored {
                    Some(reason) => (format!("ignored: {}", text::cut(reason, 60, "..")), Role::Warn),
                    None => (last.event.clone(), Role::Plain),
                };
                piece(format!("last delivery {age} ago ({what})"), role)
            }
            None => piece("no delivery yet", Role::Dim),
        });
        left.push(piece(format!("   24h: {} received, ", all.received), Role::Dim));
        let role = if all.bad_signature > 0 { Role::Warn } else { Role::Dim };
        left.push(piece(format!("{} bad signature, ", all.bad_signature), role));
        left.push(piece(format!("{} missed", all.missed), if all.missed > 0 { Role::Warn } else { Role::Dim }));
        if let (Some(row), true) = (&model.last_missed, all.missed > 0)
            && let Some(pod) = model.pod(&row.pod)
        {
            let age = text::age(fleet::age(model, pod, row.record.finished_at));
            left.push(piece(format!(" {} found by poll {age} ago", canvas.glyphs().arrow), Role::Dim));
        }
    } else if all.known {
        left.push(piece("   no secret was given, so only polls find pushes", Role::Dim));
    }
    canvas.line(y, &left, &[]);
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
        canvas.line(y, &left, &[piece(text::clean(&waiting), Role::Warn)]);
        return;
    }
    // Failures are news even while nothing was measured.
    if latency.samples.iter().all(|sample| *sample == Sample::Gap) {
        canvas.line(y, &left, &[]);
        return;
    }
    left.push(piece(format!("   last {}  ", latency.samples.len()), Role::Dim));
    left.extend(strip::spark(glyphs, &latency.samples));
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
    canvas.line(y, &left, &right);
}

/// The names of a replica for the trail.
pub fn crumb(model: &Model, id: &PodId) -> String {
    model.pod(id).map_or_else(|| "a replica that is gone".to_owned(), |pod| pod.name.clone())
}
