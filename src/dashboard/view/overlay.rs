//! The overlays: the help, made from the table of keys, and the questions before a change.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, measure, piece};
use crate::dashboard::act;
use crate::dashboard::fleet;
use crate::dashboard::keys::{self, Binding, Group};
use crate::dashboard::model::{Dialog, Model, Pod, Question};
use crate::dashboard::palette::Palette;
use crate::dashboard::text;
use crate::dashboard::theme::Role;

/// A subject is left out instead of cut to fewer columns than this.
const LEAST_SUBJECT: usize = 6;
/// Columns of the labels in the question about a pin.
const LABEL: usize = 9;
/// Fewer columns beside a box are covered by it.
const LEAST_BESIDE: u16 = 8;
/// The rule for the keys, in the help.
const CASES: &str = "lower case looks, CAPITAL changes (G N L D only look)";
/// Columns of a box, if the screen has them.
const WIDTH: u16 = 74;

pub fn draw(canvas: &mut Canvas<'_>, model: &Model) {
    // From the lowest to the topmost, which gets the keys: `input::key` asks them in the opposite order.
    if let Some(dialog) = &model.dialog {
        question(canvas, model, dialog);
    }
    if let Some(palette) = &model.palette {
        commands(canvas, model, palette);
    }
    if let Some(address) = &model.address {
        forge(canvas, address);
    }
    if model.help {
        help(canvas, model);
    }
}

/// Draws the list of all commands, filtered by the typed text.
fn commands(canvas: &mut Canvas<'_>, model: &Model, palette: &Palette) {
    let found = palette.matches(model.screen());
    let rows = narrow(found.len().clamp(1, 12));
    let area = centred(canvas, rows + 2, 52);
    let inside = canvas.framed(area, "Commands");
    let width = inside.width.saturating_sub(2);
    let typed = [piece(":", Role::Accent), piece(&palette.text, Role::Strong), piece("_", Role::Accent)];
    canvas.pieces(inside.x + 1, inside.y, width, &typed);
    if found.is_empty() {
        canvas.put(inside.x + 1, inside.y + 1, width, "no command has this name", Role::Dim);
    }
    let list = inside.height.saturating_sub(2);
    let shown = super::table::window(found.len(), list, palette.row);
    for (y, at) in (inside.y + 1..).zip(shown) {
        let binding = found[at];
        // An action that is not possible is dimmed; when selected, it shows the reason.
        let dimmed = binding.group == Group::Change && act::unavailable(model, binding.action).is_some();
        let role = if dimmed { Role::Dim } else { Role::Plain };
        canvas.put(inside.x + 1, y, width.saturating_sub(8), binding.command, role);
        let key = binding.presses.first().map(|press| press.words()).unwrap_or_default();
        canvas.right(inside.right().saturating_sub(1), y, &[piece(key, Role::Accent)]);
        if at == palette.row {
            canvas.select(inside.x, y, inside.width);
        }
    }
    if inside.height > 1 {
        let keys = "Enter runs it   Esc closes";
        canvas.put(inside.x + 1, inside.bottom() - 1, width, keys, Role::Dim);
    }
}

/// Returns the area of the address, which the terminal gets as a link afterwards.
#[must_use]
pub fn address_area(screen: Rect, address: &str) -> Rect {
    let columns = narrow(text::width(address)).clamp(30, screen.width.saturating_sub(2).max(1));
    let lines = narrow(text::width(address)).div_ceil(columns.saturating_sub(2).max(1));
    let outer = middle(screen, lines + 2, columns);
    Rect::new(outer.x + 2, outer.y + 1, outer.width.saturating_sub(4), lines.min(outer.height.saturating_sub(2)))
}

fn forge(canvas: &mut Canvas<'_>, address: &str) {
    let inner = address_area(canvas.area, address);
    let outer = Rect::new(inner.x.saturating_sub(2), inner.y.saturating_sub(1), inner.width + 4, inner.height + 4);
    let inside = canvas.framed(outer, "At the forge");
    for (y, line) in (inner.y..inner.bottom()).zip(text::wrap(address, usize::from(inner.width))) {
        canvas.put(inner.x, y, inner.width, &line, Role::Accent);
    }
    let words = "a link in most terminals; copied";
    canvas.put(inside.x + 1, inner.bottom() + 1, inside.width.saturating_sub(2), words, Role::Dim);
}

