//! The one table of keys. Dispatch, the footer and the help overlay read it, so they cannot disagree.
//!
//! Lower case looks, CAPITAL changes. It knows actions by name, not what they do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
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
    Fleet,
    History,
    Events,
    Filter,
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

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Screen {
    Fleet,
    History,
    Detail,
    Events,
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
    pub group: Group,
    pub screens: &'static [Screen],
    /// Higher stays longer in a narrow footer; 0 is never in it.
    pub weight: u8,
}

const EVERYWHERE: &[Screen] = &[Screen::Fleet, Screen::History, Screen::Detail, Screen::Events];
const LISTS: &[Screen] = &[Screen::Fleet, Screen::History];
const REPLICAS: &[Screen] = &[Screen::Fleet, Screen::History, Screen::Detail];

use KeyCode as Code;
use Press::{Char, Code as Named, Ctrl};

/// The table, in the order of the help and the footer.
#[rustfmt::skip]
pub const TABLE: &[Binding] = &[
    Binding { action: Action::Down, presses: &[Char('j'), Named(Code::Down)], keys: "j k", label: "", help: "row (or arrows)", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::Up, presses: &[Char('k'), Named(Code::Up)], keys: "", label: "", help: "", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::First, presses: &[Char('g'), Named(Code::Home)], keys: "g G", label: "", help: "first, last", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::Last, presses: &[Char('G'), Named(Code::End)], keys: "", label: "", help: "", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::HalfDown, presses: &[Ctrl('d')], keys: "Ctrl-d u", label: "", help: "half a page", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::HalfUp, presses: &[Ctrl('u')], keys: "", label: "", help: "", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::PageDown, presses: &[Named(Code::PageDown), Ctrl('f')], keys: "PgDn PgUp", label: "", help: "page", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::PageUp, presses: &[Named(Code::PageUp), Ctrl('b')], keys: "", label: "", help: "", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::Open, presses: &[Named(Code::Enter), Char('l')], keys: "Enter", label: "open", help: "open", group: Group::Move, screens: LISTS, weight: 9 },
    Binding { action: Action::Back, presses: &[Named(Code::Esc), Char('h')], keys: "Esc", label: "back", help: "back; filter off", group: Group::Move, screens: &[Screen::History, Screen::Detail, Screen::Events], weight: 9 },
    Binding { action: Action::Back, presses: &[Named(Code::Esc)], keys: "", label: "", help: "", group: Group::Move, screens: &[Screen::Fleet], weight: 0 },
    Binding { action: Action::NextPane, presses: &[Named(Code::Tab), Named(Code::BackTab)], keys: "Tab", label: "pane", help: "next pane", group: Group::Move, screens: &[Screen::Fleet, Screen::Detail], weight: 5 },
    Binding { action: Action::PreviousReplica, presses: &[Named(Code::Left), Char('[')], keys: "", label: "", help: "", group: Group::Move, screens: &[Screen::History, Screen::Detail], weight: 0 },
    Binding { action: Action::NextReplica, presses: &[Named(Code::Right), Char(']')], keys: "[ ]", label: "other pod", help: "other pod", group: Group::Move, screens: &[Screen::History, Screen::Detail], weight: 4 },
    Binding { action: Action::Fleet, presses: &[Char('1')], keys: "1 2 3", label: "", help: "the three lists", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::History, presses: &[Char('2')], keys: "", label: "", help: "", group: Group::Move, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::Events, presses: &[Char('3')], keys: "3", label: "events", help: "", group: Group::Move, screens: &[Screen::Fleet], weight: 2 },
    Binding { action: Action::Events, presses: &[Char('3')], keys: "", label: "", help: "", group: Group::Move, screens: &[Screen::History, Screen::Detail, Screen::Events], weight: 0 },
    Binding { action: Action::Filter, presses: &[Char('/')], keys: "/", label: "filter", help: "filter", group: Group::Look, screens: LISTS, weight: 8 },
    Binding { action: Action::Time, presses: &[Char('t')], keys: "t", label: "time", help: "ago / UTC / local", group: Group::Look, screens: EVERYWHERE, weight: 3 },
    Binding { action: Action::Wide, presses: &[Char('w')], keys: "w", label: "", help: "long, short names", group: Group::Look, screens: LISTS, weight: 0 },
    Binding { action: Action::Follow, presses: &[Char('f')], keys: "f", label: "follow", help: "follow newest", group: Group::Look, screens: LISTS, weight: 2 },
    Binding { action: Action::Freeze, presses: &[Char(' ')], keys: "Space", label: "", help: "freeze the screen", group: Group::Look, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::Reconnect, presses: &[Char('r')], keys: "r", label: "reconnect", help: "reconnect now", group: Group::Look, screens: EVERYWHERE, weight: 1 },
    Binding { action: Action::Copy, presses: &[Char('y')], keys: "y", label: "copy", help: "copy: s d e", group: Group::Look, screens: REPLICAS, weight: 4 },
    Binding { action: Action::Sync, presses: &[Char('S')], keys: "S", label: "sync", help: "sync now", group: Group::Change, screens: REPLICAS, weight: 7 },
    Binding { action: Action::SyncAll, presses: &[Char('A')], keys: "A", label: "all", help: "sync all replicas", group: Group::Change, screens: REPLICAS, weight: 1 },
    Binding { action: Action::Pause, presses: &[Char('P')], keys: "P", label: "pause", help: "pause, resume", group: Group::Change, screens: REPLICAS, weight: 6 },
    Binding { action: Action::Pin, presses: &[Char('B')], keys: "B", label: "pin", help: "roll back and pin", group: Group::Change, screens: REPLICAS, weight: 6 },
    Binding { action: Action::Unpin, presses: &[Char('U')], keys: "U", label: "unpin", help: "unpin", group: Group::Change, screens: REPLICAS, weight: 2 },
    Binding { action: Action::Help, presses: &[Char('?'), Named(Code::F(1))], keys: "?", label: "help", help: "this help", group: Group::Leave, screens: EVERYWHERE, weight: 10 },
    Binding { action: Action::Quit, presses: &[Char('q'), Ctrl('c')], keys: "q", label: "quit", help: "quit (or Ctrl-c)", group: Group::Leave, screens: EVERYWHERE, weight: 11 },
    Binding { action: Action::Redraw, presses: &[Ctrl('l')], keys: "Ctrl-l z", label: "", help: "redraw, suspend", group: Group::Leave, screens: EVERYWHERE, weight: 0 },
    Binding { action: Action::Suspend, presses: &[Ctrl('z')], keys: "", label: "", help: "", group: Group::Leave, screens: EVERYWHERE, weight: 0 },
];

