//! The only table of keys. Dispatch, the footer and the help overlay read it, so they cannot disagree.
//!
//! Lower-case keys only show something, CAPITALS change something, except those in `LOOKING`. It knows actions by name, not
//! their effects.

mod table;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

pub use self::table::TABLE;

/// The action of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Up,
    Down,
    First,
    Last,
    HalfUp,
    HalfDown,
    PageUp,
    PageDown,
    Open,
    Back,
    NextPane,
    PreviousReplica,
    NextReplica,
    Commits,
    Fleet,
    Events,
    Log,
    Diffstat,
    Address,
    Filter,
    NextMatch,
    PreviousMatch,
    SortNext,
    SortPrevious,
    Palette,
    Time,
    Wide,
    Follow,
    Freeze,
    Reconnect,
    Copy,
    Sync,
    SyncAll,
    Pause,
    Pin,
    Unpin,
    Help,
    Quit,
    Redraw,
    Suspend,
}

/// The screens on which a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Screen {
    /// Several repositories or refs, before one is chosen.
    Sources,
    Commits,
    Commit,
    Fleet,
    History,
    Detail,
    Events,
    Log,
}

/// Column of the help overlay, and place in the footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Move,
    Look,
    Change,
    Leave,
}

/// A key as a terminal reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    Char(char),
    Ctrl(char),
    Code(KeyCode),
}

/// One line of the table.
#[derive(Debug)]
pub struct Binding {
    pub action: Action,
    pub presses: &'static [Press],
    /// The keys in words.
    pub keys: &'static str,
    /// The word in the footer.
    pub label: &'static str,
    /// The words in the help.
    pub help: &'static str,
    /// The name in the list of commands; empty: it is not in there.
    pub command: &'static str,
    pub group: Group,
    pub screens: &'static [Screen],
    /// Higher stays longer in a narrow footer; 0 is never in it.
    pub weight: u8,
}

impl Binding {
    const fn new(action: Action, presses: &'static [Press], group: Group, screens: &'static [Screen]) -> Self {
        Self { action, presses, keys: "", label: "", help: "", command: "", group, screens, weight: 0 }
    }

    /// The line of the help.
    const fn help(mut self, keys: &'static str, help: &'static str) -> Self {
        self.keys = keys;
        self.help = help;
        self
    }

    /// The word in the footer and how long it stays there.
    const fn footer(mut self, label: &'static str, weight: u8) -> Self {
        self.label = label;
        self.weight = weight;
        self
    }

    const fn command(mut self, command: &'static str) -> Self {
        self.command = command;
        self
    }
}

/// Returns true for actions that may run for each key of a burst: they move, and leave nothing changed.
#[must_use]
pub fn moves(action: Action) -> bool {
    TABLE.iter().any(|binding| binding.action == action && binding.group == Group::Move)
}

/// Returns true for actions that change a replica.
#[must_use]
pub fn changes(action: Action) -> bool {
    TABLE.iter().any(|binding| binding.action == action && binding.group == Group::Change)
}

/// Returns the action of a key on a screen.
#[must_use]
pub fn action(screen: Screen, key: KeyEvent) -> Option<Action> {
    TABLE
        .iter()
        // At most one binding matches: a test checks that no key has two meanings on one screen.
        .find(|binding| binding.screens.contains(&screen) && binding.presses.iter().any(|press| press.is(key)))
        .map(|binding| binding.action)
}

/// The commands of a screen, in order.
pub fn commands(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |binding| !binding.command.is_empty() && binding.screens.contains(&screen))
}

/// The bindings that a screen's footer may show, in order.
pub fn footer(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |binding| binding.weight > 0 && binding.screens.contains(&screen))
}

/// The lines of the help for a screen, in order.
pub fn help(screen: Screen, group: Group) -> impl Iterator<Item = &'static Binding> {
    TABLE
        .iter()
        .filter(move |binding| binding.group == group && !binding.help.is_empty() && binding.screens.contains(&screen))
}

