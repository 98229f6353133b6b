//! Draws the model: one function from the state to cells. It changes nothing, and sends no requests.

pub mod canvas;
mod commit;
mod commits;
mod detail;
mod empty;
mod events;
mod fleet;
mod footer;
mod header;
mod history;
mod log;
mod notices;
pub mod overlay;
mod panes;
mod replicas;
mod sources;
mod strip;
mod syncs;
mod table;
mod words;

use ratatui::Frame;
use ratatui::layout::Rect;

use self::canvas::Canvas;
use super::model::{LEAST, Model, View};
use super::theme::{Role, Theme};
use super::verdict;

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, model: &Model, theme: &Theme) {
    let area = frame.area();
    let mut canvas = Canvas::new(frame.buffer_mut(), theme, area);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(&mut canvas, model);
        return;
    }
    // Once for each frame, so that all parts of the screen show the same verdict.
    let verdict = verdict::judge(model);
    let foot = footer::height(area);
    let body = Rect { height: area.height - foot, ..area };
    let small = area.width < 60 || area.height < 12;
    match &model.view {
        View::Commits if model.at_sources() => sources::draw(&mut canvas, body, model, &verdict),
        View::Commits => commits::draw(&mut canvas, body, model, &verdict),
        View::Commit(commit) => commit::draw(&mut canvas, body, model, &verdict, commit),
        View::Fleet if small => fleet::tiny(&mut canvas, body, model, &verdict),
        View::Fleet => fleet::draw(&mut canvas, body, model, &verdict),
        View::History(id) => history::draw(&mut canvas, body, model, &verdict, id),
        View::Detail(id, sync) => detail::draw(&mut canvas, body, model, &verdict, id, sync),
        View::Events => events::draw(&mut canvas, body, model, &verdict),
        View::Log(id) => log::draw(&mut canvas, body, model, &verdict, id),
    }
    footer::draw(&mut canvas, model);
    // Last, because it covers what is below.
    overlay::draw(&mut canvas, model);
}

/// Draws a sentence instead of a broken frame.
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
