//! Distinguishes pressed keys from text that a terminal without bracketed paste sends as keys.
//!
//! Pasted text arrives at once, or faster than anyone types. A key that may change something therefore waits until no other
//! key has followed for a moment. [`super::reader`] reports such moments; the times at which keys were read do not count,
//! because a busy machine reads late. Pure: keys and moments are passed in. It knows no screens.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::message::Msg;

/// Keys that are closer together than this are a burst. Fast typists stay above it, scanners and pastes below.
pub const GAP: Duration = Duration::from_millis(40);
/// How long it must be quiet after a burst before a key may change something or quit. A busy machine or a slow line may
/// pause in the middle of a pasted text, and the key after the pause would stand alone.
pub const SETTLE: Duration = Duration::from_millis(200);

/// The effect of a key, which decides how certain it must be that it was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It only moves or shows something.
    Light,
    /// It quits or may change a replica: no other key may follow it or come just before it.
    Heavy,
}

/// The input after a key in the same read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum More {
    Nothing,
    /// Keys that are no text: arrows, function keys, keys with Ctrl.
    Steering,
    Text,
}

/// The state of the last keys.
#[derive(Debug, Default)]
pub struct Bursts {
    /// A key came since the last gap, and one of them was text.
    after_key: bool,
    after_text: bool,
    /// A burst came since the last quiet of [`SETTLE`].
    after_burst: bool,
    /// A key that waits for a gap.
    held: Option<KeyEvent>,
}

impl Bursts {
    /// Takes a key. A heavy one waits for [`Self::quiet`]. Returns what is certain now, in order.
    pub fn key(&mut self, key: KeyEvent, more: More, weight: Weight) -> Vec<Msg> {
        // The key that waited was the first of a burst after all.
        let held = self.held.take().map(|key| Msg::Rushed { key, first: true });
        let after_key = std::mem::replace(&mut self.after_key, true);
        if !Self::is_text(key) {
            return held.into_iter().chain([Msg::Key(key)]).collect();
        }
        let after_text = std::mem::replace(&mut self.after_text, true);
        let stands_alone = match weight {
            // Pasted text contains no arrows, so for a key that only moves they are no sign of a paste. A heavy key
            // must have no neighbor at all.
            Weight::Light => more < More::Text && !after_text,
            Weight::Heavy => more == More::Nothing && !after_key && !self.after_burst,
        };
        let first = !after_text && !self.after_burst;
        self.after_burst |= !stands_alone || held.is_some();
        let now = match weight {
            Weight::Heavy if stands_alone => {
                self.held = Some(key);
                None
            }
            Weight::Light if stands_alone => Some(Msg::Key(key)),
            _ => Some(Msg::Rushed { key, first }),
        };
        held.into_iter().chain(now).collect()
    }

    /// Handles a pause of this length. Returns the key that waited for it.
    pub fn quiet(&mut self, lasted: Duration) -> Option<Msg> {
        if lasted < GAP {
            return None;
        }
        (self.after_key, self.after_text) = (false, false);
        self.after_burst &= lasted < SETTLE;
        self.held.take().map(Msg::Key)
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
        match character {
            '^' => KeyCode::Up.into(),
            character => KeyCode::Char(character).into(),
        }
    }

    /// Reads in turn, a space between them for each pause: `_` is a gap, `.` is quiet for long enough after a burst.
    fn run(reads: &str) -> String {
        let mut bursts = Bursts::default();
        let mut told = Vec::new();
        for read in reads.split(' ') {
            match read {
                "_" => told.extend(bursts.quiet(GAP)),
                "." => told.extend([GAP, SETTLE].into_iter().filter_map(|lasted| bursts.quiet(lasted))),
                read => {
                    for (at, character) in read.char_indices() {
                        let kind = |next| if Bursts::is_text(key(next)) { More::Text } else { More::Steering };
                        let more = read[at + 1..].chars().map(kind).max().unwrap_or(More::Nothing);
                        let weight = if matches!(character, 'A'..='Z' | 'q') { Weight::Heavy } else { Weight::Light };
                        told.extend(bursts.key(key(character), more, weight));
                    }
                }
            }
        }
        let word = |msg: &Msg| match msg {
            Msg::Key(key) => key.code.to_string(),
            Msg::Rushed { key, first } => format!("{}{}", if *first { "^" } else { "~" }, key.code),
            other => format!("{other:?}"),
        };
        told.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_lone_key_is_a_press_and_a_key_with_neighbors_is_a_burst() {
        assert_eq!(run("S _"), "S");
        assert_eq!(run("S"), "", "it waits");
        assert_eq!(run("P _ y _"), "P y");
        assert_eq!(run("P y _"), "^P ~y");
        assert_eq!(run("a P . S _"), "a ~P S");
        assert_eq!(run("P A y _"), "^P ~A ~y");
        assert_eq!(run("j j j _"), "j ~j ~j");
        assert_eq!(run("j q _"), "j ~q");
        assert_eq!(run("q u _"), "^q ~u");
    }

    #[test]
    fn keys_of_one_read_are_a_burst() {
        assert_eq!(run("Py _"), "^P ~y");
        assert_eq!(run("seq ."), "^s ~e ~q", "the last one, too");
        assert_eq!(run("P ySq _"), "^P ~y ~S ~q");
    }

    #[test]
    fn a_lone_key_soon_after_a_burst_is_part_of_it() {
        assert_eq!(run("PA _ Y _"), "^P ~A ~Y");
        assert_eq!(run("se _ q _ . q _"), "^s ~e ~q q");
        assert_eq!(run("P A _ S _ S ."), "^P ~A ~S ~S");
        // Moving and looking is possible at once.
        assert_eq!(run("jj _ j _ S ."), "^j ~j j ~S");
    }

    #[test]
    fn arrows_and_control_keys_act_at_once_and_are_no_neighbors_of_a_press() {
        assert_eq!(run("^^ ^"), "Up Up Up");
        assert_eq!(run("^ j _"), "Up j");
        assert_eq!(run("^P _"), "Up ^P", "as in a pasted escape sequence");
        assert_eq!(run("P^ _"), "^P Up");
        assert_eq!(run("P ^ _"), "^P Up");
        assert_eq!(run("^ _ P _"), "Up P");
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(matches!(Bursts::default().key(quit, More::Text, Weight::Heavy)[..], [Msg::Key(_)]));
    }
}
