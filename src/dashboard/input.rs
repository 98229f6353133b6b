//! Keys become movement: which screen, which row, what is typed, copied, frozen.
//!
//! Part of `update`: pure. What changes a replica is in [`super::act`], what is pasted in [`super::pasted`].

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::act;
use super::filter::Filter;
use super::fleet;
use super::keys::{self, Action};
use super::message::{Effect, Order};
use super::model::{Loaded, Model, Pane, Pod, PodId, SyncRow, TimeFormat, View};
use super::text;
use super::update;

/// The filter line is not a novel.
const FILTER_LENGTH: usize = 200;

/// One key, pressed by itself.
pub fn key(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    model.spilled = false;
    // These work wherever the user is, also while something is typed.
    match keys::action(model.view.screen(), key) {
        Some(Action::Quit) if key.modifiers.contains(KeyModifiers::CONTROL) => return vec![Effect::Quit],
        Some(Action::Suspend) => return vec![Effect::Suspend],
        Some(Action::Redraw) => return vec![Effect::Redraw],
        _ => {}
    }
    if model.too_small() {
        let quits = key.code == KeyCode::Char('q') && !key.modifiers.contains(KeyModifiers::ALT);
        return if quits { vec![Effect::Quit] } else { Vec::new() };
    }
    if std::mem::take(&mut model.copying) {
        return copy(model, key);
    }
    if model.help {
        model.help = false;
        return Vec::new();
    }
    if model.dialog.is_some() {
        return act::dialog_key(model, key);
    }
    if model.typing {
        type_filter(model, key);
        return Vec::new();
    }
    let Some(action) = keys::action(model.view.screen(), key) else { return Vec::new() };
    match action {
        Action::Quit => return vec![Effect::Quit],
        Action::Redraw => return vec![Effect::Redraw],
        Action::Suspend => return vec![Effect::Suspend],
        Action::Help => model.help = true,
        Action::Copy => model.copying = true,
        Action::Filter => model.typing = true,
        Action::Time => {
            model.time_format = match model.time_format {
                TimeFormat::Ago => TimeFormat::Utc,
                TimeFormat::Utc => TimeFormat::Local,
                TimeFormat::Local => TimeFormat::Ago,
            };
        }
        Action::Wide => model.wide = !model.wide,
        Action::Freeze => {
            if model.frozen {
                // The clock of the last held message is close enough until the next tick.
                let now = model.held.last().map_or(model.now, |(at, _)| *at);
                let effects = update::thaw(model, now);
                model.say("the screen goes on", false);
                return effects;
            }
            model.frozen = true;
        }
        Action::Follow => follow(model),
        Action::Reconnect => return reconnect(model),
        Action::Back => back(model),
        Action::Open => return open(model),
        Action::Fleet => go(model, View::Fleet),
        Action::Events => go(model, View::Events),
        Action::History => {
            if let Some(id) = current_pod(model).map(|pod| pod.id.clone()) {
                go(model, View::History(id));
            }
        }
        Action::NextPane => next_pane(model),
        Action::PreviousReplica => other_replica(model, -1),
        Action::NextReplica => other_replica(model, 1),
        Action::Up => move_by(model, -1),
        Action::Down => move_by(model, 1),
        Action::HalfUp => move_by(model, -(page(model) / 2).max(1)),
        Action::HalfDown => move_by(model, (page(model) / 2).max(1)),
        Action::PageUp => move_by(model, -page(model)),
        Action::PageDown => move_by(model, page(model)),
        Action::First => move_by(model, isize::MIN / 2),
        Action::Last => {
            model.to_end = matches!(model.view, View::History(_));
            move_by(model, isize::MAX / 2);
        }
        Action::Sync | Action::SyncAll | Action::Pause | Action::Pin | Action::Unpin => {
            return act::start(model, action);
        }
    }
    Vec::new()
}

/// Rows that fit a list, roughly: what a page key moves by.
fn page(model: &Model) -> isize {
    isize::try_from(model.size.1.saturating_sub(9)).unwrap_or(10).max(2)
}

