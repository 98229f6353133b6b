//! The model drawn: one function from what is known to cells. It changes nothing and asks nobody.

pub mod canvas;
mod detail;
mod events;
mod fleet;
mod footer;
mod header;
mod history;
mod overlay;
mod replicas;
mod strip;
mod syncs;
mod table;
mod words;

use ratatui::Frame;
use ratatui::layout::Rect;

use self::canvas::Canvas;
use super::model::{LEAST, Model, View};
use super::theme::{Role, Theme};

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, model: &Model, theme: &Theme) {
    let area = frame.area();
    let mut canvas = Canvas::new(frame.buffer_mut(), theme, area);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(&mut canvas, model);
        return;
    }
    let foot = footer::height(area);
    let body = Rect { height: area.height - foot, ..area };
    if area.width < 60 || area.height < 12 {
        match &model.view {
            View::Fleet => fleet::tiny(&mut canvas, body, model),
            View::History(id) => history::draw(&mut canvas, body, model, id),
            View::Detail(id, sync) => detail::draw(&mut canvas, body, model, id, sync),
            View::Events => events::draw(&mut canvas, body, model),
        }
    } else {
        match &model.view {
            View::Fleet => fleet::draw(&mut canvas, body, model),
            View::History(id) => history::draw(&mut canvas, body, model, id),
            View::Detail(id, sync) => detail::draw(&mut canvas, body, model, id, sync),
            View::Events => events::draw(&mut canvas, body, model),
        }
    }
    footer::draw(&mut canvas, model);
    overlay::draw(&mut canvas, model);
}

/// A sentence instead of a broken frame.
fn too_small(canvas: &mut Canvas<'_>, model: &Model) {
    let newest = super::fleet::head(model).map(|head| super::text::short(&head.commit));
    let live = model.pods.iter().filter(|pod| super::fleet::has_newest(model, pod)).count();
    let area = canvas.area;
    let size = format!("{}x{}", LEAST.0, LEAST.1);
    let sentence = match newest {
        Some(commit) => format!("{commit} on {live}/{}; make this window {size} or larger", model.pods.len()),
        None => format!("make this window {size} or larger"),
    };
    let keys = "Only q works here: it quits.";
    let lines = [sentence.as_str(), keys].map(|text| super::text::wrap(text, usize::from(area.width))).concat();
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        canvas.put(area.x, y, area.width, &line, Role::Plain);
    }
}
