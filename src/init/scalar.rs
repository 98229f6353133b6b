//! Text as a scalar of YAML: plain where every reader takes it for text, else in double quotes.
//!
//! It must not know where the scalar stands.

use serde_json::Value;

/// Words that readers of YAML 1.1 or 1.2 take for something other than text.
const WORDS: [&str; 24] = [
    "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "yes", "Yes", "YES", "no",
    "No", "NO", "on", "On", "ON", "off", "Off", "OFF", "=",
];

/// True if a scalar with this text is text and not a number, a truth value or nothing.
pub(super) fn is_string(text: &str, plain: bool) -> bool {
    !plain || !(WORDS.contains(&text) || matches!(text, "y" | "Y" | "n" | "N") || may_be_number(text))
}

/// Numbers, dates and times in any notation begin with a digit, a sign or a point.
fn may_be_number(text: &str) -> bool {
    let rest = text.trim_start_matches(['+', '-', '.']);
    // `.inf` and `.nan` are numbers; the words alone are text.
    let special = text.len() > rest.len() && matches!(rest.to_ascii_lowercase().as_str(), "inf" | "nan");
    let digits =
        |c: char| c.is_ascii_hexdigit() || matches!(c, '_' | '.' | '+' | '-' | ':' | 'x' | 'o' | 'T' | 'Z' | ' ');
    special || (rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(digits))
}

/// Writes a string as a scalar, anything else as JSON.
pub(super) fn write(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        // JSON's strings are YAML's. YAML permits no DEL and no C1 control character, which JSON does not escape.
        Value::String(_) => {
            let quoted = value.to_string();
            let escape = |c: char| match c {
                '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => format!("\\u{:04x}", u32::from(c)),
                _ => c.to_string(),
            };
            quoted.chars().map(escape).collect()
        }
        other => other.to_string(),
    }
}

/// True for text that needs no quotes anywhere in block or flow notation.
fn is_plain(text: &str) -> bool {
    let harmless =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_' | '-' | '=' | '@' | '+' | '$' | '(' | ')');
    // A colon counts only before a blank or at the end.
    let first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '$');
    // Flags begin with two dashes. Three are the marker of a document (YAML 1.2, section 9.1.2).
    let starts = text.starts_with(first) || (text.starts_with("--") && text.len() > 3 && !text.starts_with("---"));
    starts && text.chars().all(|c| harmless(c) || c == ':') && !text.ends_with(':') && is_string(text, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_read_back_as_that_text() {
        let odd = [
            "a",
            "",
            "~",
            "null",
            "yes",
            "y",
            "on",
            "1",
            "0o7",
            "1e3",
            "1_000",
            "12:30:00",
            "2001-12-14",
            ".inf",
            "-.inf",
            "0x1F",
            "- a",
            "--- a",
            "---",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "[a",
            "{a",
            "a,b",
            "\"",
            "'",
            "\\",
            "\n",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "--repo=x",
            "--peers=$(A):8080",
            "https://git.example/a.git",
            "git@github.com:a/b.git",
            ":8080",
            "ü",
            "<<",
            "=",
            "?",
            "? a",
            "a ",
            " a",
            "+1",
            "1.5.2",
        ];
        for text in odd {
            let written = write(&Value::String(text.to_owned()));
            for form in [
                format!("a: {written}\n"),
                format!("- {written}\n"),
                format!("[{written}, {written}]"),
                format!("{{a: {written}}}"),
            ] {
                let read = serde_saphyr::from_str::<Value>(&form).unwrap_or_else(|error| panic!("{form}: {error}"));
                let first = read.get("a").or_else(|| read.get(0)).unwrap();
                assert_eq!(first, text, "{form}");
                let ours = &super::super::yaml::parse(&form).unwrap()[0];
                let ours = ours.get("a").unwrap_or_else(|| &ours.items()[0]);
                assert_eq!(ours.json(), Value::String(text.to_owned()), "{form}");
            }
        }
        assert_eq!(write(&Value::String("https://git.example/a.git".to_owned())), "https://git.example/a.git");
        assert_eq!(write(&serde_json::json!(2)), "2");
    }

    #[test]
    fn a_short_commit_of_digits_is_quoted() {
        for text in ["1234567", "12e4567", "0x12", "1.20"] {
            assert_eq!(write(&Value::String(text.to_owned())), format!("\"{text}\""));
        }
        assert_eq!(write(&Value::String("v1.2.3".to_owned())), "v1.2.3");
    }
}