/// A key in the filter line.
pub fn type_filter(model: &mut Model, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if key.modifiers.contains(KeyModifiers::ALT) {
        return;
    }
    match key.code {
        KeyCode::Enter => model.typing = false,
        KeyCode::Esc => {
            model.typing = false;
            model.filter_text.clear();
        }
        KeyCode::Backspace => {
            model.filter_text.pop();
        }
        KeyCode::Char('u') if control => model.filter_text.clear(),
        KeyCode::Char(character) if !control => add_to_filter(model, character),
        _ => {}
    }
    apply_filter(model);
}

/// Adds a character to the filter's text while there is room.
pub fn add_to_filter(model: &mut Model, character: char) {
    if model.filter_text.len() < FILTER_LENGTH {
        model.filter_text.push(character);
    }
}

/// Shows what the filter's text lets through.
pub fn apply_filter(model: &mut Model) {
    model.filter = Filter::parse(&model.filter_text);
    fleet::refresh(model);
}

/// `y` and then what: the sha, the delivery id, the error.
pub fn copy(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let record = current_record(model);
    let pod = current_pod(model);
    let found = match key.code {
        KeyCode::Char('s') => {
            let of_record = record.as_ref().and_then(|row| row.record.new.clone());
            let of_pod = || pod.and_then(|pod| pod.snapshot.as_ref()?.published.as_ref().map(|it| it.commit.clone()));
            of_record.or_else(of_pod).ok_or("no commit here")
        }
        KeyCode::Char('d') => {
            record.and_then(|row| row.record.trigger.delivery.clone()).ok_or("no webhook delivery rang this sync")
        }
        KeyCode::Char('e') => {
            let of_record = record.and_then(|row| row.record.error.as_ref().map(|error| error.message.clone()));
            let of_pod = || pod.and_then(|pod| pod.snapshot.as_ref()?.last_error.as_ref().map(|it| it.message.clone()));
            of_record.or_else(of_pod).ok_or("no error here")
        }
        KeyCode::Esc => return Vec::new(),
        _ => Err("copy what? y, then s = sha, d = delivery id, e = error"),
    };
    match found {
        Ok(text) => vec![Effect::Copy(text::clean(&text).into_owned())],
        Err(why) => {
            model.say(why, true);
            Vec::new()
        }
    }
}

fn follow(model: &mut Model) {
    let cursor = match model.view {
        View::History(_) => &mut model.history_cursor,
        _ => &mut model.fleet_cursor,
    };
    cursor.follow = !cursor.follow;
    if cursor.follow {
        cursor.selected = None;
    }
    let text = if cursor.follow { "following the newest sync" } else { "no longer following" };
    model.say(text, false);
}

fn reconnect(model: &mut Model) -> Vec<Effect> {
    // A page that could not be read is asked for again.
    model.pods.iter_mut().for_each(|pod| pod.records.loading = false);
    let waiting: Vec<Effect> = model
        .pods
        .iter()
        .filter(|pod| pod.attached() && !pod.live())
        .map(|pod| Effect::Order(pod.id.clone(), Order::Reconnect))
        .collect();
    let text = if waiting.is_empty() { "every link is live" } else { "reconnecting now" };
    model.say(text, false);
    let listing = model.setup.kubernetes.then_some(Effect::ListPods);
    waiting.into_iter().chain(listing).collect()
}

/// Escape: the filter first, then one screen back; at the root it says how to leave.
fn back(model: &mut Model) {
    let filtered_screen = matches!(model.view, View::Fleet | View::History(_));
    if filtered_screen && !model.filter.is_empty() {
        model.filter_text.clear();
        model.filter = Filter::default();
        fleet::refresh(model);
        return;
    }
    match model.trail.pop() {
        Some(view) => {
            model.view = view;
            fleet::refresh(model);
        }
        None if model.view != View::Fleet => model.view = View::Fleet,
        None => model.say("q quits", false),
    }
}

fn go(model: &mut Model, view: View) {
    if model.view == view {
        return;
    }
    if let View::History(_) = view {
        model.history_cursor.selected = None;
        model.history_cursor.follow = true;
    }
    model.trail = if view == View::Fleet { Vec::new() } else { vec![View::Fleet] };
    model.to_end = false;
    model.view = view;
    fleet::refresh(model);
}

