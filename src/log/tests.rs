//! Lines as they reach stderr.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
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
    let layer = Lines::new(format, colour, verbosity, clock, move |line| sink.lock().push_str(line));
    with_default(subscriber(layer), work);
    output.lock().clone()
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
fn text_lines_are_colored_only_on_a_terminal() {
    let work = || tracing::warn!(commit.new = "abc", subject = "say \"hi\" now", "published");
    assert_eq!(
        written(Format::Text, 0, work),
        "2026-11-22T17:03:26.042Z  WARN published commit.new=abc subject=\"say \\\"hi\\\" now\"\n"
    );
    assert!(written_at(Format::Text, true, 0, work).contains("\u{1b}[33m WARN\u{1b}[0m"));
}

#[test]
fn hostile_text_can_neither_start_a_line_nor_control_a_terminal() {
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
fn secrets_of_any_characters_are_scrubbed() {
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
fn a_field_cannot_replace_the_level_or_the_message() {
    let text = written(Format::Json, 0, || tracing::info!(level = "error", msg = "false", ts = "never", "true"));
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&json!("info"), &json!("true")));
    assert_eq!(line["ts"], "2026-11-22T17:03:26.042Z");
}

#[test]
fn verbosity_applies_to_this_crate_only() {
    let work = || {
        tracing::info!("ours info");
        tracing::debug!("ours debug");
        tracing::trace!("ours trace");
        tracing::info!(target: "hyper::proto", "theirs info");
        // Its name begins like ours, but it is another crate.
        tracing::info!(target: "pushsyncx", "a stranger of a similar name");
        tracing::warn!(target: "hyper::proto", "theirs warn");
    };
    assert_eq!(written(Format::Text, 0, work).lines().count(), 2);
    assert_eq!(written(Format::Text, 1, work).lines().count(), 3);
    let all = written(Format::Text, 5, work);
    assert!(all.contains("ours trace") && all.contains("theirs warn") && all.lines().count() == 4, "{all}");
}

#[test]
fn lines_within_a_span_carry_its_fields() {
    let text = written(Format::Json, 0, || {
        tracing::info!("before");
        tracing::info_span!("sync", sync.id = "s-7").in_scope(|| {
            tracing::info_span!("inner").in_scope(|| tracing::error!("failed"));
        });
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["sync.id"], &lines[1]["sync.id"]), (2, &Value::Null, &json!("s-7")));
}
