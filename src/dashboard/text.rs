//! Text for times, sizes and hostile strings: cleaned, measured in terminal columns, cut and wrapped.
//!
//! Pure functions of strings and numbers, independent of the model and the terminal.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::api::Phase;

/// Where text is cut. A screen in ASCII has its own.
pub const ELLIPSIS: &str = "…";
/// The combining marks that are kept on one character; the rest is dropped.
const MARKS_ON_ONE_CHARACTER: usize = 3;

/// Makes a string from outside safe to show: characters that could move the cursor, color the screen or reverse the reading
/// order are written as escapes, and characters without a width are dropped.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    // Nearly all text is harmless, and is not copied.
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut marks = 0;
    for character in text.chars() {
        match character {
            // The text becomes part of one line, in which an escape for each line end would be hard to read.
            '\n' | '\r' | '\t' => cleaned.push(' '),
            // Joiners and variation selectors: terminals disagree about the width of the result. Without them, marks around
            // them are on one character.
            '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}' => {
                continue;
            }
            // Shown as an escape and not dropped, so that a reader sees that something was there.
            character if character.is_control() || reorders(character) => {
                cleaned.extend(character.escape_unicode());
            }
            character if character.width() == Some(0) => {
                marks += 1;
                // A mark at the beginning would be drawn on the character before the text.
                if marks <= MARKS_ON_ONE_CHARACTER && !cleaned.is_empty() {
                    cleaned.push(character);
                }
                continue;
            }
            character => cleaned.push(character),
        }
        marks = 0;
    }
    Cow::Owned(cleaned)
}

fn harmless(character: char) -> bool {
    matches!(character, ' '..='~')
        // U+0080 to U+009F are the C1 controls of ECMA-48: U+009B alone introduces a sequence.
        || (character > '\u{9f}' && !reorders(character) && character.width().is_some_and(|width| width > 0))
}

