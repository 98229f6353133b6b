//! Tells keys that a person presses from text that a terminal without bracketed paste sends as keys.
//!
//! Pasted text arrives at once, or faster than anyone types. A key that may change something therefore waits for a
//! moment in which no other key follows. Pure: keys and times go in. It knows no screens.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::time::Instant;

use super::message::Msg;

/// Keys that are closer together than this are a burst. Fast typists stay above it, scanners and pastes below.
pub const GAP: Duration = Duration::from_millis(40);

/// How much a key may do, and so how certain it must be that it was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It looks or moves.
    Light,
    /// It quits: no other key may follow it.
    Quits,
    /// It may change a replica: no other key may follow it or come just before it.
    Changes,
}

/// The keys that came last.
#[derive(Debug, Default)]
pub struct Bursts {
    last: Option<Instant>,
    held: Option<Held>,
}

/// A key that waits.
#[derive(Debug)]
struct Held {
    key: KeyEvent,
    /// No other key came just before it.
    first: bool,
    until: Instant,
}

impl Bursts {
    /// Takes a key. `more`: another key follows it in the same read. A key of weight waits until [`Self::deadline`].
    /// Returns what is certain now, in order.
    pub fn key(&mut self, key: KeyEvent, at: Instant, more: bool, weight: Weight) -> Vec<Msg> {
        if !Self::is_text(key) {
            return vec![Msg::Key(key)];
        }
        let follows = self.last.replace(at).is_some_and(|last| at.saturating_duration_since(last) < GAP);
        // The key that waited was the first of a burst after all.
        let mut certain: Vec<Msg> =
            self.held.take().map(|held| Msg::Rushed { key: held.key, first: held.first }).into_iter().collect();
        let held = Held { key, first: !follows, until: at + GAP };
        match weight {
            Weight::Quits if !more => self.held = Some(held),
            Weight::Changes if !more && !follows => self.held = Some(held),
            Weight::Light if !more && !follows => certain.push(Msg::Key(key)),
            _ => certain.push(Msg::Rushed { key, first: !follows }),
        }
        certain
    }

    /// When the key that waits is certain to stand alone.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.until)
    }

    /// The key that waited long enough.
    pub fn expire(&mut self, now: Instant) -> Option<Msg> {
        self.held.take_if(|held| held.until <= now).map(|held| Msg::Key(held.key))
    }

    /// True for keys that pasted text can contain. Arrows, function keys and Ctrl with a letter are pressed.
    #[must_use]
    pub fn is_text(key: KeyEvent) -> bool {
        let modified = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        match key.code {
            // A line feed in pasted text is Ctrl-J.
            KeyCode::Char('j') if key.modifiers == KeyModifiers::CONTROL => true,
            KeyCode::Char(_) => !modified,
            KeyCode::Enter | KeyCode::Tab | KeyCode::Backspace => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(character: char) -> KeyEvent {
        KeyCode::Char(character).into()
    }

    fn run(presses: &[(u64, char)]) -> String {
        let start = Instant::now();
        let mut bursts = Bursts::default();
        let mut told = Vec::new();
        for &(at, character) in presses {
            let at = start + Duration::from_millis(at);
            told.extend(bursts.expire(at));
            let weight = match character {
                'q' => Weight::Quits,
                'A'..='Z' => Weight::Changes,
                _ => Weight::Light,
            };
            told.extend(bursts.key(key(character), at, false, weight));
        }
        told.extend(bursts.expire(start + Duration::from_secs(60)));
        let word = |msg: &Msg| match msg {
            Msg::Key(key) => key.code.to_string(),
            Msg::Rushed { key, first } => format!("{}{}", if *first { "^" } else { "~" }, key.code),
            other => format!("{other:?}"),
        };
        told.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_key_that_stands_alone_is_a_press_and_one_that_is_followed_or_follows_is_not() {
        assert_eq!(run(&[(0, 'S')]), "S");
        assert_eq!(run(&[(0, 'P'), (200, 'y')]), "P y");
        assert_eq!(run(&[(0, 'P'), (20, 'y')]), "^P ~y");
        assert_eq!(run(&[(0, 'a'), (20, 'P'), (100, 'S')]), "a ~P S");
        assert_eq!(run(&[(0, 'P'), (39, 'A'), (78, 'y')]), "^P ~A ~y");
        assert_eq!(run(&[(0, 'j'), (33, 'j'), (66, 'j')]), "j ~j ~j");
        assert_eq!(run(&[(0, 'j'), (20, 'q')]), "j q", "quitting waits for what follows only");
        assert_eq!(run(&[(0, 'q'), (20, 'u')]), "^q ~u");
    }

    #[test]
    fn keys_of_one_read_are_a_burst() {
        let start = Instant::now();
        let mut bursts = Bursts::default();
        assert_eq!(bursts.key(key('P'), start, true, Weight::Changes).len(), 1);
        assert!(matches!(bursts.key(key('y'), start, false, Weight::Changes)[..], [Msg::Rushed { first: false, .. }]));
        assert_eq!(bursts.deadline(), None);
    }

    #[test]
    fn arrows_and_control_keys_are_neither_held_nor_counted() {
        let start = Instant::now();
        let mut bursts = Bursts::default();
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(matches!(bursts.key(quit, start, true, Weight::Quits)[..], [Msg::Key(_)]));
        assert!(matches!(bursts.key(KeyCode::Down.into(), start, true, Weight::Light)[..], [Msg::Key(_)]));
        assert_eq!(bursts.key(key('S'), start, false, Weight::Changes).len(), 0);
        assert_eq!(bursts.deadline(), Some(start + GAP));
    }
}
