//! One step of the model: takes a message, returns effects.
//!
//! Pure: no input, no output, no clock (the time is an argument). Keys and dialogs are in [`super::input`] and
//! [`super::act`], reports of replicas in [`super::reports`]; this file distributes the messages.

use jiff::{SignedDuration, Timestamp};

use super::ask;
use super::cursor;
use super::fleet;
use super::input;
use super::lists;
use super::message::{Effect, Msg, News, Order, Report};
use super::model::{Loaded, Model, Pod, Presence, View};
use super::pasted;
use super::reports;
use super::turns;
use super::verdict;

/// The time that a deleted pod stays on screen.
const GONE_STAYS: SignedDuration = SignedDuration::from_secs(60);
/// The most reports that are kept while the screen is frozen; one more unfreezes it.
const HELD: usize = 256;
/// Rows that are still below the cursor when the next page is asked for.
const PAGE_AHEAD: usize = 100;

/// Handles a message at a time of our clock.
pub fn update(model: &mut Model, now: Timestamp, msg: Msg) -> Vec<Effect> {
    if model.frozen {
        match msg {
            // They change nothing but the time, and would soon fill the list of kept messages.
            Msg::Tick | Msg::Link(_, News::Heartbeat) => return Vec::new(),
            Msg::Pods(found) => return hold(model, now, Report::Pods(found)),
            Msg::Link(id, news) => return hold(model, now, Report::Link(id, news)),
            _ => {}
        }
    } else {
        model.now = now;
    }
    // With many events, the lists are computed only before they are drawn, by `settle`.
    let waits = matches!(&msg, Msg::Link(_, News::Event(_) | News::Heartbeat | News::Line(_)) | Msg::LogLine(..));
    if !waits {
        lists::settle(model);
    }
    let mut effects = step(model, msg);
    expire(model);
    effects.extend(ask::ask(model));
    effects.extend(turns::take(model));
    if !waits {
        effects.extend(settle(model));
    }
    effects
}

/// Prepares the model for drawing, and requests data that its screen lacks.
pub fn settle(model: &mut Model) -> Vec<Effect> {
    lists::settle(model);
    let mut effects = Vec::new();
    if !model.frozen {
        fill_history(model, &mut effects);
        fill_detail(model, &mut effects);
    }
    effects
}

/// Keeps a report until the screen is unfrozen.
fn hold(model: &mut Model, now: Timestamp, report: Report) -> Vec<Effect> {
    model.held.push((now, report));
    if model.held.len() <= HELD {
        return Vec::new();
    }
    let effects = reports::thaw(model, now);
    model.say("too many events: screen unfrozen", false);
    effects
}

fn step(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Key(key) => input::key(model, key),
        Msg::Rushed { key, first } => pasted::rushed(model, key, first),
        Msg::Paste(text) => {
            pasted::paste(model, &text);
            Vec::new()
        }
        Msg::Resize(width, height) => {
            model.size = (width, height);
            Vec::new()
        }
        Msg::Wheel(rows) => {
            if !model.too_small() && model.dialog.is_none() && model.palette.is_none() && !model.help {
                cursor::move_by(model, rows);
            }
            Vec::new()
        }
        Msg::Copied(words, bad) => {
            model.say(words, bad);
            Vec::new()
        }
        Msg::LogLine(id, line) => {
            if model.log.pod.as_ref() == Some(&id) {
                model.log.push(&line);
            }
            Vec::new()
        }
        Msg::LogEnded(id, why) => {
            if model.log.pod.as_ref() == Some(&id) {
                model.log.ended = Some(why);
            }
            Vec::new()
        }
        Msg::Tick => {
            // The answers of a visited replica become old by themselves.
            model.stale |= verdict::current(model) != model.current;
            Vec::new()
        }
        Msg::Pods(found) => reports::handle(model, Report::Pods(found)),
        Msg::Link(id, news) => reports::handle(model, Report::Link(id, news)),
    }
}

/// Drops expired items.
fn expire(model: &mut Model) {
    let now = model.now;
    if model.flash.as_ref().is_some_and(|flash| flash.until <= now) {
        model.flash = None;
    }
    let before = model.pods.len();
    let looked_at = model.view.clone();
    model.pods.retain(|pod| match pod.presence {
        Presence::Gone { since } => {
            // A user may still read why a pod ended, so its screen does not disappear under the cursor.
            let read = matches!(&looked_at, View::History(id) | View::Detail(id, _) | View::Log(id) if *id == pod.id);
            read || now.duration_since(since) < GONE_STAYS
        }
        _ => true,
    });
    if model.pods.len() != before {
        lists::refresh(model);
    }
}

/// Requests the data for the screen of one sync, also when the link is restored meanwhile.
fn fill_detail(model: &mut Model, effects: &mut Vec<Effect>) {
    let (pod, id) = match model.view.clone() {
        View::Detail(pod, id) => (pod, id),
        // The files and the log of a commit are those of the sync on the selected replica.
        View::Commit(_) => match cursor::current_record(model) {
            Some(row) => (row.pod, row.record.id.clone()),
            None => return,
        },
        _ => return,
    };
    if model.detail(&pod, &id).is_none() && model.pod(&pod).is_some_and(Pod::live) {
        model.set_detail(&pod, &id, Loaded::Waiting);
        effects.push(Effect::Order(pod, Order::Detail(id)));
    }
}

/// Requests older records while the cursor is near the end of the loaded ones.
fn fill_history(model: &mut Model, effects: &mut Vec<Effect>) {
    let View::History(id) = model.view.clone() else { return };
    let at = fleet::position(&model.history_rows, model.history_cursor.selected.as_ref());
    let near_end = at + PAGE_AHEAD >= model.history_rows.len();
    let to_end = model.to_end;
    let Some(pod) = model.pod_mut(&id) else { return };
    if pod.records.complete {
        model.to_end = false;
        return;
    }
    if !pod.live() || pod.records.loading || !(near_end || to_end) {
        return;
    }
    pod.records.loading = true;
    let before = pod.records.oldest().map(|record| record.id.clone());
    effects.push(Effect::Order(id, Order::Page { before }));
}
