//! Properties of logged text, for any input (see src/fuzzing.rs).

use jiff::Timestamp;
use serde_json::Value;
use tracing::Level;

use super::line::{Fields, LogLine, printable};
use crate::secret::scrub;
use crate::text::{is_deceptive, one_line};

/// A line stays a single line, cannot control a terminal, and as JSON preserves the logged text.
pub(crate) fn text_escape(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = printable(&text);
    assert_harmless(&shown);
    assert_eq!(printable(&shown), shown, "twice is once");
    for most in [1, 2, 20, usize::MAX] {
        let line = one_line(&text, most);
        assert_harmless(&line);
        assert!(line.chars().count() <= most, "{line:?} has more than {most} characters");
        assert_eq!(one_line(&line, most).trim_end(), line.trim(), "twice is once");
    }

    let mut fields = Fields::default();
    fields.add("message", Value::String(text.clone().into_owned()));
    fields.add("subject", Value::String(text.clone().into_owned()));
    fields.add("level", Value::String("forged".into()));
    let mut outer = Fields::default();
    outer.add("msg", Value::String(text.clone().into_owned()));
    let line = LogLine { at: Timestamp::UNIX_EPOCH, level: Level::INFO, fields, outer: vec![outer] };
    let json = line.json();
    assert_harmless(json.strip_suffix('\n').expect("a line ends"));
    let read: Value = serde_json::from_str(&json).expect("a line of JSON");
    assert_eq!((read["msg"].as_str(), read["subject"].as_str()), (Some(&*scrub(&text)), Some(&*scrub(&text))));
    assert_eq!((read["level"].as_str(), read["ts"].as_str()), (Some("info"), Some("1970-01-01T00:00:00.000Z")));
    assert_harmless(line.text(false).strip_suffix('\n').expect("a line ends"));
    assert_harmless(&line.fields.sentence());
}

fn assert_harmless(text: &str) {
    assert!(!text.chars().any(is_deceptive), "{text:?}");
}