/// Returns a box in the middle, of the requested height if there is room.
fn centred(canvas: &Canvas<'_>, lines: u16, columns: u16) -> Rect {
    middle(canvas.area, lines, columns)
}

fn middle(area: Rect, lines: u16, columns: u16) -> Rect {
    let columns = columns.saturating_add(2);
    // A few columns of the list beside the box would be torn words.
    let width = if columns.saturating_add(LEAST_BESIDE) > area.width { area.width } else { columns };
    let height = lines.saturating_add(2).min(area.height);
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}

fn help(canvas: &mut Canvas<'_>, model: &Model) {
    let screen = model.screen();
    let name = match screen {
        keys::Screen::Sources => "repositories",
        keys::Screen::Commits => "commits",
        keys::Screen::Commit => "commit",
        keys::Screen::Fleet => "replicas",
        keys::Screen::History => "history",
        keys::Screen::Detail => "detail",
        keys::Screen::Events => "events",
        keys::Screen::Log => "log",
    };
    let list = |group: Group| keys::help(screen, group).collect::<Vec<_>>();
    let (moves, mut looks, changes) = (list(Group::Move), list(Group::Look), list(Group::Change));
    looks.extend(list(Group::Leave));
    let tallest = moves.len().max(looks.len()).max(changes.len());
    let lines = u16::try_from(tallest).unwrap_or(0) + 3;
    let columns = [("MOVE", moves), ("LOOK", looks), ("CHANGE (asks first)", changes)];
    // Some screens change nothing.
    let shown = columns.into_iter().filter(|(_, bindings)| !bindings.is_empty());
    let columns = shown.map(|(title, bindings)| {
        let keys = bindings.iter().map(|binding| text::width(binding.keys)).max().unwrap_or(0);
        let words = bindings.iter().map(|binding| text::width(binding.help)).max().unwrap_or(0);
        (title, bindings, narrow(keys), narrow((keys + 1 + words).max(title.len())))
    });
    let columns: Vec<_> = columns.collect();
    let natural: u16 = columns.iter().map(|(.., width)| width + 2).sum();
    let title = format!("Keys {} {name}", canvas.glyphs().dash);
    // Three columns are wider than this screen.
    if natural + 3 > canvas.area.width {
        folded(canvas, &title, &columns);
        return;
    }
    let area = centred(canvas, lines, natural + 1);
    let inside = canvas.framed(area, &title);
    let mut x = inside.x + 1;
    for (title, bindings, keys, width) in columns {
        canvas.put(x, inside.y, width, title, Role::Strong);
        for (y, binding) in (inside.y + 1..inside.bottom()).zip(bindings) {
            canvas.put(x, y, keys, binding.keys, Role::Accent);
            canvas.put(x + keys + 1, y, width.saturating_sub(keys + 1), binding.help, Role::Plain);
        }
        x += width + 2;
    }
    if inside.height > 3 {
        let y = inside.bottom() - 1;
        canvas.put(inside.x + 1, y, inside.width.saturating_sub(2), CASES, Role::Dim);
    }
}

/// Draws the help on a narrow screen: the groups one below the other, in two columns of about equal height.
fn folded(canvas: &mut Canvas<'_>, title: &str, groups: &[(&str, Vec<&Binding>, u16, u16)]) {
    let keys = groups.iter().map(|(_, _, keys, _)| *keys).max().unwrap_or(0);
    let mut lines: Vec<[Piece; 2]> = Vec::new();
    for (title, bindings, ..) in groups {
        lines.push([piece(*title, Role::Strong), piece("", Role::Plain)]);
        lines.extend(bindings.iter().map(|it| [piece(it.keys, Role::Accent), piece(it.help, Role::Plain)]));
    }
    let tall = lines.len().div_ceil(2);
    let area = centred(canvas, narrow(tall) + 1, canvas.area.width);
    let inside = canvas.framed(area, title);
    let half = inside.width / 2;
    for (index, [key, help]) in lines.iter().enumerate() {
        let x = inside.x + 1 + if index < tall { 0 } else { half };
        let y = inside.y + narrow(index % tall);
        if y < inside.bottom() && help.0.is_empty() {
            canvas.put(x, y, half.saturating_sub(2), &key.0, key.1);
        } else if y < inside.bottom() {
            canvas.put(x, y, keys, &key.0, key.1);
            canvas.put(x + keys + 1, y, half.saturating_sub(keys + 3), &help.0, help.1);
        }
    }
    if usize::from(inside.height) > tall {
        canvas.put(inside.x + 1, inside.bottom() - 1, inside.width.saturating_sub(2), CASES, Role::Dim);
    }
}

