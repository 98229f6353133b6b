//! The bottom of the screen: the keys, the typed text, the latest message.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Piece, measure, piece};
use crate::dashboard::act;
use crate::dashboard::filter;
use crate::dashboard::keys::{self, Action, Binding, Group, Screen};
use crate::dashboard::model::Model;
use crate::dashboard::theme::Role;
use crate::dashboard::typing;

/// Returns the height of the footer: a rule (where messages appear) and the keys, on a small screen only the keys.
pub(crate) fn height(area: Rect) -> u16 {
    if area.height >= 14 { 2 } else { 1 }
}

pub(crate) fn draw(canvas: &mut Canvas<'_>, model: &Model) {
    let area = canvas.area;
    let last = area.bottom() - 1;
    let flash = model.flash.as_ref().map(|flash| {
        let role = if flash.bad { Role::Bad } else { Role::Strong };
        piece(&flash.text, role)
    });
    if height(area) == 2 {
        let title: Vec<Piece> = flash.into_iter().collect();
        canvas.rule(last - 1, &title, &[]);
    } else if let Some(flash) = flash
        // A message takes the only line, but not from a user who is typing.
        && !model.typing
        && !model.copying
    {
        canvas.line(last, &[flash], &[]);
        return;
    }
    if model.typing {
        prompt(canvas, last, model);
    } else if model.copying {
        let mut pieces = vec![piece("copy  ", Role::Strong)];
        for (key, what) in [("s", "sha"), ("d", "delivery id"), ("e", "error"), ("Esc", "nothing")] {
            pieces.push(piece(key, Role::Accent));
            pieces.push(piece(format!(" {what}   "), Role::Plain));
        }
        canvas.line(last, &pieces, &[]);
    } else {
        bindings(canvas, last, model);
    }
}

fn prompt(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let typed = typing::text(model);
    let mut pieces = vec![piece("/", Role::Accent), piece(typed, Role::Strong), piece("_", Role::Accent)];
    if typed.is_empty() {
        let hint = match model.screen() {
            Screen::Commits => "a hash asks whether it is live   author: trigger:   ! inverts",
            _ if typing::hides(model) => filter::TOKENS,
            _ => "n and N go to the next and the previous match",
        };
        pieces.push(piece(format!("   {hint}"), Role::Dim));
    }
    canvas.line(y, &pieces, &[piece("Enter keep  Esc clear", Role::Dim)]);
}

fn bindings(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let wide = canvas.area.width >= 100;
    let gap = if wide { "  " } else { " " };
    let screen = model.screen();
    let mut chosen: Vec<&Binding> = keys::footer(screen).collect();
    let changes = chosen.iter().filter(|binding| binding.group == Group::Change).map(|binding| binding.action);
    let unavailable: Vec<Action> = changes.filter(|action| act::unavailable(model, *action).is_some()).collect();
    let shown = |binding: &Binding| -> Vec<Piece> {
        // An action that is not possible stays in its place, dimmed; when pressed, it shows the reason.
        let dimmed = unavailable.contains(&binding.action);
        let (key, label) = if dimmed { (Role::Dim, Role::Dim) } else { (Role::Accent, Role::Plain) };
        let word = match binding.action {
            Action::Pin if wide => "pin/roll back",
            Action::Sync if wide => "sync now",
            _ => binding.label,
        };
        // The help has one line for two keys; here each has its own.
        let press = binding.keys.split(' ').next().unwrap_or(binding.keys);
        let keys = if binding.action == Action::NextReplica { binding.keys } else { press };
        let keys = if keys.is_empty() { "?" } else { keys };
        vec![piece(keys, key), piece(format!(" {word}{gap}"), label)]
    };
    let columns = |chosen: &[&Binding]| -> u16 {
        let keys: u16 = chosen.iter().map(|binding| measure(&shown(binding))).sum();
        keys + 8
    };
    while columns(&chosen) > canvas.area.width {
        let Some(least) = chosen.iter().map(|binding| binding.weight).min() else { break };
        let Some(at) = chosen.iter().rposition(|binding| binding.weight == least) else { break };
        chosen.remove(at);
    }
    let mut left: Vec<Piece> = Vec::new();
    let mut changes = false;
    for binding in chosen.iter().filter(|binding| binding.group != Group::Leave) {
        if binding.group == Group::Change && !changes && !left.is_empty() {
            changes = true;
            left.push(piece(format!("{} ", canvas.glyphs().bar), Role::Dim));
        }
        left.extend(shown(binding));
    }
    let right: Vec<Piece> =
        chosen.iter().filter(|binding| binding.group == Group::Leave).flat_map(|binding| shown(binding)).collect();
    canvas.line(y, &left, &right);
}