/// Returns true for bidirectional controls and the two Unicode line ends.
fn reorders(character: char) -> bool {
    matches!(character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the columns of a cleaned string.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// Cleans, and cuts to `columns` with an ellipsis as the last character.
#[must_use]
pub fn cut(text: &str, columns: usize, ellipsis: &str) -> String {
    // More of it cannot be visible, and a subject of a megabyte need not be measured.
    let limit = columns.saturating_mul(16).saturating_add(64);
    let head = match text.char_indices().nth(limit) {
        Some((end, _)) => &text[..end],
        None => text,
    };
    let cleaned = clean(head);
    if width(&cleaned) <= columns && head.len() == text.len() {
        return cleaned.into_owned();
    }
    let room = columns.saturating_sub(width(ellipsis));
    let mut kept = String::new();
    let mut used = 0;
    for character in cleaned.chars() {
        let wide = character.width().unwrap_or(0);
        // A character of two columns that does not fit is left out, and the line is one column shorter.
        if used + wide > room {
            break;
        }
        used += wide;
        kept.push(character);
    }
    if columns >= width(ellipsis) {
        kept.push_str(ellipsis);
    }
    kept
}

/// The same, with the ellipsis as the first character: names of replicas differ at their end.
#[must_use]
pub fn cut_start(text: &str, columns: usize, ellipsis: &str) -> String {
    let cleaned = clean(text);
    if width(&cleaned) <= columns {
        return cleaned.into_owned();
    }
    let Some(room) = columns.checked_sub(width(ellipsis)) else { return String::new() };
    let mut begin = cleaned.len();
    let mut used = 0;
    for (at, character) in cleaned.char_indices().rev() {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        begin = at;
    }
    format!("{ellipsis}{}", &cleaned[begin..])
}

/// Cleans, and breaks at spaces into lines of at most `columns`; longer words are broken anywhere.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in clean(text).split_whitespace() {
        let wide = width(word);
        if used > 0 && used + 1 + wide <= columns {
            line.push(' ');
            line.push_str(word);
            used += 1 + wide;
            continue;
        }
        if used > 0 {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for character in word.chars() {
            let step = character.width().unwrap_or(0);
            // A wide character in a column of one stands alone, without an empty line before it.
            if used + step > columns && used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used += step;
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Returns a reason and its hint in at most `room` lines of `columns`. The hint is kept; the reason is cut at its end.
#[must_use]
pub fn reason_and_hint(
    reason: &str,
    hint: Option<&str>,
    columns: usize,
    room: usize,
    ellipsis: &str,
) -> [Vec<String>; 2] {
    let mut hint = hint.map(|hint| wrap(&format!("hint: {hint}"), columns)).unwrap_or_default();
    let mut reason = wrap(reason, columns);
    let least = usize::from(!reason.is_empty() && room > 1);
    shorten(&mut hint, room - least.min(room), columns, ellipsis);
    shorten(&mut reason, room - hint.len(), columns, ellipsis);
    [reason, hint]
}

/// Cuts to this number of lines; the last one shows that there was more.
fn shorten(lines: &mut Vec<String>, room: usize, columns: usize, ellipsis: &str) {
    if lines.len() <= room {
        return;
    }
    lines.truncate(room);
    if let Some(last) = lines.last_mut() {
        *last = format!("{}{ellipsis}", cut(last, columns.saturating_sub(width(ellipsis)), ""));
    }
}

/// Converts to ASCII in the same number of columns: dashes and quotes become their ASCII form, other characters a question
/// mark.
#[must_use]
pub fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        let twin = match character {
            ' '..='~' => character,
            '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            '…' | '·' | '•' => '.',
            '\u{a0}' => ' ',
            _ => '?',
        };
        // As many as the character had columns, since widths were computed before.
        plain.extend(std::iter::repeat_n(twin, character.width().unwrap_or(0)));
    }
    Cow::Owned(plain)
}

/// Returns an age in two units at most: `38s`, `2m 05s`, `2h 11m`, `3d 4h`. A negative one, from clocks that differ, is
/// `0s`.
#[must_use]
pub fn age(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns the time until something ends, without the seconds beside minutes, so that replicas that were paused together
/// have one text.
#[must_use]
pub fn remaining(duration: SignedDuration) -> String {
    if (60..3600).contains(&duration.as_secs()) { age_short(duration) } else { age(duration) }
}

/// Returns the same for narrow columns: `59m`, `1h59m`. One unit would call a pause of two hours `1h` from its first second on.
#[must_use]
pub fn remaining_short(duration: SignedDuration) -> String {
    remaining(duration).replace(' ', "")
}

/// Returns an age in one unit, for narrow columns.
#[must_use]
pub fn age_short(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns a duration: `12ms`, `930ms`, `1.9s`, `2m 05s`.
#[must_use]
pub fn took(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds}ms"),
        // At 59.95 s, rounding would make `60.0s`.
        1000..59_950 => format!("{}.{}s", (milliseconds + 50) / 1000, (milliseconds + 50) % 1000 / 100),
        _ => {
            let seconds = milliseconds / 1000;
            age(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
        }
    }
}

/// The first seven characters of a commit.
#[must_use]
pub fn short(commit: &str) -> String {
    clean(commit).chars().take(7).collect()
}

/// Returns the name of a sync on screen: `#412`, or the end of a long id.
#[must_use]
pub fn sync_name(id: &str) -> String {
    let id = clean(id);
    let count = id.chars().count();
    let tail: String = id.chars().skip(count.saturating_sub(8)).collect();
    format!("#{tail}")
}

/// Returns the name of a phase in texts.
#[must_use]
pub fn phase(phase: Phase) -> String {
    match phase {
        Phase::Look => "ls-refs".to_owned(),
        Phase::Gate => "hook".to_owned(),
        phase => phase.to_string(),
    }
}

/// Milliseconds between two times of one clock; 0 if they are in the wrong order.
#[must_use]
pub fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

/// Returns the common prefix of all names, up to its last dash or dot; empty for fewer than two names.
#[must_use]
pub fn common_prefix(names: &[&str]) -> String {
    let Some((first, rest)) = names.split_first() else { return String::new() };
    if rest.is_empty() {
        return String::new();
    }
    let mut length = first.len();
    for name in rest {
        let same = first.bytes().zip(name.bytes()).take_while(|(left, right)| left == right).count();
        length = length.min(same);
    }
    while !first.is_char_boundary(length) {
        length -= 1;
    }
    match first[..length].rfind(['-', '.']) {
        Some(end) => first[..=end].to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mred"), "a\\u{1b}[31mred");
        assert_eq!(clean("two\nlines\ttab"), "two lines tab");
        assert_eq!(clean("fdp\u{202e}exe.txt"), "fdp\\u{202e}exe.txt");
        assert_eq!(clean("👨\u{200d}👩"), "👨👩");
        assert_eq!(clean("e\u{301}\u{301}\u{301}\u{301}\u{301}"), "e\u{301}\u{301}\u{301}");
        assert_eq!(
            clean("e\u{301}\u{301}\u{feff}\u{301}\u{200d}\u{301}"),
            "e\u{301}\u{301}\u{301}",
            "what is dropped parts no marks"
        );
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(clean("a\u{2028}b"), "a\\u{2028}b");
        assert!(matches!(clean("plain → ● 你好"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_time_left_of_a_pause_has_its_minutes() {
        let left = |minutes| remaining_short(SignedDuration::from_mins(minutes));
        assert_eq!([1, 59, 60, 119, 1500].map(left), ["1m", "59m", "1h00m", "1h59m", "1d1h"]);
    }

    #[test]
    fn cutting_counts_columns_not_characters() {
        assert_eq!(cut("hello", 5, "…"), "hello");
        assert_eq!(cut("hello!", 5, "…"), "hell…");
        assert_eq!(cut("你好世界", 5, "…"), "你好…");
        assert_eq!(cut("你好世界", 4, "…"), "你…");
        assert_eq!(cut("abc", 0, "…"), "");
        assert_eq!(width(&cut(&"x".repeat(1 << 20), 9, "..")), 9);
        assert_eq!(cut_start("hello", 5, "…"), "hello");
        assert_eq!(cut_start("127.0.0.1:29180", 12, "…"), "…0.0.1:29180");
        assert_eq!(cut_start("你好世界", 4, "…"), "…界");
        assert_eq!(cut_start("abc", 0, "…"), "");
    }

    #[test]
    fn ascii_takes_as_many_columns() {
        assert_eq!(ascii("plain"), "plain");
        assert_eq!(ascii("“Größe” – 你好…"), "\"Gr??e\" - ????.");
        assert_eq!(ascii("e\u{301}"), "e");
        for text in ["修正 价格表 🎉", "naïve café", "e\u{301}\u{a0}x"] {
            assert_eq!(width(&ascii(text)), width(text), "{text}");
        }
    }

    #[test]
    fn wrapping_breaks_at_spaces_and_within_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), Vec::<String>::new());
        assert_eq!(wrap("你好吗", 1).concat(), "你好吗");
    }

    #[test]
    fn a_hint_is_kept_when_its_reason_is_cut() {
        let told = |room| reason_and_hint("one two three four", Some("do it"), 11, room, "..");
        assert_eq!(told(9), [vec!["one two", "three four"], vec!["hint: do it"]]);
        assert_eq!(told(2), [vec!["one two.."], vec!["hint: do it"]]);
        assert_eq!(told(1), [vec![], vec!["hint: do it"]]);
        assert_eq!(told(0), [Vec::<String>::new(), vec![]]);
        assert_eq!(reason_and_hint("one two three four", None, 11, 1, "..").concat(), ["one two.."]);
    }

    #[test]
    fn ages_have_at_most_two_units_and_are_never_negative() {
        let age = |seconds| age(SignedDuration::from_secs(seconds));
        assert_eq!(age(-5), "0s");
        assert_eq!(age(59), "59s");
        assert_eq!(age(125), "2m 05s");
        assert_eq!(age(7860), "2h 11m");
        assert_eq!(age(3 * 86_400 + 4 * 3600 + 59), "3d 4h");
        assert_eq!(age_short(SignedDuration::from_secs(7860)), "2h");
    }

    #[test]
    fn durations_and_sizes_read_well_at_the_borders() {
        assert_eq!(took(7), "7ms");
        assert_eq!(took(99), "99ms");
        assert_eq!(took(999), "999ms");
        assert_eq!(took(1000), "1.0s");
        assert_eq!(took(59_949), "59.9s");
        assert_eq!(took(59_950), "59s");
        assert_eq!(took(125_000), "2m 05s");
    }

    #[test]
    fn names_share_a_prefix_up_to_a_separator() {
        assert_eq!(common_prefix(&["web-6f9c-zz81t", "web-6f9c-zp2ln"]), "web-6f9c-");
        assert_eq!(common_prefix(&["web-1"]), "");
        assert_eq!(common_prefix(&["abc", "abd"]), "");
    }
}
