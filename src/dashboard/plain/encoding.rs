//! `--ascii` without a screen: text in ASCII, and JSON in which all other characters are escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::dashboard::text;
use crate::text::escape_json;

/// The characters that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Ascii,
}

impl Encoding {
    #[must_use]
    pub fn new(ascii: bool) -> Self {
        if ascii { Self::Ascii } else { Self::Utf8 }
    }

    /// Returns lines of text in this encoding. Columns stay aligned.
    #[must_use]
    pub fn lines(self, lines: &str) -> Cow<'_, str> {
        match self {
            Self::Utf8 => Cow::Borrowed(lines),
            Self::Ascii => lines.split('\n').map(text::ascii).collect::<Vec<_>>().join("\n").into(),
        }
    }

    /// Returns a JSON text of the same value.
    #[must_use]
    pub fn json(self, json: &str) -> String {
        let json = escape_json(json);
        if self == Self::Utf8 || json.is_ascii() {
            return json;
        }
        let mut escaped = String::with_capacity(json.len() + json.len() / 2);
        for c in json.chars() {
            if c.is_ascii() {
                escaped.push(c);
                continue;
            }
            // RFC 8259, section 7: a character outside of the Basic Multilingual Plane is a surrogate pair.
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_ascii_is_the_same_value() {
        let value = serde_json::json!({"subject": "Größe 文 😀 \u{202e}", "n": 1});
        let text = Encoding::Ascii.json(&serde_json::to_string_pretty(&value).expect("json"));
        assert!(text.is_ascii() && text.contains(r"\ud83d\ude00"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("json"), value);
        assert!(Encoding::Utf8.json(&value.to_string()).contains("文 😀"));
    }

    #[test]
    fn lines_in_ascii_keep_their_ends_and_columns() {
        let table = "POD    SUBJECT\nweb-…  Größe — “x”\n\n";
        assert_eq!(Encoding::Ascii.lines(table), "POD    SUBJECT\nweb-.  Gr??e - \"x\"\n\n");
        assert_eq!(Encoding::Utf8.lines(table), table);
    }
}
