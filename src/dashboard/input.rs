//! Turns keys into actions: another screen, another row, text, a change.
//!
//! Part of `update`: pure. Changes of replicas are in [`super::act`], pasted text in [`super::pasted`].

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::act;
use super::copying;
use super::cursor::{move_by, next_match, next_pane, page};
use super::keys::{self, Action};
use super::lists;
use super::message::{Effect, Order};
use super::model::{Model, TimeFormat, View};
use super::navigation;
use super::palette::Palette;
use super::reports;
use super::typing;

/// Handles one key that was pressed by itself.
pub(crate) fn key(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    model.spilled = false;
    // These work on every screen, also while text is typed.
    match keys::action(model.screen(), key) {
        Some(Action::Quit) if key.modifiers.contains(KeyModifiers::CONTROL) => return vec![Effect::Quit],
        Some(Action::Suspend) => return vec![Effect::Suspend],
        Some(Action::Redraw) => return vec![Effect::Redraw],
        _ => {}
    }
    if model.too_small() {
        let quits = key.code == KeyCode::Char('q') && !key.modifiers.contains(KeyModifiers::ALT);
        return if quits { vec![Effect::Quit] } else { Vec::new() };
    }
    // `y` waits for exactly one key. Any other key ends it, too, so that no mode stays behind unseen.
    if std::mem::take(&mut model.copying) {
        return copying::copy(model, key);
    }
    // Any key closes these pages. That includes `q`, which a person presses to leave the page and not the program.
    if model.address.take().is_some() || std::mem::take(&mut model.help) {
        return Vec::new();
    }
    if model.palette.is_some() {
        return palette_key(model, key);
    }
    if model.dialog.is_some() {
        return act::dialog_key(model, key);
    }
    if model.typing {
        typing::key(model, key);
        return Vec::new();
    }
    match keys::action(model.screen(), key) {
        Some(action) => carry_out(model, action),
        None => Vec::new(),
    }
}

/// A key while the list of commands is open.
fn palette_key(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return Vec::new();
    }
    let screen = model.screen();
    let Some(palette) = model.palette.as_mut() else { return Vec::new() };
    match key.code {
        KeyCode::Enter => {
            let chosen = palette.chosen(screen).map(|binding| binding.action);
            model.palette = None;
            return if let Some(action) = chosen {
                carry_out(model, action)
            } else {
                model.say("no command has this name", true);
                Vec::new()
            };
        }
        KeyCode::Esc => model.palette = None,
        KeyCode::Backspace => palette.pop(),
        KeyCode::Down | KeyCode::Tab => palette.step(screen, 1),
        KeyCode::Up | KeyCode::BackTab => palette.step(screen, -1),
        KeyCode::Char(character) => palette.push(character),
        _ => {}
    }
    Vec::new()
}

/// Runs the action of a key or a command.
fn carry_out(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Quit => return vec![Effect::Quit],
        Action::Redraw => return vec![Effect::Redraw],
        Action::Suspend => return vec![Effect::Suspend],
        Action::Help => model.help = true,
        Action::Copy => model.copying = true,
        Action::Palette => model.palette = Some(Palette::default()),
        Action::Filter => {
            model.typing = true;
            if !typing::hides(model) {
                model.search.clear();
            }
        }
        Action::NextMatch => next_match(model, true),
        Action::PreviousMatch => next_match(model, false),
        Action::SortNext => sort(model, true),
        Action::SortPrevious => sort(model, false),
        Action::Address => return copying::address(model),
        Action::Diffstat => navigation::diffstat(model),
        Action::Log => return navigation::log(model),
        Action::Time => {
            model.time_format = match model.time_format {
                TimeFormat::Ago => TimeFormat::Utc,
                TimeFormat::Utc => TimeFormat::Local,
                TimeFormat::Local => TimeFormat::Ago,
            };
        }
        Action::Wide => model.wide = !model.wide,
        Action::Freeze => return freeze(model),
        Action::Follow => follow(model),
        Action::Reconnect => return reconnect(model),
        Action::Back => return navigation::back(model),
        Action::Open => return navigation::open(model),
        Action::Commits => navigation::go(model, View::Commits),
        Action::Fleet => navigation::go(model, View::Fleet),
        Action::Events => navigation::go(model, View::Events),
        Action::NextPane => next_pane(model),
        Action::PreviousReplica => navigation::other_replica(model, -1),
        Action::NextReplica => navigation::other_replica(model, 1),
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

fn freeze(model: &mut Model) -> Vec<Effect> {
    if !model.frozen {
        model.frozen = true;
        return Vec::new();
    }
    // The time of the last held report is close enough until the next tick.
    let now = model.held.last().map_or(model.now, |(at, _)| *at);
    let effects = reports::thaw(model, now);
    model.say("screen unfrozen", false);
    effects
}

fn sort(model: &mut Model, forward: bool) {
    let words = if model.view == View::Fleet {
        model.pod_order = model.pod_order.step(forward);
        model.pod_order.words()
    } else {
        model.commit_order = model.commit_order.step(forward);
        model.commit_order.words()
    };
    model.say(words, false);
    lists::refresh(model);
}

fn follow(model: &mut Model) {
    if model.view == View::Commits {
        model.commit_cursor = None;
        model.say("following the newest commit", false);
        return;
    }
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
    // Requests a page again that could not be read.
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