fn narrow(columns: usize) -> u16 {
    u16::try_from(columns).unwrap_or(u16::MAX / 8)
}

fn question(canvas: &mut Canvas<'_>, model: &Model, dialog: &Dialog) {
    let Some(pod) = model.pod(&dialog.pod) else { return };
    let count = act::addressed(model, dialog).len();
    // The number of connected replicas, because a request reaches no other one.
    let whom = match (dialog.all, count) {
        (false, _) => pod.name.clone(),
        (true, 1) => "the only connected replica".to_owned(),
        (true, _) => format!("ALL {count} connected replicas"),
    };
    let mut lines: Vec<Vec<Piece>> = Vec::new();
    let columns = usize::from(WIDTH.min(canvas.area.width.saturating_sub(2)).saturating_sub(2));
    let plain = |text: String| vec![piece(text, Role::Plain)];
    let wrapped = |text: &str| text::wrap(text, columns).into_iter().map(plain).collect::<Vec<_>>();
    let (title, go) = match &dialog.question {
        Question::Sync => {
            lines.push(plain(format!("Sync {whom} now?")));
            ("Sync now", "y".to_owned())
        }
        Question::Resume => {
            lines.push(plain(format!("Resume syncing on {whom}?")));
            ("Resume", "Resume".to_owned())
        }
        Question::Unpin => {
            lines.extend(wrapped(&format!("Unpin {whom} and publish the newest commit again?")));
            ("Unpin", "Unpin".to_owned())
        }
        Question::Pause { minutes } => {
            lines.push(vec![piece(format!("Pause syncing on {whom}?"), Role::Strong)]);
            lines.push(Vec::new());
            lines.extend(wrapped("Pushes and polls are recorded but nothing is fetched or published."));
            let words = act::pause_words(*minutes);
            lines.extend(wrapped(&format!("Resumes by itself after {words} (change: h/l), or with P.")));
            ("Pause", format!("Pause {words}"))
        }
        Question::Pin { .. } => {
            let room = (columns, canvas.area.height.saturating_sub(2));
            pin(&mut lines, model, dialog, &whom, room, canvas.glyphs().ellipsis);
            ("Roll back and pin", String::new())
        }
    };
    // A pin has no buttons: the typed digits confirm it.
    if !matches!(dialog.question, Question::Pin { .. }) {
        lines.push(Vec::new());
        let go = if go == "y" { "Sync".to_owned() } else { go };
        let button = |name: &str, chosen: bool| {
            if chosen { piece(format!("> {name} <"), Role::Strong) } else { piece(format!("  {name}  "), Role::Plain) }
        };
        let buttons = vec![
            button("Cancel", !dialog.armed),
            piece("    ", Role::Plain),
            button(&go, dialog.armed),
            piece("   y/N", Role::Dim),
        ];
        foot(&mut lines, all_hint(dialog, 20), buttons, columns);
    }
    let area = centred(canvas, narrow(lines.len()), WIDTH);
    let inside = canvas.framed(area, title);
    // On a low screen the question and the answers stay, because no key may act on hidden content.
    let excess = lines.len().saturating_sub(usize::from(inside.height));
    lines.drain(1..(1 + excess).min(lines.len()));
    for (y, line) in (inside.y..inside.bottom()).zip(&lines) {
        canvas.pieces(inside.x + 1, y, inside.width.saturating_sub(2), line);
    }
}

fn all_hint(dialog: &Dialog, columns: usize) -> Piece {
    let hint = if dialog.all { "A: only this one" } else { "A: all replicas" };
    piece(format!("{hint:<columns$}"), Role::Dim)
}

/// The last line of a dialog: the hint and the answers beside it, or above each other if the dialog is narrow.
fn foot(lines: &mut Vec<Vec<Piece>>, hint: Piece, answers: Vec<Piece>, columns: usize) {
    let mut line = vec![hint];
    if usize::from(measure(&line) + measure(&answers)) > columns {
        lines.push(std::mem::take(&mut line));
    }
    line.extend(answers);
    lines.push(line);
}

/// Commits in the list of a rollback, if the screen has room.
const CHOICES: usize = 6;

