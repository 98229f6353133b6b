//! Handles pasted text, marked as such by the terminal or recognized by its speed: it reaches text fields only.
//!
//! Part of `update`: pure. A key of a burst may move the cursor, but it changes no replica, answers no question and does
//! not quit. [`super::bursts`] decides what a burst is.

use crossterm::event::{KeyCode, KeyEvent};

use super::act;
use super::bursts::Weight;
use super::copying;
use super::input;
use super::keys::{self, Action};
use super::message::Effect;
use super::model::{Model, Question};
use super::typing;

/// Returns the weight of a key: keys that change a replica, answer a question or quit must have been pressed by themselves.
#[must_use]
pub(crate) fn weight(model: &Model, key: KeyEvent) -> Weight {
    let action = |key| keys::action(model.screen(), key);
    let is_heavy = if model.too_small() {
        // The only key that acts on a terminal that is too small (`input::key`).
        key.code == KeyCode::Char('q')
    } else if model.copying || model.help || model.address.is_some() {
        false
    } else if let Some(palette) = &model.palette {
        let chosen = palette.chosen(model.screen()).map(|binding| binding.action);
        key.code == KeyCode::Enter && chosen.is_some_and(|action| keys::changes(action) || action == Action::Quit)
    } else if model.dialog.is_some() {
        matches!(key.code, KeyCode::Enter | KeyCode::Char('y' | 'A'))
    } else if model.typing {
        false
    } else {
        action(key).is_some_and(|action| keys::changes(action) || action == Action::Quit)
    };
    if is_heavy { Weight::Heavy } else { Weight::Light }
}

/// Handles a key of a burst.
pub(crate) fn rushed(model: &mut Model, key: KeyEvent, first: bool) -> Vec<Effect> {
    model.spilled &= !first;
    if model.too_small() || model.spilled {
        return Vec::new();
    }
    if std::mem::take(&mut model.copying) {
        return copying::copy(model, key);
    }
    if model.palette.is_some() {
        type_into_palette(model, key);
        return Vec::new();
    }
    if model.help || model.address.is_some() {
        model.address = None;
        // As with any key. The rest of the burst was not meant for the screen below.
        model.help = false;
        model.spilled = true;
        return Vec::new();
    }
    if model.dialog.is_some() {
        type_into_dialog(model, key);
        return Vec::new();
    }
    if model.typing {
        // The lines after the first one are no keys.
        model.spilled = key.code == KeyCode::Enter;
        typing::key(model, key);
        return Vec::new();
    }
    let Some(action) = keys::action(model.screen(), key) else { return Vec::new() };
    if keys::moves(action) || action == Action::Filter && first {
        return input::key(model, key);
    }
    if keys::changes(action) {
        let name = key.code;
        model.say(format!("keys came as fast as pasted text, so nothing was changed: press {name} by itself"), true);
    }
    Vec::new()
}

/// Passes letters of a burst to the list of commands. It runs no command.
fn type_into_palette(model: &mut Model, key: KeyEvent) {
    if key.code == KeyCode::Enter {
        model.say("keys came as fast as pasted text, so no command was carried out", true);
        return;
    }
    if let (Some(palette), KeyCode::Char(character)) = (model.palette.as_mut(), key.code) {
        palette.push(character);
    }
}

/// Passes digits of a burst to a dialog's hash. It accepts no answer.
fn type_into_dialog(model: &mut Model, key: KeyEvent) {
    let Some(dialog) = model.dialog.as_mut() else { return };
    match (&mut dialog.question, key.code) {
        // Here a capital A is a digit: a pasted hash may be in capitals.
        (Question::Pin { commit, typed, .. }, KeyCode::Char(character)) => act::type_digit(commit, typed, character),
        (Question::Pin { .. } | Question::Pause { .. }, KeyCode::Char('h' | 'l' | 'j' | 'k') | KeyCode::Backspace) => {
            let _ = act::dialog_key(model, key);
        }
        (_, KeyCode::Char('y' | 'A') | KeyCode::Enter) => {
            model.say("keys came as fast as pasted text, so the question is still open", true);
        }
        _ => {}
    }
}

/// Handles text that the terminal marked as pasted.
pub(crate) fn paste(model: &mut Model, pasted: &str) {
    if model.too_small() {
        return;
    }
    let line = one_line(pasted);
    if let Some(dialog) = model.dialog.as_mut() {
        if let Question::Pin { commit, typed, .. } = &mut dialog.question
            && !line.is_empty()
            && crate::hash::is_hex(&line)
        {
            line.chars().for_each(|character| act::type_digit(commit, typed, character));
            return;
        }
    } else if let Some(palette) = model.palette.as_mut() {
        line.chars().for_each(|character| palette.push(character));
        return;
    } else if model.typing && !model.help {
        line.chars().for_each(|character| typing::add(model, character));
        typing::apply(model);
        return;
    }
    model.say("pasted text is used in text fields only: / opens the filter", false);
}

/// Without control characters and line ends.
fn one_line(text: &str) -> String {
    let spaced: String =
        text.chars().map(|character| if character.is_whitespace() { ' ' } else { character }).collect();
    let plain: String = spaced.chars().filter(|character| !character.is_control()).collect();
    plain.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
