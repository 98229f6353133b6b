//! Lines as they reach stderr.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::subscriber::with_default;

use super::*;
use crate::secret::Secret;

fn written(format: Format, verbosity: u8, work: impl FnOnce()) -> String {
    written_at(format, false, verbosity, work)
}

fn written_at(format: Format, colour: bool, verbosity: u8, work: impl FnOnce()) -> String {
    let output = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&output);
    let clock = Clock::manual("2026-11-22T17:03:26.0426Z".parse::<Timestamp>().unwrap());
    let layer = Lines::new(format, colour, verbosity, clock, move |line| sink.lock().unwrap().push_str(line));
    with_default(subscriber(layer), work);
    output.lock().unwrap().clone()
}

#[test]
fn a_json_line_has_its_fields_at_the_top_under_dotted_names() {
    let text = written(Format::Json, 0, || {
        tracing::info!(commit.new = "abc", files = 3_u64, chased = true, ratio = 0.5, gone = ?Some(1), "published abc");
    });
    assert_eq!(text.matches('\n').count(), 1);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!({
            "ts": "2026-11-22T17:03:26.042Z", "level": "info", "msg": "published abc",
            "commit.new": "abc", "files": 3, "chased": true, "ratio": 0.5, "gone": "Some(1)",
        })
    );
}

#[test]
fn text_is_for_people_and_coloured_only_on_a_terminal() {
    let work = || tracing::warn!(commit.new = "abc", subject = "say \"hi\" now", "published");
    assert_eq!(
        written(Format::Text, 0, work),
        "2026-11-22T17:03:26.042Z  WARN published commit.new=abc subject=\"say \\\"hi\\\" now\"\n"
    );
    assert!(written_at(Format::Text, true, 0, work).contains("\u{1b}[33m WARN\u{1b}[0m"));
}

#[test]
fn hostile_text_can_neither_start_a_line_nor_steer_a_terminal() {
    let hostile = "fix\n{\"level\":\"error\"}\r\u{1b}[2J\u{9b}31m\u{7f}\u{202e}gnp\u{2028}x\u{0}";
    for format in [Format::Json, Format::Text] {
        let text = written(format, 0, || tracing::info!(subject = hostile, other = %hostile, "got {hostile}"));
        let line = text.strip_suffix('\n').unwrap();
        let loose: Vec<char> =
            line.chars().filter(|c| c.is_control() || ['\u{202e}', '\u{2028}'].contains(c)).collect();
        assert!(loose.is_empty(), "{format:?}: {loose:?} in {line}");
    }
    let text = written(Format::Json, 0, || tracing::info!(subject = hostile, "x"));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["subject"], hostile, "escaping loses nothing");
}

#[test]
fn no_secret_gets_out_whatever_it_is_made_of() {
    let quoted = Secret::new("quo\"ted\\secret\u{e9}");
    let plain = Secret::new("plain-secret-of-the-log");
    let (quoted, plain) = (quoted.expose_str().unwrap(), plain.expose_str().unwrap());
    for format in [Format::Json, Format::Text] {
        let text = written(format, 2, || {
            let span = tracing::info_span!("outer", header = quoted);
            let _inside = span.enter();
            tracing::debug!(field = plain, debug = ?plain, url = "https://me:hunter22@git.test/x", "{quoted} {plain}");
        });
        for leak in ["quo", "ted\\", "plain-secret", "hunter22"] {
            assert!(!text.contains(leak), "{leak} in {text}");
        }
        assert!(text.contains("https://***@git.test/x"), "{text}");
    }
}

#[test]
fn a_field_cannot_pass_for_the_level_or_the_message() {
    let text = written(Format::Json, 0, || tracing::info!(level = "error", msg = "false", ts = "never", "true"));
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&json!("info"), &json!("true")));
    assert_eq!(line["ts"], "2026-11-22T17:03:26.042Z");
}

#[test]
fn verbosity_opens_this_crate_only() {
    let work = || {
        tracing::info!("ours info");
        tracing::debug!("ours debug");
        tracing::trace!("ours trace");
        tracing::info!(target: "hyper::proto", "theirs info");
        tracing::info!(target: "pushsyncx", "a stranger of a similar name");
        tracing::warn!(target: "hyper::proto", "theirs warn");
    };
    assert_eq!(written(Format::Text, 0, work).lines().count(), 2);
    assert_eq!(written(Format::Text, 1, work).lines().count(), 3);
    let all = written(Format::Text, 5, work);
    assert!(all.contains("ours trace") && all.contains("theirs warn") && all.lines().count() == 4, "{all}");
}

#[test]
fn a_sync_keeps_its_own_lines_and_every_line_carries_its_id() {
    let mut lines = Vec::new();
    let text = written(Format::Json, 1, || {
        let capture = Capture::start("s-7");
        tracing::info!("before");
        capture.span().in_scope(|| {
            tracing::info!(bytes = 5, subject = "a\nb", "fetched");
            tracing::debug!("too small to keep");
            tracing::warn!(target: "hyper", "somebody else's");
            tracing::info_span!("inner").in_scope(|| tracing::error!("failed"));
        });
        let span = capture.span().clone();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, || span.in_scope(|| tracing::info!("from a thread")));
        })
        .join()
        .unwrap();
        lines = capture.lines();
    });
    let told: Vec<_> = lines.iter().map(|line| (line.level.as_str(), line.message.as_str())).collect();
    assert_eq!(told, [("info", "fetched bytes=5 subject=\"a\\nb\""), ("error", "failed"), ("info", "from a thread")]);
    let with_id = text.lines().filter(|line| line.contains("\"sync.id\":\"s-7\"")).count();
    assert_eq!((text.lines().count(), with_id), (6, 5), "{text}");
}

#[test]
fn a_talkative_sync_keeps_its_last_lines() {
    let mut lines = Vec::new();
    written(Format::Json, 0, || {
        let capture = Capture::start("s-8");
        capture.span().in_scope(|| (0..250).for_each(|number| tracing::info!("line {number}")));
        lines = capture.lines();
    });
    assert_eq!(lines.len(), 200);
    assert_eq!((lines[0].message.as_str(), lines[199].message.as_str()), ("line 50", "line 249"));
}

#[test]
fn without_our_subscriber_nothing_is_captured_and_nothing_breaks() {
    with_default(tracing::subscriber::NoSubscriber::default(), || {
        let capture = Capture::start("s-9");
        capture.span().in_scope(|| tracing::info!("unheard"));
        assert!(capture.lines().is_empty());
    });
}