fn open(model: &mut Model) -> Vec<Effect> {
    match model.view.clone() {
        View::Fleet if model.fleet_pane == Pane::First => {
            let Some(pod) = fleet::selected_pod(model) else { return Vec::new() };
            let (id, attached, running) =
                (pod.id.clone(), pod.attached(), pod.presence == super::model::Presence::Running);
            if !attached && running {
                return swap_link(model, &id);
            }
            go(model, View::History(id));
            Vec::new()
        }
        View::Fleet | View::History(_) => {
            let Some(row) = current_record(model) else { return Vec::new() };
            open_detail(model, row.pod, row.record.id.clone(), false);
            Vec::new()
        }
        View::Detail(..) | View::Events => Vec::new(),
    }
}

/// More replicas than links: the one that is asked for takes the place of the one that needs watching least.
fn swap_link(model: &mut Model, id: &PodId) -> Vec<Effect> {
    let victim = fleet::worst_first(model).iter().rev().find(|pod| pod.attached()).map(|pod| pod.id.clone());
    let mut effects = Vec::new();
    if let Some(pod) = victim.and_then(|victim| model.pod_mut(&victim)) {
        pod.link = super::model::Link::Idle;
        effects.push(Effect::Detach(pod.id.clone()));
    }
    effects.extend(update::attach(model, id));
    effects
}

fn open_detail(model: &mut Model, pod: PodId, id: String, replace: bool) {
    if !replace {
        let from = model.view.clone();
        model.trail.push(from);
    }
    model.detail_pane = Pane::First;
    model.detail_row = 0;
    model.view = View::Detail(pod.clone(), id.clone());
    fleet::refresh(model);
    // What could not be read the last time is asked for again, by the end of this update.
    model
        .details
        .retain(|((owner, sync), loaded)| *owner != pod || *sync != id || !matches!(loaded, Loaded::Failed(_)));
}

fn next_pane(model: &mut Model) {
    if model.view == View::Fleet {
        model.fleet_pane = if model.fleet_pane == Pane::First { Pane::Second } else { Pane::First };
    } else {
        model.detail_pane = match model.detail_pane {
            Pane::First => Pane::Second,
            Pane::Second => Pane::Third,
            Pane::Third => Pane::First,
        };
        model.detail_row = 0;
    }
}

/// The same screen of the replica before or after, in the order of names; in a detail the same commit there.
fn other_replica(model: &mut Model, step: isize) {
    let mut order: Vec<(&str, &PodId)> = model.pods.iter().map(|pod| (pod.name.as_str(), &pod.id)).collect();
    order.sort_unstable();
    let current = match &model.view {
        View::History(id) | View::Detail(id, _) => id.clone(),
        View::Fleet | View::Events => return,
    };
    let Some(at) = order.iter().position(|(_, id)| **id == current) else { return };
    let count = isize::try_from(order.len()).unwrap_or(1).max(1);
    let at = isize::try_from(at).unwrap_or(0);
    let next = order[usize::try_from((at + step).rem_euclid(count)).unwrap_or(0)].1.clone();
    if next == current {
        model.say("there is no other pod", false);
        return;
    }
    let View::Detail(_, sync) = model.view.clone() else {
        let trail = std::mem::take(&mut model.trail);
        go(model, View::History(next));
        model.trail = trail;
        return;
    };
    let commit = model.pod(&current).and_then(|pod| pod.records.get(&sync)).and_then(|record| record.new.clone());
    let same = commit.and_then(|commit| {
        let pod = model.pod(&next)?;
        pod.records.iter().find(|record| record.new.as_deref() == Some(commit.as_str())).map(|record| record.id.clone())
    });
    if let Some(id) = same {
        open_detail(model, next, id, true);
        return;
    }
    let name = model.pod(&next).map(|pod| pod.name.clone()).unwrap_or_default();
    model.say(format!("{name} has no sync of this commit among those loaded"), true);
}