impl Press {
    /// The key in words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            // A space by itself would not be seen.
            Self::Char(' ') => "Space".to_owned(),
            Self::Char(character) => character.to_string(),
            Self::Ctrl(character) => format!("Ctrl-{character}"),
            Self::Code(code) => code.to_string(),
        }
    }

    /// Returns true if a terminal's report is this key. Shift is part of a character, so it is not compared.
    #[must_use]
    pub fn is(self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        // A terminal sends Alt as an escape byte before the key (xterm's `metaSendsEscape`). A sequence that was cut
        // off looks the same, so no action is bound to it.
        if key.modifiers.contains(KeyModifiers::ALT) {
            return false;
        }
        match self {
            Self::Char(character) => !control && key.code == KeyCode::Char(character),
            Self::Ctrl(character) => control && key.code == KeyCode::Char(character),
            // Shift is not compared here either: terminals report it with some of these keys only.
            Self::Code(code) => !control && key.code == code,
        }
    }
}

/// True for a key without Ctrl and Alt. With one of them, a key is a command and not a letter.
#[must_use]
pub fn is_plain(key: KeyEvent) -> bool {
    !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capitals that change nothing.
    const LOOKING: [char; 4] = ['G', 'N', 'L', 'D'];

    fn press(screen: Screen, code: KeyCode, modifiers: KeyModifiers) -> Option<Action> {
        action(screen, KeyEvent::new(code, modifiers))
    }

    #[test]
    fn no_key_means_two_things_on_one_screen() {
        for &screen in table::EVERYWHERE {
            let mut seen: Vec<Press> = Vec::new();
            for binding in TABLE.iter().filter(|binding| binding.screens.contains(&screen)) {
                for press in binding.presses {
                    assert!(!seen.contains(press), "{press:?} twice on {screen:?}");
                    seen.push(*press);
                }
            }
        }
    }

    #[test]
    fn lower_case_looks_and_capitals_change() {
        for binding in TABLE {
            for press in binding.presses {
                if let Press::Char(character) = press {
                    let changes = binding.group == Group::Change;
                    assert!(!changes || character.is_ascii_uppercase(), "{character} changes something");
                    assert!(
                        changes || LOOKING.contains(character) || !character.is_ascii_uppercase(),
                        "{character} looks"
                    );
                }
            }
        }
    }

    /// Keys with a name on the keyboard that says what they do. On the screen of repositories there is nothing to go back to.
    #[test]
    fn every_key_of_a_screen_is_in_its_help() {
        for &screen in table::EVERYWHERE {
            let groups = [Group::Move, Group::Look, Group::Change, Group::Leave];
            let rows = groups.into_iter().flat_map(|group| help(screen, group));
            let words: Vec<&str> = rows.flat_map(|binding| binding.keys.split(' ')).collect();
            for binding in TABLE.iter().filter(|binding| binding.screens.contains(&screen)) {
                let known = matches!(binding.action, Action::PageUp | Action::PageDown)
                    || (screen, binding.action) == (Screen::Sources, Action::Back);
                let shown = |press: &Press| {
                    let name = press.words();
                    words.contains(&&*name) || name.strip_prefix("Ctrl-").is_some_and(|key| words.contains(&key))
                };
                assert!(known || binding.presses.iter().any(shown), "{:?} on {screen:?}: {words:?}", binding.action);
            }
        }
    }

    #[test]
    fn modifiers_tell_keys_apart() {
        assert_eq!(press(Screen::Fleet, KeyCode::Char('d'), KeyModifiers::CONTROL), Some(Action::HalfDown));
        assert_eq!(press(Screen::Fleet, KeyCode::Char('d'), KeyModifiers::NONE), None);
        assert_eq!(press(Screen::Fleet, KeyCode::Char('S'), KeyModifiers::SHIFT), Some(Action::Sync));
        assert_eq!(press(Screen::Fleet, KeyCode::Char('q'), KeyModifiers::ALT), None);
        assert_eq!(press(Screen::Events, KeyCode::Char('S'), KeyModifiers::SHIFT), None);
    }
}
