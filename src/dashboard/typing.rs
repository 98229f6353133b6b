//! Typed text: the filter of a list, the search text elsewhere, the name of a command.
//!
//! Part of `update`: pure.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::cursor;
use super::filter::Filter;
use super::keys::Screen;
use super::lists;
use super::model::{Model, View};

/// The most characters of a filter or a search text.
const LENGTH: usize = 200;
/// The lengths at which a typed hash is a question about a commit.
const HASH: std::ops::RangeInclusive<usize> = 7..=64;

/// Returns true if `/` hides the rows that do not match on this screen; elsewhere it moves to matches.
#[must_use]
pub(crate) fn hides(model: &Model) -> bool {
    matches!(model.screen(), Screen::Commits | Screen::Fleet | Screen::History)
}

/// Returns the typed text of this screen.
#[must_use]
pub(crate) fn text(model: &Model) -> &str {
    if hides(model) { &model.filter_text } else { &model.search }
}

fn text_mut(model: &mut Model) -> &mut String {
    if hides(model) { &mut model.filter_text } else { &mut model.search }
}

/// Handles a key while text is typed.
pub(crate) fn key(model: &mut Model, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if key.modifiers.contains(KeyModifiers::ALT) {
        return;
    }
    match key.code {
        KeyCode::Enter => {
            model.typing = false;
            keep(model);
            return;
        }
        KeyCode::Esc => {
            model.typing = false;
            text_mut(model).clear();
            model.question = None;
        }
        KeyCode::Backspace => {
            text_mut(model).pop();
        }
        // As in a shell (readline's `unix-line-discard`).
        KeyCode::Char('u') if control => text_mut(model).clear(),
        KeyCode::Char(character) if !control => add(model, character),
        _ => {}
    }
    apply(model);
}

/// Adds a character while there is room.
pub(crate) fn add(model: &mut Model, character: char) {
    let text = text_mut(model);
    if text.len() < LENGTH {
        text.push(character);
    }
}

/// Applies the filter's text.
pub(crate) fn apply(model: &mut Model) {
    if hides(model) {
        model.filter = Filter::parse(&model.filter_text);
        lists::refresh(model);
    }
}

/// Completes the text. A hash becomes the question of the verdict: is it live, and where not.
fn keep(model: &mut Model) {
    if !hides(model) {
        cursor::next_match(model, true);
        return;
    }
    // A pasted hash may have capitals and a space after it.
    let typed = model.filter_text.trim().to_ascii_lowercase();
    let is_hash = HASH.contains(&typed.len()) && crate::hash::is_hex(&typed);
    model.question = is_hash.then_some(typed);
    if is_hash {
        // The newest match is selected, instead of the previous selection.
        model.commit_cursor = None;
        if model.view == View::Commits && model.commit_rows.is_empty() {
            model.say("no loaded sync has this commit: the replicas are asked whether it is in what is live", false);
        }
    }
    lists::refresh(model);
}

/// Clears the filter and the question of this screen. Returns false if there was none.
pub(crate) fn clear(model: &mut Model) -> bool {
    if !hides(model) {
        return !std::mem::take(&mut model.search).is_empty();
    }
    let had = !model.filter_text.is_empty() || model.question.is_some();
    model.filter_text.clear();
    model.filter = Filter::default();
    model.question = None;
    if had {
        lists::refresh(model);
    }
    had
}