fn move_by(model: &mut Model, step: isize) {
    let moved = |at: usize, count: usize| {
        let last = isize::try_from(count.saturating_sub(1)).unwrap_or(0);
        let at = isize::try_from(at).unwrap_or(0);
        usize::try_from(at.saturating_add(step).clamp(0, last)).unwrap_or(0)
    };
    match model.view {
        View::Fleet if model.fleet_pane == Pane::First => {
            let order: Vec<PodId> = fleet::worst_first(model).iter().map(|pod| pod.id.clone()).collect();
            let at = model.fleet_pod.as_ref().and_then(|id| order.iter().position(|pod| pod == id)).unwrap_or(0);
            model.fleet_pod = order.get(moved(at, order.len())).cloned();
        }
        View::Fleet => {
            let at = fleet::position(&model.fleet_rows, model.fleet_cursor.selected.as_ref());
            let to = moved(at, model.fleet_rows.len());
            model.fleet_cursor.selected = row_id(&model.fleet_rows, to);
            model.fleet_cursor.follow = to == 0;
            if to == 0 {
                model.fleet_cursor.selected = None;
            }
        }
        View::History(_) => {
            if step < 0 {
                model.to_end = false;
            }
            let at = fleet::position(&model.history_rows, model.history_cursor.selected.as_ref());
            let to = moved(at, model.history_rows.len());
            model.history_cursor.selected = if to == 0 { None } else { row_id(&model.history_rows, to) };
            model.history_cursor.follow = to == 0;
        }
        View::Detail(..) => model.detail_row = moved(model.detail_row, detail_rows(model)),
        View::Events => model.events_row = moved(model.events_row, model.events.len()),
    }
}

/// Moves the history's cursor to the oldest loaded row.
pub fn select_last(model: &mut Model) {
    let last = model.history_rows.len().saturating_sub(1);
    model.history_cursor.selected = row_id(&model.history_rows, last);
    model.history_cursor.follow = false;
}

fn row_id(rows: &[SyncRow], at: usize) -> Option<(PodId, String)> {
    rows.get(at).map(|row| (row.pod.clone(), row.record.id.clone()))
}

/// Lines of the detail's focused pane.
fn detail_rows(model: &Model) -> usize {
    let View::Detail(pod, id) = &model.view else { return 0 };
    match (model.detail(pod, id), model.detail_pane) {
        (Some(Loaded::Here(detail)), Pane::First) => detail.detail.commits.len(),
        (Some(Loaded::Here(detail)), Pane::Second) => detail.detail.files.len(),
        (Some(Loaded::Here(detail)), Pane::Third) => detail.detail.log.len(),
        _ => 0,
    }
}

/// The replica that the user looks at.
#[must_use]
pub fn current_pod(model: &Model) -> Option<&Pod> {
    match &model.view {
        View::Fleet if model.fleet_pane == Pane::First => fleet::selected_pod(model),
        View::Fleet => current_record(model).and_then(|row| model.pod(&row.pod)),
        View::History(id) | View::Detail(id, _) => model.pod(id),
        View::Events => fleet::selected_pod(model),
    }
}

/// The sync that the user looks at; none while the cursor is among the replicas.
#[must_use]
pub fn current_record(model: &Model) -> Option<SyncRow> {
    let (rows, cursor) = match &model.view {
        View::Fleet if model.fleet_pane == Pane::First => return None,
        View::Fleet => (&model.fleet_rows, &model.fleet_cursor),
        View::History(_) => (&model.history_rows, &model.history_cursor),
        View::Detail(pod, id) => {
            let record = model.pod(pod)?.records.get(id)?.clone();
            return Some(SyncRow { pod: pod.clone(), record });
        }
        View::Events => return None,
    };
    rows.get(fleet::position(rows, cursor.selected.as_ref())).cloned()
}

/// How a sync is called on screen: `#412`, or the end of a long id.
#[must_use]
pub fn sync_name(id: &str) -> String {
    let id = text::clean(id);
    let count = id.chars().count();
    let tail: String = id.chars().skip(count.saturating_sub(8)).collect();
    format!("#{tail}")
}
