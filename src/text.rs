//! Makes untrusted text safe to display: on one line, without characters that control a terminal or deceive a reader.

use std::fmt::{Display, Write as _};

/// Returns true for control characters, separators that some programs treat as line ends, invisible characters, and
/// characters that change the direction of text ("Trojan Source", CVE-2021-42574; Unicode TR 36).
#[must_use]
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

/// Returns the text on one line: deceptive characters become U+FFFD (a tab becomes a space), and the text is cut
/// after `most` characters.
#[must_use]
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let safe = |c: char| match c {
        '\t' => ' ',
        c if is_deceptive(c) => '\u{fffd}',
        c => c,
    };
    let text = text.trim();
    let mut line: String = text.chars().take(most).map(safe).collect();
    // Not by counting all characters: the text may be very long.
    if text.chars().nth(most).is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// Returns a JSON text in which controlling and deceptive characters are escaped. It stands for the same value.
///
/// `serde_json` escapes U+0000 to U+001F (RFC 8259, section 7). A terminal acts on U+0080 to U+009F as well (ECMA-48, 5.3),
/// and shows text in another order after some of the other characters.
#[must_use]
pub(crate) fn escape_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        // Outside of strings, JSON contains none of these but line feeds.
        if c != '\n' && is_deceptive(c) {
            // All of them are in the Basic Multilingual Plane, so none needs a surrogate pair.
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Returns a number of bytes in binary units, rounded: `1023 B`, `2.9 MiB`, `30 MiB`.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In tenths, which need more than 64 bits.
    let tenths = |unit: usize| (u128::from(bytes) * 10 + (1 << (10 * unit + 9))) >> (10 * unit + 10);
    // The rounded number decides: 1023.9 KiB is 1 MiB.
    let unit = (0..UNITS.len()).find(|unit| tenths(*unit) < 10_235).unwrap_or(UNITS.len() - 1);
    match (tenths(unit), UNITS[unit]) {
        (tenths, name) if tenths < 100 && tenths % 10 != 0 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        (tenths, name) => format!("{} {name}", (tenths + 5) / 10),
    }
}

/// Returns a number with its noun: `1 object`, `2 objects`.
#[must_use]
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let end = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controlling_and_deceptive_characters_are_replaced_and_the_rest_is_kept() {
        assert_eq!(
            one_line(" a\tb\nc\u{1b}[31m\u{202e}d\u{2028}ß 文 ", 100),
            "a b\u{fffd}c\u{fffd}[31m\u{fffd}d\u{fffd}ß 文"
        );
        assert_eq!(one_line("12345", 5), "12345");
        assert_eq!(one_line("123456", 5), "1234…");
    }

    #[test]
    fn escaped_json_has_the_same_value_and_no_controlling_characters() {
        let value = serde_json::json!({"subject": "a\u{1b}b\u{7f}\u{9b}31m\u{202e}\u{feff}ß 文 😀", "n": [1, null]});
        let text = escape_json(&serde_json::to_string_pretty(&value).expect("json"));
        assert!(text.lines().count() > 3 && !text.chars().any(|c| c != '\n' && is_deceptive(c)), "{text}");
        assert!(text.contains(r"\u009b31m\u202e") && text.contains("ß 文 😀"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("json"), value);
    }

    #[test]
    fn sizes_are_rounded_to_binary_units() {
        let sizes =
            [0, 1023, 1024, 1536, 482_911, 1_048_063, 3_000_000, 9_961_472, 31_457_280, 10_000_000_000, u64::MAX];
        assert_eq!(
            sizes.map(size),
            [
                "0 B", "1023 B", "1 KiB", "1.5 KiB", "472 KiB", "1 MiB", "2.9 MiB", "9.5 MiB", "30 MiB", "9.3 GiB",
                "16 EiB"
            ]
        );
    }

    #[test]
    fn a_noun_agrees_with_its_number() {
        assert_eq!([0_u64, 1, 2].map(|count| counted(count, "peer")), ["0 peers", "1 peer", "2 peers"]);
    }
}
