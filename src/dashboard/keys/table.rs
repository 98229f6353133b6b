//! The table of keys, in the order of the help and the footer.

use crossterm::event::KeyCode as Code;

use super::Press::{Char, Code as Named, Ctrl};
use super::{Action, Binding, Group, Screen};

/// All screens.
pub(super) const EVERYWHERE: &[Screen] = &[
    Screen::Sources,
    Screen::Commits,
    Screen::Commit,
    Screen::Fleet,
    Screen::History,
    Screen::Detail,
    Screen::Events,
    Screen::Log,
];
/// Lists whose rows can be opened.
const LISTS: &[Screen] = &[Screen::Sources, Screen::Commits, Screen::Commit, Screen::Fleet, Screen::History];
/// Lists whose rows a filter hides.
const FILTERED: &[Screen] = &[Screen::Commits, Screen::Fleet, Screen::History];
/// Lines that `/` looks for without hiding others.
const SEARCHED: &[Screen] = &[Screen::Commit, Screen::Detail, Screen::Events, Screen::Log];
/// Both.
const MATCHED: &[Screen] =
    &[Screen::Commits, Screen::Commit, Screen::Fleet, Screen::History, Screen::Detail, Screen::Events, Screen::Log];
/// Lists with an order.
const SORTED: &[Screen] = &[Screen::Commits, Screen::Fleet];
/// Lists whose rows have a time. The screen of one sync has each time in all formats.
const TIMED: &[Screen] = &[Screen::Commits, Screen::Commit, Screen::Fleet, Screen::History, Screen::Events];
/// Screens about replicas and what they publish.
const REPLICAS: &[Screen] = &[Screen::Commits, Screen::Commit, Screen::Fleet, Screen::History, Screen::Detail];
/// Screens about one replica, or with one selected.
const ONE: &[Screen] = &[Screen::Commit, Screen::Fleet, Screen::History, Screen::Detail];
/// Screens with panes.
const PANES: &[Screen] = &[Screen::Commit, Screen::Fleet, Screen::Detail];
/// The table.
#[rustfmt::skip]
pub const TABLE: &[Binding] = &[
    Binding::new(Action::Down, &[Char('j'), Named(Code::Down)], Group::Move, EVERYWHERE).help("j k", "row (or arrows)"),
    Binding::new(Action::Up, &[Char('k'), Named(Code::Up)], Group::Move, EVERYWHERE),
    Binding::new(Action::First, &[Char('g'), Named(Code::Home)], Group::Move, EVERYWHERE).help("g G", "first, last").command("first row"),
    Binding::new(Action::Last, &[Char('G'), Named(Code::End)], Group::Move, EVERYWHERE).command("last row"),
    // Ctrl with d, u, f and b as in vi and less.
    Binding::new(Action::HalfDown, &[Ctrl('d')], Group::Move, EVERYWHERE).help("Ctrl-d u", "half a page"),
    Binding::new(Action::HalfUp, &[Ctrl('u')], Group::Move, EVERYWHERE),
    Binding::new(Action::PageDown, &[Named(Code::PageDown), Ctrl('f')], Group::Move, EVERYWHERE),
    Binding::new(Action::PageUp, &[Named(Code::PageUp), Ctrl('b')], Group::Move, EVERYWHERE),
    Binding::new(Action::Open, &[Named(Code::Enter), Char('l')], Group::Move, LISTS).help("Enter", "open").footer("open", 9).command("open"),
    Binding::new(Action::Back, &[Named(Code::Esc), Char('h')], Group::Move, &[Screen::Commit, Screen::Fleet, Screen::History, Screen::Detail, Screen::Events, Screen::Log]).help("Esc", "back; filter off").footer("back", 9).command("back"),
    // An action has a second line where its help or its place in the footer differs between screens.
    Binding::new(Action::Back, &[Named(Code::Esc), Char('h')], Group::Move, &[Screen::Commits]).help("Esc", "filter, hash off"),
    Binding::new(Action::Back, &[Named(Code::Esc), Char('h')], Group::Move, &[Screen::Sources]),
    Binding::new(Action::NextPane, &[Named(Code::Tab), Named(Code::BackTab)], Group::Move, PANES).help("Tab", "next pane").footer("pane", 5).command("next pane"),
    Binding::new(Action::PreviousReplica, &[Named(Code::Left), Char('[')], Group::Move, &[Screen::History, Screen::Detail]).command("previous pod"),
    Binding::new(Action::NextReplica, &[Named(Code::Right), Char(']')], Group::Move, &[Screen::History, Screen::Detail]).help("[ ]", "other pod").footer("other pod", 4).command("next pod"),
    Binding::new(Action::Commits, &[Char('1')], Group::Move, EVERYWHERE).help("1 2 3", "the three lists").command("commits"),
    Binding::new(Action::Fleet, &[Char('2')], Group::Move, &[Screen::Commits, Screen::Sources]).help("2", "").footer("replicas", 7).command("replicas"),
    Binding::new(Action::Fleet, &[Char('2')], Group::Move, &[Screen::Commit, Screen::Fleet, Screen::History, Screen::Detail, Screen::Events, Screen::Log]).command("replicas"),
    Binding::new(Action::Events, &[Char('3')], Group::Move, &[Screen::Sources, Screen::Commits, Screen::Fleet]).help("3", "").footer("events", 2).command("events"),
    Binding::new(Action::Events, &[Char('3')], Group::Move, &[Screen::Commit, Screen::History, Screen::Detail, Screen::Events, Screen::Log]).command("events"),
    Binding::new(Action::Filter, &[Char('/')], Group::Look, FILTERED).help("/", "filter, or a hash").footer("filter", 8).command("filter"),
    Binding::new(Action::Filter, &[Char('/')], Group::Look, SEARCHED).help("/", "find").footer("find", 3).command("find"),
    Binding::new(Action::NextMatch, &[Char('n')], Group::Look, MATCHED).help("n N", "next match").command("next match"),
    Binding::new(Action::PreviousMatch, &[Char('N')], Group::Look, MATCHED).command("previous match"),
    Binding::new(Action::SortNext, &[Char('>')], Group::Look, SORTED).help("< >", "sort").command("sort"),
    Binding::new(Action::SortPrevious, &[Char('<')], Group::Look, SORTED),
    Binding::new(Action::Time, &[Char('t')], Group::Look, TIMED).help("t", "ago/UTC/local").footer("time", 3).command("time format"),
    Binding::new(Action::Wide, &[Char('w')], Group::Look, &[Screen::Commit, Screen::Fleet]).help("w", "name lengths").command("long or short names"),
    Binding::new(Action::Follow, &[Char('f')], Group::Look, FILTERED).help("f", "follow newest").footer("follow", 2).command("follow"),
    Binding::new(Action::Freeze, &[Char(' ')], Group::Look, EVERYWHERE).help("Space", "freeze").command("freeze"),
    Binding::new(Action::Reconnect, &[Char('r')], Group::Look, EVERYWHERE).help("r", "reconnect now").footer("reconnect", 1).command("reconnect"),
    Binding::new(Action::Copy, &[Char('y')], Group::Look, REPLICAS).help("y o", "copy; at forge").footer("copy", 4).command("copy"),
    Binding::new(Action::Address, &[Char('o')], Group::Look, REPLICAS).command("open at forge"),
    Binding::new(Action::Diffstat, &[Char('D')], Group::Look, &[Screen::Commits]).help("D", "diffstat").command("diffstat"),
    Binding::new(Action::Log, &[Char('L')], Group::Look, ONE).help("L D", "log, diffstat").footer("log", 2).command("log"),
    Binding::new(Action::Diffstat, &[Char('D')], Group::Look, ONE).command("diffstat"),
    Binding::new(Action::Palette, &[Char(':')], Group::Look, EVERYWHERE).help(":", "all commands"),
    Binding::new(Action::Sync, &[Char('S')], Group::Change, REPLICAS).help("S", "sync now").footer("sync", 7).command("sync"),
    Binding::new(Action::SyncAll, &[Char('A')], Group::Change, REPLICAS).help("A", "sync all").footer("all", 1).command("sync all"),
    Binding::new(Action::Pause, &[Char('P')], Group::Change, REPLICAS).help("P", "pause, resume").footer("pause", 6).command("pause or resume"),
    Binding::new(Action::Pin, &[Char('B')], Group::Change, REPLICAS).help("B", "roll back and pin").footer("pin", 6).command("roll back and pin"),
    Binding::new(Action::Unpin, &[Char('U')], Group::Change, REPLICAS).help("U", "unpin").footer("unpin", 2).command("unpin"),
    // Raw mode clears ISIG (termios(3)), so Ctrl-C and Ctrl-Z arrive as keys and not as signals.
    Binding::new(Action::Help, &[Char('?'), Named(Code::F(1))], Group::Leave, EVERYWHERE).help("? q", "help; quit, Ctrl-c").footer("help", 10).command("help"),
    Binding::new(Action::Quit, &[Char('q'), Ctrl('c')], Group::Leave, EVERYWHERE).help("q", "").footer("quit", 11).command("quit"),
    Binding::new(Action::Redraw, &[Ctrl('l')], Group::Leave, EVERYWHERE).help("Ctrl-l z", "redraw, stop").command("redraw"),
    Binding::new(Action::Suspend, &[Ctrl('z')], Group::Leave, EVERYWHERE).command("suspend"),
];
