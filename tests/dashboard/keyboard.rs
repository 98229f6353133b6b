//! Keys as text: `press(&mut model, "jj<Enter>")`.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use pushsync::dashboard::fleet;
use pushsync::dashboard::message::{Effect, Msg};
use pushsync::dashboard::model::Model;
use pushsync::dashboard::update::update;

/// Presses one key after the other and returns all effects.
pub fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut rest = keys;
    while let Some(first) = rest.chars().next() {
        let named = rest.strip_prefix('<').and_then(|after| after.split_once('>'));
        let (code, after) = match named {
            Some(("Enter", after)) => (KeyCode::Enter, after),
            Some(("Tab", after)) => (KeyCode::Tab, after),
            Some(("Esc", after)) => (KeyCode::Esc, after),
            Some(("Backspace", after)) => (KeyCode::Backspace, after),
            Some(("Left", after)) => (KeyCode::Left, after),
            Some(("Right", after)) => (KeyCode::Right, after),
            Some(("Up", after)) => (KeyCode::Up, after),
            Some(("Down", after)) => (KeyCode::Down, after),
            _ => (KeyCode::Char(first), &rest[first.len_utf8()..]),
        };
        rest = after;
        let now = model.now;
        effects.extend(update(model, now, Msg::Key(KeyEvent::new(code, KeyModifiers::NONE))));
    }
    effects
}

/// The name of the replica under the cursor.
pub fn selected(model: &Model) -> Option<String> {
    fleet::selected_pod(model).map(|pod| pod.name.clone())
}

/// Presses keys as a terminal without bracketed paste sends pasted text: all at once.
pub fn burst(model: &mut Model, keys: &str) -> Vec<Effect> {
    let now = model.now;
    let mut effects = Vec::new();
    for (index, character) in keys.chars().enumerate() {
        let code = match character {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            character => KeyCode::Char(character),
        };
        effects.extend(update(model, now, Msg::Rushed { key: code.into(), first: index == 0 }));
    }
    effects
}

/// Pastes text that the terminal marks as pasted.
pub fn paste(model: &mut Model, text: &str) -> Vec<Effect> {
    let now = model.now;
    update(model, now, Msg::Paste(text.to_owned()))
}
