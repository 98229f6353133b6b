//! Makes untrusted text safe to display: on one line, without characters that control a terminal or deceive a reader.

/// Returns true for control characters, separators that some programs treat as line ends, invisible characters, and
/// characters that change the direction of text ("Trojan Source", CVE-2021-42574; Unicode TR 36).
#[must_use]
pub fn is_deceptive(c: char) -> bool {
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
pub fn one_line(text: &str, most: usize) -> String {
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
}
