//! Text that is typed: the filter of a list, the word that is looked for elsewhere, the name of a command.
//!
//! Part of `update`: pure.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::cursor;
use super::filter::Filter;
use super::fleet;
use super::keys::Screen;
use super::model::{Model, View};

/// Characters of a filter or of a word to look for.
const LENGTH: usize = 200;
/// Digits of a hash from which a typed word is a question about a commit.
const HASH: std::ops::RangeInclusive<usize> = 7..=64;

/// True if `/` hides the rows that do not match on this screen; elsewhere it looks for them.
#[must_use]
pub fn hides(model: &Model) -> bool {
    matches!(model.screen(), Screen::Commits | Screen::Fleet | Screen::History)
}

/// What has been typed on this screen.
#[must_use]
pub fn text(model: &Model) -> &str {
    if hides(model) { &model.filter_text } else { &model.search }
}

fn text_mut(model: &mut Model) -> &mut String {
    if hides(model) { &mut model.filter_text } else { &mut model.search }
}

/// A key while text is typed.
pub fn key(model: &mut Model, key: KeyEvent) {
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
        KeyCode::Char('u') if control => text_mut(model).clear(),
        KeyCode::Char(character) if !control => add(model, character),
        _ => {}
    }
    apply(model);
}

/// Adds a character while there is room.
pub fn add(model: &mut Model, character: char) {
    let text = text_mut(model);
    if text.len() < LENGTH {
        text.push(character);
    }
}

/// Shows what the filter's text lets through.
pub fn apply(model: &mut Model) {
    if hides(model) {
        model.filter = Filter::parse(&model.filter_text);
        fleet::refresh(model);
    }
}

/// The text is complete. A hash becomes the question of the verdict: is it live, and where not.
fn keep(model: &mut Model) {
    if !hides(model) {
        cursor::next_match(model, true);
        return;
    }
    let typed = model.filter_text.trim().to_ascii_lowercase();
    let is_hash = HASH.contains(&typed.len()) && crate::hash::is_hex(&typed);
    model.question = is_hash.then_some(typed);
    if is_hash {
        // The newest of what matches, whatever was selected before.
        model.commit_cursor = None;
        if model.view == View::Commits && model.commit_rows.is_empty() {
            model.say("no loaded sync has this commit: the replicas are asked whether it is in what is live", false);
        }
    }
    fleet::refresh(model);
}

/// Forgets the filter and the question of this screen. Returns false if there was none.
pub fn clear(model: &mut Model) -> bool {
    if !hides(model) {
        return !std::mem::take(&mut model.search).is_empty();
    }
    let had = !model.filter_text.is_empty() || model.question.is_some();
    model.filter_text.clear();
    model.filter = Filter::default();
    model.question = None;
    if had {
        fleet::refresh(model);
    }
    had
}
