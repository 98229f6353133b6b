//! The help names the keys that do something on each screen, whole and without empty headings.

use pushsync::dashboard::keys::{self as table, Group};
use pushsync::dashboard::message::News;
use pushsync::dashboard::model::Model;
use pushsync::dashboard::theme::Theme;
use ratatui::buffer::Cell;

use super::keyboard::press;
use super::sample::{fleet, tell};
use super::screens::render;

fn shown(model: &Model, width: u16, height: u16) -> String {
    let buffer = render(model, &Theme::new(true, false), width, height);
    let rows = buffer.content().chunks(usize::from(width));
    rows.map(|row| row.iter().map(Cell::symbol).collect::<String>() + "\n").collect()
}

/// The narrowest screen with two panes shows every line of the help in full.
#[test]
fn no_help_is_cut_at_sixty_columns() {
    for way in ["", "<Enter>", "<Enter><Enter>", "3", "1", "1<Enter>", "L"] {
        let mut model = fleet();
        press(&mut model, way);
        press(&mut model, "?");
        let screen = shown(&model, 60, 16);
        for group in [Group::Move, Group::Look, Group::Change, Group::Leave] {
            for binding in table::help(model.screen(), group) {
                assert!(screen.contains(binding.help), "{} is cut:\n{screen}", binding.help);
            }
        }
    }
}

/// A screen that changes nothing has no heading for changes.
#[test]
fn the_help_has_no_heading_without_keys() {
    for (way, changes) in [("1", true), ("3", false), ("L", false)] {
        for (width, height) in [(120, 32), (80, 24), (60, 16)] {
            let mut model = fleet();
            press(&mut model, way);
            press(&mut model, "?");
            let screen = shown(&model, width, height);
            assert_eq!(screen.contains("CHANGE (asks first)"), changes, "{way}\n{screen}");
        }
    }
}

/// A key that changes how a screen looks is offered only where it does.
#[test]
fn the_keys_for_times_and_names_change_each_screen_that_offers_them() {
    for way in ["1", "1<Enter>", "2", "2<Enter>", "2<Enter><Enter>", "3", "L"] {
        for key in ["t", "w"] {
            let mut model = fleet();
            tell(&mut model, "web-6f9c-zz81t", News::Line("error: lost connection to pod".to_owned()));
            press(&mut model, way);
            let all = [Group::Move, Group::Look, Group::Change, Group::Leave];
            let offered = all.iter().any(|group| table::help(model.screen(), *group).any(|it| it.keys == key));
            let before = shown(&model, 120, 32);
            press(&mut model, key);
            let changed = shown(&model, 120, 32) != before;
            assert_eq!(changed, offered, "{key} after {way}");
        }
    }
}