/// The question before a rollback: `room` lines of `columns`.
fn pin(lines: &mut Vec<Vec<Piece>>, model: &Model, dialog: &Dialog, whom: &str, room: (usize, u16), ellipsis: &str) {
    let (columns, room) = room;
    let Question::Pin { commit, typed, choices } = &dialog.question else { return };
    let Some(pod) = model.pod(&dialog.pod) else { return };
    let short = text::short(commit);
    lines.push(vec![piece(format!("Publish {short} on {whom} and pin it?"), Role::Strong)]);
    lines.push(Vec::new());
    // At least one column for the words, since `columns - LABEL` is computed below.
    let columns = columns.max(LABEL + 1);
    let line = |label: &str, words: String| vec![piece(format!("  {label:<7}"), Role::Dim), piece(words, Role::Plain)];
    // The subject is cut first, because the text in brackets is decisive.
    let told = |mark: &str, commit: &str, subject: &str, bracket: &str| {
        let room = columns.saturating_sub(LABEL + 7 + 4 + text::width(bracket) + text::width(mark));
        let subject = if room < LEAST_SUBJECT { String::new() } else { text::cut(subject, room, ellipsis) };
        let parts = [text::short(commit), subject, bracket.to_owned()];
        format!("{mark}{}", parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  "))
    };
    if let Some(published) = pod.snapshot.as_ref().and_then(|snapshot| snapshot.published.as_ref()) {
        let bracket = format!("({})", live_on(model, &published.commit));
        lines.push(line("now", told("", &published.commit, &published.subject, &bracket)));
    }
    let mut below: Vec<Vec<Piece>> = Vec::new();
    let effects =
        ["new pushes are fetched, NOT published, until unpin (U)", act::outlasts(model, dialog, commit).words()];
    let effects = effects.iter().flat_map(|sentence| text::wrap(sentence, columns - LABEL));
    below.extend(effects.enumerate().map(|(index, words)| line(if index == 0 { "effect" } else { "" }, words)));
    if pod.snapshot.as_ref().is_some_and(|snapshot| snapshot.paused_until.is_some()) {
        below.push(line("", "it is paused: the pin also holds when the pause ends".to_owned()));
    }
    let behind = fleet::head(model).filter(|head| head.commit != *commit);
    if let Some(head) = behind {
        below.push(line("head", format!("{} stays unpublished there", text::short(&head.commit))));
    }
    below.push(Vec::new());
    let ready = act::confirmed(commit, typed);
    below.push(vec![
        piece("Type the short sha to confirm: ", Role::Plain),
        piece(typed, if ready { Role::Good } else { Role::Strong }),
        piece("_", Role::Accent),
    ]);
    let enter = if ready { Role::Strong } else { Role::Dim };
    let answers = vec![piece("Enter = pin", enter), piece("   Esc = cancel", Role::Dim)];
    foot(&mut below, all_hint(dialog, 25), answers, columns);
    let at = choices.iter().position(|choice| choice == commit).unwrap_or(0);
    let list = usize::from(room).saturating_sub(lines.len() + below.len()).clamp(1, CHOICES);
    for index in super::table::window(choices.len(), narrow(list), at) {
        let (subject, age) = act::describe(model, pod, &choices[index]).unwrap_or_default();
        let live = live_on(model, &choices[index]);
        let ago = if age.is_empty() { format!("({live})") } else { format!("(published {age} ago, {live})") };
        let mark = match (choices.len(), index == at) {
            (0 | 1, _) => "",
            (_, true) => "> ",
            (_, false) => "  ",
        };
        let mut row = line("", told(mark, &choices[index], &subject, &ago));
        if index == at {
            row = vec![
                piece(format!("  {:<7}", "to"), Role::Dim),
                piece(told(mark, commit, &subject, &ago), Role::Strong),
            ];
        }
        lines.push(row);
    }
    lines.extend(below);
}

/// Returns how many replicas publish a commit now: `on 3 of 4`.
fn live_on(model: &Model, commit: &str) -> String {
    let present = || model.pods.iter().filter(|pod| !pod.gone());
    let publishes = |pod: &&Pod| {
        let published = pod.snapshot.as_ref().and_then(|snapshot| snapshot.published.as_ref());
        published.is_some_and(|published| published.commit == commit)
    };
    format!("on {} of {}", present().filter(publishes).count(), present().count())
}
