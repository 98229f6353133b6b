//! One log line and its two formats. All content is sanitized here, for both formats.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::Level;

use crate::secret::scrub;
use crate::text::is_deceptive;

/// The message and fields of an event or span, sanitized.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Scrubs before quoting, because a secret with a quote in it would not be recognized afterwards.
    pub(super) fn add(&mut self, name: &'static str, value: Value) {
        let value = match value {
            Value::String(text) => Value::String(scrub(&text).into_owned()),
            other => other,
        };
        match (name, value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => match self.rest.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => self.rest.push((name, value)),
            },
        }
    }

    /// Returns the message and fields as text, as the history stores them.
    pub(super) fn sentence(&self) -> String {
        let mut text = printable(&self.message);
        self.append_to(&mut text);
        text
    }

    fn append_to(&self, text: &mut String) {
        for (name, value) in &self.rest {
            // Writing to a String cannot fail.
            let _ = match value {
                Value::String(value) if is_plain(value) => write!(text, " {name}={value}"),
                Value::String(value) => write!(text, " {name}=\"{}\"", printable(&value.replace('"', "\\\""))),
                value => write!(text, " {name}={value}"),
            };
        }
    }
}

/// A line, independent of its format.
pub(super) struct LogLine {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) fields: Fields,
    /// The fields of the enclosing spans, innermost first.
    pub(super) outer: Vec<Fields>,
}

impl LogLine {
    /// Formats one JSON object and a newline: `ts`, `level`, `msg`, then the fields under their dotted names.
    pub(super) fn json(&self) -> String {
        let mut object = Map::new();
        for (name, value) in self.outer.iter().rev().flat_map(|fields| &fields.rest).chain(&self.fields.rest) {
            object.insert((*name).to_owned(), value.clone());
        }
        // Inserted last, so that no field can replace one of these.
        object.insert("ts".to_owned(), format!("{:.3}", self.at).into());
        object.insert("level".to_owned(), self.level.as_str().to_ascii_lowercase().into());
        object.insert("msg".to_owned(), self.fields.message.clone().into());
        let mut line = String::new();
        for c in Value::Object(object).to_string().chars() {
            if is_deceptive(c) {
                // These occur in JSON only inside strings. serde_json escapes only characters below U+0020.
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            } else {
                line.push(c);
            }
        }
        line.push('\n');
        line
    }

    /// Formats `2026-11-22T17:03:26.123Z  INFO message field=value` and a newline.
    pub(super) fn text(&self, colour: bool) -> String {
        let code = match self.level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            Level::DEBUG | Level::TRACE => "34",
        };
        let mut line = if colour {
            format!("\u{1b}[2m{:.3}\u{1b}[0m \u{1b}[{code}m{:>5}\u{1b}[0m ", self.at, self.level)
        } else {
            format!("{:.3} {:>5} ", self.at, self.level)
        };
        line.push_str(&self.fields.sentence());
        for fields in &self.outer {
            fields.append_to(&mut line);
        }
        line.push('\n');
        line
    }
}

/// Escapes characters that could control a terminal or fake a line: control characters, and those that reorder or
/// break the displayed text.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            c if is_deceptive(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    clean
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && c != '"' && c != '=' && !is_deceptive(c))
}