/// Actions of which a whole burst may be carried out: they move, and nothing stays changed when they are done.
#[must_use]
pub fn moves(action: Action) -> bool {
    TABLE.iter().any(|binding| binding.action == action && binding.group == Group::Move)
}

/// True for actions that change a replica.
#[must_use]
pub fn changes(action: Action) -> bool {
    TABLE.iter().any(|binding| binding.action == action && binding.group == Group::Change)
}

/// What a key means on a screen.
#[must_use]
pub fn action(screen: Screen, key: KeyEvent) -> Option<Action> {
    TABLE
        .iter()
        .find(|binding| binding.screens.contains(&screen) && binding.presses.iter().any(|press| press.is(key)))
        .map(|binding| binding.action)
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
    /// Whether a terminal's report is this key. Shift is part of a character, so it is not looked at.
    #[must_use]
    pub fn is(self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if key.modifiers.contains(KeyModifiers::ALT) {
            return false;
        }
        match self {
            Self::Char(character) => !control && key.code == KeyCode::Char(character),
            Self::Ctrl(character) => control && key.code == KeyCode::Char(character),
            Self::Code(code) => !control && key.code == code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(screen: Screen, code: KeyCode, modifiers: KeyModifiers) -> Option<Action> {
        action(screen, KeyEvent::new(code, modifiers))
    }

    #[test]
    fn no_key_means_two_things_on_one_screen() {
        for &screen in EVERYWHERE {
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
                    assert!(changes || *character == 'G' || !character.is_ascii_uppercase(), "{character} looks");
                }
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
