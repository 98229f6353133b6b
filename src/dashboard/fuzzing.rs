//! Properties of the dashboard for any data from a replica, or from another server in its place (see src/fuzzing.rs).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use unicode_width::UnicodeWidthChar as _;

use super::message::{Msg, News};
use super::model::{Found, Model, PodId, Presence, Setup};
use super::sse::{Frame, Parser};
use super::text::{clean, cut, reason_and_hint, short, width, wrap};
use super::theme::Theme;
use super::update::update;
use super::view;
use crate::api::Event;

/// Chunk boundaries of the stream do not matter; every event becomes a screen without control characters.
pub(crate) fn dashboard_stream(data: &[u8]) {
    let Ok(frames) = Parser::default().push(data) else { return };
    let mut parser = Parser::default();
    // The size of the chunks comes from the input, so that the fuzzer can vary it.
    let step = data.first().map_or(1, |byte| usize::from(byte % 5) + 1);
    let parts: Vec<Frame> = data.chunks(step).flat_map(|part| parser.push(part).unwrap_or_default()).collect();
    assert_eq!(parts, frames, "chunks of {step}");

    let mut model = model();
    let now = model.now;
    let mut shown = false;
    for frame in frames {
        let Frame::Event { name, data, .. } = frame else { continue };
        let Ok(Some(event)) = Event::parse(&name, &data) else { continue };
        let news = match event {
            Event::Snapshot(snapshot) => News::Snapshot(snapshot),
            event => News::Event(event),
        };
        let _ = update(&mut model, now, Msg::Link(PodId::new("a"), news));
        shown = true;
    }
    if !shown {
        return;
    }
    let theme = Theme::new(true, data.len().is_multiple_of(2));
    let Ok(mut terminal) = Terminal::new(TestBackend::new(100, 24));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, &model, &theme));
    let cells = terminal.backend().buffer().content();
    assert!(!cells.iter().any(|cell| cell.symbol().chars().any(char::is_control)));
}

fn model() -> Model {
    let setup = Setup {
        subject: "prod/web".to_owned(),
        read_only: false,
        max_links: 12,
        longest_visit: jiff::SignedDuration::from_secs(10),
        commit: None,
        kubernetes: true,
        by_address: false,
    };
    // 2026-11-22 12:00:00 UTC
    let now = Timestamp::from_second(1_795_348_800).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut model = Model::new(setup, now, TimeZone::UTC);
    let found = |id: &str| Found {
        id: PodId::new(id),
        name: format!("web-{id}"),
        namespace: Some("prod".to_owned()),
        presence: Presence::Running,
        container: None,
        advice: None,
        sidecar: None,
    };
    let _ = update(&mut model, now, Msg::Pods(Ok(vec![found("a")])));
    model
}

/// Cleaned text contains no control characters, stays the same when it is cleaned again, and fits its place.
pub(crate) fn dashboard_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let cleaned = clean(&text);
    assert_harmless(&cleaned);
    assert_eq!(clean(&cleaned), cleaned, "twice is once");
    assert!(short(&text).chars().count() <= 7);
    for columns in [0, 1, 2, 7, 40] {
        let line = cut(&text, columns, "…");
        assert_harmless(&line);
        assert!(width(&line) <= columns, "{line:?} is wider than {columns}");
        for line in wrap(&text, columns) {
            assert_harmless(&line);
            // A wide character in a narrow column is alone, except for its marks.
            let seen = line.chars().filter(|character| character.width().is_some_and(|columns| columns > 0)).count();
            assert!(width(&line) <= columns.max(1) || seen == 1, "{line:?} is wider than {columns}");
        }
    }
    let [reason, hint] = reason_and_hint(&text, Some(&text), 20, 3, "…");
    assert!(reason.len() + hint.len() <= 3, "{reason:?} {hint:?}");
}

fn assert_harmless(text: &str) {
    let steers = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.chars().any(steers), "{text:?}");
}
